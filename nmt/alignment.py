"""The alignment of one sentence pair as a value: words, attention between them, links; and what can be asked of it.

    alignment = Alignment(["我", "喜欢", "苹果"], ["I", "like"], weight_TS=attention)
    alignment.dropped()                      # [Span(start=2, end=3, words=("苹果",), coverage=0.01)]
    alignment.hard("mutual").links           # hard links

A matrix has a row a target token and a column a source token, and may have one row more for the step that says the end
of the sentence, and one column more for the end of the source (or for NULL, or any other sink). Nothing is dropped
unless :meth:`Alignment.ends` is told to, and what only words can have (links, coverage) is asked of the words alone.

Shapes: T target tokens, S source tokens; with the ends where a matrix has them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from nmt.errors import InputError
from nmt.links import (
    Links,
    Matrix,
    argmax_links,
    check_matrix,
    links_above,
    mutual_links,
)
from nmt.metrics.alignment import aer
from nmt.metrics.base import Array, ratio
from nmt.metrics.diagnostics import coverage_per_word, entropy
from nmt.symmetrise import SYMMETRISATIONS, soft_product
from nmt.words import Words, joined, pieces_to_words

FORMAT = 1  # of an alignment in JSON

Ends = Literal["keep", "drop", "renormalise"]
Reading = Literal["produced", "fed"]

# From a matrix between words and a threshold to hard links; a new one is one function and its line here.
LINKINGS: dict[str, Callable[[Matrix, float], Links]] = {
    "argmax": argmax_links,
    "mutual": mutual_links,
    "above": links_above,
}


class Span(NamedTuple):
    """Neighbouring source words, from ``start`` to before ``end``, and the mean of their coverage."""

    start: int
    end: int
    words: tuple[str, ...]
    coverage: float


@dataclass(frozen=True, eq=False)
class Alignment:
    """What is known of how a source and a target sentence belong together: ``links``, ``weight_TS``, or both.

    ``source`` and ``target`` are words or pieces, never the ends of the sentences. Raises ``ValueError`` for a matrix
    that has neither as many rows (columns) as there are tokens nor one more, and for links out of range, and
    ``InputError`` for weights that are not from 0 to 1.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    links: Links | None = None
    weight_TS: Matrix | None = None

    def __init__(
        self,
        source: Iterable[str],
        target: Iterable[str],
        links: Links | None = None,
        weight_TS: NDArray[np.floating[Any]] | Sequence[Sequence[float]] | None = None,
    ) -> None:
        object.__setattr__(self, "source", tuple(source))
        object.__setattr__(self, "target", tuple(target))
        object.__setattr__(self, "links", links)
        object.__setattr__(self, "weight_TS", None if weight_TS is None else self._checked(weight_TS))
        for i, j in links.possible if links is not None else ():
            if not (0 <= i < len(self.source) and 0 <= j < len(self.target)):
                raise ValueError(f"link {i}-{j} for {len(self.source)} source and {len(self.target)} target words")

    def _checked(self, weights: Any) -> Matrix:
        rows, columns = len(self.target), len(self.source)
        weight_TS = check_matrix(weights, "attention").copy()
        fits = weight_TS.shape[0] - rows in (0, 1) and weight_TS.shape[1] - columns in (0, 1)
        if not fits and weight_TS.size == 0 and 0 in (rows, columns):  # a list without rows does not say its columns
            weight_TS = np.zeros((rows, columns))
        elif not fits:
            raise ValueError(f"attention of shape {weight_TS.shape} for {rows} target and {columns} source tokens")
        weight_TS.setflags(write=False)
        return weight_TS

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Alignment):
            return NotImplemented
        mine, theirs = self.weight_TS, other.weight_TS
        same = (mine is None) == (theirs is None)
        return (
            same
            and (self.source, self.target, self.links) == (other.source, other.target, other.links)
            and (mine is None or theirs is None or np.array_equal(mine, theirs))
        )

    def __hash__(self) -> int:
        return hash((self.source, self.target))

    @property
    def has_target_end(self) -> bool:
        """Whether the last row is that of the step which says the end of the sentence."""
        return self.weight_TS is not None and self.weight_TS.shape[0] > len(self.target)

    @property
    def has_source_end(self) -> bool:
        """Whether the last column is that of the end of the source, or of NULL."""
        return self.weight_TS is not None and self.weight_TS.shape[1] > len(self.source)

    # The ends of the sentences, and the step at which attention is read -----------------------------------------------

    def ends(self, policy: Ends) -> Alignment:
        """``keep`` the ends of the sentences as they are, ``drop`` their row and column (what the column held is then
        missing from the rows), or drop them and ``renormalise``: divide each row by its sum, where that is not 0."""
        if policy not in ("keep", "drop", "renormalise"):
            raise ValueError(f"unknown policy {policy!r}; known are keep, drop and renormalise")
        if policy == "keep" or self.weight_TS is None:
            return self
        weight_TS = self.between_words()
        if policy == "renormalise":
            weight_TS = ratio(weight_TS, weight_TS.sum(axis=1, keepdims=True))
        return replace(self, weight_TS=weight_TS)

    def read(self, reading: Reading) -> Alignment:
        """The attention of each target token read at the step that *produced* it, as matrices come, or at the next
        one, to which it is *fed* (Chen et al. 2020, Shift-Att): every row moves up by one, and the row of the end is
        used up. Read before pieces become words. Links are left as they are.

        Raises ``InputError`` for ``fed`` when the step that says the end of the sentence is missing.
        """
        if reading not in ("produced", "fed"):
            raise ValueError(f"unknown reading {reading!r}; known are produced and fed")
        if reading == "produced" or self.weight_TS is None:
            return self
        if not self.has_target_end:
            raise InputError(
                "reading attention where a word is fed needs the step that says the end of the sentence, for that is "
                "where the last word is fed; this matrix has no such row"
            )
        return replace(self, weight_TS=self.weight_TS[1:])

    def null(self) -> Array:
        """The weight that each target word gave to no source word, (T,): 1 less the sum of its row, from 0 to 1."""
        missing_T: Array = np.clip(1 - self.between_words().sum(axis=1), 0, 1)
        return missing_T

    def between_words(self) -> Matrix:
        """The matrix without the ends, (T, S). Raises ``ValueError`` where there is none."""
        if self.weight_TS is None:
            raise ValueError("this alignment has links and no attention matrix")
        return self.weight_TS[: len(self.target), : len(self.source)]

    # From pieces to words, from soft to hard --------------------------------------------------------------------------

    def to_words(self, source: Words | str, target: Words | str | None = None) -> Alignment:
        """The same between words: weights *summed* over the pieces of a source word and *averaged* over those of a
        target word (the ends stay by themselves); a link between words where there is one between their pieces.

        Each side is given by the style of its pieces (``sentencepiece``, ``@@``, ``##``), or by its words and the word
        of every piece (:func:`nmt.words.spelled` finds them for pieces that spell given words). Without ``target`` the
        target's pieces have the source's style.
        """
        source_words = joined(self.source, source) if isinstance(source, str) else source
        target = source if target is None else target
        target_words = joined(self.target, target) if isinstance(target, str) else target
        links = self.links
        if links is not None:
            links = Links(*(_between(pairs, source_words, target_words) for pairs in (links.sure, links.possible)))
        weight_TS = self.weight_TS
        if weight_TS is not None:
            target_T, row_T = _groups(target_words, len(self.target), self.has_target_end)
            source_S, column_S = _groups(source_words, len(self.source), self.has_source_end)
            groups = len(target_words.words) + self.has_target_end, len(source_words.words) + self.has_source_end
            weight_TS = pieces_to_words(weight_TS[np.ix_(row_T, column_S)], target_T, source_S, groups)
        return Alignment(source_words.words, target_words.words, links, weight_TS)

    def hard(self, linking: str = "argmax", threshold: float = 0.0, *, end_competes: bool = False) -> Alignment:
        """With links made from the weights, each of which must be above ``threshold``; the weights stay.

        ``argmax``: for each target word the source word with the highest weight; ``mutual``: those that are the highest
        for their source word too; ``above``: all pairs. With ``end_competes`` a target word whose highest weight is
        that of the end of the source (or NULL) has no link; without, the words share out all links among themselves.
        """
        if linking not in LINKINGS:
            raise ValueError(f"unknown linking {linking!r}; known are {', '.join(LINKINGS)}")
        weight_TS = self.between_words()
        links = LINKINGS[linking](weight_TS, threshold)
        if end_competes and self.has_source_end and self.weight_TS is not None:
            end_T = self.weight_TS[: len(self.target), -1]
            lost_T = end_T > weight_TS.max(axis=1, initial=0.0)
            links = Links((i, j) for i, j in links.sure if not lost_T[j])
        return replace(self, links=links)

    def turned(self) -> Alignment:
        """Source and target in each other's place."""
        links = None if self.links is None else self.links.turned()
        return Alignment(self.target, self.source, links, None if self.weight_TS is None else self.weight_TS.T)

    # What is translated, and how often --------------------------------------------------------------------------------

    def coverage(self) -> Array:
        """What each source word received in all, (S,): attention summed over the target words (the end of the
        sentence not among them), or, where there is no matrix, the number of its links."""
        if self.weight_TS is not None:
            return coverage_per_word(self.between_words())
        linked = [i for i, _ in self._known_links().possible]
        return np.bincount(np.array(linked, dtype=np.intp), minlength=len(self.source)).astype(np.float64)

    def dropped(self, below: float = 0.2) -> list[Span]:
        """The spans of source words with a coverage less than ``below`` (Berard et al. 2019, 0.2); where there are only
        links, words without a link."""
        return self._spans(self.coverage() < below)

    def repeated(self, above: float = 2.0) -> list[Span]:
        """The spans of source words with a coverage of more than ``above``, the fertility that Tu et al. 2016 allow;
        where there are only links, words with more links."""
        return self._spans(self.coverage() > above)

    def _spans(self, chosen_S: NDArray[np.bool_]) -> list[Span]:
        coverage_S, found = self.coverage(), []
        for chosen, run in groupby(range(len(self.source)), key=lambda i: bool(chosen_S[i])):
            if chosen:
                places = list(run)
                start, end = places[0], places[-1] + 1
                found.append(Span(start, end, self.source[start:end], float(coverage_S[start:end].mean())))
        return found

    def monotonicity(self) -> float | None:
        """The share of neighbouring target words that do not go back in the source: each stands where its first link
        is (or its largest weight); words without are passed over. None where there are not two words to compare."""
        links = self.links if self.links is not None else argmax_links(self.between_words())
        first: dict[int, int] = {}
        for i, j in links.possible:
            first[j] = min(i, first.get(j, i))
        steps = list(pairwise(first[j] for j in sorted(first)))
        return sum(before <= after for before, after in steps) / len(steps) if steps else None

    def entropy(self) -> float:
        """The mean entropy of a target word's attention to the source words in bits (:class:`nmt.metrics.Entropy`)."""
        return entropy([self.between_words()]).value

    def _known_links(self) -> Links:
        if self.links is None:
            raise ValueError("this alignment has neither links nor an attention matrix")
        return self.links

    # JSON -------------------------------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """One line of JSON: ``source``, ``target``, ``weights`` (with the ends), ``sure`` and ``possible`` links."""
        value: dict[str, Any] = {"format": FORMAT, "source": self.source, "target": self.target}
        if self.weight_TS is not None:
            value["weights"] = self.weight_TS.tolist()
        if self.links is not None:
            value["sure"] = sorted(self.links.sure)
            value["possible"] = sorted(self.links.possible - self.links.sure)
        return json.dumps(value, ensure_ascii=False)

    @classmethod
    def of(cls, translation: Spoken) -> Alignment:
        """The alignment between the pieces of a :class:`nmt.Translation`, with the ends of both sentences."""
        return cls(translation.source_pieces, translation.pieces, weight_TS=translation.weight_TS)


