"""DROP, CDR and the diagnostics of attention matrices: hand-worked numbers and laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.errors import InputError
from nmt.links import Links
from nmt.metrics import cdr, coverage, coverage_per_word, drop, entropy, ignored, nothing

PAIR = st.tuples(st.integers(0, 5), st.integers(0, 5))
SENTENCE = st.builds(Links, st.frozensets(PAIR, max_size=6))
MATRIX = st.tuples(st.integers(0, 4), st.integers(0, 4)).flatmap(
    lambda shape: st.lists(st.floats(0, 1), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]).map(
        lambda flat: np.array(flat).reshape(shape)
    )
)


def test_hand_worked_drop_and_cdr():
    hypothesis = [Links([(0, 0), (2, 1)]), Links([(5, 0)])]
    reference = [Links([(0, 0), (1, 1), (2, 2), (3, 2)]), Links([(0, 0), (0, 1)])]
    # dropped: {1, 3} of {0, 1, 2, 3} and {0} of {0}: 3 of 5; per sentence 1 − 2/4 and 1 − 1/1
    assert drop(hypothesis, reference).value == pytest.approx(60)
    assert cdr(hypothesis, reference).value == pytest.approx(100 * (0.5 + 0) / 2)


@given(st.lists(st.tuples(SENTENCE, SENTENCE), min_size=1, max_size=4))
def test_drop_and_cdr_by_loops(pairs):
    dropped = covered = 0
    ratios = []
    for here, there in pairs:
        mine, theirs = {i for i, _ in here.possible}, {i for i, _ in there.possible}
        dropped += len(theirs - mine)
        covered += len(theirs)
        if theirs:
            ratios.append(1 - len(theirs - mine) / len(theirs))
    links, reference = zip(*pairs, strict=True)
    assert drop(links, reference).value == pytest.approx(100 * dropped / covered if covered else 0)
    assert cdr(links, reference).value == pytest.approx(100 * sum(ratios) / len(ratios) if ratios else 100)


@given(SENTENCE, SENTENCE)
def test_of_one_sentence_cdr_is_1_minus_drop(here, there):
    assert cdr([here], [there]).value == pytest.approx(100 - drop([here], [there]).value)


def test_hand_worked_diagnostics():
    weight_TS = np.array([[0.5, 0.5, 0.0], [0.05, 0.0, 0.75]])
    assert coverage_per_word(weight_TS) == pytest.approx([0.55, 0.5, 0.75])
    assert coverage([weight_TS]).value == pytest.approx(1.8 / 3)
    assert nothing([weight_TS]).value == pytest.approx(100 * (0 + 0.2) / 2)
    p = 0.05 / 0.8
    assert entropy([weight_TS]).value == pytest.approx((1 - p * np.log2(p) - (1 - p) * np.log2(1 - p)) / 2)
    assert ignored([weight_TS]).value == 0
    assert ignored([weight_TS], threshold=0.52).value == pytest.approx(100 / 3)


def test_uniform_and_hard_attention():
    assert entropy([np.full((3, 8), 1 / 8)]).value == pytest.approx(3)
    assert entropy([np.eye(4)]).value == 0
    assert nothing([np.eye(4), np.zeros((4, 2))]).value == 50
    assert ignored([np.eye(4)[:, [0, 1, 2, 3, 3]] * [1, 1, 1, 1, 0]]).value == pytest.approx(20)


@given(st.lists(MATRIX, min_size=1, max_size=3))
def test_diagnostics_stay_in_range(weights):
    for metric in (ignored, nothing):
        assert 0 <= metric(weights).value <= 100
    assert 0 <= entropy(weights).value <= 2.0000001  # at most 4 source words
    assert coverage(weights).value >= 0


def test_a_matrix_that_is_none_is_told():
    with pytest.raises(InputError, match="attention matrix of sentence 2"):
        coverage([np.eye(2), np.array([[np.nan]])])
