"""Metrics of over-translation, under-translation and alignment, on any system's output; no model, no torch.

A metric is a class with sufficient statistics per sentence; beside each stands a function that takes lists of strings,
links or attention matrices and returns a :class:`nmt.score.Score`::

    from nmt.metrics import aer, ngrr

    ngrr(["the cat the cat"], order=2).value
"""

from __future__ import annotations

from nmt.metrics.alignment import F1, Aer, Precision, Recall, Saer, aer, f1, precision, recall, saer
from nmt.metrics.base import Metric, Output
from nmt.metrics.diagnostics import (
    Coverage,
    Entropy,
    Ignored,
    Nothing,
    coverage,
    coverage_per_word,
    entropy,
    ignored,
    nothing,
)
from nmt.metrics.omission import Cdr, Drop, cdr, drop
from nmt.metrics.over_under import Otem, Utem, otem, utem
from nmt.metrics.overlap import Bleu, Chrf, Ter, bleu, chrf, ter
from nmt.metrics.repetition import Ngrr, Rep, Tng, ngrr, rep, tng

METRICS: dict[str, type[Metric]] = {
    "bleu": Bleu,
    "chrf": Chrf,
    "ter": Ter,
    "ngrr": Ngrr,
    "rep": Rep,
    "tng": Tng,
    "otem": Otem,
    "utem": Utem,
    "drop": Drop,
    "cdr": Cdr,
    "aer": Aer,
    "saer": Saer,
    "precision": Precision,
    "recall": Recall,
    "f1": F1,
    "coverage": Coverage,
    "ignored": Ignored,
    "entropy": Entropy,
    "nothing": Nothing,
}

__all__ = [
    "METRICS",
    "Metric",
    "Output",
    "aer",
    "bleu",
    "cdr",
    "chrf",
    "coverage",
    "coverage_per_word",
    "drop",
    "entropy",
    "f1",
    "ignored",
    "ngrr",
    "nothing",
    "otem",
    "precision",
    "recall",
    "rep",
    "saer",
    "ter",
    "tng",
    "utem",
]
