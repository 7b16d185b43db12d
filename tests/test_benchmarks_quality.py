"""What JoeyNMT is given to learn beside a run of ours: the same pieces, sizes and number of updates."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from benchmarks.quality import configuration, export, text_of
from nmt.corpus import Corpus, TextPair
from nmt.text import read_lines, write_lines
from nmt.vocabulary import Vocabulary, VocabularySettings, train_vocabulary

LINES = ["ein mann geht nach hause", "eine frau geht in das haus", "das kind geht", "ein haus und eine frau"]
REPOSITORY = Path(__file__).resolve().parent.parent


def vocabulary(kind: str) -> Vocabulary:
    size = {"words": None, "unigram": 25, "bpe": 40}[kind]
    return train_vocabulary(LINES, VocabularySettings(kind=kind, size=size), "lines")


@pytest.mark.parametrize("kind", ["words", "unigram", "bpe"])
def test_pieces_come_back_as_the_text(kind: str, tmp_path: Path) -> None:
    text = tmp_path / "text"
    write_lines(text, LINES)
    pair = TextPair(text, text)
    corpus = Corpus(
        name="lines",
        licence="ours",
        source_language="de",
        target_language="de",
        tokenised=True,
        train=pair,
        dev=pair,
        tests={"near": pair, "far": pair},
    )
    known = vocabulary(kind)
    export(tmp_path, corpus, (known, known))
    for part in ("train", "dev", "near", "far"):
        written = list(read_lines(tmp_path / f"{part}.target"))
        assert [text_of(line, known) for line in written] == LINES
        assert {piece for line in written for piece in line.split()} <= set(read_lines(tmp_path / "words.target"))
    assert len(list(read_lines(tmp_path / "words.source"))) == len(known) - 4
    export(tmp_path, corpus, (known, known), judged=1)
    assert [len(list(read_lines(tmp_path / f"{part}.source"))) for part in ("train", "dev", "far")] == [
        len(LINES),
        1,
        len(LINES),
    ]


@pytest.mark.parametrize("name", ["de-en-multi30k-rnnsearch", "de-en-multi30k-transformer"])
def test_sizes_are_the_recipes(name: str, tmp_path: Path) -> None:
    write_lines(tmp_path / "train.source", ["a"] * 100)
    recipe = yaml.safe_load((REPOSITORY / "recipes" / f"{name}.yaml").read_text(encoding="utf-8"))
    asked = configuration(tmp_path, recipe, updates=40, epochs=4, test="far")
    model, training = asked["model"], asked["training"]
    assert [Path(asked["data"][part]).name for part in ("train", "dev", "test")] == ["train", "dev", "far"]
    assert training["updates"] == 40
    assert training["batch_size"] == 10  # 100 pairs in the 10 updates of an epoch
    assert training["validation_freq"] == 10
    assert training["learning_rate"] == recipe["training"]["optimiser"]["rate"]
    assert training["label_smoothing"] == 0.1
    assert model["tied_softmax"]
    for side in ("encoder", "decoder"):
        assert model[side]["embeddings"]["embedding_dim"] == recipe["model"]["embedding"]
        assert model[side]["hidden_size"] == recipe["model"]["embedding"]
        assert model[side]["num_layers"] == recipe["model"].get(f"{side}_layers", 1)
    if name.endswith("transformer"):
        assert model["encoder"]["ff_size"] == recipe["model"]["hidden"]
        assert training["scheduling"] == "warmupinversesquareroot"
        assert training["adam_betas"] == [0.9, 0.98]
