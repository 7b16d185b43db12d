"""Search against brute force over all translations, on a toy language whose probabilities plain Python computes too."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pydantic
import pytest
import torch
from references import every_translation, log_softmax
from torch import Tensor

from nmt.batching import Batch, collate
from nmt.model import EncoderDecoder, Model, RecurrentSettings, Trace, build_model
from nmt.search import RANKINGS, Hypothesis, SearchSettings, beam_search, force
from nmt.settings import Choice
from nmt.vocabulary import BOS, EOS, PAD, UNK

V = 6
WORDS = [UNK, 4, 5]


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


class Toy(Model):
    """A language in which the next word depends on the source, on the two words before and on all words so far.

    The state is the record of a hypothesis, so a state that search mixes up says other words and looks elsewhere.
    """

    def __init__(self, bias: Sequence[float] = (0.0,) * V) -> None:
        super().__init__()
        self.bias = list(bias)

    def table(self, source: Sequence[int]) -> list:
        """table[word before last][last word][next word] of a sentence."""
        draw = random.Random(str(list(source)))
        return [[[draw.gauss(self.bias[n], 1) for n in range(V)] for _ in range(V)] for _ in range(V)]

    def encode(self, source_BS: Tensor, valid_BS: Tensor) -> Any:
        rows = zip(source_BS, valid_BS, strict=True)
        table_BVVV = torch.tensor([self.table(row[real].tolist()) for row, real in rows], dtype=torch.float64)
        return table_BVVV, (valid_BS,)

    def start(self, memory: Any) -> Any:
        return (torch.full((len(memory[0]), 1), BOS),)

    def decode(self, token_BT: Tensor, memory: Any, state: Any) -> Any:
        table_BVVV, (valid_BS,) = memory
        (record_BT,) = state
        logits, weights = [], []
        for token_B in token_BT.unbind(dim=1):
            record_BT = torch.cat([record_BT, token_B[:, None]], dim=1)
            history_B = (record_BT * torch.arange(record_BT.shape[1])).sum(dim=1)
            of_pair_BV = table_BVVV[torch.arange(len(token_B)), record_BT[:, -2], record_BT[:, -1]]
            logits.append(of_pair_BV + torch.sin(history_B[:, None] * torch.arange(1.0, V + 1, dtype=torch.float64)))
            place_B = history_B % valid_BS.sum(dim=1)
            looked_BS = (valid_BS.cumsum(dim=1) - 1 == place_B[:, None]) & valid_BS
            weights.append(looked_BS.double())
        nothing_BT, weight_BTS = torch.zeros(token_BT.shape), torch.stack(weights, dim=1)
        trace = Trace(torch.stack(logits, dim=1), weight_BTS, nothing_BT, weight_BTS, torch.ones(valid_BS.shape))
        return trace, (record_BT,)

    def log_prob(self, source: Sequence[int], prefix: Sequence[int]) -> list[float]:
        """What follows a prefix, in plain Python."""
        record = [BOS, BOS, *prefix]
        history = sum(place * word for place, word in enumerate(record))
        row = self.table(source)[record[-2]][record[-1]]
        return log_softmax([row[n] + math.sin(history * (n + 1)) for n in range(V)])

    def place(self, source: Sequence[int], prefix: Sequence[int]) -> int:
        """The source position that it looks at for the word after a prefix."""
        return sum(place * word for place, word in enumerate([BOS, BOS, *prefix])) % len(source)


def a_model(dtype: torch.dtype = torch.float64, **changes: Any) -> EncoderDecoder:
    settings = RecurrentSettings(embedding=3, hidden=4, attention=Choice("gatt"), **changes)
    model = build_model(settings, V, V).to(dtype).eval()
    for one in model.parameters():
        one.uniform_(-1.5, 1.5)
    return model


def batch_of(sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]] | None = None) -> Batch:
    return collate(sources, targets or [[] for _ in sources], range(len(sources)))


def searched(model: Model, sources: Sequence[Sequence[int]], **settings: Any) -> list[list[Hypothesis]]:
    batch = batch_of(sources)
    return beam_search(model, batch.source_BS, batch.source_valid_BS, SearchSettings(**settings))


def ranked(log_prob: float, words: int, normalise: str, alpha: float) -> float:
    """The score by its definition; |Y| counts the end of the sentence."""
    length = words + 1
    if normalise == "average":
        return log_prob / length**alpha
    if normalise == "gnmt":
        return log_prob / (((5 + length) ** alpha) / ((5 + 1) ** alpha))
    assert normalise == "none"
    return log_prob


WORDY = [-3, 0, -3, -2, 0, 0]  # ends after some words rather than at once
every_ranking = pytest.mark.parametrize("normalise", RANKINGS)
SOURCE = [4, 5, 5]


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
    [found] = searched(model, [SOURCE], **settings.model_dump())
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


SOURCES = [[4], [5, 5, 4], [4, 5] * 6, [5, 4, 4, 5, 5], [4, 4, 4] * 5, [5]]


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
    found = searched(toy, SOURCES, **settings.model_dump())
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


# --------------------------------------------------------------------------------------------------------- limits

NEVER_ENDS = [0, 0, 0, -30, 0, 0]
ENDS_AT_ONCE = [0, 0, 0, 30, 0, 0]
SILLY = [30, 20, 30, 0, 0, 0]  # padding and beginnings rather than words, and the unknown word rather than others


@pytest.mark.parametrize("beam", [1, 3])
def test_a_translation_without_an_end_is_cut_at_twice_the_source_and_ten(beam: int) -> None:
    found = searched(Toy(NEVER_ENDS), SOURCES, beam=beam)
    assert [len(one[0].tokens) for one in found] == [2 * len(source) + 10 for source in SOURCES]


@pytest.mark.parametrize("longest", [1, 2, 7])
def test_the_maximum_length_is_kept(longest: int) -> None:
    found = searched(Toy(NEVER_ENDS), SOURCES, beam=3, n_best=2, maximum_length=longest)
    assert {len(one.tokens) for hypotheses in found for one in hypotheses} == {longest}


@pytest.mark.parametrize("shortest", [0, 1, 5, 30])
def test_the_minimum_length_is_kept_though_the_source_be_short(shortest: int) -> None:
    found = searched(Toy(ENDS_AT_ONCE), SOURCES, beam=3, minimum_length=shortest)
    assert {len(one[0].tokens) for one in found} == {shortest}
    assert all(one[0].weight_TS.shape[0] == shortest + 1 for one in found)


def test_padding_and_beginnings_are_never_said_and_unknown_words_where_they_may() -> None:
    said = {word for one in searched(Toy(SILLY), SOURCES, beam=3) for word in one[0].tokens}
    assert UNK in said
    assert said <= {UNK, 4, 5}
    said = {word for one in searched(Toy(SILLY), SOURCES, beam=3, unknown=False) for word in one[0].tokens}
    assert said == {4, 5}


def test_what_may_not_be_said_keeps_its_probability() -> None:
    """Forbidden words are not renormalised away, so a score remains what the model says of the translation."""
    toy, settings = Toy(SILLY), SearchSettings(beam=3, n_best=3, unknown=False, maximum_length=3)
    [found] = searched(toy, [SOURCE], **settings.model_dump())
    forced = force(toy, batch_of([SOURCE] * 3, [one.tokens for one in found]), settings)
    assert [one.log_prob for one in found] == pytest.approx([one.log_prob for one in forced], abs=1e-10)
    assert found[0].log_prob < -20


def test_a_beam_wider_than_the_language() -> None:
    """Of one word that may be said, n times: the beam has one hypothesis alive, and n_best gives those that exist."""
    impossible = [-math.inf if word in (UNK, 5) else 0.0 for word in range(V)]

    class OneWord(Toy):
        def table(self, source: Sequence[int]) -> list:
            return [
                [[x + b for x, b in zip(row, impossible, strict=True)] for row in rows] for rows in super().table([4])
            ]

    [found] = searched(OneWord(), [SOURCE], beam=9, n_best=9, maximum_length=3)
    assert sorted(one.tokens for one in found) == [[], [4], [4, 4], [4, 4, 4]]
    assert all(math.isfinite(one.score) for one in found)


# ------------------------------------------------------------------------------------------- rankings and settings


@pytest.mark.parametrize(
    ("normalise", "length", "alpha", "score"),
    [
        ("none", 4, 1.0, -6.0),
        ("average", 4, 1.0, -1.5),
        ("average", 4, 0.5, -3.0),
        ("average", 4, 0.0, -6.0),
        ("gnmt", 1, 1.0, -6.0),
        ("gnmt", 7, 1.0, -3.0),
        ("gnmt", 19, 0.5, -3.0),
        ("gnmt", 7, 0.0, -6.0),
    ],
)
def test_rankings_by_hand(normalise: str, length: int, alpha: float, score: float) -> None:
    assert RANKINGS[normalise](-6.0, length, alpha) == pytest.approx(score, abs=1e-15)


def test_settings_name_every_ranking() -> None:
    assert [SearchSettings(normalise=name).normalise for name in RANKINGS] == list(RANKINGS)
    with pytest.raises(pydantic.ValidationError):
        SearchSettings(normalise="other")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"beam": 2, "n_best": 3}, "n_best 3 needs a beam at least as wide, not 2"),
        ({"minimum_length": 5, "maximum_length": 4}, "minimum_length 5 is above maximum_length 4"),
        ({"beam": 0}, "greater than or equal to 1"),
    ],
)
def test_impossible_settings_are_told(values: dict, sentence: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=sentence):
        SearchSettings(**values)
