"""Attention that is bounded by fertility: the constrained softmax of Martins and Kreutzer 2017 in translation,
as Malaviya, Ferreira and Martins 2018.

Shapes: see :mod:`nmt.attention.base`.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.autograd.function import once_differentiable

from nmt.attention.base import Attention, Glance, Memory, Scored, attend
from nmt.settings import Builder, Choice
from nmt.tree import State


class ConstrainedSoftmax(torch.autograd.Function):
    """argmin_α KL(α ‖ softmax(z)) with α ≤ u and Σ α = 1: α_i = min(exp(z_i) / Z, u_i), Z found exactly by sorting.

    Over the last axis. A bound of 0 excludes a position; the bounds of a row must add up to 1 at least. Computed by
    logarithms, so that it stays exact where softmax(z) is 0 to rounding.
    """

    @staticmethod
    def forward(ctx: Any, energy: Tensor, bound: Tensor) -> Tensor:
        """Weights of the same shape as the energies and the bounds."""
        open_ = bound > 0
        energy = energy.masked_fill(~open_, -torch.inf)
        # Positions saturate in the order of exp(z) / u, the tightest first; those that are excluded come last.
        tightness, order = torch.where(open_, energy - bound.log(), -torch.inf).sort(dim=-1, descending=True)
        sorted_energy, sorted_bound = energy.gather(-1, order), bound.gather(-1, order)
        # If the first k saturate, the others share what these leave: Z_k = Σ_{j≥k} exp(z_j) / (1 − Σ_{j<k} u_j).
        left = (1 - (sorted_bound.cumsum(-1) - sorted_bound)).clamp(min=0)
        log_z = sorted_energy.flip(-1).logcumsumexp(-1).flip(-1) - left.log()
        # k is the first place that stays within its bound by that; at the last one, rounding may deny it.
        fits = tightness <= log_z
        fits.scatter_(-1, (open_.sum(-1, keepdim=True) - 1).clamp(min=0), True)
        first = fits.int().argmax(-1, keepdim=True)
        weight = torch.minimum((energy - log_z.gather(-1, first)).exp(), bound)
        ctx.save_for_backward(weight, bound)
        return weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """With F the positions below their bound and ḡ = Σ_F α g / Σ_F α: dL/dz = α (g − ḡ) on F, 0 elsewhere;
        dL/du = g − ḡ on what is saturated, 0 elsewhere (what a bound gives is taken from F)."""
        weight, bound = ctx.saved_tensors
        free = weight < bound
        free_weight = weight * free
        free_mass = free_weight.sum(-1, keepdim=True)
        mean = (gradient * free_weight).sum(-1, keepdim=True) / free_mass.clamp(min=torch.finfo(weight.dtype).tiny)
        saturated = ~free & (bound > 0)
        return free_weight * (gradient - mean), saturated * (gradient - mean)


class FertilityKeys(NamedTuple):
    """The inner attention's keys and where the sink is."""

    value_BSE: Tensor
    valid_BS: Tensor
    inner: Any
    sink_BS: Tensor


class FertilityBound(Attention):
    """α_i = csoftmax(z + c u_i; u_i), u_ij = max(f − Σ_{k<i} α_kj, 0): a source word can be used up.

    z is the score of ``inner``, f the ``fertility`` of every source word, c the ``boost`` of words with much left. The
    last valid position, where the end of the sentence stands, is the sink to which attention can always go: its bound
    is 1 at every step and it gets no boost (Malaviya et al. append a token <sink> for it). So the weights always are a
    distribution, and a source that is nothing but its end gets the weight 1 there at every step.

    f is a bound and no expectation, so it is not what :meth:`fertilities` tells: that is 1 here too.

    Raises ``ValueError`` for an inner attention that gives no scores.
    """

    sequential = True
    nothing: Tensor

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        *,
        inner: Builder = Choice("bahdanau"),
        fertility: Annotated[float, Field(gt=0)] = 2.0,
        boost: Annotated[float, Field(ge=0)] = 0.2,
    ) -> None:
        super().__init__()
        scored = inner(query_size, memory_size)
        if not isinstance(scored, Scored):
            raise ValueError(
                f"bounds by fertility need an inner attention that gives scores, which {type(scored).__name__} does "
                'not; choose for inner "bahdanau", "concat", "dot", "general", "local-p" or "scaled-dot"'
            )
        self.inner, self.fertility, self.boost = scored, fertility, boost
        self.context_size = scored.context_size
        # A 0 that follows the module to its type and device: an inner attention may have no parameter to ask.
        self.register_buffer("nothing", torch.zeros(()), persistent=False)

    def precompute(self, memory: Memory) -> FertilityKeys:
        place_BS = memory.valid_BS.cumsum(dim=1)
        sink_BS = memory.valid_BS & (place_BS == place_BS[:, -1:])
        return FertilityKeys(*memory, self.inner.precompute(memory), sink_BS)

    def start(self, valid_BS: Tensor) -> State:
        """The weight that every source position has had so far."""
        return self.nothing.repeat(valid_BS.shape)

    def look(self, query_BTQ: Tensor, keys: FertilityKeys, state: State) -> tuple[Glance, State]:
        sink_B1S, valid_B1S = keys.sink_BS.unsqueeze(1), keys.valid_BS.unsqueeze(1)
        left_BTS = (self.fertility - state.unflatten(0, query_BTQ.shape[:2])).clamp(min=0)
        boost_BTS = self.boost * left_BTS.masked_fill(sink_B1S, 0.0)
        bound_BTS = left_BTS.masked_fill(sink_B1S, 1.0).masked_fill(~valid_B1S, 0.0)
        energy_BTS = self.inner.energies(query_BTQ, keys.inner) + boost_BTS
        weight_BTS: Tensor = ConstrainedSoftmax.apply(energy_BTS, bound_BTS)  # type: ignore[no-untyped-call]
        return attend(weight_BTS, keys.value_BSE), state + weight_BTS.flatten(0, 1)
