"""Parallel text as token ids, memory-mapped from disk, so that a corpus larger than memory trains.

The ids are kept in a directory named by a hash of everything they follow from (the files' content, the vocabularies,
the limits, the format), so a second run starts at once and a change of anything is never answered with old ids. Where
the text has word links, links between ids are kept beside them.

Shapes: L links of a pair.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmt.errors import InputError
from nmt.kept import kept_directory, key_of, sha256_of
from nmt.links import Links, links_of_line
from nmt.text import read_parallel, written_whole
from nmt.vocabulary import Vocabulary, load_vocabulary

FORMAT = 1
_ID, _OFFSET = np.dtype("<i4"), np.dtype("<i8")
_CHUNK = 4096  # pairs that are encoded and written at a time

Ids = NDArray[np.int32]
Numbers = NDArray[np.int64]


class Limits(NamedTuple):
    """The longest pair that is kept, in tokens of the vocabularies (BOS and EOS not counted)."""

    source: int
    target: int


class Counts(NamedTuple):
    """Pairs: ``read == kept + empty + too_long``. A pair with an empty side is empty, whatever the other's length."""

    read: int
    kept: int
    empty: int
    too_long: int


class Bitext:
    """Pairs of token ids without BOS and EOS, read from a directory that :func:`prepare_bitext` made."""

    def __init__(self, directory: Path) -> None:
        self.key = directory.name  # equal for equal text, vocabularies and limits
        self.counts = Counts(**json.loads((directory / "counts.json").read_bytes()))
        self._source_ids, self._target_ids = (_mapped(directory / f"{side}.ids", _ID) for side in ("source", "target"))
        self._source_ends, self._target_ends = (
            _mapped(directory / f"{side}.ends", _OFFSET) for side in ("source", "target")
        )
        self._link_numbers: Ids = np.empty(0, _ID)
        self._link_ends: Numbers = np.zeros(len(self), _OFFSET)
        if (directory / "links.ids").exists():
            self._link_numbers = _mapped(directory / "links.ids", _ID)
            self._link_ends = _mapped(directory / "links.ends", _OFFSET)
        self.line_numbers: Numbers = _mapped(directory / "line_numbers", _OFFSET)
        """Line of the files that each pair stood in, counted from 1."""

    def __len__(self) -> int:
        return self.counts.kept

    def source(self, n: int) -> Ids:
        """Ids of pair ``n``, from 0; a read-only view of the file."""
        return _slice(self._source_ids, self._source_ends, n)

    def target(self, n: int) -> Ids:
        """As :meth:`source`."""
        return _slice(self._target_ids, self._target_ends, n)

    def links(self, n: int) -> Ids:
        """Links (L, 3) of pair ``n``: target position, source position, 1 sure or 0 possible; read-only.

        L is 0 where the text has no links."""
        return _slice(self._link_numbers, self._link_ends, n).reshape(-1, 3)

    def sources(self, numbers: Numbers) -> tuple[Ids, Numbers]:
        """Ids of several pairs, one after the other, and how many each has."""
        return _slices(self._source_ids, self._source_ends, numbers)

    def targets(self, numbers: Numbers) -> tuple[Ids, Numbers]:
        """As :meth:`sources`."""
        return _slices(self._target_ids, self._target_ends, numbers)

    def all_links(self, numbers: Numbers) -> tuple[Ids, Numbers]:
        """As :meth:`sources`, three numbers a link as in :meth:`links`."""
        return _slices(self._link_numbers, self._link_ends, numbers)

    @property
    def link_count(self) -> int:
        """Links of all pairs together."""
        return len(self._link_numbers) // 3

    @cached_property
    def source_lengths(self) -> Numbers:
        """Number of ids of every pair, without EOS."""
        return np.diff(self._source_ends, prepend=0)

    @cached_property
    def target_lengths(self) -> Numbers:
        """As :attr:`source_lengths`."""
        return np.diff(self._target_ends, prepend=0)


