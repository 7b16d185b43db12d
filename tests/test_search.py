"""Search against brute force over all translations, against the plainest search, and against forced decoding."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from references import every_translation
from searching import SOURCE, SOURCES, WORDS, WORDY, Toy, V, a_model, batch_of, ranked, searched

from nmt.model import Model
from nmt.search import NORMALISATIONS, Hypothesis, SearchSettings, force
from nmt.vocabulary import BOS, EOS, PAD, UNK


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


every_ranking = pytest.mark.parametrize("normalise", NORMALISATIONS)


# ---------------------------------------------------------------------------------------------------- brute force


@every_ranking
@pytest.mark.parametrize("alpha", [0.6, 1.0])
@pytest.mark.parametrize(
    "limits",
    [{}, {"minimum_length": 2}, {"unknown": False}, {"minimum_length": 4}],
    ids=["free", "at least two", "known words", "just four"],
)
def test_a_beam_that_drops_nothing_finds_every_translation(normalise: str, alpha: float, limits: dict) -> None:
    toy = Toy()
    words = WORDS if limits.get("unknown", True) else WORDS[1:]
    everything = every_translation(
        lambda prefix: toy.log_prob([*SOURCE, EOS], prefix), words, EOS, limits.get("minimum_length", 0), 4
    )
    wanted = sorted(
        ((ranked(total, len(said), normalise, alpha), total, list(said)) for said, total in everything), reverse=True
    )
    settings = {"normalise": normalise, "alpha": alpha, "maximum_length": 4, **limits}
    [found] = searched(toy, [SOURCE], beam=130, n_best=130, **settings)
    assert [one.tokens for one in found] == [said for _, _, said in wanted]
    assert [one.log_prob for one in found] == pytest.approx([total for _, total, _ in wanted], abs=1e-10)
    assert [one.score for one in found] == pytest.approx([score for score, _, _ in wanted], abs=1e-10)
    assert [one.tokens for one in searched(toy, [SOURCE], beam=130, n_best=7, **settings)[0]] == [
        said for _, _, said in wanted[:7]
    ]


@every_ranking
def test_the_same_for_a_recurrent_model(normalise: str) -> None:
    model = a_model()
    settings = SearchSettings(beam=50, n_best=50, normalise=normalise, alpha=0.8, maximum_length=3)
    everything = [list(said) for said, _ in every_translation(lambda prefix: [0.0] * V, WORDS, EOS, 0, 3)]
    forced = force(model, batch_of([SOURCE] * len(everything), everything), settings)
    wanted = sorted(forced, key=lambda one: -ranked(one.log_prob, len(one.tokens), normalise, 0.8))
    [found] = searched(model, [SOURCE], **dict(settings))
    assert [one.tokens for one in found] == [one.tokens for one in wanted]
    assert [one.score for one in found] == pytest.approx([one.score for one in wanted], abs=1e-10)


def test_all_probability_is_found() -> None:
    """Where PAD and BOS are impossible, all translations up to a length and the prefixes cut off share 1."""
    bias = [-50.0 if word in (PAD, BOS) else 0.0 for word in range(V)]
    toy = Toy(bias)
    [found] = searched(toy, [SOURCE], beam=130, n_best=130, maximum_length=4)
    cut_off = 0.0
    for one in found:
        if len(one.tokens) == 4:
            end = toy.log_prob([*SOURCE, EOS], one.tokens)[EOS]
            cut_off += math.exp(one.log_prob - end) * (1 - math.exp(end))
    assert sum(math.exp(one.log_prob) for one in found) + cut_off == pytest.approx(1, abs=1e-10)


# --------------------------------------------------------------------------------------------- greedy, beam, forced


@pytest.mark.parametrize("source", [[4], [5], [4, 4], [5, 4, 5], [4, 5, 4, 5]])
def test_a_beam_of_one_takes_the_likeliest_word_each_time(source: list[int]) -> None:
    toy, said = Toy(WORDY), []
    while len(said) < 2 * len(source) + 10:
        after = toy.log_prob([*source, EOS], said)
        word = max([UNK, EOS, 4, 5], key=lambda word: after[word])
        if word == EOS:
            break
        said.append(word)
    [[found]] = searched(toy, [source], beam=1)
    assert found.tokens == said


def check_forced(model: Model, found: list[list[Hypothesis]], settings: SearchSettings, tolerance: float) -> None:
    for source, hypotheses in zip(SOURCES, found, strict=True):
        assert len(hypotheses) == settings.n_best
        batch = batch_of([source] * len(hypotheses), [one.tokens for one in hypotheses])
        for one, again in zip(hypotheses, force(model, batch, settings), strict=True):
            assert one.tokens == again.tokens
            assert one.log_prob == pytest.approx(again.log_prob, rel=tolerance, abs=tolerance)
            assert one.score == pytest.approx(again.score, rel=tolerance, abs=tolerance)
            assert one.weight_TS.shape == again.weight_TS.shape == (len(one.tokens) + 1, len(source) + 1)
            torch.testing.assert_close(one.weight_TS, again.weight_TS, rtol=0, atol=1e-6)
        assert len({tuple(one.tokens) for one in hypotheses}) == len(hypotheses)
        assert [one.score for one in hypotheses] == sorted((one.score for one in hypotheses), reverse=True)


@every_ranking
def test_the_score_and_attention_of_a_hypothesis_are_its_forced_ones(normalise: str) -> None:
    toy = Toy(WORDY)
    settings = SearchSettings(beam=5, n_best=5, normalise=normalise, alpha=0.7)
    found = searched(toy, SOURCES, **dict(settings))
    assert len({len(one.tokens) for hypotheses in found for one in hypotheses}) > 5  # they end at different times
    check_forced(toy, found, settings, 1e-10)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("wiring", ["look-then-update", "conditional", "update-then-look"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_same_of_a_recurrent_model(dtype: torch.dtype, tolerance: float, wiring: str, cell: str) -> None:
    model = a_model(dtype, wiring=wiring, cell=cell, decoder_layers=2)
    settings = SearchSettings(beam=4, n_best=4)
    check_forced(model, searched(model, SOURCES, beam=4, n_best=4), settings, tolerance)


def test_forced_scores_and_attention_equal_plain_python() -> None:
    toy = Toy()
    sources, targets = [[4], [5, 4, 4], [4, 5]], [[5, 4, UNK, 4], [], [4]]
    forced = force(toy, batch_of(sources, targets), SearchSettings(normalise="average", alpha=0.5))
    for source, target, one in zip(sources, targets, forced, strict=True):
        whole = [*source, EOS]
        words = [*target, EOS]
        total = sum(toy.log_prob(whole, target[:t])[word] for t, word in enumerate(words))
        assert one.tokens == target
        assert one.log_prob == pytest.approx(total, abs=1e-10)
        assert one.score == pytest.approx(total / len(words) ** 0.5, abs=1e-10)
        assert one.weight_TS.shape == (len(words), len(whole))
        assert one.weight_TS.argmax(dim=1).tolist() == [toy.place(whole, target[:t]) for t in range(len(words))]


@every_ranking
@pytest.mark.parametrize("model", [Toy(WORDY), None], ids=["toy", "recurrent"])
@pytest.mark.parametrize("beam", [1, 4])
def test_batch_mates_change_nothing(normalise: str, model: Model | None, beam: int) -> None:
    model = model or a_model()
    settings = {"normalise": normalise, "beam": beam, "n_best": beam}
    together = searched(model, SOURCES, **settings)
    for source, found in zip(SOURCES, together, strict=True):
        [alone] = searched(model, [source], **settings)
        assert [one.tokens for one in found] == [one.tokens for one in alone]
        assert [one.score for one in found] == pytest.approx([one.score for one in alone], abs=1e-10)
        for one, other in zip(found, alone, strict=True):
            torch.testing.assert_close(one.weight_TS, other.weight_TS, rtol=0, atol=1e-6)
    assert [[one.tokens for one in hypotheses] for hypotheses in searched(model, SOURCES[::-1], **settings)] == [
        [one.tokens for one in hypotheses] for hypotheses in together[::-1]
    ]
