"""Reading and writing text, a sentence a line.

A line ends at "\\n" and nowhere else, so that U+2028, U+0085, form feeds and empty lines never change the number of
lines; a "\\r" before the "\\n" and a byte-order mark at the head of a file are not part of the text.
"""

from __future__ import annotations

import gzip
import os
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import zip_longest
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import BinaryIO, cast

from nmt.errors import InputError

STANDARD_INPUT = "-"


def read_lines(path: str | Path) -> Iterator[str]:
    """The lines of a UTF-8 file, without their ends; ``-`` is standard input, gzip is read transparently.

    Raises ``InputError`` for a missing file, a directory, a damaged gzip file or invalid UTF-8 (with its line).
    """
    name = name_of(path)
    with _open_binary(path, name) as stream:
        yield from decode_lines(stream, name)


def name_of(path: str | Path) -> str:
    """What an error calls a file."""
    return "standard input" if str(path) == STANDARD_INPUT else str(path)


def decode_lines(stream: Iterable[bytes], name: str) -> Iterator[str]:
    """Lines of text from lines of bytes (as binary streams give them); ``name`` is what an error calls the stream."""
    try:
        for number, line in enumerate(stream, start=1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            line = line.removesuffix(b"\n").removesuffix(b"\r")
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{name}, line {number}: invalid UTF-8 at byte {error.start + 1}; convert the file to UTF-8"
                ) from None
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise InputError(f"{name}: damaged gzip file ({error})") from None


def read_parallel(*paths: str | Path) -> Iterator[tuple[str, ...]]:
    """Line n of every file together. Raises ``InputError`` naming both files when they differ in number of lines."""
    rule = "line n of one must translate line n of the other"
    rows = in_step(list(map(name_of, paths)), list(map(read_lines, paths)), "lines", rule)
    return cast("Iterator[tuple[str, ...]]", rows)


def in_step(
    names: Sequence[str], streams: Sequence[Iterable[object]], kind: str, rule: str
) -> Iterator[tuple[object, ...]]:
    """Number n of every stream together; none of what they hold, of a ``kind``, is None. Raises ``InputError`` with the
    ``rule`` that is broken when one has more than another."""
    for number, row in enumerate(zip_longest(*streams)):
        ended = [one is None for one in row]
        if any(ended):
            short, long = names[ended.index(True)], names[ended.index(False)]
            raise InputError(f"{short} has {number} {kind} but {long} has more; {rule}")
        yield row


@contextmanager
def rereadable(*paths: str | Path) -> Iterator[list[Path]]:
    """Where the lines of every file can be read again and again: at its path, or, as standard input and pipes give
    theirs only once, in a temporary file.

    Line n of all is read to find out. Raises ``InputError`` as :func:`read_parallel` does, and when standard input is
    given twice.
    """
    if list(map(str, paths)).count(STANDARD_INPUT) > 1:
        raise InputError("standard input can be read once; name a file instead of the second -")
    with ExitStack() as stack:
        kept = {
            # A byte-order mark and "\r" are taken off in reading, so they keep whatever the lines themselves begin and
            # end with.
            place: stack.enter_context(NamedTemporaryFile("w", encoding="utf-8-sig", newline="\r\n", prefix="nmt-"))
            for place, path in enumerate(paths)
            if str(path) == STANDARD_INPUT or not os.path.isfile(path)
        }
        for row in read_parallel(*paths):
            for place, stream in kept.items():
                stream.write(f"{row[place]}\n")
        for stream in kept.values():
            stream.flush()
        yield [Path(kept[place].name) if place in kept else Path(path) for place, path in enumerate(paths)]


def count_lines(path: str | Path) -> int:
    """How many lines :func:`read_lines` gives."""
    return sum(1 for _ in read_lines(path))


def write_lines(path: str | Path, lines: Iterable[str]) -> None:
    """Write lines to a file that is complete or absent: beside its place first, then renamed.

    Raises ``ValueError`` for a line that holds a line end: it would become two.
    """
    with written_whole(path) as stream:
        for line in lines:
            if "\n" in line:
                raise ValueError(f"a line to be written to {path} holds a line end: {line!r}")
            stream.write(line.encode("utf-8") + b"\n")


@contextmanager
def written_whole(path: str | Path) -> Iterator[BinaryIO]:
    """A binary stream whose content appears at ``path`` at once and on disk, or not at all when the block fails."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _open_binary(path: str | Path, name: str) -> Iterator[BinaryIO]:
    if str(path) == STANDARD_INPUT:
        yield sys.stdin.buffer
        return
    try:
        stream = open(path, "rb")  # noqa: SIM115 - closed below, opened here so that only opening is guarded
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{name}: is a directory, a text file was expected") from None
    except PermissionError:
        raise InputError(f"{name}: permission denied") from None
    with stream:
        zipped = stream.peek(2)[:2] == b"\x1f\x8b"
        yield cast(BinaryIO, gzip.GzipFile(fileobj=stream)) if zipped else stream
