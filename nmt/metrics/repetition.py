"""Repetition inside a translation: N-GRR, REP and the oscillation test against the source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from nmt.errors import InputError
from nmt.metrics.base import Array, Marks, Metric, Output, ratio
from nmt.metrics.spans import repetition_marks
from nmt.metrics.tokens import choose, ngrams, tokenizer
from nmt.score import Score, signature

SHORT = ("zero", "skip", "one")


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
    source_tokenize: str = "13a"
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
        distinct = 0  # the lowest order found without any repetition; no higher order has one
        for order in self.orders:
            total = len(words) - order + 1
            if total < 1:
                found += (0.0, 0.0)
            elif 0 < distinct <= order:
                found += (0.0, 1.0)
            else:
                repeated = total - len(set(zip(*[words[start:] for start in range(order)], strict=False)))
                distinct = distinct if repeated else order
                found += (repeated / total, 1.0)
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

    def marks(self, output: Output, sentence: int) -> Marks:
        return repetition_marks(output, sentence, self.tokenize, self.source_tokenize, self.lowercase)


@dataclass(frozen=True)
class Rep(Metric):
    """REP, lower is better (Malaviya et al. 2018): repetitions in the hypothesis that the reference has not.

    REP = 100 / |reference words| · Σ_sentences [ λ1 Σ_{bigrams s: t(s) ≥ 2} max(0, t(s) − r(s)) +
    λ2 Σ_{words w} max(0, t(ww) − r(ww)) ], λ1 = 1, λ2 = 2, t and r the counts in hypothesis and reference; a word
    twice in a row need not come twice. One reference only: of several, the first. It may pass 100.

    The authors count words, their subwords merged, without saying more of tokens and case.
    """

    tokenize: str = "13a"
    lowercase: bool = True
    source_tokenize: str = "13a"
    needs = ("hypotheses", "references")
    columns: ClassVar[tuple[str, ...]] = ("REP",)

    def statistics(self, output: Output) -> Array:
        assert output.hypotheses is not None
        assert output.references
        words = tokenizer(self.tokenize, self.lowercase)
        rows = [
            self._sentence(words(hypothesis), words(reference))
            for hypothesis, reference in zip(output.hypotheses, output.references[0], strict=True)
        ]
        return np.array(rows, dtype=np.float64)

    @staticmethod
    def _sentence(hypothesis: list[str], reference: list[str]) -> tuple[int, int]:
        there = Counter(ngrams(reference, 2))
        penalty = 0
        for gram, count in Counter(ngrams(hypothesis, 2)).items():
            excess = max(0, count - there[gram])
            penalty += (count >= 2) * excess + 2 * (gram[0] == gram[1]) * excess
        return penalty, len(reference)

    def values(self, sums: Array) -> Array:
        return 100 * ratio(sums[..., 0], sums[..., 1])[..., None]

    def signature(self, output: Output) -> str:
        given = len(output.references or ())
        return signature(
            nrefs=1 if given == 1 else f"1of{given}", case="lc" if self.lowercase else "mixed", tok=self.tokenize
        )

    def marks(self, output: Output, sentence: int) -> Marks:
        return repetition_marks(output, sentence, self.tokenize, self.source_tokenize, self.lowercase)


@dataclass(frozen=True)
class Tng(Metric):
    """Top n-gram count against the source, percent of sentences that oscillate (Raunak et al. 2021).

    A sentence is flagged when its most frequent n-gram comes at least ``margin`` times more than the most frequent
    n-gram of its source. n = 4 and a margin of 2, as Guerreiro et al. (2023) apply it. The difference itself is the
    first column of the statistics and ranks the sentences.
    """

    order: int = 4
    margin: int = 2
    tokenize: str = "13a"
    source_tokenize: str = "13a"
    lowercase: bool = True
    needs = ("hypotheses", "sources")
    columns: ClassVar[tuple[str, ...]] = ("TNG",)

    def statistics(self, output: Output) -> Array:
        """The difference of the counts, 1 where it reaches the margin, and 1."""
        assert output.hypotheses is not None
        assert output.sources is not None
        here = tokenizer(self.tokenize, self.lowercase)
        there = tokenizer(self.source_tokenize, self.lowercase)
        differences = [
            self._top(here(hypothesis)) - self._top(there(source))
            for hypothesis, source in zip(output.hypotheses, output.sources, strict=True)
        ]
        return np.array([(value, value >= self.margin, 1) for value in differences], dtype=np.float64).reshape(-1, 3)

    def _top(self, words: list[str]) -> int:
        return max(Counter(ngrams(words, self.order)).values(), default=0)

    def values(self, sums: Array) -> Array:
        return 100 * ratio(sums[..., 1], sums[..., 2])[..., None]

    def sentence_values(self, statistics: Array) -> Array:
        return statistics[:, 0]

    def signature(self, output: Output) -> str:
        return signature(
            n=self.order,
            margin=self.margin,
            case="lc" if self.lowercase else "mixed",
            tok=self.tokenize,
            src_tok=self.source_tokenize,
        )

    def marks(self, output: Output, sentence: int) -> Marks:
        return repetition_marks(output, sentence, self.tokenize, self.source_tokenize, self.lowercase)


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


def rep(
    hypotheses: Sequence[str], reference: Sequence[str], tokenize: str | None = None, lowercase: bool = True
) -> Score:
    """REP of hypotheses against one reference; see :class:`Rep`."""
    return Rep(tokenize or choose(reference), lowercase).score(Output(hypotheses, [reference]))


def tng(
    hypotheses: Sequence[str],
    sources: Sequence[str],
    *,
    order: int = 4,
    margin: int = 2,
    tokenize: str | None = None,
    source_tokenize: str | None = None,
    lowercase: bool = True,
) -> Score:
    """Share of sentences whose top n-gram outnumbers the source's; see :class:`Tng`."""
    metric = Tng(order, margin, tokenize or choose(hypotheses), source_tokenize or choose(sources), lowercase)
    return metric.score(Output(hypotheses, sources=sources))
