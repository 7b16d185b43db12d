"""Multiplicative attention, and Luong, Pham and Manning 2015's local one.

Shapes: see :mod:`nmt.attention.base`; K the size in which query and key meet.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from nmt.attention.bahdanau import Bahdanau
from nmt.attention.base import Keys, Memory, Scored, Size
from nmt.layers import at_least_float32
from nmt.loops import project_back
from nmt.settings import Builder, Choice


class DotKeys(NamedTuple):
    """The memory with what the query is multiplied by."""

    value_BSE: Tensor
    valid_BS: Tensor
    key_BSK: Tensor


class Product(Scored):
    """e_ij = a_i · h_j, a made of the query alone, so that a memory refined anew for every query costs no more."""

    def precompute(self, memory: Memory) -> DotKeys:
        return DotKeys(memory.value_BSE, memory.valid_BS, memory.value_BSE)

    def toward(self, query_BTQ: Tensor) -> Tensor:
        """a (B, T, E)."""
        raise NotImplementedError

    def energies(self, query_BTQ: Tensor, keys: DotKeys) -> Tensor:
        return self.toward(query_BTQ) @ keys.key_BSK.transpose(1, 2)


class Dot(Product):
    """e_ij = s_i · h_j (Luong et al. 2015, section 3.1, *dot*). Query and memory must have one size.

    Raises ``ValueError`` when they have not.
    """

    def __init__(self, query_size: int, memory_size: int) -> None:
        super().__init__()
        if query_size != memory_size:
            raise ValueError(
                f"a dot product needs queries and memory of one size, not {query_size} and {memory_size}; "
                'choose attention "general", or "scaled-dot", which projects both'
            )
        self.context_size = memory_size

    def toward(self, query_BTQ: Tensor) -> Tensor:
        return query_BTQ


class ScaledDot(Scored):
    """e_ij = (W_q s_i) · (W_k h_j) / √K (Vaswani et al. 2017, equation 1, with one head and the memory as values).

    ``size`` is K; by default the query's.
    """

    def __init__(self, query_size: int, memory_size: int, *, size: Size | None = None) -> None:
        super().__init__()
        self.size = size or query_size
        self.context_size = memory_size
        self.query = nn.Linear(query_size, self.size, bias=False)  # W_q
        self.memory = nn.Linear(memory_size, self.size, bias=False)  # W_k

    def precompute(self, memory: Memory) -> DotKeys:
        return DotKeys(memory.value_BSE, memory.valid_BS, self.memory(memory.value_BSE))

    def energies(self, query_BTQ: Tensor, keys: DotKeys) -> Tensor:
        energy_BTS: Tensor = self.query(query_BTQ) @ keys.key_BSK.transpose(1, 2) / self.size**0.5
        return energy_BTS


class General(Product):
    """e_ij = s_i · (W h_j) (Luong et al. 2015, section 3.1, *general*), made as (Wᵀ s_i) · h_j, for any two sizes."""

    def __init__(self, query_size: int, memory_size: int) -> None:
        super().__init__()
        self.context_size = memory_size
        self.memory = nn.Linear(memory_size, query_size, bias=False)  # W

    def toward(self, query_BTQ: Tensor) -> Tensor:
        return project_back(self.memory, query_BTQ)


class Concat(Bahdanau):
    """e_ij = v · tanh(W [s_i; h_j]) (Luong et al. 2015, section 3.1, *concat*).

    W = [W_1, W_2] makes it W_1 s + W_2 h, so this is Bahdanau's score; only the default size is Luong's, the query's.
    """

    def __init__(self, query_size: int, memory_size: int, *, size: Size | None = None) -> None:
        super().__init__(query_size, memory_size, size=size or query_size)


class LocalKeys(NamedTuple):
    """The inner attention's keys with the place of every source position."""

    value_BSE: Tensor
    valid_BS: Tensor
    inner: Keys
    place_BS: Tensor  # 0 at the first valid position, 1 at the next
    length_B: Tensor  # valid positions


class LocalP(Scored):
    """Local attention with a predicted centre (Luong et al. 2015, section 3.2, *local-p*, equations 9 and 10):

        p_t = S σ(v_p · tanh(W_p s_t)),  α_t(i) ∝ exp(e_ti) exp(−(i − p_t)² / (2 σ²)),  σ = D / 2

    S is the number of valid positions, e the score of ``inner``. Luong multiplies weights that are normalised over the
    window [p − D, p + D] and leaves the product as it is; here the product is normalised over the whole source, so
    that the weights are a distribution (beyond the window the Gaussian has fallen below e^−2).

    Raises ``ValueError`` for an inner attention that gives no scores.
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        *,
        window: Annotated[float, Field(gt=0)] = 10.0,
        inner: Builder = Choice("general"),
    ) -> None:
        super().__init__()
        scored = inner(query_size, memory_size)
        if not isinstance(scored, Scored):
            raise ValueError(
                f"local attention needs an inner one that gives scores, which {type(scored).__name__} does not; "
                'choose for inner "bahdanau", "concat", "dot", "general" or "scaled-dot"'
            )
        self.inner, self.window = scored, window
        self.context_size = scored.context_size
        self.hidden = nn.Linear(query_size, query_size, bias=False)  # W_p
        self.centre = nn.Linear(query_size, 1, bias=False)  # v_p

    def precompute(self, memory: Memory) -> LocalKeys:
        place_BS = memory.valid_BS.cumsum(dim=1) - 1
        return LocalKeys(*memory, self.inner.precompute(memory), place_BS, memory.valid_BS.sum(dim=1))

    def energies(self, query_BTQ: Tensor, keys: LocalKeys) -> Tensor:
        share_BT1 = at_least_float32(torch.sigmoid(self.centre(torch.tanh(self.hidden(query_BTQ)))))
        distance_BTS = keys.place_BS.unsqueeze(1) - keys.length_B[:, None, None] * share_BT1  # i − p_t
        energy_BTS = self.inner.energies(query_BTQ, keys.inner)
        return energy_BTS - distance_BTS**2 / (2 * (self.window / 2) ** 2)
