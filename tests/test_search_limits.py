"""What search may not say, how long it may be, and what its settings may be."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pydantic
import pytest
import torch
from searching import SOURCE, SOURCES, Toy, V, batch_of, searched

from nmt.search import NORMALISATIONS, SearchSettings, force
from nmt.vocabulary import UNK


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


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
    [found] = searched(toy, [SOURCE], **dict(settings))
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
    assert -6.0 / NORMALISATIONS[normalise](length, alpha) == pytest.approx(score, abs=1e-15)


def test_settings_name_every_ranking() -> None:
    assert [SearchSettings(normalise=name).normalise for name in NORMALISATIONS] == list(NORMALISATIONS)
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
