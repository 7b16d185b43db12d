"""Word alignments and attention matrices between a source and a target sentence, and their file formats.

A link is a pair (source word, target word), both counted from 0 whatever the file counted from. Formats of links:

* Pharaoh: a line a sentence, ``i-j`` sure and ``ipj`` or ``i?j`` possible; counts from 0, or from 1 in files called
  ``*.talp``. What is written has ``p``.
* NAACL: a line a link, ``sentence source target [S|P] [confidence]``; counts sentences and words from 1.

Attention matrices have a row a target word and a column a source word, without the end-of-sentence row and column:

* ``.npz``: an array a sentence, named by the sentence's number counted from 0 (``0``, ``1``, …); never a pickle.
* JSON, or ``.json.gz``: a list of matrices, each a list of rows.

Shapes: T target words (or pieces), S source words (or pieces).
"""

from __future__ import annotations

import gzip
import json
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nmt.errors import InputError
from nmt.text import read_lines, write_lines, written_whole

Link = tuple[int, int]
Matrix = NDArray[np.float64]
Lengths = Sequence[tuple[int, int]]  # (source words, target words) of every sentence

# No index has more than nine digits; int() raises ValueError for more than 4,300.
_PHARAOH = re.compile(r"([0-9]{1,9})([-p?])([0-9]{1,9})")
_NAACL = re.compile(r"([0-9]{1,9})\s+([0-9]{1,9})\s+([0-9]{1,9})(?:\s+([SP]))?(?:\s+[0-9.eE+-]+)?")
_ROUNDING = 1e-3  # what half precision and a file's decimals may add to a weight of 1


@dataclass(frozen=True, slots=True)
class Links:
    """The links of one sentence pair. ``possible`` holds the sure ones too: S ⊆ P, as AER's definition asks.

    The links of a system are all sure: ``Links(pairs)``.
    """

    sure: frozenset[Link]
    possible: frozenset[Link]

    def __init__(self, sure: Iterable[Link] = (), possible: Iterable[Link] = ()) -> None:
        object.__setattr__(self, "sure", frozenset(sure))
        object.__setattr__(self, "possible", self.sure | frozenset(possible))

    def sources(self) -> frozenset[int]:
        """The source words that have a link, sure or possible."""
        return frozenset(i for i, _ in self.possible)

    def turned(self) -> Links:
        """The same links with source and target in each other's place."""
        return Links(((j, i) for i, j in self.sure), ((j, i) for i, j in self.possible))


@dataclass(frozen=True, slots=True)
class LinksFile:
    """What a file of links held: the links, counted from 0, and the base the file itself counted from."""

    links: list[Links]
    base: int


# Links of text -------------------------------------------------------------------------------------------------------


def parse_links(text: str, where: str = "links", base: int = 0) -> Links:
    """Links of a Pharaoh line (``0-0 1p2``) that counts from ``base``. ``where`` is what an error calls the line.

    Raises ``InputError`` for anything else than links, and for an index below ``base``.
    """
    pairs = _parse_pairs(text, where)
    if base and any(min(i, j) < base for i, j, _ in pairs):
        raise InputError(f"{where}: link with index 0, but these links are said to count from 1; they count from 0")
    return _links((i - base, j - base, sure) for i, j, sure in pairs)


def links_of_line(text: str, path: str | Path, number: int, words: tuple[int, int], base: int = 0) -> Links:
    """Links of line ``number`` of a Pharaoh file that counts from ``base``, for files too long to be read at once.

    ``words`` is how many the source and the target have. Raises ``InputError`` as :func:`read_links` does.
    """
    (links,) = _in_range([(number, _parse_pairs(text, f"{path}, line {number}"))], str(path), base, [words])
    return links


def format_links(links: Links, base: int = 0) -> str:
    """The Pharaoh line of links, in order of source and target; possible ones that are not sure with ``p``."""
    return " ".join(f"{i + base}{'-' if (i, j) in links.sure else 'p'}{j + base}" for i, j in sorted(links.possible))


def read_links(path: str | Path, base: int | None = None, lengths: Lengths | None = None) -> LinksFile:
    """Read a file of links; see :func:`links_of_lines`."""
    return links_of_lines(list(read_lines(path)), str(path), base, lengths)


def links_of_lines(
    lines: Sequence[str], name: str, base: int | None = None, lengths: Lengths | None = None
) -> LinksFile:
    """Links of the lines of a file called ``name``, Pharaoh or NAACL by its content.

    ``base`` states what the file counts from; without it ``*.talp`` counts from 1, and any other file shows it: an
    index 0 means 0, an index as large as the sentence is long means 1. ``lengths`` gives the words of both sides of
    every sentence, against which every index is checked.

    Raises ``InputError`` naming file and line for a malformed link, an index out of range (with the likely cause), a
    number of lines other than ``lengths`` has, and when nothing tells the base.
    """
    if base is None and name.removesuffix(".gz").endswith(".talp"):
        base = 1
    if _is_naacl(lines):
        if base == 0:
            raise InputError(f"{name}: a NAACL file, which counts from 1, is said to count from 0")
        return LinksFile(naacl_links(lines, name, lengths), 1)
    rows = [(n, _parse_pairs(line, f"{name}, line {n}")) for n, line in enumerate(lines, start=1)]
    if lengths is not None and len(rows) != len(lengths):
        raise InputError(f"{name} has the links of {len(rows)} sentences but the text has {len(lengths)}")
    if base is None:
        base = _detect_base(rows, name, lengths)
    return LinksFile(_in_range(rows, name, base, lengths), base)


