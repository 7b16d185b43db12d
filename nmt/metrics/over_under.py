"""OTEM and UTEM (Yang et al. 2018): n-grams that a translation has too often, and those that it lacks.

Both read, where the paper is silent, as the authors' script does. The script prints a fraction; here it is percent.
The length penalty LP is at least 1, so a score may pass 100.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nmt.metrics.base import Array, Marked, Marks, Metric, Output, ratio
from nmt.metrics.tokens import choose, ngrams, tokenizer
from nmt.score import Score, signature

Counts = Counter[tuple[str, ...]]


class CountDifference(Metric):
    """What both share: lengths, and wrong and all n-grams of every order; the score is LP · exp(mean log p_n)."""

    orders: ClassVar[int]
    needs = ("hypotheses", "references")
    tokenize: str
    lowercase: bool

    def statistics(self, output: Output) -> Array:
        """Length of the hypothesis and of the closest reference, then wrong and all n-grams of order 1, 2, …"""
        assert output.hypotheses is not None
        assert output.references is not None
        words = tokenizer(self.tokenize, self.lowercase)
        rows = [
            self._sentence(words(hypothesis), [words(line) for line in references])
            for hypothesis, *references in zip(output.hypotheses, *output.references, strict=True)
        ]
        return np.array(rows, dtype=np.float64)

    def _sentence(self, hypothesis: list[str], references: list[list[str]]) -> list[int]:
        closest = min((len(reference) for reference in references), key=lambda n: (abs(n - len(hypothesis)), n))
        row = [len(hypothesis), closest]
        for order in range(1, self.orders + 1):
            row += self._count(Counter(ngrams(hypothesis, order)), [Counter(ngrams(r, order)) for r in references])
        return row

    def _count(self, hypothesis: Counts, references: list[Counts]) -> tuple[int, int]:
        raise NotImplementedError

    def _score(self, sums: Array, longer: Array, shorter: Array) -> Array:
        """LP · exp(Σ_n 1/n log p_n), LP = exp(1 − shorter / longer) where ``longer`` is the longer one, else 1."""
        precision = ratio(sums[..., 2::2], sums[..., 3::2])
        with np.errstate(divide="ignore"):
            mean = np.exp(np.log(precision).mean(axis=-1))
        penalty = np.exp(np.where(longer >= shorter, 1 - ratio(shorter, longer, empty=1.0), 0.0))
        return 100 * np.where(sums[..., 1] == 0, 0.0, penalty * mean)[..., None]

    def sentence_values(self, statistics: Array) -> Array:
        """The share of wrong n-grams of all orders: the score itself is 0 wherever one order has none wrong."""
        return 100 * ratio(statistics[:, 2::2].sum(axis=1), statistics[:, 3::2].sum(axis=1))

    def signature(self, output: Output) -> str:
        return signature(
            nrefs=len(output.references or ()), case="lc" if self.lowercase else "mixed", tok=self.tokenize
        )


@dataclass(frozen=True)
class Otem(CountDifference):
    """OTEM-2, lower is better: how often n-grams of order 1 and 2 come more often than in the reference.

    o(g) = c(g) − 1 where g is not in the reference and c(g) > 1; c(g) − r(g) where it is and c(g) > r(g); else 0. With
    several references the smallest positive value counts (a reference with 0 does not undo another's, as in the
    script). p_n = Σ o / Σ c over the corpus; OTEM = LP · exp(½ Σ_n log p_n), LP = exp(1 − |ref| / |hyp|) where the
    hypotheses are at least as long as the closest references, else 1. No smoothing: 0 where no n-gram is in excess.
    """

    tokenize: str = "13a"
    lowercase: bool = True
    columns: ClassVar[tuple[str, ...]] = ("OTEM-2",)
    orders = 2

    def _count(self, hypothesis: Counts, references: list[Counts]) -> tuple[int, int]:
        excess = 0
        for gram, count in hypothesis.items():
            over = [count - max(reference[gram], 1) for reference in references]
            excess += min((value for value in over if value > 0), default=0)
        return excess, hypothesis.total()

    def values(self, sums: Array) -> Array:
        return self._score(sums, longer=sums[..., 0], shorter=sums[..., 1])

    def marks(self, output: Output, sentence: int) -> Marks:
        assert output.hypotheses is not None
        assert output.references is not None
        words = tokenizer(self.tokenize, self.lowercase)
        hypothesis = words(output.hypotheses[sentence])
        count, limit = Counter(hypothesis), Counter(dict.fromkeys(hypothesis, 1))
        for lines in output.references:
            limit |= Counter(words(lines[sentence]))
        over = frozenset(i for i, word in enumerate(hypothesis) if count[word] > limit[word])
        return Marks(hypothesis=Marked.at(hypothesis, over))


@dataclass(frozen=True)
class Utem(CountDifference):
    """UTEM-4, lower is better: how many n-grams of order 1 to 4 of the reference the hypothesis lacks.

    m_n = Σ_g max(0, r(g) − c(g)) over the n-grams of a reference, the smallest among the references that are n words
    long, divided by the largest number of n-grams among them; both summed over the corpus. UTEM =
    LP · exp(¼ Σ_n log p_n), LP = exp(1 − |hyp| / |ref|) where the hypotheses are at most as long as the closest
    references, else 1. No smoothing.
    """

    tokenize: str = "13a"
    lowercase: bool = True
    columns: ClassVar[tuple[str, ...]] = ("UTEM-4",)
    orders = 4

    def _count(self, hypothesis: Counts, references: list[Counts]) -> tuple[int, int]:
        long = [reference for reference in references if reference]
        missing = min(((reference - hypothesis).total() for reference in long), default=0)
        return missing, max((reference.total() for reference in long), default=0)

    def values(self, sums: Array) -> Array:
        return self._score(sums, longer=sums[..., 1], shorter=sums[..., 0])

    def marks(self, output: Output, sentence: int) -> Marks:
        assert output.hypotheses is not None
        assert output.references is not None
        words = tokenizer(self.tokenize, self.lowercase)
        there = Counter(words(output.hypotheses[sentence]))
        references = []
        for lines in output.references:
            reference = words(lines[sentence])
            count = Counter(reference)
            lacking = frozenset(i for i, word in enumerate(reference) if count[word] > there[word])
            references.append(Marked.at(reference, lacking))
        return Marks(references=references)


def otem(
    hypotheses: Sequence[str], *references: Sequence[str], tokenize: str | None = None, lowercase: bool = True
) -> Score:
    """OTEM-2 against any number of references; see :class:`Otem`."""
    name = tokenize or choose(references[0] if references else ())
    return Otem(name, lowercase).score(Output(hypotheses, references or None))


def utem(
    hypotheses: Sequence[str], *references: Sequence[str], tokenize: str | None = None, lowercase: bool = True
) -> Score:
    """UTEM-4 against any number of references; see :class:`Utem`."""
    name = tokenize or choose(references[0] if references else ())
    return Utem(name, lowercase).score(Output(hypotheses, references or None))
