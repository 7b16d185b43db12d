"""``python -m benchmarks decode`` and ``align``: beam search in turns with the peers', and forced alignment."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from benchmarks.machine import GIGA
from benchmarks.rounds import key, middle, ratio, speeds, take_turns
from benchmarks.systems import OURS
from benchmarks.table import table
from benchmarks.train import Say, Setting, available, notes, start_of


def decode(names: Sequence[str], setting: Setting, sentences: int, say: Say) -> tuple[list[str], list[str]]:
    """Sentences a second of a beam search of 5 whose translations are all as long."""
    names, left_out = available(names, setting, say)
    turns = take_turns(
        {name: start_of(name, setting) for name in names},
        ["decode"],
        dict.fromkeys(names, sentences),
        setting.rounds,
        say,
    )
    ours = turns.answers.get(OURS, [])
    rows = []
    for name, answers in turns.answers.items():
        beside = [
            ratio(speeds(ours, "sentences", seconds), speeds(answers, "sentences", seconds)) if ours else None
            for seconds in ("seconds", "cpu_seconds")
        ]
        speed = median(speeds(answers, "sentences"))
        words = middle(answers, "words") / middle(answers, "sentences")
        rows.append([name, speed, *beside, words, middle(answers, "peak_memory") / GIGA])
    head = ["system", "sentences/s", "ours ÷ it", "the same, CPU time", "words a sentence", "peak memory GB"]
    return [*table(head, rows), "", *notes(names, left_out, turns)], [*turns.failures]


def align(names: Sequence[str], setting: Setting, sentences: int, say: Say) -> tuple[list[str], list[str]]:
    """Forced alignment beside beam search, of the same sentences and as many target words."""
    works = ["decode", "align"]
    names, left_out = available(names, setting, say)
    turns = take_turns(
        {name: start_of(name, setting) for name in names}, works, dict.fromkeys(names, sentences), setting.rounds, say
    )
    rows = []
    for name in names:
        searched, forced = (turns.answers.get(key(name, work, works), []) for work in works)
        if forced:
            speed = [median(speeds(one, "sentences")) for one in (searched, forced)]
            rows.append([name, *speed, ratio(speeds(forced, "sentences"), speeds(searched, "sentences"))])
    head = ["system", "beam search, sentences/s", "forced alignment, sentences/s", "alignment ÷ search"]
    return [*table(head, rows), "", *notes(names, left_out, turns)], [*turns.failures]
