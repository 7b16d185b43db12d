"""From a recipe to ids: the right text, once, with what was left out told."""

from __future__ import annotations

from pathlib import Path

import pytest
from runs import prepared, quiet, write_project

import nmt.preparation
from nmt.errors import InputError
from nmt.preparation import load_vocabularies, prepare, save_vocabularies
from nmt.recipe import load_recipe


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path)


def test_ids_are_those_of_the_text(project: Path) -> None:
    _, data = prepared(project)
    sources, targets = ((project.parent / f"train.{side}").read_text().split("\n") for side in ("src", "trg"))
    assert len(data.train) == 60
    for n in range(len(data.train)):
        line = int(data.train.line_numbers[n]) - 1
        assert data.vocabularies[0].decode(data.train.source(n).tolist()) == sources[line]
        assert data.vocabularies[1].decode(data.train.target(n).tolist()) == targets[line]


def test_what_is_left_out_is_counted_and_told(project: Path) -> None:
    for side in ("src", "trg"):
        with open(project.parent / f"train.{side}", "a", encoding="utf-8") as stream:
            stream.write("\n" if side == "src" else "a b\n")  # an empty side
            stream.write(" \u3000\na b c d e f\na a\n")  # empty on both sides; too long on both; fine
    said: list[str] = []
    data = prepare(load_recipe(project, ["text.longest_source=5"]), said.append)
    assert data.train.counts == (64, 61, 2, 1)
    assert said[-1] == (
        "training pairs: 61 of 64 (2 with an empty side and 1 longer than 5 source or 50 target tokens left out)"
    )
    assert "vocabularies: 12 source, 12 target (words)" in said


def test_every_pair_of_the_development_set_counts(project: Path) -> None:
    for side in ("src", "trg"):
        with open(project.parent / f"dev.{side}", "a", encoding="utf-8") as stream:
            stream.write("\n" + "a " * 200 + "\n")
    assert len(prepared(project)[1].dev) == 8


def test_a_second_time_nothing_is_made_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepared(project)[1]

    def never(*args: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(nmt.preparation, "train_vocabulary", never)
    monkeypatch.setattr("nmt.bitext._write", never)
    assert prepared(project, "seed=9")[1].train.key == first.train.key


def test_another_text_or_limit_has_another_key(project: Path) -> None:
    keys = {prepared(project, f"text.longest_source={limit}")[1].train.key for limit in (4, 5)}
    (project.parent / "train.src").write_text("a\n" * 60, encoding="utf-8")
    keys.add(prepared(project)[1].train.key)
    assert len(keys) == 3


def test_a_joint_vocabulary_is_one(project: Path) -> None:
    (project.parent / "train.trg").write_text("x y z\n" * 60, encoding="utf-8")
    source, target = prepared(project, "text.joint=true")[1].vocabularies
    assert source.digest() == target.digest()
    assert len(source) == 4 + 8 + 3
    source, target = prepared(project)[1].vocabularies
    assert (len(source), len(target)) == (12, 7)


@pytest.mark.parametrize("kind", ["words", "unigram", "bpe", "char", "word"])
def test_vocabularies_come_back(project: Path, tmp_path: Path, kind: str) -> None:
    size = ", size: 14" if kind in ("unigram", "bpe") else ""
    made = prepared(project, *(f"text.{side}={{kind: {kind}{size}}}" for side in ("source", "target")))[1].vocabularies
    save_vocabularies(made, tmp_path / "kept")
    for one, same in zip(made, load_vocabularies(tmp_path / "kept"), strict=True):
        assert same.digest() == one.digest()
        assert same.encode("a b h") == one.encode("a b h")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda at: (at / "train.src").unlink(), r"train\.src: no such file"),
        (lambda at: (at / "train.src").write_text(""), r"train\.src: no words in it"),
        (lambda at: (at / "train.src").write_text("a\n"), r"train\.src has 1 lines but .*train\.trg has more"),
        (lambda at: (at / "dev.trg").write_text("a\n" * 9), r"dev\.src has 6 lines but .*dev\.trg has more"),
        (lambda at: (at / "test.gold").write_text("0-0\n"), r"test\.gold has 1 lines but .*test\.src has more"),
        (lambda at: (at / "train.trg").write_bytes(b"a\n\xff\n"), r"train\.trg, line 2: invalid UTF-8 at byte 1"),
        (lambda at: (at / "train.trg").write_text("\n" * 60), r"train\.trg: no words in it"),
        (lambda at: (at / "corpus.yaml").unlink(), r"corpus\.yaml: no such file"),
        (lambda at: (at / "corpus.yaml").write_text("kind: fils\n"), r"corpus\.yaml, line 1: kind: must be"),
    ],
)
def test_bad_text_is_told_in_a_sentence(project: Path, change: object, sentence: str) -> None:
    change(project.parent)  # type: ignore[operator]
    with pytest.raises(InputError, match=sentence) as told:
        prepare(load_recipe(project), quiet)
    assert "\n" not in str(told.value)


def test_a_text_that_is_a_directory(project: Path) -> None:
    (project.parent / "train.src").unlink()
    (project.parent / "train.src").mkdir()
    with pytest.raises(InputError, match=r"train\.src: is a directory, a text file was expected"):
        prepared(project)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("text.source={kind: words, size: 13}", r"train\.src: a vocabulary of size 13 is larger than the text allows"),
        ("text.target={kind: unigram, size: 500}", r"train\.trg: .*size 500 is larger than the text allows"),
        ("text.target={kind: bpe, size: 7}", r"train\.trg: .*size 7 does not hold the text's characters"),
        ("text.longest_source=1", r"no pair is left to use; of 60 read 0 have an empty side and 60 are too long"),
    ],
)
def test_settings_that_the_text_does_not_allow(project: Path, override: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        prepared(project, override)
    assert not list(project.parent.glob("downloads/ids/.*")), "nothing half-made is left"
