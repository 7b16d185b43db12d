"""No n-gram twice: whom it stops, and that a search always ends with a translation."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
import torch
from references import every_translation
from searching import SOURCE, SOURCES, WORDS, WORDY, Toy, V, a_model, batch_of, plain_search, ranked, repeats, searched

from nmt.model import Model
from nmt.search import SearchSettings, force
from nmt.search.blocking import block_ngrams
from nmt.vocabulary import EOS, UNK


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


every_order = pytest.mark.parametrize("order", [1, 2, 3, 4])
REPETITIVE = [-3, 0, -3, -6, 3, 0]


@every_order
@pytest.mark.parametrize("length", range(7))
def test_blocked_are_the_words_that_repeat_an_ngram(order: int, length: int) -> None:
    said_BT = torch.tensor(list(product([4, 5], repeat=length))).reshape(2**length, length)
    logit_BV = torch.randn(len(said_BT), V)
    before = logit_BV.clone()
    blocked_BV = block_ngrams(logit_BV, said_BT, order)
    assert torch.equal(logit_BV, before)
    for row, said in enumerate(said_BT.tolist()):
        for word in range(V):
            # What was repeated before this word is not this word's fault.
            ngram = (*said, word)[-order:]
            again = length >= order and ngram in {tuple(said[i : i + order]) for i in range(length - order + 1)}
            assert float(blocked_BV[row, word]) == (-torch.inf if again else float(before[row, word]))


@every_order
def test_a_beam_that_drops_nothing_finds_all_that_repeat_nothing(order: int) -> None:
    toy = Toy(REPETITIVE)
    everything = every_translation(lambda prefix: toy.log_prob([*SOURCE, EOS], prefix), WORDS, EOS, 0, 4)
    wanted = sorted(
        (-ranked(total, len(said), "average", 1.0), list(said))
        for said, total in everything
        if not repeats(said, order)
    )
    [found] = searched(toy, [SOURCE], beam=130, n_best=130, block_ngrams=order, maximum_length=4)
    assert [one.tokens for one in found] == [said for _, said in wanted]
    assert [-one.score for one in found] == pytest.approx([worth for worth, _ in wanted], abs=1e-10)


@every_order
@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("model", [Toy(REPETITIVE), None], ids=["toy", "recurrent"])
def test_the_same_as_plain_search(order: int, beam: int, model: Model | None) -> None:
    model, settings = model or a_model(), {"beam": beam, "block_ngrams": order}
    for source, found in zip(SOURCES, searched(model, SOURCES, n_best=beam, **settings), strict=True):
        wanted = plain_search(model, source, **settings)[:beam]
        assert [one.tokens for one in found] == [one.tokens for one in wanted]
        assert [one.score for one in found] == pytest.approx([one.score for one in wanted], abs=1e-8)
        assert not any(repeats(one.tokens, order) for one in found)


def test_without_blocking_they_repeat() -> None:
    found = searched(Toy(REPETITIVE), SOURCES, beam=3)
    assert all(any(repeats(one[0].tokens, order) for one in found) for order in (1, 2, 3, 4))


@pytest.mark.parametrize("beam", [1, 2, 5])
@pytest.mark.parametrize("minimum", [0, 2, 3, 4, 20])
def test_when_every_beam_is_blocked_there_is_still_a_translation(beam: int, minimum: int) -> None:
    """Three words, each once: after three nothing may follow, whatever the minimum length."""
    toy, settings = Toy([0, 0, 0, -30, 0, 0]), SearchSettings(beam=beam, block_ngrams=1, minimum_length=minimum)
    for source, found in zip(SOURCES, searched(toy, SOURCES, **dict(settings)), strict=True):
        assert sorted(found[0].tokens) == sorted(WORDS)
        [again] = force(toy, batch_of([source], [found[0].tokens]), settings)
        assert found[0].score == pytest.approx(again.score, abs=1e-10)
        assert found[0].weight_TS.shape == (4, len(source) + 1)


def test_what_may_not_be_said_does_not_unblock() -> None:
    [found] = searched(Toy(WORDY), [SOURCE], beam=3, block_ngrams=1, unknown=False, minimum_length=9)
    assert sorted(found[0].tokens) == [4, 5]
    assert UNK not in found[0].tokens
