"""Losses: what training minimises, as a sum of parts that each read a trace and know their name.

Shapes: B sentences, T target positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from nmt.batching import Batch
from nmt.losses.base import Loss
from nmt.losses.coverage import Coverage, DoublyStochastic, Fertility
from nmt.losses.guided import Guided
from nmt.losses.likelihood import CrossEntropy
from nmt.losses.reinforce import Entropy, Reinforce
from nmt.model import Trace
from nmt.settings import Choice, Settings, choice

# A loss is added by writing its class in a file of this package and its line here.
LOSSES: dict[str, Callable[..., Loss]] = {
    "cross-entropy": CrossEntropy,
    "coverage": Coverage,
    "doubly-stochastic": DoublyStochastic,
    "fertility": Fertility,
    "guided": Guided,
    "reinforce": Reinforce,
    "entropy": Entropy,
}


class PartSettings(Settings):
    """One part of the objective: which loss, how much it weighs, from which update on."""

    loss: Annotated[Choice, choice(LOSSES, "cross-entropy")]
    weight: float = 1.0
    start: Annotated[int, Field(ge=0)] = 0


# Which parts of an objective have started.
Started = tuple[bool, ...]


class Objective(nn.Module):
    """The weighted sum of the parts that have started, for every sentence, with each part by its name.

    Every part is a sum over target positions; training divides all of them by the number of real target tokens of an
    update, so that a weight means the same for a mean over steps and for a sum over a sentence.
    """

    def __init__(self, settings: Sequence[PartSettings]) -> None:
        super().__init__()
        self.losses = nn.ModuleList(part.loss.build(LOSSES) for part in settings)
        self.settings = tuple(settings)

    def started(self, update: int) -> Started:
        """Which parts count at an update."""
        return tuple(update >= part.start for part in self.settings)

    def forward(
        self, trace: Trace, batch: Batch, started: Started, predict: Callable[[], Trace] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective (B,) of the parts that have started, and these parts (B,), unweighted.

        ``predict`` decodes the same targets as out of training; it is called only for a loss that compares.
        """
        parts: dict[str, Tensor] = {}
        total = torch.zeros(len(trace.logit_BTV), device=trace.logit_BTV.device)
        for loss, part, counts in zip(self.losses, self.settings, started, strict=True):
            if counts:
                compared = (predict(),) if loss.compares and predict else ()
                parts[part.loss.kind] = loss(trace, batch, *compared)
                total = total + part.weight * parts[part.loss.kind]
        return total, parts
