"""Word alignments against gold: AER, precision, recall and F1 of links, and SAER of attention matrices.

S ⊆ P are the sure and possible gold links, A the links of the system; every sum runs over the whole corpus, one ratio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nmt.errors import InputError
from nmt.links import Links, Matrix, check_matrix, format_links
from nmt.metrics.base import Array, Marks, Metric, Output, ratio
from nmt.score import Score, signature


class LinkMetric(Metric):
    """What the metrics of links share: |A ∩ S|, |A ∩ P|, |A|, |S| of every sentence. All links of A count as sure."""

    needs = ("links", "gold")

    def statistics(self, output: Output) -> Array:
        assert output.links is not None
        assert output.gold is not None
        rows = [
            (len(a.possible & g.sure), len(a.possible & g.possible), len(a.possible), len(g.sure))
            for a, g in zip(output.links, output.gold, strict=True)
        ]
        return np.array(rows, dtype=np.float64).reshape(-1, 4)

    def signature(self, output: Output) -> str:
        return signature(sum="corpus")

    def marks(self, output: Output, sentence: int) -> Marks:
        assert output.links is not None
        assert output.gold is not None
        links, gold = output.links[sentence].possible, output.gold[sentence]
        wrong, missing = Links(links - gold.possible), Links(gold.sure - links)
        return Marks(notes=[f"wrong links: {format_links(wrong)}", f"missing links: {format_links(missing)}"])

    def detail(self, sums: Array) -> Mapping[str, Any]:
        return dict(zip(("in_sure", "in_possible", "links", "sure"), map(int, sums), strict=True))


@dataclass(frozen=True)
class Aer(LinkMetric):
    """Alignment error rate, percent (Och & Ney 2003): 1 − (|A∩S| + |A∩P|) / (|A| + |S|). 0 where A and S are empty."""

    columns: ClassVar[tuple[str, ...]] = ("AER",)

    def values(self, sums: Array) -> Array:
        in_sure, in_possible, links, sure = np.moveaxis(sums, -1, 0)
        return 100 * (1 - ratio(in_sure + in_possible, links + sure, empty=1.0))[..., None]


@dataclass(frozen=True)
class Precision(LinkMetric):
    """Precision of links, percent (Och & Ney 2003): |A∩P| / |A|."""

    columns: ClassVar[tuple[str, ...]] = ("Precision",)
    higher_is_better = True

    def values(self, sums: Array) -> Array:
        return 100 * ratio(sums[..., 1], sums[..., 2])[..., None]


@dataclass(frozen=True)
class Recall(LinkMetric):
    """Recall of links, percent (Och & Ney 2003): |A∩S| / |S|."""

    columns: ClassVar[tuple[str, ...]] = ("Recall",)
    higher_is_better = True

    def values(self, sums: Array) -> Array:
        return 100 * ratio(sums[..., 0], sums[..., 3])[..., None]


@dataclass(frozen=True)
class F1(LinkMetric):
    """Harmonic mean of precision |A∩P| / |A| and recall |A∩S| / |S|, percent (Fraser & Marcu 2007, α = 0.5)."""

    columns: ClassVar[tuple[str, ...]] = ("F1",)
    higher_is_better = True

    def values(self, sums: Array) -> Array:
        precision = ratio(sums[..., 1], sums[..., 2])
        recall = ratio(sums[..., 0], sums[..., 3])
        return 100 * ratio(2 * precision * recall, precision + recall)[..., None]


@dataclass(frozen=True)
class Saer(Metric):
    """Soft alignment error rate, percent (Tu et al. 2016): 1 − (|M_A×M_S| + |M_A×M_P|) / (|M_A| + |M_S|).

    × is element-wise and |·| the sum of the entries; M_S and M_P hold 1 at the links of S and P. M_A is the attention
    matrix of the forced reference without the end-of-sentence row and column, as it is; ``renormalise`` first divides
    each row by its sum, which the paper does not say (rows without any weight stay).
    """

    renormalise: bool = False
    needs = ("weights", "gold")
    columns: ClassVar[tuple[str, ...]] = ("SAER",)

    def statistics(self, output: Output) -> Array:
        assert output.weights is not None
        assert output.gold is not None
        pairs = enumerate(zip(output.weights, output.gold, strict=True), start=1)
        rows = [self._sentence(weight, gold, number) for number, (weight, gold) in pairs]
        return np.array(rows, dtype=np.float64).reshape(-1, 4)

    def _sentence(self, weight_TS: Matrix, gold: Links, number: int) -> tuple[float, float, float, int]:
        weight_TS = check_matrix(weight_TS, f"attention matrix of sentence {number}")
        if self.renormalise:
            weight_TS = ratio(weight_TS, weight_TS.sum(axis=1, keepdims=True))
        try:
            in_sure = sum(weight_TS[j, i] for i, j in gold.sure)
            in_possible = sum(weight_TS[j, i] for i, j in gold.possible)
        except IndexError:
            raise InputError(
                f"sentence {number}: gold links up to {max(gold.possible)} but an attention matrix of {len(weight_TS)} "
                f"target by {weight_TS.shape[1]} source words; likely the gold links count from 1, or the matrix is of "
                "pieces or transposed"
            ) from None
        return float(in_sure), float(in_possible), float(weight_TS.sum()), len(gold.sure)

    def values(self, sums: Array) -> Array:
        in_sure, in_possible, weight, sure = np.moveaxis(sums, -1, 0)
        # Sums in another order may differ in the last digit: an error rate is not below 0 for that.
        return 100 * np.clip(1 - ratio(in_sure + in_possible, weight + sure, empty=1.0), 0, 1)[..., None]

    def signature(self, output: Output) -> str:
        return signature(sum="corpus", renormalise=self.renormalise)


def aer(links: Sequence[Links], gold: Sequence[Links]) -> Score:
    """Alignment error rate of ``links`` against ``gold``; see :class:`Aer`."""
    return Aer().score(Output(links=links, gold=gold))


def precision(links: Sequence[Links], gold: Sequence[Links]) -> Score:
    """Precision of ``links`` against ``gold``; see :class:`Precision`."""
    return Precision().score(Output(links=links, gold=gold))


def recall(links: Sequence[Links], gold: Sequence[Links]) -> Score:
    """Recall of ``links`` against ``gold``; see :class:`Recall`."""
    return Recall().score(Output(links=links, gold=gold))


def f1(links: Sequence[Links], gold: Sequence[Links]) -> Score:
    """F1 of ``links`` against ``gold``; see :class:`F1`."""
    return F1().score(Output(links=links, gold=gold))


def saer(weights: Sequence[NDArray[np.float64]], gold: Sequence[Links], renormalise: bool = False) -> Score:
    """Soft alignment error rate of attention matrices (target by source words) against ``gold``; see :class:`Saer`."""
    return Saer(renormalise).score(Output(weights=weights, gold=gold))
