"""Laws over the whole family, from its table: no crash, no NaN, no score out of range, no torch."""

import resource
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nmt.metrics
from nmt.errors import InputError
from nmt.links import Links
from nmt.metrics import METRICS, build
from nmt.metrics.base import Marked, Output

UNBOUNDED = {
    "ter",
    "rep",
    "otem",
    "utem",
    "coverage",
    "entropy",
}  # TER and REP may pass 100, as may the length penalties
ON_WORDS = {"ngrr", "rep", "tng", "otem", "utem"}  # their marks come from the words themselves
LINE = st.one_of(st.text(max_size=20), st.lists(st.sampled_from("ab猫。.,"), max_size=9).map(" ".join))
PAIR = st.tuples(st.integers(0, 3), st.integers(0, 2))
LINKS = st.builds(Links, st.frozensets(PAIR, max_size=4), st.frozensets(PAIR, max_size=4))
WEIGHTS = st.lists(st.floats(0, 1), min_size=12, max_size=12).map(lambda flat: np.array(flat).reshape(3, 4))
SENTENCE = st.tuples(LINE, LINE, LINE, LINE, LINKS, WEIGHTS, LINKS, LINKS)


def output_of(rows):
    hypotheses, first, second, sources, links, weights, gold, reference_links = (list(part) for part in zip(*rows))  # noqa: B905
    return Output(hypotheses, [first, second], sources, links, weights, gold, reference_links)


OUTPUT = st.lists(SENTENCE, min_size=1, max_size=4).map(output_of)
QUIET = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("name", METRICS)
@given(output=OUTPUT)
@QUIET
def test_any_input_gives_finite_scores_in_range(name, output):
    metric = build(name)
    statistics = metric.statistics(output)
    assert statistics.shape[0] == output.sentences
    for score in metric.scores(output):
        assert np.isfinite(score.value)
        assert score.value >= 0
        assert name in UNBOUNDED or score.value <= 100 + 1e-9
        assert "version:" in score.signature
    assert np.isfinite(metric.values(np.zeros(statistics.shape[1]))).all()
    assert np.isfinite(metric.values(statistics)).all()
    assert np.isfinite(metric.sentence_values(statistics)).all()


@pytest.mark.parametrize("name", METRICS)
@given(output=OUTPUT)
@QUIET
def test_marks_lie_within_the_words(name, output):
    for sentence in range(output.sentences):
        marks = build(name).marks(output, sentence)
        for marked in (marks.hypothesis, marks.source, *marks.references):
            if marked is not None:
                # Links of this fuzz may lie beyond the words: a mark there shows nothing, but it is never negative.
                limit = len(marked.words) if name in ON_WORDS else 4
                assert all(0 <= start < end <= limit for start, end in marked.spans)


@pytest.mark.parametrize("name", METRICS)
@given(rows=st.lists(SENTENCE, min_size=2, max_size=4))
@QUIET
def test_statistics_of_a_sentence_do_not_depend_on_the_others(name, rows):
    whole = build(name).statistics(output_of(rows))
    apart = np.concatenate([build(name).statistics(output_of([row])) for row in rows])
    np.testing.assert_array_equal(whole, apart)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_documented_settled_and_exported(name):
    cls = METRICS[name]
    assert cls.__doc__
    assert len(cls.__doc__) > 40
    assert all(field.default is not None for field in fields(cls))
    assert callable(getattr(nmt.metrics, name))
    assert name in nmt.metrics.__all__


@pytest.mark.parametrize("name", METRICS)
def test_what_a_metric_needs_is_asked_for(name):
    with pytest.raises(InputError, match="needs"):
        build(name).scores(Output())


def test_an_unknown_metric_is_told_with_the_nearest():
    with pytest.raises(InputError, match="'gnrr'; did you mean ngrr"):
        build("gnrr")


@pytest.mark.parametrize("line", ["", "   ", "one", "word " * 1000, "a\u2028b", "a\x85b", "a\x0bb"])
@pytest.mark.parametrize("name", ["bleu", "chrf", "ngrr", "rep", "tng", "otem", "utem"])
def test_difficult_lines_are_one_sentence_each(name, line):
    """Complaint 8 of other toolkits' users (TER is left out: sacrebleu takes minutes for a thousand words)."""
    output = Output([line, "a b"], [["a", "a b"]], ["c", "c"])
    assert build(name).statistics(output).shape[0] == 2


def test_marked_words_by_number():
    assert Marked.at(["a", "b", "c"], {2, 0}).spans == [(0, 1), (2, 3)]


@pytest.mark.parametrize("module", ["nmt.metrics", "nmt.links", "nmt.metrics.comparison", "nmt.cli.evaluate"])
def test_no_torch_is_imported(module):
    program = f"import {module}, sys; sys.exit('torch' in sys.modules or 'sacrebleu' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_small_file_is_answered_in_under_a_second(tmp_path):
    (tmp_path / "hyp.txt").write_text("the cat the cat\n" * 100)
    program = "from nmt.cli.evaluate import main; main()"
    arguments = [sys.executable, "-c", program, "--metric", "ngrr", str(tmp_path / "hyp.txt")]
    subprocess.run(arguments, check=True, capture_output=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(arguments, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Processor time, for the machine may be busy with other things; nothing in the command waits.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1