def naacl_links(lines: Sequence[str], name: str, lengths: Lengths | None = None) -> list[Links]:
    """Links of the lines of a NAACL file, which may be none: a sentence that no line names has no link. Without
    ``lengths`` the last sentence with a link is the last. Raises ``InputError`` as :func:`links_of_lines` does."""
    return _in_range(_naacl_rows(lines, name, None if lengths is None else len(lengths)), name, 1, lengths)


def write_links(path: str | Path, links: Iterable[Links], base: int = 0) -> None:
    """Write links in Pharaoh format, a line a sentence; the file is complete or absent."""
    write_lines(path, (format_links(sentence, base) for sentence in links))


def write_naacl(path: str | Path, links: Iterable[Links]) -> None:
    """Write links in NAACL format, a line a link, everything counted from 1; the file is complete or absent."""
    write_lines(
        path,
        (
            f"{number} {i + 1} {j + 1} {'S' if (i, j) in sentence.sure else 'P'}"
            for number, sentence in enumerate(links, start=1)
            for i, j in sorted(sentence.possible)
        ),
    )


Pair = tuple[int, int, bool]  # source index and target index as the file counts, and whether the link is sure
Row = tuple[int, list[Pair]]  # the line on which a sentence's links begin, and its links


def _parse_pairs(text: str, where: str) -> list[Pair]:
    pairs = []
    for word in text.split():
        match = _PHARAOH.fullmatch(word)
        if match is None:
            raise InputError(f"{where}: {word[:40]!r} is no link; links are written 0-0 (sure), 0p0 or 0?0 (possible)")
        pairs.append((int(match[1]), int(match[3]), match[2] == "-"))
    return pairs


def _is_naacl(lines: Sequence[str]) -> bool:
    first = next((line for line in lines if line.strip()), "")
    return _NAACL.fullmatch(first.strip()) is not None


def _naacl_rows(lines: Sequence[str], path: str, sentences: int | None) -> list[Row]:
    found: dict[int, Row] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        match = _NAACL.fullmatch(line.strip())
        if match is None:
            raise InputError(f"{path}, line {number}: {line[:40]!r} is no NAACL link such as '1 2 3 S'")
        sentence, source, target = int(match[1]), int(match[2]), int(match[3])
        if sentence < 1 or source < 1 or target < 1:
            raise InputError(f"{path}, line {number}: index 0, but NAACL files count sentences and words from 1")
        if sentences is not None and sentence > sentences:
            raise InputError(f"{path}, line {number}: sentence {sentence}, but the text has {sentences} sentences")
        found.setdefault(sentence, (number, []))[1].append((source, target, match[4] != "P"))
    count = sentences if sentences is not None else max(found, default=0)
    return [found.get(sentence, (0, [])) for sentence in range(1, count + 1)]


def _detect_base(rows: Sequence[Row], path: str, lengths: Lengths | None) -> int:
    indices = [(i, j) for _, pairs in rows for i, j, _ in pairs]
    if not indices or min(map(min, indices)) == 0:
        return 0
    if lengths is not None:
        for (_, pairs), (source, target) in zip(rows, lengths, strict=True):
            if any(i == source or j == target for i, j, _ in pairs):
                return 1
    raise InputError(
        f"{path}: no link has index 0, so it may count from 0 or from 1; state which (--base or --gold-base 0 or 1)"
    )


def _in_range(rows: Sequence[Row], path: str, base: int, lengths: Lengths | None) -> list[Links]:
    """The links of every row, counted from 0. Raises ``InputError`` where an index is out of range."""
    has_zero = any(min(i, j) == 0 for _, pairs in rows for i, j, _ in pairs)
    for sentence, (line, pairs) in enumerate(rows):
        for i, j, _ in pairs:
            if base and min(i, j) == 0:
                raise InputError(f"{path}, line {line}: index 0 in a file read as counting from 1; it counts from 0")
            if lengths is None:
                continue
            source, target = lengths[sentence]
            if i - base >= source or j - base >= target:
                if base == 0 and not has_zero:
                    cause = "the file counts from 1 and was read as counting from 0"
                elif i - base < target and j - base < source:
                    cause = "the file has the target first and the source second"
                else:
                    cause = "the links belong to another text or another tokenisation"
                raise InputError(
                    f"{path}, line {line}: link {i}-{j} is out of range, the source has {source} words and the target "
                    f"{target}; likely {cause}"
                )
    return [_links((i - base, j - base, sure) for i, j, sure in pairs) for _, pairs in rows]


