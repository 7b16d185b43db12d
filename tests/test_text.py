"""Lines end at \\n and nowhere else; what is written is whole or absent."""

from __future__ import annotations

import gzip
import io
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.errors import InputError
from nmt.text import count_lines, decode_lines, read_lines, read_parallel, rereadable, write_lines, written_whole

# What str.splitlines would break a line at, \n excepted.
OTHER_ENDS = ["\u2028", "\u2029", "\u0085", "\x0b", "\f", "\x1c", "\x1d", "\x1e"]


def file_of(directory: Path, content: bytes, name: str = "text") -> Path:
    path = directory / name
    path.write_bytes(content)
    return path


def test_str_splitlines_would_get_these_wrong() -> None:
    assert all(len(f"a{end}b".splitlines()) == 2 for end in OTHER_ENDS)


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"\n\n", ["", ""]),
        (b"a", ["a"]),
        (b"a\n", ["a"]),
        (b"a\n\nb\n", ["a", "", "b"]),
        (b"a\nb", ["a", "b"]),
        (b"a\r\n\r\nb\r\n", ["a", "", "b"]),
        (b"a\rb\n", ["a\rb"]),
        (b"a\r\r\n", ["a\r"]),
        (b"\xef\xbb\xbfa\n", ["a"]),
        (b"\xef\xbb\xbf", [""]),
        (b"a\n\xef\xbb\xbfb\n", ["a", "\ufeffb"]),
        (b" a \t\n", [" a \t"]),
        ("他 说 。\n".encode(), ["他 说 。"]),
        ("".join(f"a{end}b\n" for end in OTHER_ENDS).encode(), [f"a{end}b" for end in OTHER_ENDS]),
        (b"a\x00b\n", ["a\x00b"]),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_lines_of_a_file(tmp_path: Path, content: bytes, lines: list[str], zipped: bool) -> None:
    path = file_of(tmp_path, gzip.compress(content) if zipped else content)
    assert list(read_lines(path)) == lines
    assert list(read_lines(str(path))) == lines
    assert count_lines(path) == len(lines)


def test_a_line_of_a_million_characters(tmp_path: Path) -> None:
    assert [len(line) for line in read_lines(file_of(tmp_path, b"a" * 1_000_000 + b"\nb\n"))] == [1_000_000, 1]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("é\u2028\r\n\n".encode())))
    assert list(read_lines("-")) == ["é\u2028", ""]


@pytest.mark.parametrize("zipped", [False, True])
def test_invalid_utf8_is_told_with_its_line(tmp_path: Path, zipped: bool) -> None:
    content = "gut\n\u2028fine\nschön\n".encode() + "schön\n".encode("latin-1")
    path = file_of(tmp_path, gzip.compress(content) if zipped else content)
    reader = read_lines(path)
    assert [next(reader) for _ in range(3)] == ["gut", "\u2028fine", "schön"]
    with pytest.raises(InputError, match="invalid UTF-8") as caught:
        next(reader)
    assert str(caught.value) == f"{path}, line 4: invalid UTF-8 at byte 4; convert the file to UTF-8"


def test_decode_lines_names_the_stream() -> None:
    with pytest.raises(InputError, match=r"^the archive, line 2: "):
        list(decode_lines([b"a\n", b"\xff\n"], "the archive"))


@pytest.mark.parametrize("name", ["missing", "no/such/directory", "text/below"])
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    file_of(tmp_path, b"")
    with pytest.raises(InputError) as caught:
        list(read_lines(tmp_path / name))
    assert str(caught.value).startswith(f"{tmp_path / name}: ")


def test_a_directory_is_not_a_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a directory"):
        list(read_lines(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = file_of(tmp_path, b"a\n")
    path.chmod(0)
    with pytest.raises(InputError, match="permission denied"):
        list(read_lines(path))


def damaged(kind: str) -> bytes:
    """A gzip file that ends too soon, whose data are wrong, or whose checksum is."""
    whole = bytearray(gzip.compress("".join(f"line {n * n}\n" for n in range(5000)).encode()))
    if kind == "cut":
        return bytes(whole[: len(whole) // 2])
    if kind == "data":  # zlib stumbles before the checksum is reached
        place = 12  # where the code book stands
        whole[place : place + 40] = b"\xff" * 40
    if kind == "checksum":
        whole[-8] ^= 0xFF
    if kind == "tail":
        whole += b"garbage"
    return bytes(whole)


@pytest.mark.parametrize("kind", ["cut", "data", "checksum", "tail"])
def test_a_damaged_gzip_file_is_told(tmp_path: Path, kind: str) -> None:
    path = file_of(tmp_path, damaged(kind))
    with pytest.raises(InputError, match="damaged gzip file") as caught:
        list(read_lines(path))
    assert str(caught.value).startswith(f"{path}: ")


def test_parallel_lines_go_together(tmp_path: Path) -> None:
    one, two = file_of(tmp_path, b"a\n\nc", "one"), file_of(tmp_path, "x\u2028\ny\nz\n".encode(), "two")
    assert list(read_parallel(one, two)) == [("a", "x\u2028"), ("", "y"), ("c", "z")]
    assert list(read_parallel(one)) == [("a",), ("",), ("c",)]


@pytest.mark.parametrize(("lengths", "short", "long"), [((3, 2), 1, 0), ((0, 1), 0, 1), ((2, 2, 4), 0, 2)])
def test_unequal_lengths_name_both_files(tmp_path: Path, lengths: tuple[int, ...], short: int, long: int) -> None:
    paths = [file_of(tmp_path, b"a\n" * length, f"file{n}") for n, length in enumerate(lengths)]
    with pytest.raises(InputError) as caught:
        list(read_parallel(*paths))
    assert f"{paths[short]} has {lengths[short]} lines but {paths[long]} has more" in str(caught.value)


def test_what_is_read_once_is_kept_to_be_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["\ufeffa", "", " b\r", "c\u2028"]
    file = file_of(tmp_path, b"1\n2\n3\n4\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\ufeff\ufeffa\r\n\n b\r\r\nc\u2028".encode())))
    with rereadable("-", file) as kept:
        assert kept[1] == file
        for _ in range(2):
            assert list(read_lines(kept[0])) == lines
    assert not kept[0].exists()
    with pytest.raises(InputError, match=r"^standard input has 0 lines but .* has more"), rereadable("-", file):
        pass
    with pytest.raises(InputError, match="can be read once"), rereadable("-", "-"):
        pass


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]) | st.sampled_from(OTHER_ENDS)).filter(
            lambda line: not line.endswith("\r") and not line.startswith("\ufeff")
        )
    )
)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "round" / "trip"
    write_lines(path, lines)
    assert list(read_lines(path)) == lines
    assert path.read_bytes().count(b"\n") == len(lines)


def test_a_line_with_a_line_end_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line end"):
        write_lines(tmp_path / "text", ["a", "b\nc"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("before", [None, b"old\n"])
def test_written_whole_or_not_at_all(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "text"
    if before is not None:
        path.write_bytes(before)

    def lines() -> list[str]:
        yield "new"
        assert (path.read_bytes() if path.exists() else None) == before  # nothing to be seen while it is written
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_lines(path, lines())
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == ({} if before is None else {"text": before})
    write_lines(path, ["new"])
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {"text": b"new\n"}


def test_directories_are_made_and_bytes_kept(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "bytes"
    with written_whole(path) as stream:
        stream.write(b"\x00\r\n\xff")
    assert path.read_bytes() == b"\x00\r\n\xff"
