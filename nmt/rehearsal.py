"""A rehearsal: what a recipe will take, told before anything is trained (``nmt-train --dry-run``)."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nmt.batching import filled_up
from nmt.depth import remarks_on_depth
from nmt.journal import Journal
from nmt.machine import peak_memory
from nmt.preparation import Data
from nmt.recipe import Recipe
from nmt.train import Tally, Trainer, plan_epoch

MIB = 2**20


class Measured(NamedTuple):
    """What a few batches tell of a recipe."""

    parameters: int
    device: str
    batches: int  # of an epoch
    tokens: int  # real target tokens of an epoch
    padded: int  # the same with padding
    state: int  # bytes of the optimiser
    activations: int  # bytes by which the process grew with the largest batch
    speed: float  # real target tokens a second
    training_seconds: float  # at most, validations not counted


def measure(recipe: Recipe, data: Data) -> Measured:
    """Train on a few batches; nothing is kept."""
    with tempfile.TemporaryDirectory() as directory, Journal(None) as journal:
        trainer = Trainer(recipe, data, Path(directory), journal)
        batches = plan_epoch(data.train, recipe, epoch=1)
        multiple, lengths = recipe.training.multiple, data.train.target_lengths
        widths = [filled_up(lengths[numbers].max() + 1, multiple) for numbers in batches]
        padded = [int(width) * len(numbers) for width, numbers in zip(widths, batches, strict=True)]
        tokens = int(data.train.target_lengths.sum()) + len(data.train)
        before = peak_memory(trainer.device.type)
        largest = trainer.batch(batches[int(np.argmax(padded))])
        trainer.train_step([largest], Tally(0.0))
        activations = peak_memory(trainer.device.type) - before
        # Batches of the middle of the road, not the first ones: the first update also warms up the machine.
        chosen = [trainer.batch(batches[place]) for place in np.linspace(0, len(batches) - 1, 5).astype(int)]
        for batch in 2 * chosen if trainer.replays else []:  # a shape is computed once, then recorded
            trainer.train_step([batch], Tally(0.0))
        tally = Tally(time.monotonic())
        for batch in chosen:
            trainer.train_step([batch], tally)
        speed = tally.values()["tokens/s"]
        epochs = [] if recipe.training.epochs is None else [float(recipe.training.epochs)]
        if recipe.training.updates is not None:
            epochs.append(recipe.training.updates * recipe.training.accumulate / len(batches))
        return Measured(
            parameters=sum(one.numel() for one in trainer.model.parameters()),
            device=str(trainer.device),
            batches=len(batches),
            tokens=tokens,
            padded=sum(padded),
            state=sum(t.numel() * t.element_size() for one in trainer.optimiser.state.values() for t in one.values()),
            activations=activations,
            speed=speed,
            training_seconds=min(epochs) * tokens / speed,
        )


def rehearse(recipe: Recipe, data: Data) -> Iterator[str]:
    """Lines that tell parameters, memory and the time of an epoch, measured on a few batches; nothing is kept."""
    found = measure(recipe, data)
    weights = 4 * found.parameters
    yield f"model: {found.parameters:,} parameters on {found.device}"
    yield from remarks_on_depth(recipe.model)
    padding = found.padded / found.tokens
    yield f"an epoch: {found.batches} batches, {found.tokens:,} target tokens (padding x{padding:.2f})"
    yield (
        f"memory: weights {weights / MIB:.0f} MiB, gradients {weights / MIB:.0f} MiB, optimiser "
        f"{found.state / MIB:.0f} MiB; with the largest batch the process grew by {found.activations / MIB:.0f} MiB"
    )
    epoch = found.tokens / found.speed
    yield f"speed: {found.speed:,.0f} target tokens a second; an epoch takes about {duration(epoch)}"
    if (epochs := recipe.training.epochs) is not None:
        yield f"training ({epochs} x): at most about {duration(epochs * epoch)}, validations not counted"


def duration(seconds: float) -> str:
    """As a person would say it."""
    if seconds < 90:
        return f"{seconds:.0f} second{'' if round(seconds) == 1 else 's'}"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
