"""JANET: just another network.

Shapes: see :mod:`nmt.cells.base`.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from nmt.cells.base import Unit, Update
from nmt.loops import project
from nmt.tree import State


class JANET(Unit):
    """An LSTM of which only the forget gate is left (van der Westhuizen and Lasenby 2018, arXiv:1804.04849):

    s = W_f x + U_f h + b_f, c' = σ(s) ⊙ c + (1 − σ(s − β)) ⊙ tanh(W_c x + U_c h + b_c), h' = c'.

    With ``beta`` 0 it is a GRU without its reset gate. With 1, as in their code, what is kept and what is let in add up
    to more than 1, so the state is not bounded by 1.

    Chrono initialisation, as in their code: b_f = log U[1, T_max], b_c = 0. A unit then remembers for about as many
    steps as were drawn for it; ``longest`` is T_max, the steps of the longest sequence.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        beta: float = 1.0,
        longest: Annotated[float, Field(ge=1)] = 50.0,
    ) -> None:
        super().__init__(input_size, hidden_size, 2, hidden_bias=False)  # forget gate, candidate
        self.beta, self.longest = beta, longest
        self.initialise()

    def initialise(self) -> None:
        with torch.no_grad():
            forget_bias_H, candidate_bias_H = self.input.bias.chunk(2)
            forget_bias_H.uniform_(1.0, self.longest).log_()
            candidate_bias_H.zero_()

    def forward(self, product_BG: Tensor, seen_BH: Tensor, state: State) -> Update:
        c_BH = self.read(state)
        s_BH, candidate_BH = (product_BG + project(self.hidden, seen_BH)).chunk(2, dim=-1)
        f_BH, i_BH = torch.sigmoid(s_BH), 1 - torch.sigmoid(s_BH - self.beta)
        c_BH = f_BH * c_BH + i_BH * torch.tanh(candidate_BH)
        return Update(c_BH, {"forget": f_BH, "input": i_BH})
