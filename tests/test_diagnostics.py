"""Diagnostics of attention: every measure against plain loops and numbers worked by hand; texts as they stream."""

from __future__ import annotations

import doctest
import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from runs import Trained, prepared, reversals, write_project
from torch import Tensor

from nmt import diagnostics
from nmt.batching import collate
from nmt.diagnostics import MEASURES, Sight, diagnose, sights
from nmt.metrics import coverage, ignored
from nmt.model import Model, Trace
from nmt.text import read_parallel
from nmt.translator import Translator
from nmt.tree import State

# ------------------------------------------------------------------------------------------- measures of one sentence

HAND = Sight(
    context_TE=np.array([[1.0, 3.0], [3.0, 3.0], [2.0, 6.0]]),
    weight_TS=np.array([[0.5, 0.5, 0.0], [0.0, 0.995, 0.005], [0.0, 0.25, 0.75]]),
    word_JI=np.array([[0.1, 0.9, 0.0], [0.1, 0.8, 0.0], [0.0, 0.9, 0.0], [0.8, 0.0, 0.1], [0.0, 0.0, 0.0]]),
)
# ln 2; the two terms of 0.995 and 0.005; the two of 1/4 and 3/4
ENTROPY = 0.69314718, 0.00498748 + 0.02649159, 0.34657359 + 0.21576155


def value(name: str, *seen: Sight) -> float:
    """A measure of several sentences: the ratio of its sums."""
    totals, counts = zip(*(MEASURES[name](one) for one in seen), strict=True)
    return sum(totals) / sum(counts)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("variance_over_steps", (2 / 3 + 2) / 2),  # dimension 1: 1 3 2, mean 2; dimension 2: 3 3 6, mean 4
        ("variance_over_dimensions", (1 + 0 + 4) / 3),
        ("entropy", sum(ENTROPY) / 3),
        ("to_end", (0 + 0.005 + 0.75) / 3),
        ("collapsed", 1 / 3),
        ("coverage", (1.0 + 2.6 + 0.1) / 3),
        ("ignored", 1 / 3),
        ("overloaded", 1 / 3),
        ("monotone", 2 / 3),  # word 1, 1, 1, then back to 0; the last looks nowhere
    ],
)
def test_by_hand(name: str, wanted: float) -> None:
    assert value(name, HAND) == pytest.approx(wanted, abs=1e-7)


def drawn(seed: int) -> Sight:
    random = np.random.default_rng(seed)
    steps, places, size, words, sources = random.integers(2, 7, size=5)
    weight_TS = random.dirichlet(np.full(places, 0.2), size=steps)
    weight_TS[0] = np.eye(places)[0]
    return Sight(
        random.normal(size=(steps, size)), weight_TS, random.dirichlet(np.full(sources + 1, 0.3), size=words)[:, 1:]
    )


def loops(seen: Sight) -> dict[str, tuple[float, float]]:
    """Every measure as its definition reads, in plain Python."""
    context, weight, word = (one.tolist() for one in seen)
    columns = [[row[i] for row in word] for i in range(len(word[0]))]
    received = [sum(column) for column in columns]

    def variance(numbers: list[float]) -> float:
        mean = sum(numbers) / len(numbers)
        return sum((one - mean) ** 2 for one in numbers) / len(numbers)

    over_steps = [variance([row[e] for row in context]) for e in range(len(context[0]))]
    over_dimensions = [variance(row) for row in context]
    places = [max(range(len(row)), key=lambda i: (row[i], -i)) for row in word]
    return {
        "variance_over_steps": (sum(over_steps) / len(over_steps), 1),
        "variance_over_dimensions": (sum(over_dimensions) / len(over_dimensions), 1),
        "entropy": (-sum(p * math.log(p) for row in weight for p in row if p > 0), len(weight)),
        "to_end": (sum(row[-1] for row in weight), len(weight)),
        "collapsed": (len([row for row in weight if max(row) > 0.99]), len(weight)),
        "coverage": (sum(received), len(received)),
        "ignored": (len([one for one in received if one < 0.2]), len(received)),
        "overloaded": (len([one for one in received if one > 2]), len(received)),
        "monotone": (len([j for j in range(1, len(places)) if places[j] >= places[j - 1]]), len(places) - 1),
    }


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("seed", range(20))
def test_equals_the_loops(name: str, seed: int) -> None:
    assert MEASURES[name](drawn(seed)) == pytest.approx(loops(drawn(seed))[name], abs=1e-10)


