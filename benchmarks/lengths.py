"""``python -m benchmarks lengths``: that cost grows linearly with the length of the target, and of the source.

Every pair of a workload has the same two lengths; one of them goes from 10 to 200 while the other stays at 20. The
exponent is the slope of the least squares between the logarithms of seconds and length, EOS counted. What does not
depend on the length (the optimiser, the output layer when the source grows) makes it less than 1; a cost that grew with
the square would make it more.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.rounds import key, middle, take_turns
from benchmarks.table import Cell, slope, table
from benchmarks.train import Say, Setting, start_of
from benchmarks.workload import Workload

FIXED = 20
SAID = 20  # times, at least, that a word is said on average: the workload can then make place for all words
LENGTHS = (10, 20, 50, 100, 200)
WORKS = ("train", "decode")


def measure(
    names: Sequence[str], setting: Setting, lengths: Sequence[int], sentences: int, say: Say
) -> tuple[list[str], list[str]]:
    """Seconds of a sentence's training and search by length, and the exponents."""
    rows: list[list[Cell]] = []
    failures: list[str] = []
    for name in names:
        for side in ("target", "source"):
            seconds: dict[str, list[float]] = {work: [] for work in WORKS}
            for length in lengths:
                both = (FIXED, length) if side == "target" else (length, FIXED)
                found = one_length(name, setting, both, sentences, say)
                if found is None:
                    failures.append(name)
                    break
                for work in WORKS:
                    seconds[work].append(found[work])
            for work in WORKS:
                if len(seconds[work]) == len(lengths):
                    points = [(length + 1.0, one) for length, one in zip(lengths, seconds[work], strict=True)]
                    milliseconds = [1000 * one for one in seconds[work]]
                    rows.append([f"{name}, {work}, by {side} length", *milliseconds, slope(points)])
    head = ["ms of processor time a sentence", *map(str, lengths), "exponent"]
    return table(head, rows), failures


def one_length(name: str, setting: Setting, both: tuple[int, int], sentences: int, say: Say) -> dict[str, float] | None:
    """Processor seconds a sentence of a training and a search where all pairs have these lengths; None if it failed."""
    now = setting._replace(workload=workload_of(setting, both, sentences))
    turns = take_turns({name: start_of(name, now)}, WORKS, {name: 1}, setting.rounds, _nothing, {"decode": sentences})
    if turns.failures:
        say(f"{name}: failed: {turns.failures[name]}")
        return None
    train, decode = (turns.answers[key(name, work, WORKS)] for work in WORKS)
    say(f"{name}: source {both[0]}, target {both[1]}")
    return {
        "train": middle(train, "cpu_seconds") / setting.batch,
        "decode": middle(decode, "cpu_seconds") / middle(decode, "sentences"),
    }


def workload_of(setting: Setting, both: tuple[int, int], sentences: int) -> Workload:
    """Pairs of these lengths, enough for every word to be said: the output layer costs the same at every length."""
    pairs = max(16 * setting.batch, SAID * setting.workload.vocabulary // min(both))
    return setting.workload._replace(pairs=pairs, lengths=both, test_pairs=sentences, forced_length=both[1])


def _nothing(sentence: str) -> None:
    """Of each length no more is told than its end."""
