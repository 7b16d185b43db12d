"""What the readers share: a format is how a file is read, what it needs beside it, and the conventions of its tool."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

import numpy as np

from nmt.alignment import Alignment
from nmt.errors import InputError
from nmt.links import Links, Matrix, links_of_line
from nmt.text import in_step, name_of, read_lines

File = str | Path
Sentence = TypeVar("Sentence")

# Reads a file, the source text and the target text (tokens between spaces), where they are given, into alignments in
# the order of the text. Raises InputError naming file and line.
Read = Callable[[File, File | None, File | None], Iterator[Alignment]]

_LINK = re.compile(r"([0-9]+)-([0-9]+)")


class Format(NamedTuple):
    """A kind of file: how it is read; which texts must be given with it; and what it holds, for help texts."""

    read: Read
    needs: tuple[str, ...]  # of "source" and "target"
    holds: str


def with_texts(
    path: File, source: File | None, target: File | None
) -> Iterator[tuple[int, str, list[str] | None, list[str] | None]]:
    """The number and text of every line of a file, with the tokens of those of the texts that are given.

    Raises ``InputError`` when one of them has more lines than another.
    """
    for number, (line, before, after) in enumerate(beside(path, read_lines(path), source, target), start=1):
        yield number, line, before, after


def beside(
    path: File, sentences: Iterable[Sentence], source: File | None, target: File | None
) -> Iterator[tuple[Sentence, list[str] | None, list[str] | None]]:
    """What a file says of every sentence, with the tokens of those of the texts that are given.

    Raises ``InputError`` when one of them has more sentences than another.
    """
    given = [one for one in (source, target) if one is not None]
    names = [name_of(one) for one in (path, *given)]
    streams: list[Iterable[object]] = [sentences, *map(read_lines, given)]
    for row in in_step(names, streams, "sentences", "sentence n must be the same in both"):
        sentence, *lines = cast("tuple[Sentence, *tuple[str, ...]]", row)
        tokens = iter([line.split() for line in lines])
        yield sentence, None if source is None else next(tokens), None if target is None else next(tokens)


def required(path: File, name: str, given: File | None) -> File:
    """The text, which this format needs. Raises ``InputError`` when it is not given."""
    if given is None:
        raise InputError(f"{path}: this format does not hold the words of the {name}; give the {name} text too")
    return given


def soft_matrix(text: str, where: str) -> Matrix:
    """A matrix in one line: a group for each target token between spaces, a weight for each source token between
    commas. Raises ``InputError`` calling the line ``where``."""
    try:
        rows = [[float(weight) for weight in row.split(",")] for row in text.split()]
    except ValueError:
        raise InputError(f"{where}: {text[:40]!r} is no soft alignment such as 0.9,0.1 0.2,0.8") from None
    if len({len(row) for row in rows}) > 1:
        raise InputError(f"{where}: the rows of the soft alignment differ in length; the file is damaged")
    return np.array(rows, dtype=np.float64).reshape(len(rows), -1)


def soft(source: Sequence[str], target: Sequence[str], weights: object, where: str, hint: str) -> Alignment:
    """An alignment with a matrix, with or without the ends. Raises ``InputError`` where it is not of these tokens."""
    try:
        return Alignment(source, target, weight_TS=cast(Matrix, weights))
    except ValueError as error:
        raise InputError(f"{where}: {error}; {hint}") from None
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def hard(source: Sequence[str], target: Sequence[str], text: str, path: File, number: int, base: int = 0) -> Alignment:
    """An alignment with the links of a Pharaoh line. Raises ``InputError`` as :func:`nmt.links.links_of_line` does."""
    return Alignment(source, target, links_of_line(text, path, number, (len(source), len(target)), base))


def hard_with_ends(source: Sequence[str], target: Sequence[str], text: str, path: File, number: int) -> Alignment:
    """The same for a tool that counts the ends of the sentences as words: what is linked to an end has no link."""
    ends = links_of_line(text, path, number, (len(source) + 1, len(target) + 1))
    return Alignment(source, target, Links((i, j) for i, j in ends.possible if i < len(source) and j < len(target)))


def is_hard(text: str) -> bool:
    """Whether a line holds Pharaoh links, or nothing, and no weights."""
    return all(_LINK.fullmatch(word) for word in text.split())
