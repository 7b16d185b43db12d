"""Repetition inside a translation: N-GRR, REP and the oscillation test against the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nmt.errors import InputError
from nmt.metrics.base import Array, Metric, Output, ratio
from nmt.metrics.tokens import choose, tokenizer
from nmt.score import Score, signature

SHORT = ("zero", "skip", "one")


def ngrams(words: Sequence[str], order: int) -> list[tuple[str, ...]]:
    """The n-grams of exactly this order, in order."""
    return list(zip(*(words[start:] for start in range(order)), strict=False))


@dataclass(frozen=True)
class Ngrr(Metric):
    """N-gram repetition rate, percent (Zhang et al. 2017, eq. 10), for every order of ``orders``.

    N-GRR = 1/(C·R) Σ_c Σ_r (|N-grams_{c,r}| − |u(N-grams_{c,r})|) / |N-grams_{c,r}|: a macro average over sentences c
    and translations r, N-grams of exactly order N, u removing duplicates.

    The paper does not say what a sentence of fewer than N words counts: here 0 (``short="zero"``), or it is left out
    (``skip``), or 1 (``one``); ``detail`` tells how many there were. Nor does it name tokens and case, which the
    signature does.
    """

    orders: tuple[int, ...] = (1, 2, 3, 4)
    tokenize: str = "13a"
    lowercase: bool = True
    short: str = "zero"
    needs = ("hypotheses",)

    def __post_init__(self) -> None:
        if self.short not in SHORT:
            raise InputError(f"short: {self.short!r} is unknown; known are {', '.join(SHORT)}")

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"{order}-GRR" for order in self.orders)

    def statistics(self, output: Output) -> Array:
        """The repeat ratio and 1 (both 0 in a short sentence) for each order, and last a 1 for the sentence."""
        assert output.hypotheses is not None
        words = tokenizer(self.tokenize, self.lowercase)
        rows = np.ones((len(output.hypotheses), 2 * len(self.orders) + 1))
        for row, line in zip(rows, output.hypotheses, strict=True):
            row[:-1] = self._ratios(words(line))
        return rows

    def _ratios(self, words: Sequence[str]) -> list[float]:
        found: list[float] = []
        for order in self.orders:
            total = len(words) - order + 1
            if total < 1:
                found += (0.0, 0.0)
            else:
                unique = len(set(zip(*(words[start:] for start in range(order)), strict=False)))
                found += ((total - unique) / total, 1.0)
        return found

    def values(self, sums: Array) -> Array:
        repeated, long, sentences = sums[..., 0:-1:2], sums[..., 1:-1:2], sums[..., -1:]
        if self.short == "skip":
            return 100 * ratio(repeated, long)
        if self.short == "one":
            repeated = repeated + (sentences - long)
        return 100 * ratio(repeated, np.broadcast_to(sentences, repeated.shape))

    def signature(self, output: Output) -> str:
        return signature(case="lc" if self.lowercase else "mixed", tok=self.tokenize, short=self.short)

    def detail(self, sums: Array) -> Mapping[str, Any]:
        short = sums[-1] - sums[1:-1:2]
        return {"short": {f"{order}-grams": int(count) for order, count in zip(self.orders, short, strict=True)}}


def ngrr(
    *translations: Sequence[str],
    order: int = 1,
    tokenize: str | None = None,
    lowercase: bool = True,
    short: str = "zero",
) -> Score:
    """N-gram repetition rate of one translation of a corpus, or averaged over several; see :class:`Ngrr`.

    The tokeniser is chosen by the text unless named. Raises ``InputError`` without a sentence, and where two
    translations differ in length.
    """
    if not translations:
        raise InputError("ngrr: no translation was given")
    metric = Ngrr((order,), tokenize or choose(translations[0]), lowercase, short)
    outputs = [Output(hypotheses=lines, references=translations) for lines in translations]
    metric.require(outputs[0])
    sums = sum((metric.statistics(output) for output in outputs), start=np.zeros(1)).sum(axis=0)
    (value,) = metric.values(sums)
    return Score(metric.columns[0], float(value), metric.signature(outputs[0]), metric.detail(sums))
