"""Dropout on what cells read: a mask for every position, or one for a whole sentence.

Shapes: B batch, T steps, X size of what is dropped from, H hidden size, G size of a cell's input product.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nmt import native
from nmt.cells.base import Cell, Unit, Update
from nmt.loops import applied
from nmt.tree import State


class Dropout(nn.Module):
    """A new mask at every position. Like any dropout here it acts in training only, and what stays is scaled up."""

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def start(self, beside_B: Tensor, size: int) -> State:
        """What is drawn once a sentence, for vectors of a size: a mask (B, size), or () where nothing is.

        ``beside_B`` is any tensor of the batch, whose precision and device the mask takes.
        """
        return ()

    def forward(self, x: Tensor, mask: State = ()) -> Tensor:
        """x (B, T, X) or (B, X), some of it dropped; ``mask`` is what :meth:`start` drew."""
        if not self.training or not self.rate or not native.usable(x):
            return F.dropout(x, self.rate, self.training)
        return applied(_Dropped, x, torch.randint(2**63 - 1, (1,)), self.rate)


class _Dropped(torch.autograd.Function):
    """The same by :mod:`nmt.native`, which draws from a seed what stays: nothing is kept for the gradient but that."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, seed: Tensor, rate: float) -> Tensor:
        ctx.save_for_backward(seed)
        ctx.rate = rate
        return _dropped(x, seed, rate)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (seed,) = ctx.saved_tensors
        return _dropped(grad, seed, ctx.rate), None, None


def _dropped(x: Tensor, seed: Tensor, rate: float) -> Tensor:
    scale = torch.tensor([1 / (1 - rate)], dtype=torch.float32, device="cpu")
    below = torch.tensor([round(rate * 2**32)], device="cpu")
    x = x.contiguous()
    out = torch.empty_like(x)
    row = x.view(-1), seed, scale, below, out.view(-1)
    native.run("dropout", (x.numel(), 1, 1, 1), *row, wide=x.dtype)
    return out


class SentenceDropout(Dropout):
    """One mask for all positions of a sentence (variational dropout, Gal and Ghahramani 2016).

    The mask is a value, a part of the state, so a sentence that is decoded in pieces keeps its own.
    """

    def start(self, beside_B: Tensor, size: int) -> State:
        if not self.training or not self.rate:
            return ()
        return F.dropout(beside_B.new_ones(len(beside_B), size), self.rate)

    def forward(self, x: Tensor, mask: State = ()) -> Tensor:
        if not isinstance(mask, Tensor):
            return x
        return x * (mask.unsqueeze(1) if x.dim() == 3 else mask)


DROPOUTS: dict[str, type[Dropout]] = {"position": Dropout, "sentence": SentenceDropout}


class StateDropout(Cell):
    """A cell whose matrices U see its h through one mask a sentence (Gal and Ghahramani 2016).

    What is carried on by a gate, and an LSTM's c, is not dropped: it would be at every step anew. The state is that of
    the unit, with the mask.
    """

    def __init__(self, unit: Unit, rate: float) -> None:
        super().__init__()
        self.unit, self.dropout = unit, SentenceDropout(rate)
        self.input_size, self.hidden_size, self.product_size = unit.input_size, unit.hidden_size, unit.product_size

    def start(self, hidden_BH: Tensor) -> State:
        return self.unit.start(hidden_BH), self.dropout.start(hidden_BH, self.hidden_size)

    def read(self, state: State) -> Tensor:
        return self.unit.read(state[0])

    def inputs(self, x: Tensor) -> Tensor:
        return self.unit.inputs(x)

    def advance(self, product_BG: Tensor, state: State) -> tuple[Tensor, State]:
        inner, mask = state
        new: Update = self.unit(product_BG, self.dropout(self.unit.read(inner), mask), inner)
        return self.unit.read(new.state), (new.state, mask)
