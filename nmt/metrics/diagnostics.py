"""What attention matrices say without any gold: coverage of source words, entropy, attention to nothing.

Matrices are target by source words, without the end-of-sentence row and column, so a row may sum to less than 1; what
is missing went to the end of the sentence or to another sink.

Shapes: T target words, S source words.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nmt.links import Matrix, check_matrix
from nmt.metrics.base import Array, Marked, Marks, Metric, Output, ratio
from nmt.score import Score, signature


def coverage_per_word(weight_TS: Matrix) -> Array:
    """The attention that each source word received in all, (S,): c_s = Σ_t a_ts (Tu et al. 2016, eq. 9 with Φ = 1)."""
    received_S: Array = np.asarray(weight_TS, dtype=np.float64).sum(axis=0)
    return received_S


class AttentionMetric(Metric):
    """What these share: a sum and what to divide it by from every matrix; one ratio over the corpus."""

    needs = ("weights",)
    scale: ClassVar[float] = 1.0

    def statistics(self, output: Output) -> Array:
        assert output.weights is not None
        rows = [
            self._sentence(check_matrix(weight_TS, f"attention matrix of sentence {number}"))
            for number, weight_TS in enumerate(output.weights, start=1)
        ]
        return np.array(rows, dtype=np.float64).reshape(-1, 2)

    @abstractmethod
    def _sentence(self, weight_TS: Matrix) -> tuple[float, float]: ...

    def values(self, sums: Array) -> Array:
        return self.scale * ratio(sums[..., 0], sums[..., 1])[..., None]

    def signature(self, output: Output) -> str:
        return signature(sum="corpus")


@dataclass(frozen=True)
class Coverage(AttentionMetric):
    """Mean attention received by a source word: Σ_s c_s / S, the ratio of lengths when nothing goes elsewhere."""

    columns: ClassVar[tuple[str, ...]] = ("Coverage",)
    higher_is_better = True

    def _sentence(self, weight_TS: Matrix) -> tuple[float, float]:
        return float(weight_TS.sum()), weight_TS.shape[1]


@dataclass(frozen=True)
class Ignored(AttentionMetric):
    """Source words that received less attention than ``threshold`` in all, percent (Berard et al. 2019: 0.2).

    The threshold is Guerreiro et al.'s (2023) reading of Berard et al.
    """

    threshold: float = 0.2
    columns: ClassVar[tuple[str, ...]] = ("Ignored",)
    scale = 100.0

    def _sentence(self, weight_TS: Matrix) -> tuple[float, float]:
        return int((coverage_per_word(weight_TS) < self.threshold).sum()), weight_TS.shape[1]

    def signature(self, output: Output) -> str:
        return signature(sum="corpus", threshold=self.threshold)

    def marks(self, output: Output, sentence: int) -> Marks:
        assert output.weights is not None
        covered_S = coverage_per_word(output.weights[sentence])
        found = frozenset(np.flatnonzero(covered_S < self.threshold).tolist())
        numbers = " ".join(f"{value:.2f}" for value in covered_S)
        words = None if output.sources is None else Marked.at(output.sources[sentence].split(), found)
        return Marks(source=words, notes=[f"attention received by each source word: {numbers}"])


@dataclass(frozen=True)
class Entropy(AttentionMetric):
    """Mean entropy of a target word's attention, in bits: −Σ_s p_s log₂ p_s of the row divided by its sum.

    Rows without any weight have no entropy and are left out.
    """

    columns: ClassVar[tuple[str, ...]] = ("Entropy",)

    def _sentence(self, weight_TS: Matrix) -> tuple[float, float]:
        sum_T = weight_TS.sum(axis=1, keepdims=True)
        share_TS = ratio(weight_TS, sum_T)
        bits = -(share_TS * np.log2(np.where(share_TS > 0, share_TS, 1.0))).sum()
        return max(float(bits), 0.0), int((sum_T > 0).sum())

    def signature(self, output: Output) -> str:
        return signature(sum="corpus", unit="bits")


@dataclass(frozen=True)
class Nothing(AttentionMetric):
    """Attention to nothing, percent: the mean over target words of 1 − Σ_s a_ts, what no source word received."""

    columns: ClassVar[tuple[str, ...]] = ("Nothing",)
    scale = 100.0

    def _sentence(self, weight_TS: Matrix) -> tuple[float, float]:
        return float(np.clip(1 - weight_TS.sum(axis=1), 0, 1).sum()), weight_TS.shape[0]


def coverage(weights: Sequence[Matrix]) -> Score:
    """Mean attention received by a source word; see :class:`Coverage` and :func:`coverage_per_word`."""
    return Coverage().score(Output(weights=weights))


def ignored(weights: Sequence[Matrix], threshold: float = 0.2) -> Score:
    """Source words without attention, percent; see :class:`Ignored`."""
    return Ignored(threshold).score(Output(weights=weights))


def entropy(weights: Sequence[Matrix]) -> Score:
    """Mean entropy of attention in bits; see :class:`Entropy`."""
    return Entropy().score(Output(weights=weights))


def nothing(weights: Sequence[Matrix]) -> Score:
    """Attention that no source word received, percent; see :class:`Nothing`."""
    return Nothing().score(Output(weights=weights))
