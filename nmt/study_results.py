"""What the runs of a study have found: numbers of every cell, means over its seeds, tested against the first cell."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nmt.errors import InputError
from nmt.kept import key_of
from nmt.metrics import METRICS, build
from nmt.metrics.base import Metric, Output
from nmt.metrics.comparison import Cell as Number
from nmt.metrics.comparison import System, compare
from nmt.metrics.reading import read_run
from nmt.settings import plain
from nmt.study import Cell, Run, Study, cells
from nmt.study_analyses import ANALYSES, Analysis, Curve, Figure, Trained, corpus_at, tokeniser
from nmt.study_runs import end_of, failure_of
from nmt.text import written_whole
from nmt.version import VERSION

MIB = 2**20


class Column(NamedTuple):
    """A number of a table: its name, which direction is better (None: neither), and how it is written."""

    name: str
    higher_is_better: bool | None
    form: str


# What the end of a run tells of any kind of study (name in the log, column, factor).
FACTS = (
    ("parameters", Column("parameters", None, ",.0f"), 1.0),
    ("tokens/s", Column("tokens/s", True, ",.0f"), 1.0),
    ("steps/s", Column("steps/s", True, ",.0f"), 1.0),
    ("peak memory", Column("peak MiB", False, ",.0f"), 1 / MIB),
    ("seconds", Column("minutes", False, ".2f"), 1 / 60),
)
MEMORY = (
    ("loss", Column("loss", False, ".4f"), 1.0),
    ("ratio", Column("loss / no memory", False, ".3f"), 1.0),
    ("right", Column("right %", True, ".1f"), 1.0),
)


class Line(NamedTuple):
    """A cell in a table: the seeds that are finished, and its numbers by the names of columns."""

    cell: Cell
    seeds: tuple[int, ...]
    numbers: Mapping[str, Number]


class Section(NamedTuple):
    """A table: one a test set, and one of what the runs cost."""

    name: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()


class Findings(NamedTuple):
    """All that there is to tell of a study now."""

    name: str
    study: Study
    sections: tuple[Section, ...]
    figures: tuple[Figure, ...]
    unfinished: tuple[str, ...]  # a sentence for each run that is missing or failed


def check(study: Study, runs: Sequence[Run]) -> None:
    """Raises ``InputError`` for a test set that no run will have and a number to be drawn that no table will have:
    before anything is trained."""
    numbers = [column.name for _, column, _ in _facts_of(study)]
    if study.kind == "translation":
        numbers += [column for name in study.metrics for column in build(name).columns]
    _known("drawn", "number", study.drawn or (), numbers)
    if study.tests:
        corpora = {run.settings.corpus for run in runs}
        _known("tests", "test set", study.tests, sorted({test for path in corpora for test in corpus_at(path).tests}))


def _known(key: str, kind: str, names: Sequence[str], there: Sequence[str]) -> None:
    for name in names:
        if name not in there:
            raise InputError(f'{key}: there is no {kind} "{name}"; there are {", ".join(there)}')


def _facts_of(study: Study) -> tuple[tuple[str, Column, float], ...]:
    return (MEMORY if study.kind == "memory" else ()) + FACTS


def collect(name: str, study: Study, runs: Sequence[Run], cache: Path, say: Callable[[str], None]) -> Findings:
    """Read what is finished. Figures, which may take a while, are kept in ``cache`` by what they were made from.

    Raises ``InputError`` for a run whose files do not fit each other, and a test set that no run has.
    """
    ends = {str(run): end for run in runs if (end := end_of(run)) is not None}
    finished = {cell.name: [run for run in runs if run.cell == cell and str(run) in ends] for cell in cells(study)}
    sections = list(_tests(study, finished)) if study.kind == "translation" else []
    sections.append(_facts(study, finished, ends))
    unfinished = [
        f"{run}: failed: {reason}" if (reason := failure_of(run)) else f"{run}: not finished"
        for run in runs
        if str(run) not in ends
    ]
    figures = list(_figures(study, finished, ends, cache, say))
    return Findings(name, study, tuple(sections), tuple(figures), tuple(unfinished))


def _facts(study: Study, finished: Mapping[str, list[Run]], ends: Mapping[str, dict[str, Any]]) -> Section:
    wanted = _facts_of(study)
    lines, seen = [], set()
    for cell in cells(study):
        found = [ends[str(run)] for run in finished[cell.name]]
        numbers = {}
        for key, column, factor in wanted:
            values = [end[key] * factor for end in found if key in end]
            if values:
                seen.add(column.name)
                deviation = statistics.stdev(values) if len(values) > 1 else None
                numbers[column.name] = Number(statistics.fmean(values), deviation=deviation)
        lines.append(Line(cell, tuple(run.seed for run in finished[cell.name]), numbers))
    columns = tuple(column for _, column, _ in wanted if column.name in seen)
    return Section("problem" if study.kind == "memory" else "cost", columns, tuple(lines))


def _tests(study: Study, finished: Mapping[str, list[Run]]) -> Iterator[Section]:
    """A section for each test set; cells are compared with the first cell, where that has a finished run."""
    outputs = {name: [read_run(str(run.directory)) for run in runs] for name, runs in finished.items() if runs}
    if not outputs:
        return
    there = {test: None for found in outputs.values() for one in found for test in one}
    for test in study.tests or there:
        if test not in there:
            raise InputError(f'tests: no run has a test set "{test}"; there are {", ".join(there)}')
        having = {name: found for name, found in outputs.items() if all(test in one for one in found)}
        systems = [System(name, [one[test] for one in found]) for name, found in having.items()]
        recipe = next(runs[0] for runs in finished.values() if runs).settings
        metrics = _metrics(study, systems[0].outputs[0], tokeniser(recipe, systems[0].outputs[0]))
        first = cells(study)[0].name
        comparable = systems[0].name == first
        resamples, trials = (study.resamples, study.trials) if comparable else (0, 0)
        found = compare(systems, metrics, resamples, trials)
        by_name = {row.name: row for row in found.rows if row.kind in ("baseline", "system")}
        lines = tuple(
            Line(
                cell,
                tuple(run.seed for run in finished[cell.name]),
                by_name[cell.name].cells if cell.name in by_name else {},
            )
            for cell in cells(study)
        )
        columns = tuple(Column(name, found.higher_is_better[name], ".2f") for name in found.columns)
        yield Section(test, columns, lines, tuple(_notes(study, found, comparable)))


def _metrics(study: Study, output: Output, tokenize: str) -> list[Metric]:
    """Those of the study's that the test set allows."""
    possible = [
        name for name in study.metrics if all(getattr(output, need) is not None for need in METRICS[name].needs)
    ]
    return [build(name, tokenize=tokenize) for name in possible]


