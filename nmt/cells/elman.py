"""The simple recurrent network.

Shapes: see :mod:`nmt.cells.base`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nmt.cells.base import Unit, Update
from nmt.loops import project
from nmt.tree import State


class Elman(Unit):
    """h' = tanh(W x + U h + b) (Elman 1990, with tanh), as ``torch.nn.RNN``, whose results this reproduces given its
    weights (both products have a bias). It has no gates."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, 1, hidden_bias=True)

    @property
    def kernel(self) -> Callable[..., Any] | None:
        return torch.rnn_tanh

    def forward(self, product_BG: Tensor, seen_BH: Tensor, state: State) -> Update:
        h_BH = torch.tanh(product_BG + project(self.hidden, seen_BH))
        return Update(h_BH.to(seen_BH.dtype), {})  # autocast must not make coarse what is carried on
