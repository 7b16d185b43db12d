"""Attention matrices in few bytes: rounded column by column, so that coverage stays right, and deflated.

Shapes: T target words, S source words.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from nmt.links import Matrix

# What a weight of 1 may become, the finest first: one byte a weight before it is deflated.
STEPS = (255, 127, 63, 31, 15, 7, 3)


def rounded(weight_TS: Matrix, steps: int = STEPS[0]) -> NDArray[np.uint8]:
    """q_ts = ⌊n Σ_{t' ≤ t} a_t's + ½⌋ − ⌊n Σ_{t' < t} a_t's + ½⌋ for n steps, bytes.

    A weight is off by less than 1/n, and so is the coverage Σ_t a_ts of a source word, however many small weights it is
    made of: rounding each weight by itself would lose them all.
    """
    until_TS = np.floor(steps * np.cumsum(weight_TS, axis=0) + 0.5)
    steps_TS = np.diff(until_TS, axis=0, prepend=0)
    return np.minimum(steps_TS, steps).astype(np.uint8)


def packed(matrices: Iterable[Matrix], steps: int = STEPS[0]) -> str:
    """All matrices one after the other, row by row, as deflated bytes (zlib) in base64. A reader knows the shapes from
    the words."""
    raw = b"".join(rounded(matrix, steps).tobytes() for matrix in matrices)
    return base64.b64encode(zlib.compress(raw, 9)).decode("ascii")


def fitted(systems: Sequence[Sequence[Matrix]], room: float) -> tuple[int, list[str]]:
    """The matrices of every system, packed, with as many steps as fit into ``room`` bytes, or with the fewest."""
    for steps in STEPS:
        found = [packed(matrices, steps) for matrices in systems]
        if sum(map(len, found)) <= room:
            break
    return steps, found


def unpacked(text: str, shapes: Iterable[tuple[int, int]], steps: int = STEPS[0]) -> list[Matrix]:
    """What :func:`packed` packed, to 1/steps. Raises ``ValueError`` when the shapes are not those of the matrices."""
    raw = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.uint8)
    shapes = list(shapes)
    sizes = [rows * columns for rows, columns in shapes]
    if sum(sizes) != len(raw):
        raise ValueError(f"{len(raw)} weights for {sum(sizes)} cells")
    parts = np.split(raw, np.cumsum(sizes)[:-1]) if sizes else []
    return [part.reshape(shape) / steps for part, shape in zip(parts, shapes, strict=True)]
