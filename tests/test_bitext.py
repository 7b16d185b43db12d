"""Bitexts: every pair accounted for, ids as the vocabulary says, mapped from disk, never out of date."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt import bitext
from nmt.bitext import Bitext, Limits, prepare_bitext
from nmt.errors import InputError
from nmt.vocabulary import Vocabulary, VocabularySettings, train_vocabulary

SOURCE = ["a b c", "", "d", "a a a a a a", "e f", "g"]
TARGET = ["A B", "C", "", "D", "E E E E E", "F"]
WORDS = train_vocabulary([*SOURCE, *TARGET], VocabularySettings(kind="words"), "words")
BOTH = (WORDS, WORDS)


def write(directory: Path, source: list[str], target: list[str]) -> tuple[Path, Path]:
    paths = directory / "text.zh", directory / "text.en"
    for path, lines in zip(paths, (source, target), strict=True):
        path.write_bytes("".join(line + "\n" for line in lines).encode())
    return paths


@pytest.fixture
def text(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path, SOURCE, TARGET)


def contents(pairs: Bitext) -> list[tuple[list[int], list[int]]]:
    return [(pairs.source(n).tolist(), pairs.target(n).tolist()) for n in range(len(pairs))]


def test_by_hand(text: tuple[Path, Path], tmp_path: Path) -> None:
    pairs = prepare_bitext(*text, BOTH, Limits(source=5, target=4), tmp_path / "cache")
    assert pairs.counts == (6, 2, 2, 2)
    assert pairs.counts._asdict() == {"read": 6, "kept": 2, "empty": 2, "too_long": 2}
    assert pairs.line_numbers.tolist() == [1, 6]
    assert contents(pairs) == [(WORDS.encode("a b c"), WORDS.encode("A B")), (WORDS.encode("g"), WORDS.encode("F"))]
    assert (pairs.source_lengths.tolist(), pairs.target_lengths.tolist()) == ([3, 1], [2, 1])
    for n in (2, -1):
        with pytest.raises(IndexError):
            pairs.source(n)


def test_without_limits_all_is_kept(text: tuple[Path, Path], tmp_path: Path) -> None:
    pairs = prepare_bitext(*text, BOTH, None, tmp_path / "cache")
    assert pairs.counts == (6, 6, 0, 0)
    assert contents(pairs) == [(WORDS.encode(a), WORDS.encode(b)) for a, b in zip(SOURCE, TARGET, strict=True)]


def test_limits_are_the_longest_that_is_kept(tmp_path: Path) -> None:
    text = write(tmp_path, ["a a a", "a a"], ["A", "A A"])
    assert prepare_bitext(*text, BOTH, Limits(3, 2), tmp_path).counts.kept == 2
    assert prepare_bitext(*text, BOTH, Limits(2, 2), tmp_path).counts.too_long == 1
    assert prepare_bitext(*text, BOTH, Limits(3, 1), tmp_path).counts.too_long == 1


def test_limits_count_tokens_of_the_vocabulary(tmp_path: Path) -> None:
    characters = train_vocabulary(["abcdef"], VocabularySettings(kind="char"), "text")
    text = write(tmp_path, ["abc", "abcdef"], ["ab", "a"])
    pairs = prepare_bitext(*text, (characters, characters), Limits(4, 3), tmp_path / "cache")  # ▁ and three letters
    assert pairs.line_numbers.tolist() == [1]


line = st.text("ab \u2028\u0085\r\t\u3000\x0c\ufeff", max_size=6)


@settings(max_examples=40)
@given(rows=st.lists(st.tuples(line, line), min_size=1, max_size=12), limit=st.integers(1, 4), chunk=st.integers(1, 5))
def test_every_pair_is_accounted_for(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], limit: int, chunk: int
) -> None:
    directory = tmp_path_factory.mktemp("bitext")
    text = write(directory, ["x", *(row[0] for row in rows)], ["x", *(row[1] for row in rows)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bitext, "_CHUNK", chunk)
        pairs = prepare_bitext(*text, BOTH, Limits(limit, limit), directory)
    lengths = [(len(a.split()), len(b.split())) for a, b in [("x", "x"), *rows]]
    kept = [n for n, pair in enumerate(lengths, start=1) if all(1 <= length <= limit for length in pair)]
    assert pairs.line_numbers.tolist() == kept
    assert pairs.counts.read == len(rows) + 1 == pairs.counts.kept + pairs.counts.empty + pairs.counts.too_long
    assert pairs.counts.empty == sum(0 in pair for pair in lengths)
    assert list(zip(pairs.source_lengths, pairs.target_lengths, strict=True)) == [lengths[n - 1] for n in kept]


def test_marks_and_line_ends_are_no_text(tmp_path: Path) -> None:
    source, target = tmp_path / "dos.zh", tmp_path / "unix.en"
    source.write_bytes(b"\xef\xbb\xbfa b\r\nc\r\n")
    target.write_bytes(b"A B\nC")
    pairs = prepare_bitext(source, target, BOTH, None, tmp_path)
    assert contents(pairs) == [(WORDS.encode("a b"), WORDS.encode("A B")), (WORDS.encode("c"), WORDS.encode("C"))]


def base_of(array: np.ndarray) -> object:
    while isinstance(array, np.ndarray) and array.base is not None:
        array = array.base
    return array


def test_ids_are_mapped_from_disk(text: tuple[Path, Path], tmp_path: Path) -> None:
    pairs = prepare_bitext(*text, BOTH, None, tmp_path / "cache")
    for ids in (pairs.source(0), pairs.target(0)):
        assert isinstance(base_of(ids), mmap.mmap)
        assert not ids.flags.writeable


def test_second_time_nothing_is_encoded(
    text: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = contents(prepare_bitext(*text, BOTH, None, tmp_path / "cache"))

    def fail(*_: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(bitext, "_write", fail)
    assert contents(prepare_bitext(*text, BOTH, None, tmp_path / "cache")) == first
    moved = write(tmp_path / "cache", SOURCE, TARGET)  # the same text elsewhere is the same bitext
    assert contents(prepare_bitext(*moved, BOTH, None, tmp_path / "cache")) == first


def test_old_ids_are_never_served(text: tuple[Path, Path], tmp_path: Path) -> None:
    import os

    cache = tmp_path / "cache"
    before = text[0].stat()
    prepare_bitext(*text, BOTH, None, cache)
    changed = ["g b c", *SOURCE[1:]]
    write(tmp_path, changed, TARGET)  # of the same size, and made to look as old
    os.utime(text[0], ns=(before.st_atime_ns, before.st_mtime_ns))
    assert prepare_bitext(*text, BOTH, None, cache).source(0).tolist() == WORDS.encode("g b c")
    smaller = train_vocabulary(SOURCE, VocabularySettings(kind="words"), "source only")
    assert prepare_bitext(*text, (WORDS, smaller), None, cache).target(0).tolist() == smaller.encode("A B")
    assert prepare_bitext(*text, BOTH, Limits(1, 1), cache).counts.kept == 1
    assert prepare_bitext(text[1], text[0], BOTH, None, cache).source(0).tolist() == WORDS.encode("A B")


def test_damaged_ids_are_made_anew(text: tuple[Path, Path], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    right = contents(prepare_bitext(*text, BOTH, None, cache))
    for name in ("source.ids", "target.ends", "line_numbers", "counts.json"):
        (damaged,) = cache.glob(f"*/{name}")
        damaged.write_bytes(bytes(byte ^ 1 for byte in damaged.read_bytes()))
        assert contents(prepare_bitext(*text, BOTH, None, cache)) == right


def test_processes_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bitext, "_CHUNK", 7)
    text = write(tmp_path, SOURCE * 20, TARGET * 20)
    pieces = train_vocabulary(SOURCE, VocabularySettings(kind="char"), "source")
    alone, together = (
        prepare_bitext(*text, (pieces, WORDS), Limits(5, 4), tmp_path / str(workers), workers) for workers in (1, 2)
    )
    assert contents(alone) == contents(together)
    assert alone.counts == together.counts
    assert alone.line_numbers.tolist() == together.line_numbers.tolist()


def refused(
    source: Path, target: Path, cache: Path, limits: Limits | None = None, both: tuple[Vocabulary, Vocabulary] = BOTH
) -> str:
    with pytest.raises(InputError) as told:
        prepare_bitext(source, target, both, limits, cache)
    assert not cache.exists() or list(cache.iterdir()) == []
    assert "\n" not in str(told.value)
    return str(told.value)


def test_bad_input_is_told_in_a_sentence(text: tuple[Path, Path], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    source, target = text
    assert refused(tmp_path / "no.zh", target, cache) == f"{tmp_path / 'no.zh'}: no such file"
    assert "is a directory" in refused(source, tmp_path, cache)
    short = tmp_path / "short.en"
    short.write_text("A\n")
    assert refused(source, short, cache).startswith(f"{short} has 1 lines but {source} has more")
    invalid = tmp_path / "latin1.en"
    invalid.write_bytes(b"A\nB\n\xe9\n\n\n\n")
    assert refused(source, invalid, cache).startswith(f"{invalid}, line 3: invalid UTF-8")
    empty = tmp_path / "empty"
    empty.write_text("")
    assert "the files are empty" in refused(empty, empty, cache)
    assert "of 6 read 2 have an empty side and 4 are too long" in refused(source, target, cache, Limits(0, 0))
