"""Bitexts: every pair accounted for, ids as the vocabulary says, mapped from disk, never out of date."""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt import bitext
from nmt.bitext import Bitext, Limits, prepare_bitext
from nmt.errors import InputError
from nmt.kept import key_of
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


# ---------------------------------------------------------------------------------------------------- word links

LINKS = ["0-0 2p1", "", "", "5-0 0-0", "1-4", "0p0"]
# Every letter a piece, and ▁ one before each word: ▁ a b ▁ c
LETTERS = train_vocabulary(["abc ABC de DE"], VocabularySettings(kind="char"), "letters")


def write_links(directory: Path, lines: list[str], name: str = "text.links") -> Path:
    (directory / name).write_text("".join(line + "\n" for line in lines))
    return directory / name


def linked(
    directory: Path,
    rows: list[tuple[str, str, str]],
    both: tuple[Vocabulary, Vocabulary] = BOTH,
    limits: Limits | None = None,
    workers: int = 1,
) -> Bitext:
    text = write(directory, [row[0] for row in rows], [row[1] for row in rows])
    links = write_links(directory, [row[2] for row in rows])
    return prepare_bitext(*text, both, limits, directory / "cache", workers, links)


def test_links_of_words_by_hand(tmp_path: Path) -> None:
    rows = list(zip(SOURCE, TARGET, LINKS, strict=True))
    pairs = linked(tmp_path, rows, limits=Limits(source=5, target=4))
    assert pairs.line_numbers.tolist() == [1, 6]
    assert pairs.links(0).tolist() == [[0, 0, 1], [1, 2, 0]]  # target, source, sure
    assert pairs.links(1).tolist() == [[0, 0, 0]]
    assert pairs.link_count == 3
    assert linked(tmp_path, rows).links(1).shape == (0, 3)


def test_links_of_pieces_by_hand(tmp_path: Path) -> None:
    pairs = linked(tmp_path, [("ab c", "A BC", "0-1 1p0")], (LETTERS, LETTERS))
    assert LETTERS.pieces(pairs.source(0).tolist()) == ["▁", "a", "b", "▁", "c"]
    assert LETTERS.pieces(pairs.target(0).tolist()) == ["▁", "A", "▁", "B", "C"]
    possible = [[t, s, 0] for t in (0, 1) for s in (3, 4)]
    sure = [[t, s, 1] for t in (2, 3, 4) for s in (0, 1, 2)]
    assert pairs.links(0).tolist() == possible + sure


def test_a_word_that_normalising_leaves_nothing_of_has_no_links(tmp_path: Path) -> None:
    rows = [("▁ ab", "A ▁ BC", "0-0 1-1 1-2")]  # sentencepiece reads ▁ as a space
    pairs = linked(tmp_path, rows, (LETTERS, LETTERS))
    assert pairs.links(0).tolist() == [[t, s, 1] for t in (2, 3, 4) for s in (0, 1, 2)]


word_list = st.lists(st.text("abcdeABCDE", min_size=1, max_size=3), min_size=1, max_size=4)


@settings(max_examples=40)
@given(data=st.data(), source=word_list, target=word_list)
def test_pieces_are_linked_where_their_words_are(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, source: list[str], target: list[str]
) -> None:
    every = [(i, j, mark) for i in range(len(source)) for j in range(len(target)) for mark in "-p"]
    chosen = data.draw(st.lists(st.sampled_from(every), unique_by=lambda link: link[:2]))
    line = " ".join(f"{i}{mark}{j}" for i, j, mark in chosen)
    pairs = linked(tmp_path_factory.mktemp("links"), [(" ".join(source), " ".join(target), line)], (LETTERS, WORDS))
    # Told by the pieces alone: a word begins with its ▁. The target's words are its pieces.
    words = np.cumsum([piece == "▁" for piece in LETTERS.pieces(pairs.source(0).tolist())]) - 1
    wanted = [[j, s, int(mark == "-")] for i, j, mark in chosen for s in np.flatnonzero(words == i).tolist()]
    assert pairs.links(0).tolist() == sorted(wanted)


