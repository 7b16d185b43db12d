"""Measurements of speed beside other toolkits: ``python -m benchmarks --help``; see README.md of this directory.

The modules that measure a peer run in the peer's own environment, where there is neither ``nmt`` nor ``click``: they,
``protocol`` and ``texts`` import the standard library and their peer alone.
"""