def _notes(study: Study, found: Any, comparable: bool) -> Iterator[str]:
    yield f"{found.sentences} sentences; mean ± standard deviation over the seeds."
    if comparable and study.trials:
        yield (
            f"p against {found.rows[0].name}, over sentences, paired: approximate randomisation ({study.trials} trials)"
            f" or, where the numbers of seeds differ, the bootstrap ({study.resamples} resamples). It tells whether "
            "other sentences might turn the difference, not whether other seeds might."
        )
    for row in found.rows:
        if row.kind == "reference":
            yield "Reference: " + ", ".join(f"{name} {cell.value:.2f}" for name, cell in row.cells.items()) + "."
    signatures: dict[str, list[str]] = {}
    for column, signature in found.signatures.items():
        signatures.setdefault(signature, []).append(column)
    for signature, names in signatures.items():
        yield f"{', '.join(names)}: {signature}"


def _figures(
    study: Study,
    finished: Mapping[str, list[Run]],
    ends: Mapping[str, dict[str, Any]],
    cache: Path,
    say: Callable[[str], None],
) -> Iterator[Figure]:
    there = {name: runs for name, runs in finished.items() if runs}
    systems = [Trained(name, runs[0].settings, tuple(run.directory for run in runs)) for name, runs in there.items()]
    for chosen in study.analyses if systems else ():
        analysis: Analysis = chosen.build(ANALYSES)
        # All that it may depend on: the settings, those of the device among them, and which trainings they were.
        made_from = [[(plain(run.settings), ends[str(run)]) for run in runs] for runs in there.values()]
        key = key_of(analysis=plain(chosen), runs=made_from, names=[*there], version=VERSION)
        place = cache / f"{chosen.kind}-{key[:16]}.json"
        if not place.exists():
            say(f"{chosen.kind} of {len(systems)} cells")
            with written_whole(place) as stream:
                stream.write(json.dumps([one._asdict() for one in analysis.figures(systems)]).encode())
        for one in json.loads(place.read_bytes()):
            curves = tuple(Curve(*map(_frozen, curve)) for curve in one.pop("curves"))
            yield Figure(**one, curves=curves)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