def test_a_bitext_without_links_has_none_and_keeps_its_key_and_files(text: tuple[Path, Path], tmp_path: Path) -> None:
    pairs = prepare_bitext(*text, BOTH, Limits(5, 4), tmp_path / "cache")
    wanted = key_of(
        format=1,
        texts=[hashlib.sha256(path.read_bytes()).hexdigest() for path in text],
        vocabularies=[WORDS.digest()] * 2,
        limits=[5, 4],
    )
    assert pairs.key == wanted[:32]
    (directory,) = (tmp_path / "cache").iterdir()
    names = {"source.ids", "target.ids", "source.ends", "target.ends", "line_numbers", "counts.json", "manifest.json"}
    assert {path.name for path in directory.iterdir()} == names
    assert [pairs.links(n).shape for n in range(2)] == [(0, 3)] * 2
    assert pairs.link_count == 0


def test_other_links_are_another_bitext(text: tuple[Path, Path], tmp_path: Path) -> None:
    def prepared(links: Path | None) -> Bitext:
        return prepare_bitext(*text, BOTH, None, tmp_path / "cache", 1, links)

    first = prepared(write_links(tmp_path, LINKS))
    other = prepared(write_links(tmp_path, ["1-1", *LINKS[1:]], "other.links"))
    moved = prepared(write_links(tmp_path, LINKS, "moved.links"))
    assert len({first.key, other.key, prepared(None).key}) == 3
    assert moved.key == first.key
    assert other.links(0).tolist() == [[1, 1, 1]]
    assert first.links(0).tolist() == [[0, 0, 1], [1, 2, 0]]


def test_links_are_mapped_from_disk(tmp_path: Path) -> None:
    links = linked(tmp_path, list(zip(SOURCE, TARGET, LINKS, strict=True))).links(0)
    assert isinstance(base_of(links), mmap.mmap)
    assert not links.flags.writeable


@pytest.mark.parametrize("workers", [1, 2])
def test_processes_give_the_same_links_and_the_same_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(bitext, "_CHUNK", 7)
    rows = list(zip(SOURCE, TARGET, LINKS, strict=True)) * 5
    pairs = linked(tmp_path, rows, (LETTERS, WORDS), workers=workers)
    monkeypatch.setattr(bitext, "_CHUNK", 100)
    (tmp_path / "whole").mkdir()
    whole = linked(tmp_path / "whole", rows, (LETTERS, WORDS))
    assert [pairs.links(n).tolist() for n in range(30)] == [whole.links(n).tolist() for n in range(30)]
    rows[16] = ("e f", "E E", "2-1")
    with pytest.raises(InputError, match=r"text\.links, line 17: link 2-1 is out of range, the source has 2 words"):
        linked(tmp_path, rows, (LETTERS, WORDS), workers=workers)


@pytest.mark.parametrize(
    ("links", "sentence"),
    [
        (["0-0", *LINKS[1:4], "1:4", ""], r"text\.links, line 5: '1:4' is no link; links are written 0-0"),
        (["0-0 3-1", *LINKS[1:]], r"text\.links, line 1: link 3-1 is out of range, the source has 3 words"),
        (["1-1 3-2", *LINKS[1:]], r"line 1: link 3-2 is out of range.*counts from 1 and was read as counting from 0"),
        (["0-0 1-2", *LINKS[1:]], r"line 1: link 1-2 is out of range.*has the target first and the source second"),
        (LINKS[:5], r"text\.links has 5 lines but .*text\.zh has more"),
        ([*LINKS, "0-0"], r"text\.zh has 6 lines but .*text\.links has more"),
        (["1 0 0 S", *LINKS[1:]], r"text\.links, line 1: '1' is no link"),
    ],
)
def test_bad_links_are_told_in_a_sentence(
    text: tuple[Path, Path], tmp_path: Path, links: list[str], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence) as told:
        prepare_bitext(*text, BOTH, None, tmp_path / "cache", 1, write_links(tmp_path, links))
    assert "\n" not in str(told.value)
    with pytest.raises(InputError, match=r"no\.links: no such file"):
        prepare_bitext(*text, BOTH, None, tmp_path / "cache", 1, tmp_path / "no.links")
    assert list((tmp_path / "cache").iterdir()) == []
