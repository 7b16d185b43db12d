"""Coverage penalties: their equations by hand, and their part in the search, against brute force and plain search."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pydantic
import pytest
import torch
from references import every_translation
from searching import (
    SOURCE,
    SOURCES,
    WORDS,
    WORDY,
    Toy,
    a_model,
    batch_of,
    paid,
    plain_search,
    searched,
    valued,
)

from nmt.model import Model
from nmt.search import NORMALISATIONS, PENALTIES, SearchSettings, beam_search, force, score
from nmt.search.penalties import source_words
from nmt.settings import Choice
from nmt.vocabulary import EOS


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


# Strong enough that they change which translation is best.
COVERAGES: dict[str, Any] = {
    "none": "none",
    "gnmt": {"kind": "gnmt", "beta": 0.7},
    "gnmt floor": {"kind": "gnmt", "beta": 2.0, "floor": 0.1},
    "summary": {"kind": "summary", "beta": 3.0},
}
every_coverage = pytest.mark.parametrize("coverage", COVERAGES.values(), ids=list(COVERAGES))
every_payment = pytest.mark.parametrize("stepwise", [False, True], ids=["at the end", "stepwise"])
every_ranking = pytest.mark.parametrize("normalise", NORMALISATIONS)
every_model = pytest.mark.parametrize("model", [Toy(WORDY), None], ids=["toy", "recurrent"])


def given(coverage: Any, stepwise: bool, **others: Any) -> dict[str, Any]:
    """Settings; to pay nothing stepwise is refused."""
    return {"coverage": coverage, "stepwise": stepwise and coverage != "none", **others}


# --------------------------------------------------------------------------------------------------- the equations


@pytest.mark.parametrize(
    ("coverage", "covered", "cost"),
    [
        ("none", [0.0, 3.0], 0.0),
        ({"kind": "gnmt", "beta": 1.0}, [1.0, 2.5, 1.0], 0.0),
        ({"kind": "gnmt", "beta": 1.0}, [math.exp(-2), 2.5, math.exp(-0.5)], 2.5),
        ({"kind": "gnmt", "beta": 0.2}, [math.exp(-2), 2.5, math.exp(-0.5)], 0.5),
        ({"kind": "gnmt", "beta": 0.5, "floor": math.exp(-4)}, [0.0, 1.0, 1e-30], 4.0),
        ("gnmt", [0.0], 0.2 * 6 * math.log(10)),
        ({"kind": "summary", "beta": 1.0}, [0.0, 0.3, 1.0], 0.0),
        ({"kind": "summary", "beta": 2.0}, [0.0, 1.5, 3.0], 5.0),
        ("summary", [2.0], 0.2),
    ],
)
def test_penalties_by_hand(coverage: Any, covered: list[float], cost: float) -> None:
    settings = SearchSettings(coverage=coverage)
    assert float(settings.penalty(torch.tensor(covered, dtype=torch.float64))) == pytest.approx(cost, abs=1e-12)


@pytest.mark.parametrize("kind", PENALTIES)
def test_what_every_penalty_keeps_to(kind: str) -> None:
    """Finite and never a reward, nothing for a word covered once, the same in any batch."""
    penalty = SearchSettings(coverage=kind).penalty
    covered_BS = torch.rand(3, 4, 5, dtype=torch.float64) * 3
    covered_BS[0, 0] = 0.0
    cost = penalty(covered_BS)
    assert cost.shape == (3, 4)
    assert bool(cost.isfinite().all())
    assert bool((cost >= 0).all())
    assert not penalty(torch.ones(2, 5)).any()
    with_padding = torch.cat([covered_BS, torch.ones(3, 4, 2, dtype=torch.float64)], dim=-1)
    torch.testing.assert_close(penalty(with_padding), cost, rtol=0, atol=1e-12)
    torch.testing.assert_close(penalty(covered_BS.flip(-1)), cost, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.stack([penalty(row) for row in covered_BS[1]]), cost[1], rtol=0, atol=1e-12)


def test_the_score_by_hand() -> None:
    """Two words and the end over two source words and the end: the end's row counts, its column does not."""
    weight_TS = torch.tensor([[0.5, 0.2, 0.3], [0.25, 0.15, 0.6], [0.25, 0.15, 0.6]], dtype=torch.float64)
    gnmt = SearchSettings(normalise="gnmt", alpha=1.0, coverage={"kind": "gnmt", "beta": 2.0})
    assert score(-4.0, weight_TS, gnmt) == pytest.approx(-4.0 / (8 / 6) + 2.0 * math.log(0.5), abs=1e-12)
    summary = SearchSettings(normalise="none", coverage={"kind": "summary", "beta": 2.0})
    assert score(-4.0, 3 * weight_TS, summary) == pytest.approx(-4.0 - 2.0 * (2.0 + 0.5), abs=1e-12)


def test_the_words_of_a_source_are_all_but_its_end() -> None:
    valid_BS = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0]]).bool()
    words_BS = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]).bool()
    assert torch.equal(source_words(valid_BS), words_BS)


# ------------------------------------------------------------------------------------------------------ the search


