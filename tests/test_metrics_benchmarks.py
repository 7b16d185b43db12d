"""The benchmarks of the metrics run, and compute what they say."""

import importlib.util

import numpy as np
import pytest
import scipy.stats
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(scope="session")
def load(repository):
    def load(name):
        spec = importlib.util.spec_from_file_location(name, repository / "benchmarks" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@given(rows=st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=20))
def test_the_area_under_the_curve_is_mann_and_whitneys(load, rows):
    scores, labels = (np.array(part, dtype=float) for part in zip(*rows, strict=True))
    if labels.min() == labels.max():
        return
    expected = scipy.stats.mannwhitneyu(scores[labels == 1], scores[labels == 0]).statistic
    expected /= labels.sum() * (1 - labels).sum()
    assert load("hallucination_labels").area(scores, labels) == pytest.approx(expected)


def test_detection_of_labelled_repetitions(load, shared_data):
    path = shared_data / "systems" / "hallucinations-deen.annotated_corpus.csv"
    result = CliRunner().invoke(load("hallucination_labels").main, [str(path), "--resamples", "2"])
    assert result.exit_code == 0, result.output
    assert "3415 sentences, 87 labelled repetitions" in result.output
    areas = {line[:32].strip(): float(line[32:39]) for line in result.output.split("\n")[2:-1]}
    assert areas["2-GRR − source"] > 0.75


def test_speed_is_measured(load):
    result = CliRunner().invoke(load("metrics_speed").main, ["--sentences", "200", "--resamples", "20"])
    assert result.exit_code == 0, result.output
    assert "sentences a processor second" in result.output
