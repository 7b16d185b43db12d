"""What a page shows: test sets, and on each what every system said and how that is aligned to the source.

Words are what stands between spaces, in the texts as in the alignments.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nmt.alignment import Alignment, Reading
from nmt.errors import InputError
from nmt.links import Links, Matrix


@dataclass(frozen=True)
class Entry:
    """One system on one test set: its translations, and alignments of the source with them (``own``) and with the
    first reference (``forced``). An aligner has no translations."""

    name: str
    hypotheses: Sequence[str] | None = None
    own: Sequence[Alignment] | None = None
    forced: Sequence[Alignment] | None = None


@dataclass(frozen=True)
class Section:
    """A test set: its texts, gold links between source and first reference, and the systems, the baseline first; and at
    which step their attention was read, where that is known.

    Raises ``InputError`` when there is no system or no sentence, when two systems have one name, when the parts differ
    in number of sentences, and where the words of an alignment are not those of its texts.
    """

    name: str | None
    entries: Sequence[Entry]
    sources: Sequence[str] | None = None
    references: Sequence[Sequence[str]] = ()
    gold: Sequence[Links] | None = None
    reading: Reading | None = None

    def __post_init__(self) -> None:
        if not self.entries:
            raise InputError("a page needs at least one system")
        names = [entry.name for entry in self.entries]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"two systems are called {name}; give each a name of its own (NAME=FILE)")
        parts = list(self._parts())
        for what, count in parts:
            if count != self.sentences:
                raise InputError(f"{parts[0][0]}: {self.sentences} sentences, but {what}: {count}; one line for each")
        if not self.sentences:
            raise InputError(f"{parts[0][0] if parts else 'the systems'}: there is no sentence to show")
        for entry in self.entries:
            self._check_words(f"the alignment of {entry.name}", entry.own, entry.hypotheses)
            reference = self.references[0] if self.references else None
            self._check_words(f"the alignment of {entry.name} with the reference", entry.forced, reference)

    def _parts(self) -> Iterator[tuple[str, int]]:
        if self.sources is not None:
            yield "the source", len(self.sources)
        for number, reference in enumerate(self.references, start=1):
            yield f"reference {number}", len(reference)
        if self.gold is not None:
            yield "the gold links", len(self.gold)
        for entry in self.entries:
            for part, what in ((entry.hypotheses, ""), (entry.own, "alignment of "), (entry.forced, "alignment of ")):
                if part is not None:
                    yield f"{what}{entry.name}", len(part)

    def _check_words(self, what: str, alignments: Sequence[Alignment] | None, target: Sequence[str] | None) -> None:
        for number, alignment in enumerate(alignments or ()):
            for side, words, lines in (
                ("source", alignment.source, self.sources),
                ("target", alignment.target, target),
            ):
                if lines is None:
                    raise InputError(f"{what} needs the {side} text, which is not given")
                if list(words) != lines[number].split():
                    raise InputError(
                        f"{what}, sentence {number + 1}: its {side} words {_brief(words)} are not those of the text "
                        f"{_brief(lines[number].split())}; likely pieces (say which with --pieces) or another text"
                    )

    @property
    def sentences(self) -> int:
        """How many sentences there are."""
        return next((count for _, count in self._parts()), 0)


def matrix(alignment: Alignment) -> Matrix:
    """Attention between the words alone, or, where there are only links, 1 at every link."""
    if alignment.weight_TS is not None:
        return alignment.between_words()
    weight_TS = np.zeros((len(alignment.target), len(alignment.source)))
    for source, target in alignment.links.possible if alignment.links is not None else ():
        weight_TS[target, source] = 1.0
    return weight_TS


def links(alignment: Alignment) -> Links:
    """Its links, or those of the highest weights."""
    found = alignment.links if alignment.links is not None else alignment.hard().links
    assert found is not None
    return found


def _brief(words: Sequence[str]) -> str:
    shown = " ".join(words[:6])
    return f"“{shown}{' …' if len(words) > 6 else ''}”"
