"""The alignment of a sentence pair: ends, readings, pieces and words, soft and hard, coverage."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.alignment import LINKINGS, Alignment, Span, best_reading, symmetrised
from nmt.errors import InputError
from nmt.links import Links
from nmt.words import Words, joined, spelled

SOURCE, TARGET = ["我", "喜欢", "苹果"], ["I", "like"]
WEIGHT = [[0.7, 0.1, 0.0, 0.2], [0.1, 0.3, 0.1, 0.5], [0.0, 0.0, 0.1, 0.9]]  # both ends last


@st.composite
def alignments(draw: st.DrawFn, ends: bool = True) -> Alignment:
    """Words, and a matrix whose rows sum to 1, with or without each end."""
    source = draw(st.lists(st.text("ab中文é", min_size=1, max_size=3), min_size=1, max_size=5))
    target = draw(st.lists(st.text("xy言语", min_size=1, max_size=3), min_size=1, max_size=5))
    shape = len(target) + (ends and draw(st.booleans())), len(source) + (ends and draw(st.booleans()))
    weights = draw(st.lists(st.floats(0.01, 1), min_size=math.prod(shape), max_size=math.prod(shape)))
    weight_TS = np.array(weights).reshape(shape)
    return Alignment(source, target, weight_TS=weight_TS / weight_TS.sum(axis=1, keepdims=True))


def test_the_ends_are_kept_dropped_or_renormalised() -> None:
    whole = Alignment(SOURCE, TARGET, weight_TS=WEIGHT)
    assert whole.has_source_end
    assert whole.has_target_end
    assert whole.ends("keep") == whole
    dropped, even = whole.ends("drop").weight_TS, whole.ends("renormalise").weight_TS
    assert dropped is not None
    assert even is not None
    np.testing.assert_array_equal(dropped, [[0.7, 0.1, 0.0], [0.1, 0.3, 0.1]])
    np.testing.assert_allclose(even, [[0.875, 0.125, 0.0], [0.2, 0.6, 0.2]])
    np.testing.assert_allclose(whole.null(), [0.2, 0.5])
    none = Alignment(["a"], ["b"], weight_TS=[[0.0, 1.0]]).ends("renormalise").weight_TS
    assert none is not None
    assert none.tolist() == [[0.0]]
    with pytest.raises(ValueError, match="keep, drop and renormalise"):
        whole.ends("cut")  # type: ignore[arg-type]


def test_a_word_may_lose_its_link_to_the_end() -> None:
    whole = Alignment(SOURCE, TARGET, weight_TS=WEIGHT)
    assert whole.hard().links == Links([(0, 0), (1, 1)])
    assert whole.hard(end_competes=True).links == Links([(0, 0)])
    assert whole.ends("drop").hard(end_competes=True).links == Links([(0, 0), (1, 1)])


def test_the_ways_to_harden() -> None:
    soft = Alignment("abc", "xy", weight_TS=[[0.6, 0.4, 0.0], [0.5, 0.3, 0.2]])
    assert soft.hard("argmax").links == Links([(0, 0), (0, 1)])
    assert soft.hard("mutual").links == Links([(0, 0)])
    assert soft.hard("above", 0.3).links == Links([(0, 0), (1, 0), (0, 1)])
    assert soft.hard("argmax", 0.5).links == Links([(0, 0)])
    with pytest.raises(ValueError, match="argmax, mutual, above"):
        soft.hard("best")


@pytest.mark.parametrize("linking", LINKINGS)
@given(soft=alignments(), threshold=st.floats(0, 1), competes=st.booleans())
def test_links_are_in_range_and_above_the_threshold(
    linking: str, soft: Alignment, threshold: float, competes: bool
) -> None:
    links = soft.hard(linking, threshold, end_competes=competes).links
    assert links is not None
    weight_TS = soft.between_words()
    assert all(weight_TS[j, i] > threshold for i, j in links.possible)  # an IndexError, were one out of range
    everything = soft.hard("above", threshold).links
    assert everything is not None
    assert links.sure <= everything.sure


def test_attention_is_read_where_a_word_is_produced_or_fed() -> None:
    whole = Alignment(SOURCE, TARGET, weight_TS=WEIGHT)
    assert whole.read("produced") == whole
    fed = whole.read("fed")
    assert fed.weight_TS is not None
    np.testing.assert_array_equal(fed.weight_TS, WEIGHT[1:])
    assert not fed.has_target_end
    with pytest.raises(InputError, match="no such row"):
        fed.read("fed")
    with pytest.raises(ValueError, match="produced and fed"):
        whole.read("said")  # type: ignore[arg-type]


def test_the_best_reading_is_the_one_that_gold_prefers() -> None:
    """A matrix that is right one step late, and one that is right at once."""
    late = Alignment("ab", "xy", weight_TS=[[0.1, 0.2, 0.7], [0.9, 0.1, 0.0], [0.1, 0.9, 0.0]])
    found = best_reading([late], [Links([(0, 0), (1, 1)])])
    assert found.best == "fed"
    assert found.aer == {"produced": 100.0, "fed": 0.0}
    prompt = Alignment("ab", "xy", weight_TS=[[0.9, 0.1], [0.1, 0.9], [1.0, 0.0]])
    assert best_reading([prompt, prompt], [Links([(0, 0), (1, 1)])] * 2).best == "produced"
    with pytest.raises(InputError, match="links: 1"):
        best_reading([late], [])


def test_coverage_dropped_and_repeated_words() -> None:
    soft = Alignment("abcde", "uvwxy", weight_TS=[[0.5, 0.5, 0, 0, 0]] * 4 + [[0, 0.7, 0.1, 0.1, 0.1]])
    np.testing.assert_allclose(soft.coverage(), [2.0, 2.7, 0.1, 0.1, 0.1])
    (dropped,) = soft.dropped()
    assert dropped[:3] == (2, 5, ("c", "d", "e"))
    assert dropped.coverage == pytest.approx(0.1)
    (repeated,) = soft.repeated()
    assert repeated[:3] == (1, 2, ("b",))
    assert [span.start for span in soft.repeated(above=1.9)] == [0]
    linked = Alignment("abcd", "xyz", Links([(1, 0), (1, 1)], [(1, 2)]))
    assert linked.coverage().tolist() == [0, 3, 0, 0]
    assert linked.dropped() == [Span(0, 1, ("a",), 0.0), Span(2, 4, ("c", "d"), 0.0)]
    assert linked.repeated() == [Span(1, 2, ("b",), 3.0)]


@given(alignments())
def test_coverage_and_what_goes_to_nothing_are_all_there_is(soft: Alignment) -> None:
    assert soft.coverage().sum() + soft.null().sum() == pytest.approx(len(soft.target))
    assert soft.ends("renormalise").coverage().sum() == pytest.approx(len(soft.target))


def test_monotonicity_and_entropy() -> None:
    assert Alignment("abc", "xyz", Links([(0, 0), (2, 1), (1, 2)])).monotonicity() == 0.5
    assert Alignment("abc", "xyz", Links([(0, 0), (1, 2)])).monotonicity() == 1.0
    assert Alignment("abc", "xyz", Links([(0, 0)])).monotonicity() is None
    assert Alignment("ab", "xy", weight_TS=[[0.5, 0.5, 0.0], [0.5, 0.0, 0.5]]).entropy() == pytest.approx(0.5)


STYLES = {
    "sentencepiece": lambda parts: ["▁" + parts[0], *parts[1:]],
    "@@": lambda parts: [part + "@@" for part in parts[:-1]] + parts[-1:],
    "##": lambda parts: [parts[0], *("##" + part for part in parts[1:])],
}
WORDS = st.lists(st.text("abz中文，.é", min_size=1, max_size=6), min_size=1, max_size=6)


def cut(word: str, places: list[int]) -> list[str]:
    edges = sorted({0, len(word), *(place % len(word) for place in places)})
    return [word[a:b] for a, b in pairwise(edges)]


@pytest.mark.parametrize("style", STYLES)
@given(words=WORDS, data=st.data())
def test_words_come_back_from_their_pieces(style: str, words: list[str], data: st.DataObject) -> None:
    parts = [cut(word, data.draw(st.lists(st.integers(0, 9), max_size=3))) for word in words]
    pieces = [piece for one in parts for piece in STYLES[style](one)]
    owner = [number for number, one in enumerate(parts) for _ in one]
    assert joined(pieces, style) == (tuple(words), owner)
    assert spelled([part for one in parts for part in one], words) == (tuple(words), owner)


@given(soft=alignments(), data=st.data())
def test_words_in_pieces_and_back_keep_their_weights(soft: Alignment, data: st.DataObject) -> None:
    """The weight of a source word shared out among its characters, that of a target word given to each of them."""
    source = [(n, character) for n, word in enumerate(soft.source) for character in word]
    target = [(n, character) for n, word in enumerate(soft.target) for character in word]
    assert soft.weight_TS is not None
    shares = np.array([1 / len(soft.source[n]) for n, _ in source] + [1.0] * soft.has_source_end)
    columns = [n for n, _ in source] + [len(soft.source)] * soft.has_source_end
    rows = [n for n, _ in target] + [len(soft.target)] * soft.has_target_end
    fine = Alignment(
        [c for _, c in source], [c for _, c in target], weight_TS=soft.weight_TS[np.ix_(rows, columns)] * shares
    )
    back = fine.to_words(spelled(fine.source, soft.source), spelled(fine.target, soft.target))
    assert (back.source, back.target) == (soft.source, soft.target)
    assert back.weight_TS is not None
    np.testing.assert_allclose(back.weight_TS, soft.weight_TS, atol=1e-12)


def test_links_and_ends_go_from_pieces_to_words() -> None:
    fine = Alignment(["▁a", "b", "▁c"], ["x@@", "y"], Links([(1, 0)], [(0, 1), (2, 1)]), [[0.1, 0.2, 0.3, 0.4]] * 3)
    whole = fine.to_words("sentencepiece", "@@")
    assert (whole.source, whole.target) == (("ab", "c"), ("xy",))
    assert whole.links == Links([(0, 0)], [(1, 0)])
    assert whole.weight_TS is not None
    np.testing.assert_allclose(whole.weight_TS, [[0.3, 0.3, 0.4], [0.3, 0.3, 0.4]])


def test_pieces_of_white_space_alone_belong_to_no_word() -> None:
    lone = Alignment(["▁"], ["▁a"], Links([(0, 0)]), [[0.4, 0.6], [0.5, 0.5]]).to_words("sentencepiece")
    assert lone == Alignment([], ["a"], Links(), [[0.6], [0.5]])


def test_pieces_that_do_not_spell_the_words_are_told() -> None:
    assert spelled(["▁我", "喜", "欢苹", "果"], ["我", "喜欢", "苹果"]).word_of_piece == [0, 1, 1, 2]
    with pytest.raises(InputError, match="after '我喜' comes '乐' where the words have '欢'"):
        spelled(["我", "喜", "乐"], ["我", "喜欢"])
    with pytest.raises(ValueError, match="2 pieces, but there are 3"):
        Alignment("abc", "x", weight_TS=[[0.1] * 3]).to_words(Words(("abc",), [0, 0]), "words")


@given(alignments())
def test_turned_twice_is_as_before(soft: Alignment) -> None:
    linked = soft.hard()
    assert linked.turned().turned() == linked
    links = linked.turned().links
    assert links is not None
    assert all(i < len(soft.target) and j < len(soft.source) for i, j in links.sure)


def test_two_directions_of_one_sentence() -> None:
    forward = Alignment("ab", "xy", weight_TS=[[0.9, 0.1, 0.0], [0.6, 0.4, 0.0]]).hard()
    backward = Alignment("xy", "ab", weight_TS=[[0.8, 0.2], [0.3, 0.7], [1.0, 0.0]]).hard()
    assert forward.links == Links([(0, 0), (0, 1)])
    assert symmetrised(forward, backward, "intersection").links == Links([(0, 0)])
    assert symmetrised(forward, backward, "union").links == Links([(0, 0), (0, 1), (1, 1)])
    product = symmetrised(forward, backward, "product").weight_TS
    assert product is not None
    np.testing.assert_allclose(product, [[0.72, 0.03], [0.12, 0.28]])
    with pytest.raises(InputError, match="different words"):
        symmetrised(forward, forward, "union")
    with pytest.raises(ValueError, match="grow-diag"):
        symmetrised(forward, backward, "grow")


@pytest.mark.parametrize("shape", [(1, 2), (4, 3), (2, 5), (3, 1)])
def test_a_matrix_of_other_words_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="2 target and 3 source"):
        Alignment(SOURCE, TARGET, weight_TS=np.full(shape, 0.1))


def test_what_is_no_alignment_is_refused() -> None:
    with pytest.raises(ValueError, match="link 3-0"):
        Alignment(SOURCE, TARGET, Links([(3, 0)]))
    with pytest.raises(InputError, match="expected from 0 to 1"):
        Alignment("a", "b", weight_TS=[[1.5]])
    with pytest.raises(ValueError, match="neither links nor"):
        Alignment("a", "b").coverage()


def test_a_sentence_without_words() -> None:
    empty = Alignment([], ["x"], weight_TS=[[1.0], [1.0]])
    assert empty.hard().links == Links()
    assert empty.dropped() == []
    assert Alignment(["a"], [], weight_TS=np.zeros((0, 1))).dropped()[0].words == ("a",)
    assert Alignment(["a"], [], weight_TS=[]).coverage().tolist() == [0.0]
    assert Alignment([], ["x"], weight_TS=np.zeros((2, 0))).read("fed").between_words().shape == (1, 0)


def test_an_alignment_is_a_value() -> None:
    weights = np.array(WEIGHT)
    one = Alignment(SOURCE, TARGET, weight_TS=weights)
    weights[0, 0] = 0.0
    assert one == Alignment(SOURCE, TARGET, weight_TS=WEIGHT)
    assert len({one, Alignment(SOURCE, TARGET, weight_TS=WEIGHT)}) == 1
    assert one != Alignment(SOURCE, TARGET)
    assert one.weight_TS is not None
    with pytest.raises(ValueError, match="read-only"):
        one.weight_TS[0, 0] = 1.0
