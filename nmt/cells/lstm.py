"""Long short-term memory.

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


class LSTM(Unit):
    """Long short-term memory, as ``torch.nn.LSTM``: i, f, o = σ(W x + U h), g = tanh(W x + U h),
    c' = f ⊙ c + i ⊙ g, h' = o ⊙ tanh(c'). The state is (h, c); it starts with c = 0.

    ``forget_bias`` is what is added to the bias of f before the first update: 1 has a new cell keep most of c (Gers et
    al. 2000; Jozefowicz et al. 2015), 0 half of it.
    """

    def __init__(self, input_size: int, hidden_size: int, *, forget_bias: float = 0.0) -> None:
        super().__init__(input_size, hidden_size, 4, hidden_bias=True)  # i, f, g, o: torch's order
        self.forget_bias = forget_bias
        self.initialise()

    def initialise(self) -> None:
        with torch.no_grad():
            self.input.bias.chunk(4)[1].add_(self.forget_bias)

    @property
    def kernel(self) -> Callable[..., Any] | None:
        return torch.lstm

    def start(self, hidden_BH: Tensor) -> State:
        return hidden_BH, torch.zeros_like(hidden_BH)

    def read(self, state: State) -> Tensor:
        h_BH: Tensor = state[0]
        return h_BH

    def forward(self, product_BG: Tensor, seen_BH: Tensor, state: State) -> Update:
        _, c_BH = state
        i_BH, f_BH, g_BH, o_BH = (product_BG + project(self.hidden, seen_BH)).chunk(4, dim=-1)
        i_BH, f_BH, o_BH = torch.sigmoid(i_BH), torch.sigmoid(f_BH), torch.sigmoid(o_BH)
        c_BH = f_BH * c_BH + i_BH * torch.tanh(g_BH)
        h_BH = o_BH * torch.tanh(c_BH)
        return Update((h_BH, c_BH), {"input": i_BH, "forget": f_BH, "output": o_BH})