def _mapped(path: Path, dtype: np.dtype[np.signedinteger]) -> NDArray[np.signedinteger]:
    if path.stat().st_size == 0:  # nothing to map
        return np.empty(0, dtype)
    return np.memmap(path, dtype, mode="r").view(np.ndarray)


def _slice(ids: Ids, ends: Numbers, n: int) -> Ids:
    if not 0 <= n < len(ends):
        raise IndexError(f"pair {n} of {len(ends)}")
    return ids[(ends[n - 1] if n else 0) : ends[n]]


def _slices(ids: Ids, ends: Numbers, numbers: Numbers) -> tuple[Ids, Numbers]:
    """What :func:`_slice` gives for each number, in one go: a loop over pairs took longer than all the rest of a batch.

    Raises ``IndexError`` as it does."""
    if (beyond := (numbers < 0) | (numbers >= len(ends))).any():
        raise IndexError(f"pair {numbers[beyond][0]} of {len(ends)}")
    end_B = ends[numbers]
    length_B = end_B - np.where(numbers > 0, ends[numbers - 1], 0)
    before_B = np.cumsum(length_B) - length_B
    place = np.repeat(end_B - length_B - before_B, length_B) + np.arange(length_B.sum())
    return ids[place], length_B


def prepare_bitext(
    source: Path,
    target: Path,
    vocabularies: tuple[Vocabulary, Vocabulary],
    limits: Limits | None,
    cache: Path,
    workers: int = 1,
    links: Path | None = None,
) -> Bitext:
    """The pairs of two files as ids, encoded by ``workers`` processes unless they lie in ``cache`` already.

    ``links`` is a file of links between the words of the two, in Pharaoh's notation, counted from 0. Pairs with an
    empty side and pairs beyond ``limits`` are counted and left out; without limits every pair is kept.
    Raises ``InputError`` for files that cannot be read, differ in number of lines or leave no pair, and for what is no
    link between two words of its line.
    """
    key = key_of(
        format=FORMAT,
        texts=[_content_hash(source), _content_hash(target)],
        vocabularies=[vocabulary.digest() for vocabulary in vocabularies],
        limits=limits,
        **({"links": _content_hash(links)} if links else {}),  # a bitext without them keeps the key it always had
    )

    def build(directory: Path) -> None:
        chunks = _chunks(read_parallel(source, target, *([links] if links else [])))
        names = PARTS if links else PARTS[:2]
        counts = _write(directory, names, _encode(chunks, Encoder(vocabularies, links), workers), limits)
        if counts.kept == 0:
            raise InputError(f"{source} and {target}: no pair is left to use; {_told(counts, limits)}")
        with written_whole(directory / "counts.json") as stream:
            stream.write(json.dumps(counts._asdict()).encode())

    return Bitext(kept_directory(cache / key[:32], key, build))


def _told(counts: Counts, limits: Limits | None) -> str:
    if counts.read == 0:
        return "the files are empty"
    longer = f" (limits: {limits.source} source and {limits.target} target tokens)" if limits else ""
    return f"of {counts.read} read {counts.empty} have an empty side and {counts.too_long} are too long{longer}"