def test_one_step_has_no_variance_over_steps_and_one_word_no_order() -> None:
    one = Sight(np.array([[1.0, 5.0]]), np.array([[0.5, 0.5]]), np.array([[0.5]]))
    assert MEASURES["variance_over_steps"](one) == (0, 0)
    assert MEASURES["variance_over_dimensions"](one) == (4, 1)
    assert MEASURES["monotone"](one) == (0, 0)
    assert value("variance_over_steps", one, HAND) == pytest.approx(4 / 3)


def test_contexts_that_do_not_change_and_attention_that_lies_on_the_diagonal() -> None:
    still = Sight(np.full((4, 3), 0.7), np.eye(4, 5), np.eye(4))
    told = {name: value(name, still) for name in MEASURES}
    assert told == pytest.approx(
        dict.fromkeys(MEASURES, 0.0) | {"collapsed": 1.0, "coverage": 1.0, "monotone": 1.0}, abs=1e-15
    )
    assert value("monotone", still._replace(word_JI=np.eye(4)[::-1])) == 0.0


# ------------------------------------------------------------------------------------------------- texts and models

TEXT = [(" ".join(words), " ".join(reversed(words))) for words in reversals(25, seed=9, longest=12)]
TEXT += [("ab cd e", "hg f ba"), ("a", "b"), ("a b ▁", "ba c ▁")]  # a word without a piece


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Translator:
    """Pieces on both sides, of two kinds; barely trained, so that no weight is 0 or 1."""
    directory = tmp_path_factory.mktemp("run")
    path = write_project(directory)
    overrides = ("text.source={kind: char}", "text.target={kind: bpe, size: 18}", "model.dropout.output=0.3")
    Trained(*prepared(path, *overrides, "model.dropout.embedding=0.3"), directory / "run").run()
    return Translator.load(directory / "run", "cpu")


def test_a_sight_is_what_the_model_saw_of_that_pair_alone(translator: Translator) -> None:
    for (source, target), seen in zip(TEXT[-3:], sights_in_order(translator, TEXT[-3:]), strict=True):
        ids = translator.vocabularies[0].encode(source), translator.vocabularies[1].encode(target)
        batch = collate([ids[0]], [ids[1]], [0])
        with torch.no_grad():
            trace = translator.model(batch.source_BS, batch.source_valid_BS, batch.input_BT)
        assert seen.context_TE == pytest.approx(trace.context_BTE[0, :-1].double().numpy(), abs=1e-6)
        assert seen.weight_TS == pytest.approx(trace.weight_BTS[0, :-1].double().numpy(), abs=1e-6)
        assert seen.weight_TS.shape == (len(ids[1]), len(ids[0]) + 1)
        assert seen.word_JI.shape == (len(target.split()), len(source.split()))


def sights_in_order(translator: Translator, text: list[tuple[str, str]]) -> list[Sight]:
    return [next(sights(translator, [pair])) for pair in text]


def test_words_are_those_of_forced_alignment(translator: Translator) -> None:
    matrices = [one.matrix() for one in translator.align(*map(list, zip(*TEXT, strict=True)))]
    for seen, matrix in zip(sights_in_order(translator, TEXT), matrices, strict=True):
        np.testing.assert_allclose(seen.word_JI, matrix, atol=1e-6)
    told = diagnose(translator, TEXT).measures
    assert told["coverage"] == pytest.approx(coverage(matrices).value, abs=1e-6)
    assert 100 * (told["ignored"] or 0.0) == pytest.approx(ignored(matrices).value, abs=1e-6)


