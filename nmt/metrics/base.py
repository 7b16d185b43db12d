"""What a metric is: sufficient statistics per sentence first, then the score from their sum.

Because every score comes from column sums, resampling sentences (see ``significance.py``) serves every metric alike:
sums of ratios and of what they were divided by for macro averages, sums of numerators and denominators for the others.

Shapes: N sentences, K statistics, C columns (a metric may report several numbers), ... resamples or sentences.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmt.errors import InputError
from nmt.links import Links, Matrix
from nmt.score import Score

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Output:
    """The output of one system on a test set, and whatever is known of it; a sentence a place, in order.

    ``references`` holds one list for each reference. ``links`` and ``weights`` (attention, target by source words) are
    between the source and the hypothesis, or the source and the reference when the model was forced to produce it;
    ``gold`` and ``reference_links`` between the source and the reference.

    Raises ``InputError`` when two of them differ in number of sentences.
    """

    hypotheses: Sequence[str] | None = None
    references: Sequence[Sequence[str]] | None = None
    sources: Sequence[str] | None = None
    links: Sequence[Links] | None = None
    weights: Sequence[Matrix] | None = None
    gold: Sequence[Links] | None = None
    reference_links: Sequence[Links] | None = None

    def __post_init__(self) -> None:
        counts = dict(self._counts())
        for name, count in counts.items():
            if count != self.sentences:
                first = next(iter(counts))
                raise InputError(f"{first}: {self.sentences} sentences, but {name}: {count}; one line for each")

    def _counts(self) -> list[tuple[str, int]]:
        found = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            if field.name == "references":
                found += [(f"reference {number}", len(reference)) for number, reference in enumerate(value, start=1)]
            else:
                found.append((field.name.replace("_", " "), len(value)))
        return found

    @property
    def sentences(self) -> int:
        """How many sentences there are."""
        return next((count for _, count in self._counts()), 0)


class Marked(NamedTuple):
    """The words of a line, and the spans (from and to, as in a slice) that are to be marked."""

    words: list[str]
    spans: Sequence[tuple[int, int]]

    @classmethod
    def at(cls, words: list[str], numbers: Iterable[int]) -> Marked:
        """Single words marked, by their numbers."""
        return cls(words, [(number, number + 1) for number in sorted(numbers)])


class Marks(NamedTuple):
    """Where a sentence hurts a metric: marked words of its texts, and remarks."""

    hypothesis: Marked | None = None
    source: Marked | None = None
    references: Sequence[Marked] = ()
    notes: Sequence[str] = ()


class Metric(ABC):
    """A way to measure an :class:`Output`. A subclass is a dataclass whose fields are its settings.

    ``columns`` names the numbers it reports, ``needs`` the fields of the output that it reads.
    """

    needs: ClassVar[tuple[str, ...]]
    higher_is_better: ClassVar[bool] = False

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]: ...

    @abstractmethod
    def statistics(self, output: Output) -> Array:
        """Sufficient statistics of every sentence, (N, K)."""

    @abstractmethod
    def values(self, sums: Array) -> Array:
        """The numbers reported, (..., C), from summed statistics, (..., K); never NaN."""

    @abstractmethod
    def signature(self, output: Output) -> str:
        """The settings without which a score cannot be compared, as sacrebleu writes them."""

    def detail(self, sums: Array) -> Mapping[str, Any]:
        """What else is worth knowing of a score, from the sum of the statistics, (K,)."""
        return {}

    def sentence_values(self, statistics: Array) -> Array:
        """One number a sentence by which sentences are ranked, (N,): the mean of the columns."""
        mean: Array = self.values(statistics).mean(axis=-1)
        return mean

    def marks(self, output: Output, sentence: int) -> Marks:
        """What to show of a bad sentence."""
        return Marks()

    def require(self, output: Output) -> None:
        """Raise ``InputError`` when the output lacks what this metric reads, or holds no sentence."""
        missing = [name.replace("_", " ") for name in self.needs if getattr(output, name) is None]
        if missing:
            raise InputError(f"{' / '.join(self.columns)} needs {' and '.join(missing)}; none was given")
        if output.sentences == 0:
            raise InputError(f"{' / '.join(self.columns)}: there is no sentence to score")

    def scores(self, output: Output) -> list[Score]:
        """One score a column. Raises ``InputError`` as :meth:`require` does."""
        self.require(output)
        sums = self.statistics(output).sum(axis=0)
        signature, detail = self.signature(output), self.detail(sums)
        values = self.values(sums)
        return [Score(name, float(value), signature, detail) for name, value in zip(self.columns, values, strict=True)]

    def score(self, output: Output) -> Score:
        """The score of a metric that reports one number."""
        (score,) = self.scores(output)
        return score


def ratio(numerator: Array, denominator: Array, empty: float = 0.0) -> Array:
    """``numerator / denominator``, and ``empty`` where there is nothing to divide by."""
    safe = np.where(denominator == 0, 1.0, denominator)
    return np.where(denominator == 0, empty, numerator / safe)
