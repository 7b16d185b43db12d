"""Metrics of over-translation, under-translation and alignment, on any system's output; no model, no torch.

A metric is a class with sufficient statistics per sentence; beside each stands a function that takes lists of strings,
links or attention matrices and returns a :class:`nmt.score.Score`::

    from nmt.metrics import aer, ngrr

    ngrr(["the cat the cat"], order=2).value
"""

from __future__ import annotations

from nmt.metrics.alignment import F1, Aer, Precision, Recall, Saer, aer, f1, precision, recall, saer
from nmt.metrics.base import Metric, Output
from nmt.metrics.overlap import Bleu, Chrf, Ter, bleu, chrf, ter
from nmt.metrics.repetition import Ngrr, ngrr

__all__ = [
    "METRICS",
    "Metric",
    "Output",
    "aer",
    "bleu",
    "chrf",
    "f1",
    "ngrr",
    "precision",
    "recall",
    "saer",
    "ter",
]

METRICS: dict[str, type[Metric]] = {
    "bleu": Bleu,
    "chrf": Chrf,
    "ter": Ter,
    "ngrr": Ngrr,
    "aer": Aer,
    "saer": Saer,
    "precision": Precision,
    "recall": Recall,
    "f1": F1,
}
