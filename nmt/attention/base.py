"""What every attention is: where to look in the source, given a query, and what is seen there.

Shapes: B batch (or hypotheses), T queries (target positions), S source positions, Q query size, E memory size,
C context size, A attention size. ``valid_BS`` is True at real source positions.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from nmt.loops import expectation
from nmt.tree import State

# What an attention computes once a sentence: tensors in nested tuples, batch first, of whose inside only it knows.
Keys = Any
Size = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]  # of dropout


class Memory(NamedTuple):
    """What an encoder hands to the attention: a vector for every source position."""

    value_BSE: Tensor
    valid_BS: Tensor


class Glance(NamedTuple):
    """What one look at the source gave."""

    context_BTE: Tensor
    weight_BTS: Tensor  # a distribution over the valid source positions, 0 elsewhere
    choice_BT: Tensor  # log-probability of what was sampled; 0 for soft attention, which chose nothing


class Attention(nn.Module):
    """Precompute once a sentence, start once a hypothesis, step once for one or several target positions.

    A class gives :meth:`precompute` and :meth:`look`, and :meth:`start` where it keeps a state. An attention is
    ``sequential`` when its look at step t needs the outcome of step t − 1; :meth:`step` then looks at one query at a
    time, so that callers need not know. One that is not hands back the state it was given.
    """

    sequential: bool = False
    expects: Literal["nothing", "once", "anew"] = "nothing"  # Φ is 1, told once a sentence, another at every step
    sums_memory: bool = True  # the context is Σ_i α_i h_i, with the weights α it tells and the memory's own vectors h
    heads: int = 1
    context_size: int

    def precompute(self, memory: Memory) -> Keys:
        """What depends on the source alone."""
        raise NotImplementedError

    def start(self, valid_BS: Tensor) -> State:
        """The state before the first target position; () for an attention without memory of its own."""
        return ()

    def fertilities(self, keys: Keys, valid_BS: Tensor) -> Tensor:
        """Φ (B, S), how many target words each source position is expected to make; 1 for most, who expect nothing.

        Where an attention ``expects`` something else at every step there is no such number, and it is 1 too.
        """
        return torch.ones(valid_BS.shape, device=valid_BS.device)

    def look(self, query_BTQ: Tensor, keys: Keys, state: State) -> tuple[Glance, State]:
        """One look for each query. For a sequential attention the T queries of a sentence are hypotheses, of which none
        follows another: each has a row of the state, so that it has B · T rows, those of a sentence next to each other.
        """
        raise NotImplementedError

    def step(self, query_BTQ: Tensor, keys: Keys, state: State) -> tuple[Glance, State]:
        """Look with T queries in their order; the same as T steps with one query each."""
        if not self.sequential or query_BTQ.shape[1] == 1:
            return self.look(query_BTQ, keys, state)
        glances = []
        for query_B1Q in torch.split(query_BTQ, 1, dim=1):
            glance, state = self.look(query_B1Q, keys, state)
            glances.append(glance)
        return Glance(*(torch.cat(parts, dim=1) for parts in zip(*glances, strict=True))), state

    def head_weights(self, query_BTQ: Tensor, keys: Keys, state: State) -> Tensor:
        """Where each of the ``heads`` looks, (B, heads, T, S)."""
        glance, _ = self.step(query_BTQ, keys, state)
        return glance.weight_BTS.unsqueeze(1)


class Scored(Attention):
    """An attention that is a score for every pair of query and source position; the rest is the same for all.

    A class gives :meth:`precompute`, whose keys begin with ``value_BSE`` and ``valid_BS``, and :meth:`energies`.
    """

    def energies(self, query_BTQ: Tensor, keys: Keys) -> Tensor:
        """The scores e_ij, (B, T, S); what stands at padding does not matter."""
        raise NotImplementedError

    def look(self, query_BTQ: Tensor, keys: Keys, state: State) -> tuple[Glance, State]:
        return attend(distribute(self.energies(query_BTQ, keys), keys.valid_BS), keys.value_BSE), state


def distribute(energy_BTS: Tensor, valid_BS: Tensor) -> Tensor:
    """Softmax over the valid source positions: weights (B, T, S) that are exactly 0 elsewhere."""
    valid_B1S = valid_BS.unsqueeze(1)
    lowest = torch.finfo(energy_BTS.dtype).min
    return torch.softmax(energy_BTS.masked_fill(~valid_B1S, lowest), dim=-1) * valid_B1S


def attend(weight_BTS: Tensor, value_BSE: Tensor) -> Glance:
    """Soft attention: the context is the expectation of the values, Σ_i α_i h_i."""
    return Glance(expectation(weight_BTS, value_BSE), weight_BTS, weight_BTS.new_zeros(weight_BTS.shape[:2]))
