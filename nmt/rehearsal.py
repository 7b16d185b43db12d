"""A rehearsal: what a recipe will take, told before anything is trained (``nmt-train --dry-run``)."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from nmt.journal import Journal
from nmt.preparation import Data
from nmt.recipe import Recipe
from nmt.train import Tally, Trainer, gather, plan_epoch

MIB = 2**20


def rehearse(recipe: Recipe, data: Data) -> Iterator[str]:
    """Lines that tell parameters, memory and the time of an epoch, measured on a few batches; nothing is kept."""
    with tempfile.TemporaryDirectory() as directory, Journal(None) as journal:
        trainer = Trainer(recipe, data, Path(directory), journal)
        parameters = sum(one.numel() for one in trainer.model.parameters())
        yield f"model: {parameters:,} parameters on {trainer.device}"
        batches = plan_epoch(data.train, recipe, epoch=1)
        padded = [int((data.train.target_lengths[numbers].max() + 1) * len(numbers)) for numbers in batches]
        real = int(data.train.target_lengths.sum()) + len(data.train)
        yield f"an epoch: {len(batches)} batches, {real:,} target tokens (padding x{sum(padded) / real:.2f})"
        before = _peak(trainer.device)
        largest = gather(data.train, batches[int(np.argmax(padded))])
        trainer.train_step([largest], Tally(0.0))
        activations = _peak(trainer.device) - before
        state = sum(t.numel() * t.element_size() for one in trainer.optimiser.state.values() for t in one.values())
        weights = 4 * parameters
        yield (
            f"memory: weights {weights / MIB:.0f} MiB, gradients {weights / MIB:.0f} MiB, optimiser "
            f"{state / MIB:.0f} MiB; with the largest batch the process grew by {activations / MIB:.0f} MiB"
        )
        # Batches of the middle of the road, not the first ones: the first update also warms up the machine.
        chosen = [gather(data.train, batches[place]) for place in np.linspace(0, len(batches) - 1, 5).astype(int)]
        started = time.monotonic()
        tally = Tally(started)
        for batch in chosen:
            trainer.train_step([batch], tally)
        speed = tally.values()["tokens/s"]
        yield f"speed: {speed:,.0f} target tokens a second; an epoch takes about {_duration(real / speed)}"
        if (epochs := recipe.training.epochs) is not None:
            yield f"training ({epochs} x): at most about {_duration(epochs * real / speed)}, validations not counted"


def _peak(device: torch.device) -> int:
    """The most memory used so far, in bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} second{'' if round(seconds) == 1 else 's'}"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
