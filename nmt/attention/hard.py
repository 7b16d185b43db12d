"""Hard attention: one source position is chosen, not averaged over (Xu et al. 2015, section 4.1).

Shapes: see :mod:`nmt.attention.base`.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from nmt.attention.base import Attention, Glance, Keys, Memory
from nmt.settings import Builder, Choice
from nmt.tree import State


class HardKeys(NamedTuple):
    """The memory to choose from, and the inner attention's keys."""

    value_BSE: Tensor
    valid_BS: Tensor
    inner: Keys


class HardState(NamedTuple):
    """Which sentences sample, decided once for each, and the inner attention's state."""

    sampling_B: Tensor
    inner: State


class Hard(Attention):
    """i ~ α, c = h_i, with the weights α of ``inner``, whose memory it chooses from.

    In training each sentence samples with probability ``1 − expectation`` and otherwise sees the expectation
    Σ_i α_i h_i, which lowers the variance; ``choice_BT`` is log α_i of what was sampled, 0 where nothing was. Out of
    training it takes α's ``mode``, or the ``expectation``. An inner attention with coverage adds up α, not the sample.

    Raises ``ValueError`` for an inner attention whose context is not a weighted sum of the memory's own vectors.
    """

    sums_memory = False

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        *,
        inner: Builder = Choice("bahdanau"),
        expectation: Annotated[float, Field(ge=0, lt=1)] = 0.5,
        prediction: Literal["mode", "expectation"] = "mode",
    ) -> None:
        super().__init__()
        self.inner: Attention = inner(query_size, memory_size)
        if not self.inner.sums_memory:
            raise ValueError(
                "hard attention chooses among the vectors that its inner attention sums up by its weights, and "
                f"{type(self.inner).__name__} sums up none of the memory; put gatt around hard, not hard around gatt"
            )
        self.sequential, self.expects = self.inner.sequential, self.inner.expects
        self.context_size = memory_size
        self.expectation, self.prediction = expectation, prediction

    def precompute(self, memory: Memory) -> HardKeys:
        return HardKeys(*memory, self.inner.precompute(memory))

    def start(self, valid_BS: Tensor) -> State:
        sampling_B = valid_BS.new_zeros(len(valid_BS))
        if self.training:
            sampling_B = torch.rand(len(valid_BS), device=valid_BS.device) >= self.expectation
        return HardState(sampling_B, self.inner.start(valid_BS))

    def fertilities(self, keys: HardKeys, valid_BS: Tensor) -> Tensor:
        return self.inner.fertilities(keys.inner, valid_BS)

    def look(self, query_BTQ: Tensor, keys: HardKeys, state: HardState) -> tuple[Glance, State]:
        soft, inner = self.inner.look(query_BTQ, keys.inner, state.inner)
        after = HardState(state.sampling_B, inner)
        if self.training:
            return self._sample(soft, keys.value_BSE, state.sampling_B.view(len(query_BTQ), -1)), after
        if self.prediction == "expectation":
            return soft, after
        return soft._replace(context_BTE=_chosen(soft.weight_BTS.argmax(dim=-1), keys.value_BSE)), after

    def _sample(self, soft: Glance, value_BSE: Tensor, sampling_BX: Tensor) -> Glance:
        weight_BTS = soft.weight_BTS
        place_BT = drawn(weight_BTS.detach())
        log_BT = weight_BTS.gather(-1, place_BT.unsqueeze(-1)).squeeze(-1).log()
        hard_BTE = _chosen(place_BT, value_BSE)
        context_BTE = torch.where(sampling_BX.unsqueeze(-1), hard_BTE, soft.context_BTE)
        return Glance(context_BTE, weight_BTS, log_BT.masked_fill(~sampling_BX, 0.0))


def drawn(weight_BTS: Tensor) -> Tensor:
    """A source position (B, T) for each target position, each as probable as its weight: the least of E_i / α_i, with
    E_i from the exponential distribution. ``torch.multinomial`` draws the same, but first asks the device whether these
    are weights, and a GPU is waited for."""
    return (weight_BTS / torch.empty_like(weight_BTS).exponential_()).argmax(dim=-1)


def _chosen(place_BT: Tensor, value_BSE: Tensor) -> Tensor:
    """The vectors (B, T, E) at these source positions."""
    return value_BSE.gather(1, place_BT.unsqueeze(-1).expand(-1, -1, value_BSE.shape[-1]))
