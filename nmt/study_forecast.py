"""How long the missing runs of a study will take: as long as their like took, or as a few updates tell."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from nmt.journal import Journal
from nmt.memory_tasks import MemoryTask, learn
from nmt.preparation import prepare
from nmt.rehearsal import duration, measure
from nmt.study import Run
from nmt.study_runs import end_of

_TRIED = 3  # updates of a memory problem


def forecast(runs: Sequence[Run], missing: Sequence[Run], jobs: int, say: Callable[[str], None]) -> Iterator[str]:
    """A line for every cell that lacks a seed, with the time of one of them, and the time of all; nothing is kept."""
    known: dict[str, list[float]] = {}
    for run in runs:
        if (end := end_of(run)) is not None:
            known.setdefault(run.cell.name, []).append(end["seconds"])
    lacking: dict[str, list[Run]] = {}
    for run in missing:
        lacking.setdefault(run.cell.name, []).append(run)
    total = 0.0
    for name, some in lacking.items():
        seconds = statistics.fmean(known[name]) if name in known else _tried(some[0], say)
        total += seconds * len(some)
        source = "as finished runs of it took" if name in known else "as a few updates tell"
        seeds = ", ".join(str(run.seed) for run in some)
        yield f"{name}: seeds {seeds} missing; training of each about {duration(seconds)}, {source}"
    if missing:
        yield f"all: about {duration(total / jobs)} with {jobs} at a time, validations and tests not counted"
    else:
        yield "nothing is missing"


def _tried(run: Run, say: Callable[[str], None]) -> float:
    """Seconds of training, were every update like those few that are tried."""
    if isinstance(run.settings, MemoryTask):
        few = run.settings.model_copy(update={"updates": _TRIED, "tests": 1})
        with tempfile.TemporaryDirectory() as directory, Journal(None) as journal:
            return learn(few, Path(directory), journal)["seconds"] / _TRIED * run.settings.updates
    say(f"{run.cell.name}: a rehearsal")
    return measure(run.settings, prepare(run.settings, lambda sentence: None)).training_seconds
