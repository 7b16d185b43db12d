"""Attention with several heads, of Vaswani et al. 2017, section 3.2.

Shapes: see :mod:`nmt.attention.base`; H heads, K size of a head.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from nmt.attention.base import Attention, Glance, Memory, Rate, Size, distribute
from nmt.cells import Dropout
from nmt.tree import State


class HeadKeys(NamedTuple):
    """Keys and values of every head, computed once a sentence."""

    key_BHSK: Tensor
    value_BHSK: Tensor
    valid_BS: Tensor


class MultiHead(Attention):
    """head_k = Σ_j α^k_j W_v^k h_j, α^k = softmax_j((W_q^k s) · (W_k^k h_j) / √K), c = W_o [head_1; …; head_H].

    Vaswani et al. 2017, section 3.2.2, without biases. ``size`` is H K, by default the query's, as theirs. (Two layers
    as wide as a wide memory, one behind the other, grew within 50 updates of Adam until a recurrent decoder saturated.)
    The weights told are the mean of the heads'. ``dropout`` acts in training on the weights by which each head sums up
    its values, not on those told; other toolkits have it, the paper has not.
    Raises ``ValueError`` when the heads do not share the size evenly.
    """

    sums_memory = False

    def __init__(
        self, query_size: int, memory_size: int, *, heads: Size = 4, size: Size | None = None, dropout: Rate = 0.0
    ) -> None:
        super().__init__()
        size = size or query_size
        if size % heads:
            raise ValueError(f"{heads} heads cannot share the size {size} evenly; choose a size that they divide")
        self.heads, self.context_size = heads, size
        self.query = nn.Linear(query_size, size, bias=False)  # W_q
        self.key = nn.Linear(memory_size, size, bias=False)  # W_k
        self.value = nn.Linear(memory_size, size, bias=False)  # W_v
        self.output = nn.Linear(size, size, bias=False)  # W_o
        self.dropout = Dropout(dropout)

    def precompute(self, memory: Memory) -> HeadKeys:
        key, value = self.key(memory.value_BSE), self.value(memory.value_BSE)
        return HeadKeys(self._split(key), self._split(value), memory.valid_BS)

    def look(self, query_BTQ: Tensor, keys: HeadKeys, state: State) -> tuple[Glance, State]:
        weight_BHTS = self.head_weights(query_BTQ, keys, state)
        context_BTE = self.output((self.dropout(weight_BHTS) @ keys.value_BHSK).transpose(1, 2).flatten(2))
        weight_BTS = weight_BHTS.mean(dim=1)
        return Glance(context_BTE, weight_BTS, weight_BTS.new_zeros(weight_BTS.shape[:2])), state

    def head_weights(self, query_BTQ: Tensor, keys: HeadKeys, state: State) -> Tensor:
        query_BHTK = self._split(self.query(query_BTQ))
        energy_BHTS = query_BHTK @ keys.key_BHSK.transpose(-1, -2) / query_BHTK.shape[-1] ** 0.5
        return distribute(energy_BHTS, keys.valid_BS.unsqueeze(1))

    def _split(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # type: ignore[no-untyped-call]
        return heads
