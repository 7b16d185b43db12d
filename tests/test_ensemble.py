"""Ensembles: their means in plain Python, and that one model, or the same one twice, is that model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from references import every_translation
from searching import SOURCE, SOURCES, WORDS, WORDY, Toy, V, a_model, batch_of, plain_search, searched

from nmt.ensemble import MEANS, Ensemble
from nmt.model import Model
from nmt.search import SearchSettings, force
from nmt.settings import Choice
from nmt.vocabulary import EOS


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


every_mean = pytest.mark.parametrize("mean", MEANS)


class Other(Toy):
    """Another toy language."""

    def table(self, source: Any) -> list:
        return super().table([*source, 9])


def mixed(mean: str, *distributions: list[float]) -> list[float]:
    """Log-probabilities of the ensemble, from those of its models, by the definition."""
    count = len(distributions)
    if mean == "arithmetic":
        return [math.log(sum(map(math.exp, column)) / count) for column in zip(*distributions, strict=True)]
    product = [sum(column) / count for column in zip(*distributions, strict=True)]
    total = math.log(sum(map(math.exp, product)))
    return [one - total for one in product]


def three() -> Ensemble:
    """Attentions of several kinds, one with a state of its own; contexts of two sizes."""
    models = []
    for kind, wiring in (("gatt", "conditional"), ("gatt-inv", "update-then-look"), ("coverage-neural", "conditional")):
        models.append(a_model(attention=Choice(kind), wiring=wiring, cell="lstm" if kind == "gatt" else "gru"))
    return Ensemble(models)


@every_mean
def test_probabilities_and_attention_are_means(mean: str) -> None:
    toys, batch = (Toy(WORDY), Other(WORDY)), batch_of(SOURCES, [[4, 5, 4], [], [5], [4], [5, 5], [4]])
    trace = Ensemble(toys, mean)(batch.source_BS, batch.source_valid_BS, batch.input_BT)
    log_prob_BTV = trace.logit_BTV.log_softmax(dim=-1)
    apart = [toy(batch.source_BS, batch.source_valid_BS, batch.input_BT) for toy in toys]
    for row, source in enumerate(SOURCES):
        for t in range(int(batch.target_valid_BT[row].sum())):
            prefix = batch.target_BT[row, :t].tolist()
            wanted = mixed(mean, *(toy.log_prob([*source, EOS], prefix) for toy in toys))
            assert log_prob_BTV[row, t].tolist() == pytest.approx(wanted, abs=1e-10)
    torch.testing.assert_close(trace.weight_BTS, (apart[0].weight_BTS + apart[1].weight_BTS) / 2)
    assert trace.context_BTE.shape[-1] == 2 * apart[0].context_BTE.shape[-1]


@every_mean
@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("model", [Toy(WORDY), None], ids=["toy", "recurrent"])
def test_one_model_or_the_same_several_times_is_that_model(mean: str, times: int, model: Model | None) -> None:
    model, settings = model or a_model(), {"beam": 3, "n_best": 3}
    found = searched(Ensemble([model] * times, mean), SOURCES, **settings)
    for one, wanted in zip(found, searched(model, SOURCES, **settings), strict=True):
        assert [single.tokens for single in one] == [single.tokens for single in wanted]
        assert [single.score for single in one] == pytest.approx([single.score for single in wanted], abs=1e-10)
        for single, other in zip(one, wanted, strict=True):
            torch.testing.assert_close(single.weight_TS, other.weight_TS, rtol=0, atol=1e-6)


@every_mean
def test_a_beam_that_drops_nothing_finds_the_best_of_all(mean: str) -> None:
    toys, source = (Toy(WORDY), Other(WORDY)), [*SOURCE, EOS]

    def log_prob(prefix: tuple[int, ...]) -> list[float]:
        return mixed(mean, *(toy.log_prob(source, prefix) for toy in toys))

    everything = every_translation(log_prob, WORDS, EOS, 0, 3)
    wanted = sorted(((total / (len(said) + 1), list(said)) for said, total in everything), reverse=True)
    [found] = searched(Ensemble(toys, mean), [SOURCE], beam=50, n_best=50, maximum_length=3)
    assert [one.tokens for one in found] == [said for _, said in wanted]
    assert [one.score for one in found] == pytest.approx([worth for worth, _ in wanted], abs=1e-10)


@pytest.mark.parametrize("coverage", ["none", {"kind": "gnmt", "beta": 0.5}])
def test_an_ensemble_of_recurrent_models_searches_as_any_model(coverage: Any) -> None:
    """Score and attention are the forced ones, and batch mates change nothing."""
    ensemble, settings = three(), SearchSettings(beam=3, n_best=3, coverage=coverage)
    for source, found in zip(SOURCES, searched(ensemble, SOURCES, **dict(settings)), strict=True):
        batch = batch_of([source] * len(found), [one.tokens for one in found])
        for one, again in zip(found, force(ensemble, batch, settings), strict=True):
            assert one.score == pytest.approx(again.score, abs=1e-10)
            torch.testing.assert_close(one.weight_TS, again.weight_TS, rtol=0, atol=1e-6)
        wanted = plain_search(ensemble, source, beam=3, coverage=coverage)[:3]
        assert [one.tokens for one in found] == [one.tokens for one in wanted]


def test_models_of_an_ensemble_change_what_is_found() -> None:
    together = searched(Ensemble([Toy(WORDY), Other(WORDY)]), SOURCES, beam=3)
    for model in (Toy(WORDY), Other(WORDY)):
        alone = searched(model, SOURCES, beam=3)
        assert [one[0].tokens for one in alone] != [one[0].tokens for one in together]


def test_pieces_equal_the_whole() -> None:
    ensemble, batch = three(), batch_of(SOURCES, [[4] * V] * len(SOURCES))
    whole = ensemble(batch.source_BS, batch.source_valid_BS, batch.input_BT)
    memory = ensemble.encode(batch.source_BS, batch.source_valid_BS)
    state, logits = ensemble.start(memory), []
    for token_BT in torch.split(batch.input_BT, 3, dim=1):
        trace, state = ensemble.decode(token_BT, memory, state)
        logits.append(trace.logit_BTV)
    torch.testing.assert_close(torch.cat(logits, dim=1), whole.logit_BTV, rtol=0, atol=1e-12)
