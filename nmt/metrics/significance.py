"""Bootstrap and approximate randomisation, in one place, for every metric.

Both only need sufficient statistics whose column sums give a score. Statistics of several systems and metrics stand
side by side in one array, so all of them see the same resampled sentences.

Shapes: N sentences, K statistics, R resamples or trials, ... the numbers reported.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nmt.metrics.base import Array

_PART = 1 << 15  # sentences whose counts and statistics stay in the processor's cache
_BLOCK = 1 << 22  # sentences, times resamples, that are drawn at once: 32 MB of counts
_TIE = 1e-9  # two sums in another order may differ by as much


def bootstrap(statistics_NK: Array, resamples: int, seed: int) -> Array:
    """Column sums of ``resamples`` samples of N sentences drawn with replacement, (R, K) (Efron 1979).

    A sample is how often each sentence is drawn. Long texts are drawn in parts: first how many sentences of each part,
    then which, which is the same distribution and several times as fast.
    """
    sentences, columns = statistics_NK.shape
    rng = np.random.default_rng(seed)
    parts = [statistics_NK[start : start + _PART] for start in range(0, sentences, _PART)]
    share = np.array([len(part) for part in parts]) / max(1, sentences)
    drawn_RP = (
        rng.multinomial(sentences, share, size=resamples) if len(parts) > 1 else np.full((resamples, 1), sentences)
    )
    sums = np.zeros((resamples, columns))
    for number, part in enumerate(parts):
        start = 0
        for rows in _blocks(resamples, len(part)):
            counts = np.empty((rows, len(part)))
            for row, drawn in zip(counts, drawn_RP[start:, number], strict=False):
                row[:] = np.bincount(rng.integers(len(part), size=drawn), minlength=len(part))
            sums[start : start + rows] += counts @ part
            start += rows
    return sums


def randomise(first_NK: Array, second_NK: Array, trials: int, seed: int) -> tuple[Array, Array]:
    """Column sums of two systems after each sentence's outputs changed places by the toss of a coin, (R, K) twice.

    Approximate randomisation (Noreen 1989; Riezler & Maxwell 2005).
    """
    sentences = len(first_NK)
    rng = np.random.default_rng(seed)
    difference = second_NK - first_NK
    moved = [
        rng.integers(2, size=(rows, sentences), dtype=np.int8).astype(np.float64) @ difference
        for rows in _blocks(trials, sentences)
    ]
    change = np.concatenate(moved) if moved else np.zeros((0, first_NK.shape[1]))
    return first_NK.sum(axis=0) + change, second_NK.sum(axis=0) - change


def interval(values: Array, level: float = 0.95) -> tuple[Array, Array]:
    """The percentile interval of bootstrapped values, (R, ...) to two (...)."""
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail], axis=0)
    return low, high


def bootstrap_p(first: Array, second: Array, observed: Array) -> Array:
    """p of a paired bootstrap, two-sided: how often the difference, shifted to mean 0, is as large as ``observed``.

    ``first`` and ``second``, (R, ...), are values on the same resamples (Koehn 2004). Equal systems get 1. sacrebleu
    shifts the *absolute* differences and counts one tail, so where systems differ clearly its p is about half of this.
    """
    difference = second - first
    return _share(difference - difference.mean(axis=0), observed)


def randomisation_p(first: Array, second: Array, observed: Array) -> Array:
    """p of approximate randomisation, two-sided, from values after :func:`randomise`, (R, ...)."""
    return _share(second - first, observed)


def _share(null: Array, observed: Array) -> NDArray[np.float64]:
    """(how many are at least as extreme + 1) / (R + 1), which never understates p."""
    extreme = (np.abs(null) >= np.abs(observed) - _TIE).sum(axis=0)
    return np.asarray((extreme + 1) / (len(null) + 1), dtype=np.float64)


def _blocks(total: int, sentences: int) -> Iterator[int]:
    """Parts of ``total``, each small enough for the memory."""
    step = max(1, _BLOCK // max(1, sentences))
    for start in range(0, total, step):
        yield min(step, total - start)