def _links(pairs: Iterable[Pair]) -> Links:
    rows = list(pairs)
    return Links(((i, j) for i, j, sure in rows if sure), ((i, j) for i, j, _ in rows))


# Attention matrices --------------------------------------------------------------------------------------------------


def read_matrices(path: str | Path) -> list[Matrix]:
    """Attention matrices of a ``.npz`` or JSON file, a (T, S) array of weights from 0 to 1 a sentence, in order.

    Raises ``InputError`` naming file and sentence for a damaged file, a missing sentence, a pickle, or what is no
    matrix of weights.
    """
    arrays = _read_json(path) if str(path).removesuffix(".gz").endswith(".json") else read_arrays(path)
    return [check_matrix(array, f"{path}, sentence {number}") for number, array in enumerate(arrays)]


def _packed(file: BinaryIO, name: str) -> AbstractContextManager[BinaryIO | gzip.GzipFile]:
    return gzip.GzipFile(fileobj=file, mode="wb", mtime=0) if name.endswith(".gz") else nullcontext(file)


def write_matrices(path: str | Path, matrices: Iterable[NDArray[np.floating[Any]]]) -> None:
    """Write attention matrices, as JSON to ``.json`` or ``.json.gz`` and as ``.npz`` otherwise; complete or absent."""
    if str(path).removesuffix(".gz").endswith(".json"):
        # Matrix by matrix, for all at once may be more than memory holds.
        with written_whole(path) as file, _packed(file, str(path)) as stream:
            stream.write(b"[")
            for number, matrix in enumerate(matrices):
                rows = np.asarray(matrix, dtype=np.float64).tolist()
                stream.write(b", " * (number > 0) + json.dumps(rows).encode())
            stream.write(b"]")
        return
    with written_whole(path) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, matrix in enumerate(matrices):
            with archive.open(f"{number}.npy", "w") as member:
                np.lib.format.write_array(member, np.ascontiguousarray(matrix), allow_pickle=False)


def check_matrix(array: Any, where: str) -> Matrix:
    """The array as a (T, S) matrix of weights. Raises ``InputError``, calling it ``where``, when it is none."""
    try:
        matrix = np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{where}: not a matrix of numbers with rows of one length") from None
    if matrix.size == 0 and matrix.ndim < 2:
        matrix = matrix.reshape(0, 0)
    if matrix.ndim != 2:
        raise InputError(f"{where}: {matrix.ndim} dimensions, expected 2 (target words, source words)")
    if not np.isfinite(matrix).all():
        raise InputError(f"{where}: a weight is not a finite number")
    if matrix.size and (matrix.min() < 0 or matrix.max() > 1 + _ROUNDING):
        raise InputError(f"{where}: weights from {matrix.min():g} to {matrix.max():g}, expected from 0 to 1")
    return np.clip(matrix, 0, 1)


def argmax_links(weight_TS: NDArray[np.floating[Any]], threshold: float = 0.0) -> Links:
    """For each target word the source word with the highest weight, the first of equals; none that is not above
    ``threshold``, so none where all are 0."""
    if weight_TS.shape[1] == 0:
        return Links()
    best_T = weight_TS.argmax(axis=1)
    return Links((int(i), j) for j, i in enumerate(best_T) if weight_TS[j, i] > threshold)


def mutual_links(weight_TS: NDArray[np.floating[Any]], threshold: float = 0.0) -> Links:
    """The links of :func:`argmax_links` whose target word has, of all, the highest weight for that source word too."""
    if weight_TS.shape[0] == 0:
        return Links()
    best_S = weight_TS.argmax(axis=0)
    return Links((i, j) for i, j in argmax_links(weight_TS, threshold).sure if best_S[i] == j)


def links_above(weight_TS: NDArray[np.floating[Any]], threshold: float = 0.0) -> Links:
    """Every pair of words whose weight is above ``threshold``."""
    return Links((int(i), int(j)) for j, i in np.argwhere(weight_TS > threshold))


def matrix_of_links(links: Links, target_words: int, source_words: int) -> Matrix:
    """1 where there is a link, sure or possible, 0 elsewhere, (T, S); :func:`links_above` is the way back."""
    weight_TS = np.zeros((target_words, source_words))
    for i, j in links.possible:
        weight_TS[j, i] = 1.0
    return weight_TS


def _read_json(path: str | Path) -> list[Any]:
    try:
        value = json.loads("\n".join(read_lines(path)))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    if not isinstance(value, list):
        raise InputError(f"{path}: expected a list of matrices, one a sentence")
    return value


def read_arrays(path: str | Path) -> Iterator[NDArray[Any]]:
    """The arrays of an ``.npz`` file called ``0``, ``1``, … in this order, one at a time. Raises ``InputError``."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
            for number in range(len(names)):
                if str(number) not in names:
                    raise InputError(f"{path}: no array named {number}; arrays are named 0, 1, … one a sentence")
            for number in range(len(names)):
                with archive.open(f"{number}.npy") as member:
                    array = np.lib.format.read_array(member, allow_pickle=False)
                yield array
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (ValueError, OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(f"{path}: not an .npz file of plain arrays ({error})") from None