@every_ranking
@every_coverage
@every_payment
def test_a_beam_that_drops_nothing_finds_the_best_of_all(normalise: str, coverage: Any, stepwise: bool) -> None:
    toy, settings = Toy(WORDY), given(coverage, stepwise, normalise=normalise, alpha=0.8, maximum_length=4)
    source = [*SOURCE, EOS]
    wanted = []
    for said, total in every_translation(lambda prefix: toy.log_prob(source, prefix), WORDS, EOS, 0, 4):
        places = [toy.place(source, said[:t]) for t in range(len(said) + 1)]
        weight_TS = [[float(i == place) for i in range(len(source))] for place in places]
        wanted.append((valued(total, weight_TS, settings), list(said)))
    wanted.sort(key=lambda one: -one[0])
    [found] = searched(toy, [SOURCE], beam=130, n_best=130, **settings)
    assert [one.score for one in found] == pytest.approx([worth for worth, _ in wanted], abs=1e-10)
    assert sorted(one.tokens for one in found) == sorted(said for _, said in wanted)
    assert found[0].tokens == wanted[0][1]


@pytest.mark.parametrize(
    ("model", "normalise"),
    [*((Toy(WORDY), name) for name in NORMALISATIONS), (None, "gnmt")],
    ids=["toy"] * 3 + ["recurrent"],
)
@pytest.mark.parametrize("coverage", list(COVERAGES.values())[1:], ids=list(COVERAGES)[1:])
@every_payment
@pytest.mark.parametrize("beam", [1, 3])
def test_the_same_as_plain_search(
    model: Model | None, normalise: str, coverage: Any, stepwise: bool, beam: int
) -> None:
    model = model or a_model()
    settings = given(coverage, stepwise, normalise=normalise, alpha=0.8, beam=beam)
    sources = SOURCES[:2] + SOURCES[3:]
    for source, found in zip(sources, searched(model, sources, n_best=beam, **settings), strict=True):
        wanted = plain_search(model, source, **settings)[:beam]
        assert [one.score for one in found] == pytest.approx([one.score for one in wanted], abs=1e-6)
        assert found[0].tokens == wanted[0].tokens


@pytest.mark.parametrize("coverage", list(COVERAGES.values())[1:], ids=list(COVERAGES)[1:])
def test_a_penalty_changes_what_is_found_and_stepwise_still_more(coverage: Any) -> None:
    """Else the tests above would show nothing."""
    found = {
        tuple(tuple(one[0].tokens) for one in searched(Toy(WORDY), SOURCES, beam=2, **settings))
        for settings in (given("none", False), given(coverage, False), given(coverage, True))
    }
    assert len(found) == 3


@every_coverage
@every_payment
@every_model
def test_a_score_is_the_forced_one(model: Model | None, coverage: Any, stepwise: bool) -> None:
    model, settings = model or a_model(), SearchSettings(**given(coverage, stepwise, beam=4, n_best=4))
    for source, hypotheses in zip(SOURCES, searched(model, SOURCES, **dict(settings)), strict=True):
        batch = batch_of([source] * len(hypotheses), [one.tokens for one in hypotheses])
        for one, again in zip(hypotheses, force(model, batch, settings), strict=True):
            assert one.score == pytest.approx(again.score, abs=1e-10)
            assert one.score == pytest.approx(
                valued(one.log_prob, one.weight_TS.tolist(), {"coverage": coverage}), abs=1e-5
            )


@every_coverage
@every_payment
@every_model
@pytest.mark.parametrize("beam", [1, 4])
def test_neither_batch_mates_nor_padding_change_anything(
    model: Model | None, coverage: Any, stepwise: bool, beam: int
) -> None:
    model, settings = model or a_model(), given(coverage, stepwise, beam=beam, n_best=beam)
    batch = batch_of(SOURCES)
    shift = (~batch.source_valid_BS).sum(dim=1).tolist()
    left_BS, left_valid_BS = (
        torch.stack([row.roll(by) for row, by in zip(rows, shift, strict=True)])
        for rows in (batch.source_BS, batch.source_valid_BS)
    )
    right = searched(model, SOURCES, **settings)
    left = beam_search(model, left_BS, left_valid_BS, SearchSettings(**settings))
    for source, one, other in zip(SOURCES, right, left, strict=True):
        [alone] = searched(model, [source], **settings)
        for found in (one, other):
            assert [single.tokens for single in found] == [single.tokens for single in alone]
            assert [single.score for single in found] == pytest.approx([single.score for single in alone], abs=1e-10)


# ---------------------------------------------------------------------------------------------------- the settings


def test_settings_of_a_penalty() -> None:
    assert SearchSettings(coverage="gnmt").coverage == Choice("gnmt", {"beta": 0.2, "floor": 1e-6})
    assert SearchSettings(coverage={"kind": "summary", "beta": 5}).coverage == Choice("summary", {"beta": 5.0})


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"coverage": "wu"}, 'unknown kind "wu"'),
        ({"coverage": {"kind": "gnmt", "beta": -1}}, "greater than or equal to 0"),
        ({"coverage": {"kind": "gnmt", "floor": 0}}, "greater than 0"),
        ({"coverage": {"kind": "summary", "floor": 0.1}}, "floor"),
        ({"stepwise": True}, "choose one, such as coverage: gnmt"),
    ],
)
def test_impossible_settings_are_told(values: dict, sentence: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=sentence):
        SearchSettings(**values)


def test_paid_is_zero_where_all_is_covered_once() -> None:
    assert paid("gnmt", [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]) == paid("summary", [[1.0, 0.0], [0.0, 1.0]]) == 0
