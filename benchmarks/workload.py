"""The workload of a benchmark: generated pairs in plain text files, which every system reads.

By default 20,000 pairs for training, 8,000 words on each side (the special ones of the toolkits counted) whose
frequencies follow Zipf's law, and a mean length of 24 with a standard deviation of 10: batches of 80 sentences that
nobody sorted are then padded to twice their tokens. The target says the words of the source in their order, with a
length of its own. The 200 test sources have the same lengths; each of their targets has 30 words, as
many as a search is forced to.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.texts import SIDES, SPECIAL, text_file, words_file
from nmt.kept import kept_directory, key_of
from nmt.text import write_lines

FORMAT = 1
Numbers = NDArray[np.int64]


class Workload(NamedTuple):
    """What decides every letter of the files."""

    pairs: int = 20_000
    vocabulary: int = 8_000
    mean_length: float = 24.0
    deviation: float = 10.0
    test_pairs: int = 200
    forced_length: int = 30
    lengths: tuple[int, int] | None = None  # of every source and target, for cost by length
    seed: int = 1


def generate(workload: Workload, cache: Path) -> Path:
    """The directory of the files, made where it is missing: ``train``, ``dev`` and ``test``, and the words."""
    key = key_of(format=FORMAT, **workload._asdict())

    def build(directory: Path) -> None:
        random = np.random.default_rng(workload.seed)
        frequency = 1 / np.arange(1, workload.vocabulary - SPECIAL + 1)
        bounds = np.cumsum(frequency / frequency.sum())[:-1]
        for side in SIDES:
            write_lines(words_file(directory, side), (_word(side, n) for n in range(len(frequency))))
        for part, count in (("train", workload.pairs), ("dev", workload.test_pairs), ("test", workload.test_pairs)):
            lengths = _lengths(random, workload, count)
            if part == "test" and workload.lengths is None:
                lengths[1][:] = workload.forced_length
            source = [np.searchsorted(bounds, random.random(length)) for length in lengths[0]]
            pairs = zip(source, lengths[1], strict=True)
            target = [said[np.arange(length) * len(said) // length] for said, length in pairs]
            for side, sentences in zip(SIDES, (source, target), strict=True):
                if part == "train":
                    _say_all(sentences, len(frequency))
                lines = (" ".join(_word(side, n) for n in sentence) for sentence in sentences)
                write_lines(text_file(directory, part, side), lines)

    return kept_directory(cache / f"workload-{key[:16]}", key, build)


def _lengths(random: np.random.Generator, workload: Workload, count: int) -> tuple[Numbers, Numbers]:
    """Lengths of both sides: gamma-distributed, the target's within about a tenth of the source's."""
    if workload.lengths is not None:
        source, target = (np.full(count, length) for length in workload.lengths)
        return source, target
    scale = workload.deviation**2 / workload.mean_length
    drawn = random.gamma(workload.mean_length / scale, scale, count)
    ratio = random.normal(1.0, 0.1, count)
    longest = 4 * workload.mean_length
    source, target = (one.round().clip(1, longest).astype(np.int64) for one in (drawn, drawn * ratio))
    return source, target


def _say_all(sentences: list[Numbers], words: int) -> None:
    """Put each word that nobody says in the place of one of the most frequent, so that every toolkit counts as many."""
    missing = np.setdiff1d(np.arange(words), np.concatenate(sentences)).tolist()
    for sentence in sentences:
        for place in np.flatnonzero(sentence == 0).tolist():
            if not missing:
                return
            sentence[place] = missing.pop()


def _word(side: str, number: int) -> str:
    return f"{side[0]}{number}"
