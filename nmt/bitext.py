"""Parallel text as token ids, memory-mapped from disk, so that a corpus larger than memory trains.

The ids are kept in a directory named by a hash of everything they follow from (both files' content, the vocabularies,
the limits, the format), so a second run starts at once and a change of anything is never answered with old ids.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import cached_property
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmt.errors import InputError
from nmt.kept import kept_directory, key_of
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


def prepare_bitext(
    source: Path,
    target: Path,
    vocabularies: tuple[Vocabulary, Vocabulary],
    limits: Limits | None,
    cache: Path,
    workers: int = 1,
) -> Bitext:
    """The pairs of two files as ids, encoded by ``workers`` processes unless they lie in ``cache`` already.

    Pairs with an empty side and pairs beyond ``limits`` are counted and left out; without limits every pair is kept.
    Raises ``InputError`` for files that cannot be read, differ in number of lines or leave no pair.
    """
    key = key_of(
        format=FORMAT,
        texts=[_content_hash(source), _content_hash(target)],
        vocabularies=[vocabulary.digest() for vocabulary in vocabularies],
        limits=limits,
    )

    def build(directory: Path) -> None:
        chunks = _chunks(read_parallel(source, target))
        counts = _write(directory, _encode(chunks, vocabularies, workers), limits)
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
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""  # read_parallel has the sentence for it


# ------------------------------------------------------------------------------------------------------ encoding

Chunk = tuple[int, list[tuple[str, str]]]  # the number of the first line, and the lines
Encoded = tuple[int, list[tuple[list[int], list[int]]]]


def _chunks(rows: Iterator[tuple[str, ...]]) -> Iterator[Chunk]:
    first = 1
    while lines := [(source, target) for source, target in islice(rows, _CHUNK)]:
        yield first, lines
        first += len(lines)


def _encode_chunk(chunk: Chunk, vocabularies: tuple[Vocabulary, Vocabulary]) -> Encoded:
    (encode_source, encode_target), (first, lines) = (vocabulary.encode for vocabulary in vocabularies), chunk
    return first, [(encode_source(source), encode_target(target)) for source, target in lines]


_vocabularies_of_process: tuple[Vocabulary, Vocabulary]


def _begin_process(directory: str) -> None:
    global _vocabularies_of_process
    _vocabularies_of_process = load_vocabulary(Path(directory), "source"), load_vocabulary(Path(directory), "target")


def _encode_in_process(chunk: Chunk) -> Encoded:
    return _encode_chunk(chunk, _vocabularies_of_process)


def _encode(chunks: Iterable[Chunk], vocabularies: tuple[Vocabulary, Vocabulary], workers: int) -> Iterator[Encoded]:
    if workers <= 1:
        yield from (_encode_chunk(chunk, vocabularies) for chunk in chunks)
        return
    with TemporaryDirectory() as directory:
        # Read from disk by every process: one that dies at its start would leave this one writing to it for ever.
        for vocabulary, side in zip(vocabularies, ("source", "target"), strict=True):
            vocabulary.save(Path(directory), side)
        with ProcessPoolExecutor(workers, get_context("spawn"), _begin_process, (directory,)) as pool:
            waiting: deque[Future[Encoded]] = deque()  # a few only: the text may be larger than memory
            for chunk in chunks:
                waiting.append(pool.submit(_encode_in_process, chunk))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()


def _write(directory: Path, chunks: Iterable[Encoded], limits: Limits | None) -> Counts:
    read = empty = too_long = kept = 0
    ends = np.zeros(2, np.int64)
    names = ("source.ids", "target.ids", "source.ends", "target.ends", "line_numbers")
    streams = [open(directory / name, "wb") for name in names]  # noqa: SIM115 - closed below, all five
    try:
        for first, pairs in chunks:
            chosen, numbers = [], []
            for number, pair in enumerate(pairs, start=first):
                if limits and not all(pair):
                    empty += 1
                elif limits and (len(pair[0]) > limits.source or len(pair[1]) > limits.target):
                    too_long += 1
                else:
                    chosen.append(pair)
                    numbers.append(number)
            read += len(pairs)
            kept += len(chosen)
            for side in (0, 1):
                streams[side].write(np.array([n for pair in chosen for n in pair[side]], _ID).tobytes())
                chunk_ends = ends[side] + np.cumsum([len(pair[side]) for pair in chosen], dtype=_OFFSET)
                streams[2 + side].write(chunk_ends.tobytes())
                ends[side] = chunk_ends[-1] if chosen else ends[side]
            streams[4].write(np.array(numbers, _OFFSET).tobytes())
    finally:
        for stream in streams:
            stream.close()
    return Counts(read, kept, empty, too_long)
