"""``python -m benchmarks data``: what of an update is data, and how fast a text becomes ids."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.rounds import key, middle, take_turns
from benchmarks.systems import OURS
from benchmarks.table import Cell, table
from benchmarks.texts import SIDES, text_file
from benchmarks.train import Say, Setting, start_of
from benchmarks.workload import generate
from nmt.bitext import Limits, prepare_bitext
from nmt.text import read_lines
from nmt.vocabulary import VocabularySettings, train_vocabulary

PIECES = 1000  # of the sentencepiece models, or half as many as there are words


def share(setting: Setting, updates: int, say: Say) -> tuple[list[str], list[str]]:
    """The time of gathering, collating and moving batches beside that of whole updates, which holds it."""
    works, names = ["train", "data"], [OURS, "ours-bf16"]
    turns = take_turns(
        {name: start_of(name, setting) for name in names},
        works,
        dict.fromkeys(names, updates),
        setting.rounds,
        say,
    )
    rows: list[list[Cell]] = []
    for name in names:
        whole, data = (turns.answers.get(key(name, work, works), []) for work in works)
        if data:
            a_token = [1e6 * middle(answers, "seconds") / middle(answers, "target") for answers in (whole, data)]
            rows.append([name, *a_token, f"{100 * a_token[1] / a_token[0]:.2f} %"])
    return table(["system", "update, µs a target token", "of it data", "share"], rows), [*turns.failures]


def preparation(setting: Setting, processes: tuple[int, ...], repeat: int, say: Say) -> list[str]:
    """Sentencepiece encoding and writing of the ids of the training text, ``repeat`` times over.

    The words are cached by each process, as in training; the models are made before the clock starts.
    """
    directory = generate(setting.workload, setting.cache)
    settings = VocabularySettings(kind="bpe", size=min(PIECES, setting.workload.vocabulary // 2))
    rows: list[list[Cell]] = []
    with tempfile.TemporaryDirectory() as place:
        vocabularies = tuple(
            train_vocabulary(read_lines(text_file(directory, "train", side)), settings, side) for side in SIDES
        )
        files = [Path(place) / f"text.{side}" for side in SIDES]
        for side, path in zip(SIDES, files, strict=True):
            path.write_text(repeat * text_file(directory, "train", side).read_text(encoding="utf-8"), encoding="utf-8")
        for workers in processes:
            cache = Path(place) / f"ids-{workers}"
            started = time.perf_counter()
            bitext = prepare_bitext(
                files[0], files[1], (vocabularies[0], vocabularies[1]), Limits(1000, 1000), cache, workers
            )
            seconds = time.perf_counter() - started
            pieces_written = int(bitext.source_lengths.sum() + bitext.target_lengths.sum())
            rows.append([f"{workers}", f"{len(bitext):,}", len(bitext) / seconds, pieces_written / seconds])
            say(f"{workers} processes: {len(bitext) / seconds:,.0f} pairs a second")
    return table(["processes", "pairs", "pairs/s", "pieces/s"], rows)
