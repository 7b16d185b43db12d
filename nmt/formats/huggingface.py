"""Hugging Face Transformers: cross-attention with all its layers and heads, as arrays.

Attention of one sentence is an array of layers × heads × target tokens × source tokens. From a model that was given
``labels`` it is ``np.stack([layer[0] for layer in outputs.cross_attentions])``; from greedy ``generate``, where every
step has its own, ``np.stack([[layer[0, :, 0] for layer in step] for step in outputs.cross_attentions], axis=2)``. Row t
belongs to the step that *produces* token t of the labels, their end among them: the decoder's first input is its start
token, so the token that is fed at row t is one earlier.

Shapes: L layers, H heads, T target tokens, S source tokens, with their ends where the model has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmt.alignment import Alignment
from nmt.errors import InputError
from nmt.formats.base import File, required, soft
from nmt.links import Matrix, read_arrays
from nmt.text import read_parallel

HINT = "give the tokens of both texts without their ends; cut other special tokens off the arrays"


def one_matrix(weight_LHTS: NDArray[np.floating[Any]], layer: int | None = None, head: int | None = None) -> Matrix:
    """The attention of one ``layer`` and one ``head``, counted from 0 (or from the last, -1); the mean of all where
    they are None, (T, S). Raises ``InputError`` for a layer or head that is not there and for other arrays."""
    try:
        weight = np.asarray(weight_LHTS, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError("cross-attention that is no array of numbers") from None
    if weight.ndim != 4 or 0 in weight.shape[:2]:
        raise InputError(f"cross-attention of shape {weight.shape}, expected layers, heads, target and source tokens")
    for name, choice, count in (("layer", layer, weight.shape[0]), ("head", head, weight.shape[1])):
        if choice is not None and not -count <= choice < count:
            raise InputError(f"{name} {choice} of {count}; they are counted from 0, from the last with -1")
    weight_HTS = weight.mean(axis=0) if layer is None else weight[layer]
    matrix: Matrix = weight_HTS.mean(axis=0) if head is None else weight_HTS[head]
    return matrix


def from_heads(
    weight_LHTS: NDArray[np.floating[Any]],
    source: Sequence[str],
    target: Sequence[str],
    layer: int | None = None,
    head: int | None = None,
) -> Alignment:
    """The alignment of one sentence pair; see :func:`one_matrix`. Raises ``InputError`` where shapes do not fit."""
    return soft(source, target, one_matrix(weight_LHTS, layer, head), "cross-attention", HINT)


def read_huggingface(
    path: File,
    source: File | None = None,
    target: File | None = None,
    layer: int | None = None,
    head: int | None = None,
) -> Iterator[Alignment]:
    """Arrays of an ``.npz`` file named ``0``, ``1``, … a sentence, (L, H, T, S), or (T, S) where layers and heads were
    chosen before; both texts are needed, as tokens between spaces, without ends."""
    source, target = required(path, "source", source), required(path, "target", target)
    arrays = read_arrays(path)
    count = 0
    for before, after in read_parallel(source, target):
        array = next(arrays, None)
        if array is None:
            raise InputError(f"{path} has {count} arrays, but {source} has more lines")
        where = f"{path}, array {count}"
        try:
            matrix = array if array.ndim == 2 else one_matrix(array, layer, head)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        yield soft(before.split(), after.split(), matrix, where, HINT)
        count += 1
    if next(arrays, None) is not None:
        raise InputError(f"{path} has more arrays than {source} has lines ({count})")
