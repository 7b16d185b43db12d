"""AER, SAER, precision, recall, F1: independent loops over the equations, hand-worked numbers, laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.errors import InputError
from nmt.links import Links, argmax_links, read_links
from nmt.metrics import aer, f1, precision, recall, saer

PAIR = st.tuples(st.integers(0, 3), st.integers(0, 4))
SENTENCE = st.builds(Links, st.frozensets(PAIR, max_size=8), st.frozensets(PAIR, max_size=8))
SENTENCES = st.lists(st.tuples(SENTENCE, SENTENCE), min_size=1, max_size=5)
WEIGHTS = st.lists(st.floats(0, 1), min_size=20, max_size=20).map(lambda flat: np.array(flat).reshape(5, 4))

# Och & Ney's measures by hand: A = {00, 11, 22}, S = {00, 12}, P = S + {11}.
A, G = Links([(0, 0), (1, 1), (2, 2)]), Links([(0, 0), (1, 2)], [(1, 1)])


def test_hand_worked_links():
    # |A∩S| = 1, |A∩P| = 2, |A| = 3, |S| = 2
    assert aer([A], [G]).value == pytest.approx(100 * (1 - 3 / 5))
    assert precision([A], [G]).value == pytest.approx(100 * 2 / 3)
    assert recall([A], [G]).value == pytest.approx(100 * 1 / 2)
    assert f1([A], [G]).value == pytest.approx(100 * 2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2))
    assert aer([A], [G]).detail == {"in_sure": 1, "in_possible": 2, "links": 3, "sure": 2}


def test_aer_sums_over_the_corpus_before_it_divides():
    # Second sentence: |A∩S| = |A∩P| = |A| = |S| = 1. Mean of ratios would be 20, one ratio is 1 − 5/7.
    one = Links([(0, 0)])
    assert aer([A, one], [G, one]).value == pytest.approx(100 * (1 - 5 / 7))


def test_hand_worked_saer():
    weight_TS = np.array([[0.8, 0.1], [0.3, 0.6]])  # rows sum to 0.9: the rest went to the end of the sentence
    gold = Links([(0, 0)], [(1, 1)])
    # M_A×M_S = 0.8, M_A×M_P = 0.8 + 0.6, |M_A| = 1.8, |M_S| = 1
    assert saer([weight_TS], [gold]).value == pytest.approx(100 * (1 - (0.8 + 1.4) / (1.8 + 1)))
    expected = 100 * (1 - ((0.8 + 1.4) / 0.9) / (2 + 1))
    assert saer([weight_TS], [gold], renormalise=True).value == pytest.approx(expected)
    assert "renormalise:yes" in saer([weight_TS], [gold], renormalise=True).signature


def loop_aer(pairs):
    in_sure = in_possible = links = sure = 0
    for a, g in pairs:
        for i in range(4):
            for j in range(5):
                linked = (i, j) in a.possible
                in_sure += linked and (i, j) in g.sure
                in_possible += linked and (i, j) in g.possible
                links += linked
                sure += (i, j) in g.sure
    return 100 * (1 - (in_sure + in_possible) / (links + sure)) if links + sure else 0.0


def loop_saer(pairs):
    top = bottom = 0.0
    for weight, g in pairs:
        for j in range(5):
            for i in range(4):
                top += weight[j, i] * ((i, j) in g.sure) + weight[j, i] * ((i, j) in g.possible)
                bottom += weight[j, i] + ((i, j) in g.sure)
    return 100 * (1 - top / bottom) if bottom else 0.0


@settings(max_examples=40)
@given(SENTENCES)
def test_aer_equals_the_loop(pairs):
    assert aer(*zip(*pairs, strict=True)).value == pytest.approx(loop_aer(pairs), abs=1e-9)


@settings(max_examples=40)
@given(st.lists(st.tuples(WEIGHTS, SENTENCE), min_size=1, max_size=4))
def test_saer_equals_the_loop(pairs):
    assert saer(*zip(*pairs, strict=True)).value == pytest.approx(loop_saer(pairs), abs=1e-9)


@settings(max_examples=40)
@given(SENTENCES)
def test_link_metrics_stay_within_0_and_100(pairs):
    links, gold = zip(*pairs, strict=True)
    for metric in (aer, precision, recall, f1):
        assert 0 <= metric(links, gold).value <= 100


@settings(max_examples=40)
@given(st.lists(SENTENCE, min_size=1, max_size=4))
def test_gold_against_itself(gold):
    """With possible links too: A = P makes |A∩S| + |A∩P| = |S| + |P| = |S| + |A|."""
    assert aer(gold, gold).value == 0
    assert aer([Links(g.sure) for g in gold], gold).value == 0


def matrix(links, shape=(5, 4)):
    found = np.zeros(shape)
    for i, j in links:
        found[j, i] = 1
    return found


@settings(max_examples=40)
@given(st.lists(SENTENCE, min_size=1, max_size=4))
def test_saer_of_the_gold_matrix_is_0(gold):
    assert saer([matrix(g.sure) for g in gold], gold).value == 0
    assert saer([matrix(g.possible) for g in gold], gold).value == 0


@settings(max_examples=40)
@given(st.lists(st.tuples(SENTENCE, SENTENCE), min_size=1, max_size=4))
def test_saer_of_hard_links_is_their_aer(pairs):
    links, gold = zip(*pairs, strict=True)
    hard = [matrix(a.possible) for a in links]
    assert saer(hard, gold).value == pytest.approx(aer(links, gold).value, abs=1e-9)


def test_nothing_aligned_and_nothing_to_align():
    assert aer([Links()], [Links()]).value == 0
    assert aer([Links()], [G]).value == 100
    assert precision([Links()], [G]).value == 0
    assert recall([A], [Links()]).value == 0
    assert f1([Links()], [G]).value == 0


def test_gold_outside_the_matrix_names_the_likely_cause():
    with pytest.raises(InputError, match=r"sentence 1: gold links up to .* count from 1"):
        saer([np.ones((2, 2)) / 2], [Links([(1, 1), (2, 2)])])


def test_missing_or_unequal_input_is_told():
    with pytest.raises(InputError, match="links: 1 sentences, but gold: 2"):
        aer([A], [G, G])
    with pytest.raises(InputError, match="no sentence"):
        aer([], [])


@pytest.mark.parametrize("name", ["zh-en-denero150", "zh-en-tsinghua450"])
def test_real_gold_is_read_within_its_sentences_and_scores_0_against_itself(shared_data, name):
    folder = shared_data / "gold" / name
    sides = [(folder / f"test.{side}").read_text(encoding="utf-8").split("\n")[:-1] for side in ("zh", "en")]
    lengths = [(len(s.split()), len(t.split())) for s, t in zip(*sides, strict=True)]
    gold = read_links(folder / "test.gold", lengths=lengths)
    assert gold.base == 0
    assert aer(gold.links, gold.links).value == 0
    matrices = [matrix(g.sure, (t, s)) for g, (s, t) in zip(gold.links, lengths, strict=True)]
    assert saer(matrices, gold.links).value == 0
    assert aer([argmax_links(m) for m in matrices], gold.links).value < 20
