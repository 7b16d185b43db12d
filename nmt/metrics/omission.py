"""Source words that the reference translates and the hypothesis does not, by word alignments of both.

The alignments come from an aligner that the user chooses (the papers: fast_align); any of ours or others' will do, but
both sides must come from the same one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from nmt.links import Links
from nmt.metrics.base import Array, Marked, Marks, Metric, Output, ratio
from nmt.score import Score, signature


class Omission(Metric):
    """What both share: the source words that the reference covers and, of these, those that the hypothesis lacks."""

    needs = ("links", "reference_links")

    def _dropped(self, output: Output) -> list[tuple[frozenset[int], frozenset[int]]]:
        assert output.links is not None
        assert output.reference_links is not None
        pairs = zip(output.links, output.reference_links, strict=True)
        return [(there.sources() - here.sources(), there.sources()) for here, there in pairs]

    def signature(self, output: Output) -> str:
        return signature(sum="corpus" if isinstance(self, Drop) else "sentence")

    def marks(self, output: Output, sentence: int) -> Marks:
        dropped, covered = self._dropped(output)[sentence]
        note = f"{len(dropped)} of {len(covered)} source words that the reference translates are dropped"
        if output.sources is None:
            words = ", ".join(map(str, sorted(dropped)))
            return Marks(notes=[f"{note}: word {words}" if dropped else note])
        return Marks(source=Marked.at(output.sources[sentence].split(), dropped), notes=[note])


@dataclass(frozen=True)
class Drop(Omission):
    """DROP, percent, lower is better (Malaviya et al. 2018): 100 Σ |src_ref \\ src_mt| / Σ |src_ref| over the corpus.

    src_ref and src_mt are the sets of source positions that are aligned to the reference and to the hypothesis.
    The paper's optional filter of stop words is not there.
    """

    columns: ClassVar[tuple[str, ...]] = ("DROP",)

    def statistics(self, output: Output) -> Array:
        rows = [(len(dropped), len(covered)) for dropped, covered in self._dropped(output)]
        return np.array(rows, dtype=np.float64).reshape(-1, 2)

    def values(self, sums: Array) -> Array:
        return 100 * ratio(sums[..., 0], sums[..., 1])[..., None]

    def detail(self, sums: Array) -> Mapping[str, Any]:
        return {"dropped": int(sums[0]), "covered_by_reference": int(sums[1])}


@dataclass(frozen=True)
class Cdr(Omission):
    """Coverage difference ratio, percent, higher is better (Kong et al. 2019): 1 − |C_ref \\ C_gen| / |C_ref|.

    C_ref and C_gen are the sets of source words covered by the reference and by the generated translation. The paper
    gives the ratio of one sentence, which is 1 − DROP; here it is averaged over the sentences in which the reference
    covers a word (the paper does not say how a corpus is averaged), and it is 100 where there is none.
    """

    columns: ClassVar[tuple[str, ...]] = ("CDR",)
    higher_is_better = True

    def statistics(self, output: Output) -> Array:
        rows = [
            (1 - len(dropped) / len(covered), 1) if covered else (0, 0) for dropped, covered in self._dropped(output)
        ]
        return np.array(rows, dtype=np.float64).reshape(-1, 2)

    def values(self, sums: Array) -> Array:
        return 100 * ratio(sums[..., 0], sums[..., 1], empty=1.0)[..., None]

    def detail(self, sums: Array) -> Mapping[str, Any]:
        return {"sentences_with_links": int(sums[1])}


def drop(links: Sequence[Links], reference_links: Sequence[Links]) -> Score:
    """DROP of source-hypothesis links against source-reference links; see :class:`Drop`."""
    return Drop().score(Output(links=links, reference_links=reference_links))


def cdr(links: Sequence[Links], reference_links: Sequence[Links]) -> Score:
    """Coverage difference ratio of source-hypothesis against source-reference links; see :class:`Cdr`."""
    return Cdr().score(Output(links=links, reference_links=reference_links))
