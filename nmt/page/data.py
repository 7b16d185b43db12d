"""What the page's script reads of a test set: texts, marks, weights and numbers as plain values, none twice.

Marks are flat lists of numbers (start, end and kind of each, or word by word), for a thousand sentences have many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nmt.alignment import Alignment
from nmt.links import format_links
from nmt.metrics.base import Array
from nmt.page.base import Entry, Section, matrix
from nmt.page.marks import repeats, uncovered
from nmt.page.numbers import Column, Numbers
from nmt.page.weights import fitted


def section_data(section: Section, numbers: Numbers) -> dict[str, Any]:
    """A test set as JSON will have it, but for the weights; words and characters (code points) count from 0."""
    return {
        "name": section.name,
        "sentences": section.sentences,
        "sources": _text(section.sources, numbers.source_tokenize),
        "references": [_text(lines, numbers.tokenize) for lines in section.references],
        "gold": None if section.gold is None else [format_links(links) for links in section.gold],
        "systems": [_system(entry, section, numbers) for entry in section.entries],
        "columns": [_column(column) for column in numbers.columns],
    }


def add_weights(data: dict[str, Any], section: Section, room: float) -> None:
    """Put the weights into the data of a section, as fine as ``room`` bytes allow."""
    places = [
        (system[kind], [matrix(one) for one in alignments])
        for system, entry in zip(data["systems"], section.entries, strict=True)
        for kind, alignments in (("own", entry.own), ("forced", entry.forced))
        if alignments is not None
    ]
    data["steps"], found = fitted([matrices for _, matrices in places], room)
    for (place, _), weights in zip(places, found, strict=True):
        place["weights"] = weights


def _system(entry: Entry, section: Section, numbers: Numbers) -> dict[str, Any]:
    return {
        "name": entry.name,
        "hypotheses": _text(entry.hypotheses, numbers.tokenize, section.references),
        "own": _alignments(entry.own),
        "forced": _alignments(entry.forced),
    }


def _text(
    lines: Sequence[str] | None, tokenize: str, references: Sequence[Sequence[str]] | None = None
) -> dict[str, list[Any]] | None:
    """The lines and their repeated spans: start, end, and 1 where that is no fault: where a reference repeats them too,
    and wherever the text is no translation."""
    if lines is None:
        return None
    references = [lines] if references is None else references
    others = zip(*references, strict=True) if references else ((),) * len(lines)
    found = [repeats(line, other, tokenize) for line, other in zip(lines, others, strict=True)]
    return {"lines": list(lines), "repeats": [[int(n) for span in spans for n in span] for spans in found]}


def _alignments(alignments: Sequence[Alignment] | None) -> dict[str, Any] | None:
    """Whether there is attention or only links, and the uncovered source words."""
    if alignments is None:
        return None
    soft = all(alignment.weight_TS is not None for alignment in alignments)
    return {
        "soft": soft,
        "uncovered": [uncovered(alignment) for alignment in alignments],
    }


def _column(column: Column) -> dict[str, Any]:
    return {
        "key": column.key,
        "label": column.label,
        "short": column.short,
        "higher": column.higher_is_better,
        "values": [None if values is None else _short(values) for values in column.values],
    }


def _short(values: Array) -> list[float | int]:
    """One digit after the point, and no point where that is 0."""
    rounded = values.round(1).tolist()
    return [int(value) if value == int(value) else value for value in rounded]
