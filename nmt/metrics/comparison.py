"""Systems against metrics: values, intervals and p against the first system, all on the same resampled sentences.

A system is one output, or several of the same system trained with several seeds; then its value is their mean, given
with their standard deviation, on the test set and on every resample of it.

Shapes: N sentences, K statistics, C columns, R resamples or trials.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nmt.errors import InputError
from nmt.metrics.base import Array, Metric, Output
from nmt.metrics.repetition import Ngrr
from nmt.metrics.significance import bootstrap, bootstrap_p, interval, randomisation_p, randomise


@dataclass(frozen=True)
class System:
    """A system's name and its outputs, one for each seed."""

    name: str
    outputs: Sequence[Output]


@dataclass(frozen=True)
class Cell:
    """What is known of one system by one number; None where a thing was not asked for or does not apply."""

    value: float
    low: float | None = None
    high: float | None = None
    deviation: float | None = None
    p_bootstrap: float | None = None
    p_randomisation: float | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table. ``kind``: ``baseline``, ``system``, or the ``reference`` or ``source`` to read it by."""

    name: str
    kind: str
    outputs: int
    cells: Mapping[str, Cell]
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """The whole table: rows, signatures and senses of the columns, and how it was resampled."""

    columns: Sequence[str]
    rows: Sequence[Row]
    signatures: Mapping[str, str]
    higher_is_better: Mapping[str, bool]
    sentences: int
    resamples: int
    trials: int
    seed: int


@dataclass
class _Line:
    """A row in the making: for each metric that applies, the statistics of every output."""

    name: str
    kind: str
    measured: list[tuple[Metric, list[Array]]]

    def arrays(self) -> Iterator[Array]:
        for _, statistics in self.measured:
            yield from statistics

    def values(self, sums: Iterator[Array]) -> list[Array]:
        """For each metric, (outputs, ..., C) from the summed statistics of its outputs, (..., K) each."""
        return [np.stack([metric.values(next(sums)) for _ in statistics]) for metric, statistics in self.measured]


def compare(
    systems: Sequence[System], metrics: Sequence[Metric], resamples: int = 1000, trials: int = 1000, seed: int = 12345
) -> Comparison:
    """Measure every system by every metric; the first is the baseline of the others.

    ``resamples`` bootstrap resamples give 95% intervals and p, ``trials`` approximate randomisation a second p; 0
    leaves them out. N-GRR gets lines for the reference and the source where there are any. Randomisation of systems
    with several seeds exchanges the outputs seed by seed and needs as many of each.

    Raises ``InputError`` when an output lacks what a metric reads or the systems differ in number of sentences.
    """
    lines = [
        _Line(
            system.name,
            "system" if number else "baseline",
            [(metric, [_statistics(metric, output) for output in system.outputs]) for metric in metrics],
        )
        for number, system in enumerate(systems)
    ]
    lines += _yardsticks(systems[0].outputs[0], metrics)
    sentences = {len(array) for line in lines for array in line.arrays()}
    if len(sentences) > 1:
        raise InputError(
            f"the systems have {' and '.join(map(str, sorted(sentences)))} sentences; one test set for all"
        )
    observed = [line.values(array.sum(axis=0) for array in line.arrays()) for line in lines]
    cells = [_plain_cells(line, values) for line, values in zip(lines, observed, strict=True)]
    if resamples:
        _add_bootstrap(lines, observed, cells, resamples, seed)
    if trials:
        _add_randomisation(lines, observed, cells, trials, seed)
    first = systems[0].outputs[0]
    return Comparison(
        columns=[column for metric in metrics for column in metric.columns],
        rows=[
            Row(line.name, line.kind, max((len(s) for _, s in line.measured), default=0), cell, _detail(line))
            for line, cell in zip(lines, cells, strict=True)
        ],
        signatures={column: metric.signature(first) for metric in metrics for column in metric.columns},
        higher_is_better={column: metric.higher_is_better for metric in metrics for column in metric.columns},
        sentences=sentences.pop(),
        resamples=resamples,
        trials=trials,
        seed=seed,
    )


def _statistics(metric: Metric, output: Output) -> Array:
    metric.require(output)
    return metric.statistics(output)


def _yardsticks(output: Output, metrics: Sequence[Metric]) -> Iterator[_Line]:
    """Legitimate repetition is common: N-GRR is read beside the reference's (all of them averaged) and the source's."""
    repetition = [metric for metric in metrics if isinstance(metric, Ngrr)]
    if repetition and output.references:
        texts = [Output(hypotheses=reference) for reference in output.references]
        # Sums over sentences and references, as in the equation.
        averaged = [(metric, [np.sum([metric.statistics(text) for text in texts], axis=0)]) for metric in repetition]
        yield _Line("reference", "reference", list(averaged))
    if repetition and output.sources is not None:
        text = Output(hypotheses=output.sources)
        there = [replace(metric, tokenize=metric.source_tokenize) for metric in repetition]
        yield _Line("source", "source", [(metric, [metric.statistics(text)]) for metric in there])


def _plain_cells(line: _Line, observed: list[Array]) -> dict[str, Cell]:
    cells = {}
    for (metric, statistics), values in zip(line.measured, observed, strict=True):
        several = len(statistics) > 1
        for number, column in enumerate(metric.columns):
            deviation = float(values[:, number].std(ddof=1)) if several else None
            cells[column] = Cell(float(values[:, number].mean()), deviation=deviation)
    return cells


def _add_bootstrap(
    lines: list[_Line], observed: list[list[Array]], cells: list[dict[str, Cell]], resamples: int, seed: int
) -> None:
    arrays = [array for line in lines for array in line.arrays()]
    sums = iter(_split(bootstrap(np.hstack(arrays), resamples, seed), arrays))
    baseline: list[Array] = []
    for line, seen, cell in zip(lines, observed, cells, strict=True):
        resampled = [values.mean(axis=0) for values in line.values(sums)]
        baseline = baseline or resampled
        for place, (metric, _) in enumerate(line.measured):
            low, high = interval(resampled[place])
            p = None
            if line.kind == "system":
                change = seen[place].mean(axis=0) - observed[0][place].mean(axis=0)
                p = bootstrap_p(baseline[place], resampled[place], change)
            for number, column in enumerate(metric.columns):
                cell[column] = replace(
                    cell[column],
                    low=float(low[number]),
                    high=float(high[number]),
                    p_bootstrap=None if p is None else float(p[number]),
                )


def _add_randomisation(
    lines: list[_Line], observed: list[list[Array]], cells: list[dict[str, Cell]], trials: int, seed: int
) -> None:
    baseline = lines[0]
    first = list(baseline.arrays())
    for line, seen, cell in zip(lines, observed, cells, strict=True):
        second = list(line.arrays())
        if line.kind != "system" or len(second) != len(first):
            continue
        swapped = randomise(np.hstack(first), np.hstack(second), trials, seed)
        one, other = (
            owner.values(iter(_split(sums, first))) for owner, sums in zip((baseline, line), swapped, strict=True)
        )
        for place, (metric, _) in enumerate(line.measured):
            change = seen[place].mean(axis=0) - observed[0][place].mean(axis=0)
            p = randomisation_p(one[place].mean(axis=0), other[place].mean(axis=0), change)
            for number, column in enumerate(metric.columns):
                cell[column] = replace(cell[column], p_randomisation=float(p[number]))


def _split(sums_RK: Array, arrays: Sequence[Array]) -> list[Array]:
    """The columns of every array again."""
    return np.split(sums_RK, np.cumsum([array.shape[1] for array in arrays])[:-1], axis=1)


def _detail(line: _Line) -> dict[str, Any]:
    """Each metric's details of the first output."""
    found: dict[str, Any] = {}
    for metric, statistics in line.measured:
        found |= metric.detail(statistics[0].sum(axis=0))
    return found
