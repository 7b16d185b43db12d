"""The likelihood of the target.

Shapes: see :mod:`nmt.losses.base`.
"""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from nmt.batching import Batch
from nmt.layers import at_least_float32
from nmt.losses.base import Loss
from nmt.model import Trace


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
