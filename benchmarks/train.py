"""``python -m benchmarks train``: updates of a training, in turns with the peers'."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks import floor
from benchmarks.floor import Counts
from benchmarks.machine import GIGA
from benchmarks.peers import PEERS
from benchmarks.protocol import Child
from benchmarks.rounds import Answer, Start, Turns, last_line, middle, ratio, speeds, take_turns
from benchmarks.systems import OURS, SYSTEMS, missing, python_of, sizes_of
from benchmarks.table import table
from benchmarks.texts import SIDES, sentences
from benchmarks.workload import Workload, generate

Say = Callable[[str], None]
RUNS = 2  # of each matrix product at a time; the best counts
HEAD = [
    *("system", "tokens/s", "ours ÷ it", "the same, CPU time", "MFLOP/token", "GFLOP/s of its products"),
    *("of its floor", "peak memory GB", "warm after s"),
]


class Setting(NamedTuple):
    """What is the same for every system of a run."""

    workload: Workload
    cache: Path
    peers: Path
    size: int
    batch: int
    threads: int
    rounds: int


def start_of(name: str, setting: Setting) -> Start:
    """Starts a system."""
    system = SYSTEMS[name]
    settings = {
        "threads": setting.threads,
        "workload": str(generate(setting.workload, setting.cache)),
        "size": setting.size,
        "batch": setting.batch,
        "forced_length": setting.workload.forced_length,
        "overrides": [one.replace("SIZE", str(setting.size)) for one in system.overrides],
    }
    return partial(Child, python_of(system, setting.peers), system.module, settings)


def mean_batch(setting: Setting) -> Counts:
    """What a batch of the training text counts for in the mean."""
    directory = generate(setting.workload, setting.cache)
    lengths = ([len(words) + 1 for words in sentences(directory, "train", side)] for side in SIDES)
    pairs = list(zip(*lengths, strict=True))
    share = setting.batch / len(pairs)
    return Counts(
        source=share * sum(source for source, _ in pairs),
        target=share * sum(target for _, target in pairs),
        pairs=share * sum(source * target for source, target in pairs),
    )


def available(names: Sequence[str], setting: Setting, say: Say) -> tuple[list[str], list[str]]:
    """Those of the systems that are here, and a sentence for each of the others."""
    left_out = [reason for name in names if (reason := missing(name, setting.peers))]
    for reason in left_out:
        say(reason)
    return [name for name in names if not missing(name, setting.peers)], left_out


def notes(names: Sequence[str], left_out: Sequence[str], turns: Turns) -> list[str]:
    """What the systems of a table are, what had to be worked around, who was left out and who failed."""
    told = [f"`{name}`: {SYSTEMS[name].what}" for name in names]
    for name in names:
        told += [f"`{name}`: {one}" for one in (PEERS[name].workarounds if name in PEERS else ())]
    told += [*left_out, *(f"{name}: failed: {last_line(reason)}" for name, reason in turns.failures.items())]
    return [f"* {one}" for one in told]


def measure(names: Sequence[str], setting: Setting, updates: int, say: Say) -> tuple[list[str], list[str]]:
    """The lines of a table of these systems, and the names of those that failed."""
    names, left_out = available(names, setting, say)
    counts = mean_batch(setting)
    products = {
        name: SYSTEMS[name].products(sizes_of(SYSTEMS[name], setting.size, setting.workload.vocabulary))
        for name in names
    }
    works = {name: (SYSTEMS[name].precision, floor.shapes(products[name], counts, setting.batch)) for name in names}
    many = {name: max(1, round(updates * SYSTEMS[name].share)) for name in names}
    rates: dict[str, list[Answer]] = {name: [] for name in names}
    with Child(sys.executable, "benchmarks.machine", {"threads": setting.threads, "works": works}) as machine:
        for name in names:
            rates[name].append(machine.do(name, RUNS))
            say(f"{name}: its matrix products run at {rate(rates[name]) / GIGA:.0f} GFLOP/s")
        turns = take_turns({name: start_of(name, setting) for name in names}, ["train"], many, setting.rounds, say)
        for name in names:  # and again in the end, for the weather may have changed
            rates[name].append(machine.do(name, RUNS))
    rows = [row(name, turns, products[name], rate(rates[name])) for name in names if name in turns.answers]
    return [*table(HEAD, rows), "", *notes(names, left_out, turns)], [*turns.failures]


def rate(answers: Sequence[Answer]) -> float:
    """Operations a second of matrix products: the fastest of several measurements."""
    return max(one["operations"] / one["product_seconds"] for one in answers)


def row(name: str, turns: Turns, products: list[floor.Product], operations_a_second: float) -> list[str | float | None]:
    """A system's row: the median of its rounds, and of the ratios within each round."""
    answers, ours = turns.answers[name], turns.answers.get(OURS, [])
    shares = [
        floor.operations(products, Counts(one["source"], one["target"], one["pairs"]))
        / operations_a_second
        / one["seconds"]
        for one in answers
    ]
    counts = Counts(*(sum(one[field] for one in answers) for field in Counts._fields))
    return [
        name,
        median(speeds(answers, "target")),
        ratio(speeds(ours, "target"), speeds(answers, "target")) if ours else None,
        ratio(speeds(ours, "target", "cpu_seconds"), speeds(answers, "target", "cpu_seconds")) if ours else None,
        floor.megaflop_a_token(products, counts),
        operations_a_second / GIGA,
        median(shares),
        middle(answers, "peak_memory") / GIGA,
        turns.ready[name],
    ]