@pytest.mark.parametrize("tokens", [1, 30, 100_000])
@pytest.mark.parametrize("chunk", [1, 4, 1000])
def test_padding_batch_mates_and_pieces_of_a_text_change_nothing(
    translator: Translator, monkeypatch: pytest.MonkeyPatch, tokens: int, chunk: int
) -> None:
    wanted = {name: value(name, *sights_in_order(translator, TEXT)) for name in MEASURES}
    monkeypatch.setattr(diagnostics, "CHUNK", chunk)
    monkeypatch.setattr(translator, "search", translator.search.model_copy(update={"batch_tokens": tokens}))
    found = diagnose(translator, TEXT)
    assert (found.sentences, found.left_out) == (len(TEXT), 0)
    assert found.measures == pytest.approx(wanted, rel=1e-5)


def test_a_text_streams(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics, "CHUNK", 5)
    read = []

    def pairs() -> Iterator[tuple[str, str]]:
        for number in range(12):
            read.append(number)
            yield TEXT[number]

    stream = sights(translator, pairs())
    next(stream)
    assert len(read) == 5
    assert len(list(stream)) == 11


def test_empty_sides_are_left_out_and_counted(translator: Translator) -> None:
    found = diagnose(translator, [("", "a b"), *TEXT, ("a", ""), (" ", "\u3000")])
    assert (found.sentences, found.left_out) == (len(TEXT), 3)
    assert found.measures == diagnose(translator, TEXT).measures
    nothing = diagnose(translator, [("", "a")])
    assert (nothing.sentences, nothing.left_out) == (0, 1)
    assert set(nothing.measures.values()) == {None}
    assert diagnose(translator, []).measures == nothing.measures


def test_training_mode_is_no_mode_to_measure_in(translator: Translator) -> None:
    wanted = diagnose(translator, TEXT)
    translator.model.train()
    assert diagnose(translator, TEXT) == wanted


class Uniform(Model):
    """Another model: it looks everywhere alike, and what it sees is the number of the step."""

    def encode(self, source_BS: Tensor, valid_BS: Tensor) -> State:
        return valid_BS

    def start(self, memory: State) -> State:
        return ()

    def decode(self, token_BT: Tensor, memory: State, state: State) -> tuple[Trace, State]:
        valid_BTS = memory.unsqueeze(1).expand(-1, token_BT.shape[1], -1).float()
        step_BT1 = torch.arange(token_BT.shape[1]).expand_as(token_BT).unsqueeze(-1).float()
        zero_BT = torch.zeros(token_BT.shape)
        weight_BTS = valid_BTS / valid_BTS.sum(dim=-1, keepdim=True)
        return Trace(zero_BT.unsqueeze(-1), weight_BTS, zero_BT, step_BT1.repeat(1, 1, 2), memory.float()), state


def test_any_model_will_do(translator: Translator) -> None:
    other = Translator(Uniform(), translator.vocabularies, translator.search, torch.device("cpu"))
    target = translator.vocabularies[1]
    steps = [len(target.encode(text)) for text in ("c d", "c d e g")]
    told = diagnose(other, [("a b", "c d"), ("a b", "c d e g")]).measures  # two pieces a source word
    assert told["entropy"] == pytest.approx(math.log(5))
    assert told["to_end"] == pytest.approx(1 / 5)
    assert told["variance_over_steps"] == pytest.approx(sum((count**2 - 1) / 12 for count in steps) / 2)
    assert told["variance_over_dimensions"] == 0.0
    assert told["coverage"] == pytest.approx((2 * 2 * 2 / 5 + 4 * 2 * 2 / 5) / 4)


def test_files_are_texts(translator: Translator, tmp_path: Path) -> None:
    for number, name in enumerate(("src", "ref")):
        (tmp_path / name).write_text("".join(f"{pair[number]}\n" for pair in TEXT))
    assert diagnose(translator, read_parallel(tmp_path / "src", tmp_path / "ref")) == diagnose(translator, TEXT)


# ---------------------------------------------------------------------------------------------------- documentation


def test_examples_give_what_the_page_says(repository: Path) -> None:
    page = (repository / "docs" / "diagnostics.md").read_text(encoding="utf-8")
    source = "\n".join(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL))
    examples = doctest.DocTestParser().get_doctest(source, {}, "diagnostics.md", "diagnostics.md", 0)
    assert len(examples.examples) == 4
    assert doctest.DocTestRunner().run(examples).failed == 0
    assert all(f"`{name}`" in page for name in MEASURES)
