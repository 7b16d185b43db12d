"""Bootstrap and approximate randomisation against scipy, sacrebleu and plain loops; comparison of systems."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.significance import PairedTest

from nmt.errors import InputError
from nmt.links import Links
from nmt.metrics import build
from nmt.metrics.base import Output
from nmt.metrics.comparison import System, compare
from nmt.metrics.significance import bootstrap, bootstrap_p, interval, randomisation_p, randomise

RNG = np.random.default_rng(7)
WORDS = ("the", "a", "cat", "dog", "sat", "on", "mat", ".")


def lines(seed):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=rng.integers(3, 18))) for _ in range(60)]


HYPOTHESES, REFERENCE = lines(1), lines(2)


def test_intervals_of_a_macro_average_agree_with_scipy():
    values = RNG.gamma(1.0, 10.0, size=300)
    statistics = np.stack([values, np.ones(300)], axis=1)
    sums = bootstrap(statistics, 9999, seed=1)
    low, high = interval(sums[:, 0] / sums[:, 1])
    theirs = scipy.stats.bootstrap((values,), np.mean, n_resamples=9999, method="percentile", rng=2).confidence_interval
    width = theirs.high - theirs.low
    assert low == pytest.approx(theirs.low, abs=0.03 * width)
    assert high == pytest.approx(theirs.high, abs=0.03 * width)


def test_intervals_of_a_ratio_of_sums_agree_with_scipy():
    top, bottom = RNG.integers(0, 9, 200), RNG.integers(9, 30, 200)
    sums = bootstrap(np.stack([top, bottom], axis=1).astype(float), 9999, seed=1)
    low, high = interval(sums[:, 0] / sums[:, 1])
    theirs = scipy.stats.bootstrap(
        (top, bottom),
        lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=9999,
        method="percentile",
        rng=2,
    ).confidence_interval
    width = theirs.high - theirs.low
    assert low == pytest.approx(theirs.low, abs=0.03 * width)
    assert high == pytest.approx(theirs.high, abs=0.03 * width)


@pytest.mark.parametrize("sentences", [1, 50, 70_000])
def test_each_resample_has_as_many_sentences(sentences):
    sums = bootstrap(np.ones((sentences, 1)), 20, seed=3)
    assert (sums == sentences).all()


def test_long_texts_drawn_in_parts_have_the_distribution_of_the_whole():
    """The mean of n draws has the variance σ²/n, within and between the parts."""
    values = np.concatenate([RNG.normal(0, 1, 50_000), RNG.normal(5, 1, 50_000)])
    sums = bootstrap(values[:, None], 2000, seed=4)[:, 0] / len(values)
    assert sums.mean() == pytest.approx(values.mean(), abs=4 * values.std() / np.sqrt(len(values) * 2000))
    assert sums.std() == pytest.approx(values.std() / np.sqrt(len(values)), rel=0.06)


def test_columns_see_the_same_sentences_and_a_seed_gives_the_same_sums():
    statistics = RNG.random((80, 1))
    sums = bootstrap(np.hstack([statistics, 2 * statistics]), 50, seed=5)
    np.testing.assert_allclose(2 * sums[:, 0], sums[:, 1])
    np.testing.assert_array_equal(bootstrap(statistics, 50, seed=5), bootstrap(statistics, 50, seed=5))
    np.testing.assert_allclose(sums[:, :1], bootstrap(statistics, 50, seed=5), rtol=1e-12)
    assert not np.allclose(bootstrap(statistics, 50, seed=6), sums[:, :1])


def test_randomisation_of_few_sentences_finds_every_exchange():
    first, second = np.array([[1.0], [2.0], [4.0]]), np.array([[8.0], [16.0], [32.0]])
    a, b = randomise(first, second, 2000, seed=1)
    np.testing.assert_allclose(a + b, first.sum() + second.sum())
    expected = {float(x + y + z) for x in (1, 8) for y in (2, 16) for z in (4, 32)}
    assert set(a[:, 0].tolist()) == expected


def test_p_of_approximate_randomisation_is_exact_for_few_sentences():
    first, second = np.array([[1.0], [2.0], [4.0], [0.0]]), np.array([[2.0], [1.0], [9.0], [3.0]])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 4)).reshape(4, -1)
    observed = (second - first).sum()
    exact = (np.abs(((second - first) * signs).sum(axis=0)) >= observed - 1e-9).mean()
    a, b = randomise(first, second, 20_000, seed=2)
    assert randomisation_p(a[:, 0], b[:, 0], observed) == pytest.approx(exact, abs=0.015)


OTHER = [line.replace("cat", "dog") if number % 3 else line for number, line in enumerate(HYPOTHESES)]


def sacrebleu_p(test_type):
    systems = [("a", HYPOTHESES), ("b", OTHER)]
    test = PairedTest(systems, {"BLEU": BLEU()}, [REFERENCE], test_type=test_type, n_samples=4000)
    return test()[1]["BLEU"][1].p_value


def test_p_of_approximate_randomisation_agrees_with_sacrebleu():
    systems = [System(name, [Output(text, [REFERENCE])]) for name, text in (("a", HYPOTHESES), ("b", OTHER))]
    ours = compare(systems, [build("bleu")], resamples=0, trials=4000).rows[1].cells["BLEU"].p_randomisation
    assert 0.01 < ours < 0.99
    assert ours == pytest.approx(sacrebleu_p("ar"), abs=0.04)


def test_p_of_the_bootstrap_is_the_share_of_shifted_differences():
    """By a plain loop over the resamples; and with sacrebleu's rule (absolute values, one tail) as sacrebleu has it."""
    bleu = build("bleu")
    first, second = (bleu.statistics(Output(text, [REFERENCE])) for text in (HYPOTHESES, OTHER))
    sums = bootstrap(np.hstack([first, second]), 4000, seed=8)
    a, b = bleu.values(sums[:, :10])[:, 0], bleu.values(sums[:, 10:])[:, 0]
    observed = (bleu.values(second.sum(axis=0)) - bleu.values(first.sum(axis=0)))[0]
    differences = [y - x for x, y in zip(a, b, strict=True)]
    mean = sum(differences) / len(differences)
    count = sum(abs(difference - mean) >= abs(observed) for difference in differences)
    assert bootstrap_p(a, b, observed) == pytest.approx((count + 1) / 4001)
    one_tail = np.abs(b - a) - np.abs(b - a).mean() > abs(observed)
    assert (one_tail.sum() + 1) / 4001 == pytest.approx(sacrebleu_p("bs"), abs=0.03)


