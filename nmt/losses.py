"""Losses: what training minimises, as a sum of parts that each read a trace and know their name.

Shapes: B sentences, T target positions, V target vocabulary size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from nmt.batching import Batch
from nmt.layers import at_least_float32
from nmt.model import Trace
from nmt.settings import Choice, Settings, choice


class Loss(nn.Module):
    """``loss(trace, batch)``: one number for every sentence, the sum over its real target positions: (B,)."""

    def forward(self, trace: Trace, batch: Batch) -> Tensor:
        """The loss of every sentence."""
        raise NotImplementedError


class CrossEntropy(Loss):
    """−Σ_t log p(y_t); ``smoothing`` is the share of the target spread evenly over the words (Szegedy et al. 2016)."""

    def __init__(self, *, smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0) -> None:
        super().__init__()
        self.smoothing = smoothing

    def forward(self, trace: Trace, batch: Batch) -> Tensor:
        real_BT = batch.target_valid_BT
        # Only real positions meet the softmax.
        logit_NV, target_N = at_least_float32(trace.logit_BTV[real_BT]), batch.target_BT[real_BT]
        loss_N = F.cross_entropy(logit_NV, target_N, label_smoothing=self.smoothing, reduction="none")
        return loss_N.new_zeros(real_BT.shape).masked_scatter(real_BT, loss_N).sum(dim=1)


LOSSES: dict[str, Callable[..., Loss]] = {"cross-entropy": CrossEntropy}


class PartSettings(Settings):
    """One part of the objective: which loss, how much it weighs, from which update on."""

    loss: Annotated[Choice, choice(LOSSES)]
    weight: float = 1.0
    start: Annotated[int, Field(ge=0)] = 0


class Objective(nn.Module):
    """The weighted sum of the parts that have started, for every sentence, with each part by its name.

    Every part is a sum over target positions; training divides all of them by the number of real target tokens of an
    update, so that a weight means the same for a mean over steps and for a sum over a sentence.
    """

    def __init__(self, settings: Sequence[PartSettings]) -> None:
        super().__init__()
        self.losses = nn.ModuleList(part.loss.build(LOSSES) for part in settings)
        self.settings = tuple(settings)

    def forward(self, trace: Trace, batch: Batch, update: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective (B,) at an update, and the unweighted parts (B,) it is made of."""
        parts: dict[str, Tensor] = {}
        total = torch.zeros(len(trace.logit_BTV), device=trace.logit_BTV.device)
        for loss, part in zip(self.losses, self.settings, strict=True):
            if update >= part.start:
                parts[part.loss.kind] = loss(trace, batch)
                total = total + part.weight * parts[part.loss.kind]
        return total, parts
