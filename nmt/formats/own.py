"""The toolkit's own files: alignments as JSON lines, and what other tools read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from nmt.alignment import FORMAT, Alignment
from nmt.errors import InputError
from nmt.formats.base import File, with_texts
from nmt.links import Links, write_links, write_matrices, write_naacl
from nmt.text import write_lines


def from_json(line: str, where: str = "alignment") -> Alignment:
    """The alignment of a line that :meth:`nmt.alignment.Alignment.to_json` wrote; ``where`` is what errors call it."""
    try:
        value = json.loads(line)
        version, sides = value["format"], [value["source"], value["target"]]
        if not all(isinstance(word, str) for side in sides for word in side):
            raise TypeError
        links = None
        if "sure" in value:
            links = Links(*([(int(i), int(j)) for i, j in value[kind]] for kind in ("sure", "possible")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        raise InputError(f"{where}: no alignment in JSON (format, source, target, weights, sure, possible)") from None
    if version != FORMAT:
        raise InputError(f"{where}: format {version!r}, known is {FORMAT}; a newer version of this package wrote it")
    try:
        return Alignment(sides[0], sides[1], links, value.get("weights"))
    except (ValueError, InputError) as error:
        raise InputError(f"{where}: {error}") from None


def read_json(path: File, source: File | None = None, target: File | None = None) -> Iterator[Alignment]:
    """What :func:`write_json` wrote: all that an alignment holds. Texts that are given replace its words."""
    for number, line, before, after in with_texts(path, source, target):
        where = f"{path}, line {number}"
        held = from_json(line, where)
        try:
            yield Alignment(
                held.source if before is None else before,
                held.target if after is None else after,
                held.links,
                held.weight_TS,
            )
        except ValueError as error:
            raise InputError(f"{where}: {error}") from None


def write_json(path: File, alignments: Iterable[Alignment]) -> None:
    """A line of JSON for every alignment (:meth:`nmt.alignment.Alignment.to_json`); the file is complete or absent."""
    write_lines(path, (alignment.to_json() for alignment in alignments))


def write_pharaoh(path: File, alignments: Iterable[Alignment]) -> None:
    """Links, ``0-0 1p2``, counting from 0. Raises ``ValueError`` for an alignment without links; harden it first."""
    write_links(path, map(_links, alignments))


def write_talp(path: File, alignments: Iterable[Alignment]) -> None:
    """Links, ``1-1 2p3``, counting from 1."""
    write_links(path, map(_links, alignments), base=1)


def write_naacl_links(path: File, alignments: Iterable[Alignment]) -> None:
    """Links, ``sentence source target S|P``, counting from 1."""
    write_naacl(path, map(_links, alignments))


def write_npz(path: File, alignments: Iterable[Alignment]) -> None:
    """Matrices between the words alone, without the ends, as ``nmt-eval`` reads them."""
    write_matrices(path, (alignment.between_words() for alignment in alignments))


def _links(alignment: Alignment) -> Links:
    if alignment.links is None:
        raise ValueError("an alignment without links; make them with Alignment.hard")
    return alignment.links
