"""The likelihood of the target.

Shapes: see :mod:`nmt.losses.base`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.autograd.function import once_differentiable

from nmt import native
from nmt.batching import Batch
from nmt.layers import at_least_float32
from nmt.loops import applied
from nmt.losses.base import Loss
from nmt.model import Trace

_LAST_READING: ContextVar[bool] = ContextVar("last reading", default=False)


@contextmanager
def last_reading() -> Iterator[None]:
    """Of a loss computed in the block, the backward pass may write the gradient of the logits where these are.

    They are the largest tensor of most trainings. Autograd itself refuses to go on if anybody else needs them still.
    """
    token = _LAST_READING.set(True)
    try:
        yield
    finally:
        _LAST_READING.reset(token)


class CrossEntropy(Loss):
    """−Σ_t log p(y_t); ``smoothing`` is the share of the target spread evenly over the words (Szegedy et al. 2016)."""

    def __init__(self, *, smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0) -> None:
        super().__init__()
        self.smoothing = smoothing

    def forward(self, trace: Trace, batch: Batch) -> Tensor:
        loss_N = applied(_CrossEntropy, trace.logit_BTV.flatten(0, 1), batch.target_BT.flatten(), self.smoothing)
        return loss_N.view_as(batch.target_BT).masked_fill(~batch.target_valid_BT, 0.0).sum(dim=1)


class _CrossEntropy(torch.autograd.Function):
    """−Σ_v q_v log p_v of every row, q = (1 − ε) at the target and ε / V everywhere, with the gradient g (p − q).

    By :mod:`nmt.native` where that can be, else a few rows at a time, which stay in the processor's cache: nothing as
    large as the logits is kept or made but their gradient, and not even that in a :func:`last_reading`.
    """

    @staticmethod
    def forward(ctx: Any, logit_NV: Tensor, target_N: Tensor, smoothing: float) -> Tensor:
        if native.usable(logit_NV):
            logit_NV, norm_N = logit_NV.contiguous(), torch.empty(len(logit_NV), dtype=torch.float32, device="cpu")
            native.run("log_norm", _sizes(logit_NV), logit_NV, norm_N, wide=logit_NV.dtype)
        else:
            parts = torch.split(logit_NV, _rows(logit_NV))
            norm_N = torch.cat([at_least_float32(part_MV).logsumexp(dim=1) for part_MV in parts])
        said_N = at_least_float32(logit_NV.gather(1, target_N.unsqueeze(1)).squeeze(1))
        loss_N = norm_N - (1 - smoothing) * said_N
        if smoothing:
            loss_N -= smoothing * logit_NV.mean(dim=1, dtype=loss_N.dtype)
        ctx.save_for_backward(logit_NV, target_N, norm_N)
        ctx.smoothing, ctx.in_place = smoothing, _LAST_READING.get()  # asked here: backward may be of another thread
        return loss_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_N: Tensor) -> tuple[Tensor, None, None]:
        logit_NV, target_N, norm_N = ctx.saved_tensors
        grad_NV = logit_NV.detach() if ctx.in_place else torch.empty_like(logit_NV)
        rows, even = _rows(logit_NV), ctx.smoothing / logit_NV.shape[1]
        # That of the target apart: where p comes near 1, p − q is lost in half precision if p is rounded first.
        logit_N1, grad_N1 = at_least_float32(logit_NV.gather(1, target_N.unsqueeze(1))), grad_N.unsqueeze(1)
        said_N1 = ((logit_N1 - norm_N.unsqueeze(1)).exp_() - even - (1 - ctx.smoothing)) * grad_N1
        said_N1.masked_fill_(grad_N1 == 0, 0.0)  # padding may be any number
        if native.usable(logit_NV, grad_N):
            given = logit_NV, norm_N, grad_N.contiguous(), torch.tensor([even], dtype=torch.float32, device="cpu")
            native.run("softmax_gradient", _sizes(logit_NV), *given, grad_NV, wide=logit_NV.dtype)
        else:
            columns = (torch.split(one, rows) for one in (logit_NV, grad_NV, norm_N.unsqueeze(1), grad_N1))
            for logit_MV, grad_MV, norm_M1, grad_M1 in zip(*columns, strict=True):
                share_MV = torch.sub(logit_MV, norm_M1).exp_().sub_(even)
                torch.mul(share_MV, grad_M1, out=grad_MV).masked_fill_(grad_M1 == 0, 0.0)
        # Not added by scatter_add_, which copies all of a tensor in half precision, twice.
        return grad_NV.scatter_(1, target_N.unsqueeze(1), said_N1.to(grad_NV.dtype)), None, None


def _sizes(logit_NV: Tensor) -> tuple[int, int, int, int]:
    return len(logit_NV), 1, 1, logit_NV.shape[1]


def _rows(logit_NV: Tensor) -> int:
    """How many rows are computed at a time."""
    return max(1, (2**17 if logit_NV.device.type == "cpu" else 2**26) // logit_NV.shape[1])