def test_equal_systems_have_p_1():
    output = Output(HYPOTHESES, [REFERENCE])
    rows = compare([System("a", [output]), System("b", [output])], [build("bleu"), build("ngrr")]).rows
    for cell in rows[1].cells.values():
        assert cell.p_bootstrap == 1
        assert cell.p_randomisation == 1


def test_a_certain_difference_has_the_smallest_p():
    good, bad = Output(["a b c d"] * 50), Output(["a a a a"] * 50)
    cell = compare([System("a", [good]), System("b", [bad])], [build("ngrr")], 99, 99).rows[1].cells["1-GRR"]
    assert cell.p_randomisation == 1 / 100
    assert cell.p_bootstrap == 1 / 100


def test_p_is_never_0_and_never_above_1():
    values = RNG.random((99, 3))
    for p in (bootstrap_p(values, values + 1, np.ones(3)), randomisation_p(values, values, np.zeros(3))):
        assert ((p > 0) & (p <= 1)).all()


@given(st.lists(st.text("ab ", max_size=8), min_size=1, max_size=6))
def test_intervals_are_in_order_and_hold_no_nan(lines):
    comparison = compare([System("a", [Output(lines, [lines])])], [build("ngrr"), build("bleu")], 20, 0)
    for row in comparison.rows:
        for cell in row.cells.values():
            assert cell.low <= cell.high
            assert not np.isnan([cell.value, cell.low, cell.high]).any()


def test_seeds_of_one_system_give_mean_and_deviation():
    lines = [["a a", "b c"], ["a b", "b c"], ["a a", "b b"]]  # 1-GRR 25, 0, 50
    outputs = [Output(text) for text in lines]
    comparison = compare([System("all", outputs), System("one", outputs[:1])], [build("ngrr", orders=(1,))], 200, 200)
    many, one = (row.cells["1-GRR"] for row in comparison.rows)
    assert comparison.rows[0].outputs == 3
    assert many.value == pytest.approx(25)
    assert many.deviation == pytest.approx(25)
    assert one.deviation is None
    assert one.p_bootstrap is not None
    assert one.p_randomisation is None  # three outputs cannot change places with one


def test_the_reference_is_averaged_over_references_and_the_source_has_its_own_tokens():
    output = Output(["x"], [["a a"], ["a b"]], ["猫猫"])
    metric = build("ngrr", orders=(1,), source_tokenize="zh")
    rows = {row.kind: row.cells["1-GRR"].value for row in compare([System("s", [output])], [metric], 5, 5).rows}
    assert rows == {"baseline": 0, "reference": 25, "source": 50}


def test_systems_of_another_test_set_are_refused():
    with pytest.raises(InputError, match="1 and 2 sentences"):
        compare([System("a", [Output(["a"])]), System("b", [Output(["a", "b"])])], [build("ngrr")])


def test_link_metrics_are_compared_in_the_same_way():
    gold = [Links([(i, i)]) for i in range(9)]
    good, bad = Output(links=gold, gold=gold), Output(links=[Links([(i, i + 1)]) for i in range(9)], gold=gold)
    cells = compare([System("a", [good]), System("b", [bad])], [build("aer")]).rows[1].cells
    assert cells["AER"].value == 100
    assert cells["AER"].p_bootstrap < 0.05