class Spoken(Protocol):
    """What :meth:`Alignment.of` reads of a translation, found or forced; the ends of the sentences come last."""

    @property
    def source_pieces(self) -> list[str]: ...

    @property
    def pieces(self) -> list[str]: ...

    @property
    def weight_TS(self) -> NDArray[np.float32]: ...

    @property
    def source_words(self) -> list[str]: ...

    @property
    def words(self) -> list[str]: ...

    @property
    def source_word_of_piece(self) -> list[int]: ...

    @property
    def word_of_piece(self) -> list[int]: ...


def words_of(translation: Spoken) -> tuple[Words, Words]:
    """The words of a translation's source and target, as :meth:`Alignment.to_words` takes them."""
    source = Words(tuple(translation.source_words), translation.source_word_of_piece)
    return source, Words(tuple(translation.words), translation.word_of_piece)


def _between(pairs: Iterable[tuple[int, int]], source: Words, target: Words) -> set[tuple[int, int]]:
    places = ((source.word_of_piece[i], target.word_of_piece[j]) for i, j in pairs)
    return {(i, j) for i, j in places if i < len(source.words) and j < len(target.words)}


def _groups(words: Words, pieces: int, has_end: bool) -> tuple[list[int], list[int]]:
    """The word of every row or column, the end being one more, and which rows or columns those are: a piece of white
    space alone may belong to no word."""
    if len(words.word_of_piece) != pieces:
        raise ValueError(f"the words of {len(words.word_of_piece)} pieces, but there are {pieces}")
    places = [place for place, word in enumerate(words.word_of_piece) if word < len(words.words)]
    end = [len(words.words)] * has_end
    return [words.word_of_piece[place] for place in places] + end, places + [pieces] * has_end


