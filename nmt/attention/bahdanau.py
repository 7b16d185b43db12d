"""Additive attention of Bahdanau, Cho and Bengio 2015, section 3.1 and appendix A.1.2.

Shapes: see :mod:`nmt.attention.base`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nmt.attention.base import Memory, Scored, Size


class BahdanauKeys(NamedTuple):
    """The memory with its products U h, computed once a sentence."""

    value_BSE: Tensor
    valid_BS: Tensor
    product_BSA: Tensor


class Bahdanau(Scored):
    """e_ij = v · tanh(W s_i + U h_j), α_i = softmax(e_i), c_i = Σ_j α_ij h_j, without biases.

    ``size`` is the number of hidden units A of the scorer; by default that of the memory.
    """

    def __init__(self, query_size: int, memory_size: int, *, size: Size | None = None) -> None:
        super().__init__()
        size = size or memory_size
        self.context_size, self.size = memory_size, size
        self.query = nn.Linear(query_size, size, bias=False)  # W
        self.memory = nn.Linear(memory_size, size, bias=False)  # U
        self.energy = nn.Linear(size, 1, bias=False)  # v

    def precompute(self, memory: Memory) -> BahdanauKeys:
        return BahdanauKeys(memory.value_BSE, memory.valid_BS, self.memory(memory.value_BSE))

    def energies(self, query_BTQ: Tensor, keys: BahdanauKeys) -> Tensor:
        hidden_BTSA = torch.tanh(self.query(query_BTQ).unsqueeze(2) + keys.product_BSA.unsqueeze(1))
        energy_BTS: Tensor = self.energy(hidden_BTSA).squeeze(-1)
        return energy_BTS
