"""Metrics of over-translation, under-translation and alignment, on any system's output; no model, no torch.

A metric is a class with sufficient statistics per sentence; beside each stands a function that takes lists of strings,
links or attention matrices and returns a :class:`nmt.score.Score`::

    from nmt.metrics import aer, ngrr

    ngrr(["the cat the cat"], order=2).value
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from nmt.errors import InputError
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
from nmt.metrics.tokens import choose

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
    "build",
    "cdr",
    "chrf",
    "coverage",
    "coverage_per_word",
    "drop",
    "entropy",
    "f1",
    "for_text",
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


def build(name: str, **settings: Any) -> Metric:
    """The metric of this name with those of the settings that it has. Raises ``InputError`` for an unknown name."""
    if name not in METRICS:
        near = get_close_matches(name, METRICS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(METRICS)}"
        raise InputError(f"unknown metric {name!r}; {hint}")
    metric: Any = METRICS[name]
    known = {field.name for field in fields(metric)}
    built: Metric = metric(**{key: value for key, value in settings.items() if key in known})
    return built


def for_text(names: Sequence[str], output: Output, settings: Mapping[str, Any]) -> dict[str, Metric]:
    """The metrics of these names, with tokenisers chosen by the text where ``settings`` name none (or None).

    A ``tokenize`` of ``none`` goes for the source as well, unless ``src_tokenize`` says otherwise.
    """
    chosen = dict(settings)
    sample = (output.references or [output.hypotheses or ()])[0]
    named = chosen.pop("src_tokenize", None) or ("none" if chosen.get("tokenize") == "none" else None)
    chosen["source_tokenize"] = named or choose(output.sources or ())
    chosen["tokenize"] = chosen.get("tokenize") or choose(sample)
    return {name: build(name, **chosen) for name in names}