# Two directions ------------------------------------------------------------------------------------------------------


def symmetrised(forward: Alignment, backward: Alignment, method: str) -> Alignment:
    """Both directions as one: ``backward`` is an alignment of the opposite model, its source the target of ``forward``.

    ``method`` is one of ``SYMMETRISATIONS`` for links or ``product`` for matrices (ends dropped). Raises ``InputError``
    when the two are not of the same words, and ``ValueError`` for another method.
    """
    if (forward.source, forward.target) != (backward.target, backward.source):
        raise InputError(
            f"the two directions are of different words: {' '.join(forward.source)!r} and {' '.join(forward.target)!r} "
            f"against {' '.join(backward.target)!r} and {' '.join(backward.source)!r}"
        )
    if method == "product":
        weight_TS = soft_product(forward.between_words(), backward.between_words())
        return Alignment(forward.source, forward.target, weight_TS=weight_TS)
    if method not in SYMMETRISATIONS:
        raise ValueError(f"unknown method {method!r}; known are {', '.join(SYMMETRISATIONS)} and product")
    links = SYMMETRISATIONS[method](forward._known_links(), backward._known_links().turned())
    return Alignment(forward.source, forward.target, links)


# The reading that gold prefers ----------------------------------------------------------------------------------------


class Readings(NamedTuple):
    """AER in percent of each reading, and which is the lower; ``produced`` where they are equal."""

    best: Reading
    aer: dict[Reading, float]


def best_reading(alignments: Iterable[Alignment], gold: Iterable[Links]) -> Readings:
    """Which reading of attention has the lower AER against gold links between the tokens of the ``alignments``, whose
    matrices hold the step that says the end; for pieces see :func:`nmt.readings.best_reading_of_run`.

    Raises ``InputError`` when there are not as many alignments as gold sentences, and where an end is missing.
    """
    known = list(gold)
    found: dict[Reading, list[Links]] = {"produced": [], "fed": []}
    for alignment in alignments:
        for reading, links in found.items():
            links.append(alignment.read(reading).hard()._known_links())
    return judged(found, known)


def judged(found: dict[Reading, list[Links]], gold: Sequence[Links]) -> Readings:
    """The AER of links that were read in different ways."""
    rates = {reading: aer(links, gold).value for reading, links in found.items()}
    return Readings(min(rates, key=lambda reading: rates[reading]), rates)
