"""OTEM and UTEM: hand-worked numbers and the authors' rules in plain loops."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.metrics import otem, utem
from nmt.metrics.base import Output
from nmt.metrics.over_under import Otem, Utem

LINE = st.lists(st.sampled_from(["a", "b", "c"]), max_size=9).map(" ".join)
CORPUS = st.integers(1, 3).flatmap(lambda nrefs: st.lists(st.tuples(*[LINE] * (nrefs + 1)), min_size=1, max_size=4))


def grams(words, n):
    found = {}
    for i in range(len(words) - n + 1):
        found[tuple(words[i : i + n])] = found.get(tuple(words[i : i + n]), 0) + 1
    return found


def closest(length, references):
    return min(sorted(map(len, references)), key=lambda r: abs(r - length))


def loop_otem(rows):
    len_c = len_r = 0
    over, total = [0, 0], [0, 0]
    for c, *refs in rows:
        c, refs = c.split(), [r.split() for r in refs]
        len_c += len(c)
        len_r += closest(len(c), refs)
        for n in (1, 2):
            mine = grams(c, n)
            for g, count in mine.items():
                best = 0
                for r in refs:
                    theirs = grams(r, n)
                    o = max(0, count - theirs[g] if g in theirs else count - 1)
                    if o > 0:
                        best = o if best == 0 else min(best, o)
                over[n - 1] += best
                total[n - 1] += count
    if len_r == 0 or 0 in over:
        return 0.0
    penalty = math.exp(1 - len_r / len_c) if len_c >= len_r else 1.0
    return 100 * penalty * math.exp(sum(math.log(o / t) for o, t in zip(over, total, strict=True)) / 2)


def loop_utem(rows):
    len_c = len_r = 0
    missing, total = [0] * 4, [0] * 4
    for c, *refs in rows:
        c, refs = c.split(), [r.split() for r in refs]
        len_c += len(c)
        len_r += closest(len(c), refs)
        for n in (1, 2, 3, 4):
            mine = grams(c, n)
            found = []
            for r in refs:
                theirs = grams(r, n)
                if theirs:
                    lacking = sum(max(0, count - mine.get(g, 0)) for g, count in theirs.items())
                    found.append((lacking, sum(theirs.values())))
            if found:
                missing[n - 1] += min(lacking for lacking, _ in found)
                total[n - 1] += max(count for _, count in found)
    if len_r == 0 or 0 in missing:
        return 0.0
    penalty = math.exp(1 - len_c / len_r) if len_c <= len_r else 1.0
    return 100 * penalty * math.exp(sum(math.log(m / t) for m, t in zip(missing, total, strict=True)) / 4)


def test_hand_worked_otem():
    # 1-grams of a a a b: aaa is 2 over the reference's one a; of b none: 2 of 4. 2-grams: aa ×2 not in the reference,
    # 1 over; ab none: 1 of 3. |hyp| = 4 ≥ |ref| = 2, LP = exp(1 − 2/4).
    expected = 100 * math.exp(0.5) * math.sqrt(2 / 4 * 1 / 3)
    assert otem(["a a a b"], ["a b"], tokenize="none").value == pytest.approx(expected)


def test_hand_worked_utem():
    # The reference a b c d e lacks, by order, c d e (3 of 5), bc cd de (3 of 4), abc bcd cde (3 of 3), 2 of 2.
    expected = 100 * math.exp(1 - 2 / 5) * (3 / 5 * 3 / 4 * 1 * 1) ** 0.25
    assert utem(["a b"], ["a b c d e"], tokenize="none").value == pytest.approx(expected)


def test_a_reference_without_excess_does_not_undo_another():
    # The script's rule: of the excesses over both references, 2 and 0, the smallest positive one is 2.
    assert Otem("none").statistics(Output(["a a a"], [["a b c"], ["a a a"]]))[0].tolist() == [3, 3, 2, 3, 1, 2]


@given(CORPUS)
def test_otem_equals_the_loops(rows):
    hypotheses, *references = zip(*rows, strict=True)
    assert otem(hypotheses, *references, tokenize="none").value == pytest.approx(loop_otem(rows))


@given(CORPUS)
def test_utem_equals_the_loops(rows):
    hypotheses, *references = zip(*rows, strict=True)
    assert utem(hypotheses, *references, tokenize="none").value == pytest.approx(loop_utem(rows))


@given(CORPUS)
def test_perfect_output_has_neither(rows):
    hypotheses = [row[1] for row in rows]
    assert otem(hypotheses, hypotheses, tokenize="none").value == 0
    assert utem(hypotheses, hypotheses, tokenize="none").value == 0


def test_sentences_are_ranked_by_all_their_wrong_n_grams():
    statistics = Utem("none").statistics(Output(["", "a b"], [["a b", "a b"]]))
    assert Utem("none").sentence_values(statistics).tolist() == [100, 0]
