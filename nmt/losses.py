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


class Coverage(Loss):
    """Σ_t Σ_i min(a_ti, c_ti), c_t = Σ_{t'<t} a_t' (See, Liu and Manning 2017, equations 8 and 10).

    What is looked at again is penalised: c leaves out the present step, c_0 = 0. Their weight is 1, switched on when
    the model has converged (``start``).
    """

    def forward(self, trace: Trace, batch: Batch) -> Tensor:
        weight_BTS = real_weights(trace, batch)
        covered_BTS = weight_BTS.cumsum(dim=1) - weight_BTS
        return torch.minimum(weight_BTS, covered_BTS).sum(dim=(1, 2))


class DoublyStochastic(Loss):
    """Σ_i (τ − Σ_t α_ti)² (Xu et al. 2015, equation 14, where τ = 1): each source position is to get its share.

    ``share`` is τ; by default T_y / T_x, the target positions there are for each source position, since a translation
    is not as long as its source.
    """

    def __init__(self, *, share: Annotated[float, Field(gt=0)] | None = None) -> None:
        super().__init__()
        self.share = share

    def forward(self, trace: Trace, batch: Batch) -> Tensor:
        source_BS = batch.source_valid_BS
        covered_BS = real_weights(trace, batch).sum(dim=1)
        share_B = batch.target_valid_BT.sum(dim=1) / source_BS.sum(dim=1)
        if self.share is not None:
            share_B = torch.full_like(share_B, self.share)
        missing_BS = (share_B.unsqueeze(1) - covered_BS).masked_fill(~source_BS, 0.0)
        return missing_BS.square().sum(dim=1)


def real_weights(trace: Trace, batch: Batch) -> Tensor:
    """The attention (B, T, S) of real target positions to real source positions, 0 elsewhere."""
    real_BTS = batch.target_valid_BT.unsqueeze(2) & batch.source_valid_BS.unsqueeze(1)
    return at_least_float32(trace.weight_BTS).masked_fill(~real_BTS, 0.0)


# A loss is added by writing its class above and its line here.
LOSSES: dict[str, Callable[..., Loss]] = {
    "cross-entropy": CrossEntropy,
    "coverage": Coverage,
    "doubly-stochastic": DoublyStochastic,
}


class PartSettings(Settings):
    """One part of the objective: which loss, how much it weighs, from which update on."""

    loss: Annotated[Choice, choice(LOSSES, "cross-entropy")]
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
