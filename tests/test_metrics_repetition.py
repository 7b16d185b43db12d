"""N-GRR, REP and TNG: hand-worked numbers, seq-rep-n, the published REP script's rules, laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.errors import InputError
from nmt.metrics import ngrr, rep, tng
from nmt.metrics.base import Output
from nmt.metrics.repetition import Ngrr, Rep, Tng
from nmt.metrics.spans import repeated_spans

LINE = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=14).map(" ".join)
LINES = st.lists(LINE, min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("order", "ratio"),
    [(1, 4 / 7), (2, 3 / 6), (3, 2 / 5), (4, 1 / 4)],  # a b c a b c a: 3 unique of 7, 3 of 6, 3 of 5, 3 of 4
)
def test_hand_worked_n_grr(order, ratio):
    assert ngrr(["a b c a b c a"], order=order, tokenize="none").value == pytest.approx(100 * ratio)


def test_n_grr_averages_ratios_of_sentences_and_of_references():
    # Sentences: 1/2 and 0 of 3, macro average 1/4 (micro would be 1/5); the second reference: 0 and 2/3.
    first, second = ["a a", "a b c"], ["a b", "a a a"]
    assert ngrr(first, tokenize="none").value == pytest.approx(25)
    assert ngrr(first, second, tokenize="none").value == pytest.approx(100 * (1 / 2 + 0 + 0 + 2 / 3) / 4)


@pytest.mark.parametrize(("short", "value"), [("zero", 25.0), ("skip", 50.0), ("one", 75.0)])
def test_short_sentences_count_as_settled_and_are_reported(short, value):
    score = ngrr(["a a a", "a"], order=2, tokenize="none", short=short)
    assert score.value == pytest.approx(value)
    assert score.detail["short"] == {"2-grams": 1}
    assert f"short:{short}" in score.signature


def test_skipping_every_sentence_is_0_and_not_nan():
    assert ngrr(["a", ""], order=4, short="skip").value == 0


def test_an_unknown_rule_for_short_sentences_is_refused():
    with pytest.raises(InputError, match="short: 'half'"):
        ngrr(["a"], short="half")


def seq_rep_n(tokens, n):
    """Welleck et al. 2019, as published: 1 − |unique n-grams| / |n-grams|."""
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return 1 - len(set(grams)) / len(grams)


@given(st.lists(LINE.filter(lambda line: len(line.split()) >= 4), min_size=1, max_size=4), st.integers(1, 4))
def test_n_grr_of_one_translation_equals_seq_rep_n(lines, order):
    expected = 100 * sum(seq_rep_n(line.split(), order) for line in lines) / len(lines)
    assert ngrr(lines, order=order, tokenize="none").value == pytest.approx(expected)


@given(LINES, st.sampled_from(["zero"]))
def test_n_grr_never_rises_with_the_order(lines, short):
    values = [ngrr(lines, order=order, tokenize="none", short=short).value for order in (1, 2, 3, 4, 5)]
    assert values == sorted(values, reverse=True)


@given(LINES)
def test_orders_together_equal_orders_alone(lines):
    """Together, an order without repetition spares the higher ones the counting."""
    together = [score.value for score in Ngrr((1, 2, 3, 4), "none").scores(Output(lines))]
    assert together == [Ngrr((order,), "none").score(Output(lines)).value for order in (1, 2, 3, 4)]


def test_case_and_tokens_are_in_the_signature_and_matter():
    assert ngrr(["The the."]).value == pytest.approx(100 / 3)
    assert ngrr(["The the."], lowercase=False).value == 0
    assert ngrr(["The the."], tokenize="none").value == 0
    assert "case:lc|tok:13a" in ngrr(["The the."]).signature
    assert "tok:zh" in ngrr(["猫猫在。"]).signature
    assert ngrr(["猫猫在。"]).value == 25


def test_hand_worked_rep():
    # hypothesis bigrams: ab ×2 (reference ×1), cc ×1 (reference ×0); λ1·(2−1) + λ2·(1−0) = 3 over 4 reference words
    assert rep(["a b a b c c"], ["a b c d"], tokenize="none").value == pytest.approx(100 * 3 / 4)
    # a bigram that is not in the reference counts in full once it comes twice: xy ×2 → 2; yx ×1 → 0
    assert rep(["x y x y"], ["a b"], tokenize="none").value == pytest.approx(100 * 2 / 2)
    # a a a: aa ×2 → λ1·2 + λ2·2
    assert rep(["a a a"], ["b b b"], tokenize="none").value == pytest.approx(100 * 6 / 3)
    assert rep(["a a"], ["a a"], tokenize="none").value == 0


def published_rep(hypotheses, references):
    """The rules of the authors' script, one by one."""
    total = words = 0
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        h, r = hypothesis.split(), reference.split()
        words += len(r)
        mine = [tuple(h[i : i + 2]) for i in range(len(h) - 1)]
        theirs = [tuple(r[i : i + 2]) for i in range(len(r) - 1)]
        for gram in set(mine):
            t, n = mine.count(gram), theirs.count(gram)
            if t > 1:
                total += max(0, t - n) if n else t
            if len(set(gram)) == 1:
                total += 2 * (max(0, t - n) if n else t)
    return 100 * total / words if words else 0.0


@given(st.lists(st.tuples(LINE, LINE), min_size=1, max_size=4))
def test_rep_equals_the_published_rules(pairs):
    hypotheses, references = zip(*pairs, strict=True)
    assert rep(hypotheses, references, tokenize="none").value == pytest.approx(published_rep(hypotheses, references))


def test_rep_says_that_it_reads_one_reference_of_several():
    output = Output(["a a"], [["a a"], ["b"]])
    assert Rep("none").score(output).value == 0
    assert "nrefs:1of2" in Rep("none").score(output).signature


def test_hand_worked_tng():
    hypotheses = ["a b c d a b c d a b c d", "a b c d a b c d", "a b c d a b c d a b c d", "x"]
    sources = ["e f g h", "e f g h", "e f g h e f g h", ""]
    # top 4-grams: 3 − 1 = 2 (flagged), 2 − 1 = 1, 3 − 2 = 1, 0 − 0
    score = tng(hypotheses, sources, tokenize="none")
    assert score.value == pytest.approx(25)
    statistics = Tng(tokenize="none", source_tokenize="none").statistics(Output(hypotheses, sources=sources))
    assert statistics[:, 0].tolist() == [2, 1, 1, 0]


def test_tng_tokenises_each_side_by_its_own_text():
    assert "tok:13a|src-tok:zh" in tng(["a cat"], ["一只猫"]).signature


@pytest.mark.parametrize(
    ("line", "spans"),
    [
        ("the cat the cat sat", [(0, 2), (2, 4)]),
        ("a a a a", [(0, 2), (2, 4)]),
        ("x a b c y a b c z", [(1, 4), (5, 8)]),
        ("a b", []),
        ("", []),
    ],
)
def test_repeated_spans(line, spans):
    assert repeated_spans(line.split()) == spans


@given(LINE)
def test_spans_are_apart_and_each_occurs_again(line):
    words = line.split()
    end = 0
    for start, stop in repeated_spans(words):
        assert start >= end
        assert stop - start >= 2
        end = stop
        span = words[start:stop]
        elsewhere = [i for i in range(len(words)) if abs(i - start) >= len(span) and words[i : i + len(span)] == span]
        assert elsewhere


def test_long_lines_are_marked_in_no_time():
    assert repeated_spans(["a"] * 1000) == [(0, 500), (500, 1000)]
