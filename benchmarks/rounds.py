"""Systems that take turns: every round each of them does its work once, so that all meet the same weather."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from types import MappingProxyType
from typing import Any, NamedTuple

from benchmarks.protocol import Child, SystemFailedError

Answer = dict[str, float]
Start = Callable[[], Child]


class Turns(NamedTuple):
    """What systems answered, round after round, and why some of them could not."""

    answers: dict[str, list[Answer]]
    ready: dict[str, float]  # seconds until the first work was done
    failures: dict[str, str]


def take_turns(
    starts: Mapping[str, Start],
    works: Sequence[str],
    counts: Mapping[str, int],
    rounds: int,
    say: Callable[[str], None],
    count_of: Mapping[str, int] = MappingProxyType({}),
) -> Turns:
    """Start all systems, have each do each of the works once to warm up, and then ``rounds`` times in turns.

    ``counts`` is how much of a work a system does in a round, ``count_of`` the same for all systems by work. Answers
    are kept by ``NAME`` and, where there are several works, by ``NAME WORK``. A system that fails is left out and told.
    """
    turns = Turns({}, {}, {})
    children: dict[str, Child] = {}

    def asked(name: str, work: str, count: int) -> Answer | None:
        try:
            return children[name].do(work, count)
        except SystemFailedError as error:
            failed(name, error)
            return None

    def failed(name: str, error: SystemFailedError) -> None:
        turns.failures[name] = str(error)
        say(f"{name}: failed: {last_line(str(error))}")
        if name in children:
            children.pop(name).close()

    try:
        for name, start in starts.items():
            try:
                children[name] = start()
            except SystemFailedError as error:
                failed(name, error)
                continue
            first = [asked(name, work, 1) for work in works if name in children]
            if name in children:
                turns.ready[name] = children[name].ready + sum(one["seconds"] for one in first if one)
                say(f"{name}: ready and warm after {turns.ready[name]:.1f} s")
        for number in range(rounds):
            for name in list(children):
                for work in works:
                    if name in children and (answer := asked(name, work, count_of.get(work, counts[name]))):
                        turns.answers.setdefault(key(name, work, works), []).append(answer)
            say(f"round {number + 1} of {rounds}")
    finally:
        for child in children.values():
            child.close()
    return turns


def key(name: str, work: str, works: Sequence[str]) -> str:
    """The name of a system, and of the work where there are several."""
    return name if len(works) == 1 else f"{name} {work}"


def speeds(answers: Sequence[Answer], counted: str, seconds: str = "seconds") -> list[float]:
    """How much was counted in a second, in each round."""
    return [one[counted] / one[seconds] for one in answers]


def ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    """The median over the rounds of ours ÷ other's."""
    return median(one / other for one, other in zip(ours, others, strict=False))


def middle(answers: Sequence[Answer], name: str) -> Any:
    """The median of one of the answers' numbers."""
    return median(one[name] for one in answers)


def last_line(text: str) -> str:
    """What a traceback says in the end."""
    return text.rstrip("\n").rpartition("\n")[2]
