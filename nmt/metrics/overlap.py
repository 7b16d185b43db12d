"""BLEU, chrF and TER: sacrebleu itself, statistics, scores and signatures.

Nothing is re-implemented here. sacrebleu keeps the statistics of a sentence behind methods with a leading underscore,
the same that its own significance tests call.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from nmt.metrics.base import Array, Metric, Output
from nmt.metrics.tokens import CHINESE, choose
from nmt.score import Score


class Sacrebleu(Metric):
    """A metric of sacrebleu's. Raises ``InputError`` when there is no reference."""

    needs = ("hypotheses", "references")

    @abstractmethod
    def metric(self, **extra: Any) -> Any:
        """sacrebleu's metric with our settings, and ``extra`` ones of its own."""

    def statistics(self, output: Output) -> Array:
        metric = _with_references(self, tuple(map(tuple, output.references or ())))
        rows = metric._extract_corpus_statistics(output.hypotheses, None)
        return np.array(rows, dtype=np.float64)

    def values(self, sums: Array) -> Array:
        metric = self.metric()
        flat = sums.reshape(-1, sums.shape[-1])
        scores = [metric._compute_score_from_stats(row.tolist()).score for row in flat]
        return np.array(scores, dtype=np.float64).reshape(*sums.shape[:-1], 1)

    def signature(self, output: Output) -> str:
        metric = self.metric()
        metric.num_refs = len(output.references or ())
        return str(metric.get_signature())

    def detail(self, sums: Array) -> Mapping[str, Any]:
        score = self.metric()._compute_score_from_stats(sums.tolist())
        return {"verbose": score._verbose} if score._verbose else {}


@lru_cache(maxsize=3)
def _with_references(metric: Sacrebleu, references: tuple[tuple[str, ...], ...]) -> Any:
    """sacrebleu's metric after it has counted the references: once for all systems that are compared."""
    return metric.metric(references=references)


@dataclass(frozen=True)
class Bleu(Sacrebleu):
    """BLEU (Papineni et al. 2002) as sacrebleu defines it (Post 2018)."""

    tokenize: str = "13a"
    lowercase: bool = False
    columns: ClassVar[tuple[str, ...]] = ("BLEU",)
    higher_is_better = True

    def metric(self, **extra: Any) -> Any:
        from sacrebleu.metrics.bleu import BLEU

        return BLEU(tokenize=self.tokenize, lowercase=self.lowercase, force=True, **extra)

    def sentence_values(self, statistics: Array) -> Array:
        """sacrebleu's sentence BLEU, whose effective order spares short sentences a 0."""
        metric = self.metric(effective_order=True)
        return np.array([metric._compute_score_from_stats(row.tolist()).score for row in statistics], dtype=np.float64)


@dataclass(frozen=True)
class Chrf(Sacrebleu):
    """chrF2 (Popović 2015) as sacrebleu defines it."""

    lowercase: bool = False
    columns: ClassVar[tuple[str, ...]] = ("chrF2",)
    higher_is_better = True

    def metric(self, **extra: Any) -> Any:
        from sacrebleu.metrics.chrf import CHRF

        return CHRF(lowercase=self.lowercase, **extra)


@dataclass(frozen=True)
class Ter(Sacrebleu):
    """Translation edit rate (Snover et al. 2006) as sacrebleu defines it; lower-cased unless told otherwise.

    TER has a tokeniser of its own. Chinese is split into characters (``norm:yes|asian:yes`` in the signature), for
    otherwise a whole sentence would be one word.
    """

    tokenize: str = "13a"
    lowercase: bool = True
    columns: ClassVar[tuple[str, ...]] = ("TER",)

    def metric(self, **extra: Any) -> Any:
        from sacrebleu.metrics.ter import TER

        chinese = self.tokenize == CHINESE
        return TER(case_sensitive=not self.lowercase, normalized=chinese, asian_support=chinese, **extra)


def bleu(
    hypotheses: Sequence[str], *references: Sequence[str], tokenize: str | None = None, lowercase: bool = False
) -> Score:
    """BLEU against any number of references; the tokeniser is chosen by the first reference unless named."""
    name = tokenize or choose(references[0] if references else ())
    return Bleu(name, lowercase).score(Output(hypotheses, references or None))


def chrf(hypotheses: Sequence[str], *references: Sequence[str], lowercase: bool = False) -> Score:
    """chrF2 against any number of references."""
    return Chrf(lowercase).score(Output(hypotheses, references or None))


def ter(
    hypotheses: Sequence[str], *references: Sequence[str], tokenize: str | None = None, lowercase: bool = True
) -> Score:
    """Translation edit rate against any number of references; ``tokenize`` bears on Chinese alone, see :class:`Ter`."""
    name = tokenize or choose(references[0] if references else ())
    return Ter(name, lowercase).score(Output(hypotheses, references or None))