def _content_hash(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError:
        return ""  # read_parallel has the sentence for it


# ------------------------------------------------------------------------------------------------------ encoding

PARTS = ("source", "target", "links")  # of a pair, each a sequence of numbers; the last only where links are given

Chunk = tuple[int, list[tuple[str, ...]]]  # the number of the first line, and the lines of the files
Encoded = tuple[int, list[list[list[int]]]]  # the same number, and the parts of every pair


@dataclass(frozen=True)
class Encoder:
    """What makes numbers of lines; ``links`` is what errors call the file of links."""

    vocabularies: tuple[Vocabulary, Vocabulary]
    links: Path | None

    def __call__(self, chunk: Chunk) -> Encoded:
        """The ids of both sides of every pair, and where links are given the triples of :meth:`Bitext.links`."""
        first, rows = chunk
        pairs = [
            [vocabulary.encode(line) for vocabulary, line in zip(self.vocabularies, row[:2], strict=True)]
            for row in rows
        ]
        if self.links is not None:
            for number, (row, pair) in enumerate(zip(rows, pairs, strict=True), start=first):
                source, target, text = row
                words = len(self.vocabularies[0].words(source)), len(self.vocabularies[1].words(target))
                links = links_of_line(text, self.links, number, words)
                pair.append(piece_links(links, *(v.word_of_piece(row[n]) for n, v in enumerate(self.vocabularies))))
        return first, pairs


def piece_links(links: Links, source_word: Sequence[int], target_word: Sequence[int]) -> list[int]:
    """Links between words as links between pieces: all pieces of a source word with all of a target word.

    ``source_word`` and ``target_word`` give the word of every piece. For each link target piece, source piece and 1
    where it is sure, 0 where it is possible, one after the other, in this order."""
    pieces_of: tuple[dict[int, list[int]], dict[int, list[int]]] = ({}, {})
    for pieces, words in zip(pieces_of, (source_word, target_word), strict=True):
        for piece, word in enumerate(words):
            pieces.setdefault(word, []).append(piece)
    triples = sorted(
        (t, s, int((i, j) in links.sure))
        for i, j in links.possible
        for s in pieces_of[0].get(i, [])  # normalising a word may leave nothing of it
        for t in pieces_of[1].get(j, [])
    )
    return list(chain.from_iterable(triples))


def _chunks(rows: Iterator[tuple[str, ...]]) -> Iterator[Chunk]:
    first = 1
    while lines := list(islice(rows, _CHUNK)):
        yield first, lines
        first += len(lines)


_encoder_of_process: Encoder


def _begin_process(directory: str, links: Path | None) -> None:
    global _encoder_of_process
    source, target = (load_vocabulary(Path(directory), side) for side in ("source", "target"))
    _encoder_of_process = Encoder((source, target), links)


def _encode_in_process(chunk: Chunk) -> Encoded:
    return _encoder_of_process(chunk)


def _encode(chunks: Iterable[Chunk], encoder: Encoder, workers: int) -> Iterator[Encoded]:
    if workers <= 1:
        yield from map(encoder, chunks)
        return
    with TemporaryDirectory() as directory:
        # Read from disk by every process: one that dies at its start would leave this one writing to it for ever.
        for vocabulary, side in zip(encoder.vocabularies, PARTS[:2], strict=True):
            vocabulary.save(Path(directory), side)
        with ProcessPoolExecutor(workers, get_context("spawn"), _begin_process, (directory, encoder.links)) as pool:
            waiting: deque[Future[Encoded]] = deque()  # a few only: the text may be larger than memory
            for chunk in chunks:
                waiting.append(pool.submit(_encode_in_process, chunk))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()


def _write(directory: Path, parts: Sequence[str], chunks: Iterable[Encoded], limits: Limits | None) -> Counts:
    read = empty = too_long = kept = 0
    ends = np.zeros(len(parts), np.int64)
    with ExitStack() as stack:
        ids_of, ends_of = (
            [stack.enter_context(open(directory / f"{part}.{ending}", "wb")) for part in parts]
            for ending in ("ids", "ends")
        )
        line_numbers = stack.enter_context(open(directory / "line_numbers", "wb"))
        for first, pairs in chunks:
            chosen, numbers = [], []
            for number, pair in enumerate(pairs, start=first):
                source, target = pair[:2]
                if limits and not (source and target):
                    empty += 1
                elif limits and (len(source) > limits.source or len(target) > limits.target):
                    too_long += 1
                else:
                    chosen.append(pair)
                    numbers.append(number)
            read += len(pairs)
            kept += len(chosen)
            for part in range(len(parts)):
                ids_of[part].write(np.array([n for pair in chosen for n in pair[part]], _ID).tobytes())
                chunk_ends = ends[part] + np.cumsum([len(pair[part]) for pair in chosen], dtype=_OFFSET)
                ends_of[part].write(chunk_ends.tobytes())
                ends[part] = chunk_ends[-1] if chosen else ends[part]
            line_numbers.write(np.array(numbers, _OFFSET).tobytes())
    return Counts(read, kept, empty, too_long)
