"""How translations are found and scored: beam search (greedy is a beam of 1) and forced decoding.

What hypotheses are ranked by is a pure function, :func:`nmt.search.base.score`: the log-probability divided by one of
``NORMALISATIONS``, less one of ``PENALTIES``. A new one is a function and a line in its table.
"""

from nmt.search.base import NORMALISATIONS, Hypothesis, SearchSettings, score
from nmt.search.beam import beam_search
from nmt.search.forced import force
from nmt.search.penalties import PENALTIES
from nmt.search.prepared import Prepared, refuse_precision

__all__ = [
    "NORMALISATIONS",
    "PENALTIES",
    "Hypothesis",
    "Prepared",
    "SearchSettings",
    "beam_search",
    "force",
    "refuse_precision",
    "score",
]
