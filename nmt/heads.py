"""Which layer's and head's attention of a trained Transformer shows best what a target word is aligned to.

Heads differ: many look at the end of the sentence, or at the word before. Gold links tell which one aligns, and at
which step it is read (:mod:`nmt.readings`). The one that is found is asked for by ``Translator.load(run, shown=...)``,
by ``nmt-align --head``, or by ``model.shown`` in the recipe of the next training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np

from nmt.alignment import Alignment, Reading, words_of
from nmt.errors import InputError
from nmt.links import Links, Matrix
from nmt.metrics.alignment import aer
from nmt.readings import loaded_for

if TYPE_CHECKING:
    from nmt.translator import Translation, Translator

Place = int | Literal["mean"]


class Head(NamedTuple):
    """Where attention is read: in which layer and by which head, counted from 1, or by the mean; and at which step."""

    layer: Place
    head: Place
    reading: Reading


class Heads(NamedTuple):
    """AER in percent of every head, of each layer's mean and of the mean of all, in both readings; and the lowest."""

    best: Head
    aer: dict[Head, float]


def best_head(
    run: Translator | str | Path,
    source_lines: Sequence[str],
    target_lines: Sequence[str],
    gold: Sequence[Links],
    readings: Sequence[Reading] = get_args(Reading),
) -> Heads:
    """The layer, head and reading with the lowest AER when a run (or its directory) is forced to say the target.

    Read as by :func:`nmt.readings.best_reading_of_run`; the first of equals. A decoder that is not a Transformer's has
    one layer and one head: what its trace tells. Raises ``InputError`` when source, target and gold differ in length,
    and as :meth:`nmt.Translator.load` does.
    """
    translator = loaded_for(run, source_lines, target_lines, gold)
    found: dict[Head, list[Links]] = {}
    weights = translator.head_weights(source_lines, target_lines)
    shape = max(one.shape[:2] for one in weights) if weights else (1, 1)  # of an empty line nothing is known
    for said, weight_LHTS in zip(translator.align(source_lines, target_lines), weights, strict=True):
        whole = np.broadcast_to(weight_LHTS, (*shape, *weight_LHTS.shape[2:]))
        for layer, head, weight_TS in _places(whole):
            for reading in readings:
                found.setdefault(Head(layer, head, reading), []).append(_links(said, weight_TS, reading))
    rates = {one: aer(links, gold).value for one, links in found.items()}
    if not rates:
        raise InputError("the best head on no sentence at all cannot be told; give sentences with gold links")
    return Heads(min(rates, key=lambda one: rates[one]), rates)


def _places(weight_LHTS: np.ndarray) -> Iterator[tuple[Place, Place, Matrix]]:
    """Every head, the mean of each layer's and the mean of all, where these are several."""
    layers, heads = weight_LHTS.shape[:2]
    for layer in range(layers):
        for head in range(heads):
            yield layer + 1, head + 1, weight_LHTS[layer, head]
        if heads > 1:
            yield layer + 1, "mean", weight_LHTS[layer].mean(axis=0)
    if layers > 1:
        yield "mean", "mean", weight_LHTS.mean(axis=(0, 1))


def _links(said: Translation, weight_TS: Matrix, reading: Reading) -> Links:
    between_pieces = Alignment(said.source_pieces, said.pieces, weight_TS=weight_TS)
    return between_pieces.read(reading).to_words(*words_of(said)).hard().links or Links()


def parse_head(text: str) -> tuple[Place, Place]:
    """Layer and head of ``2.1``, ``2`` (the mean of its heads) or ``mean``. Raises ``InputError`` for anything else."""
    layer, dot, head = text.partition(".")
    if text == "mean":
        return "mean", "mean"
    if not all(part.isascii() and part.isdigit() and int(part) for part in (layer, head if dot else "1")):
        raise InputError(f'head "{text}": give best, mean, a layer such as 2, or a layer and a head such as 2.1')
    return int(layer), int(head) if dot else "mean"
