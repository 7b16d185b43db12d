"""Gated attention (GAtt) and its inverse, of Zhang, Xiong and Su 2017 (arXiv:1704.08430), equations 5-9.

Before every look the source is refined with respect to the decoder's state, so that what is attended to, and what
is summed up, changes from step to step.

Shapes: see :mod:`nmt.attention.base`; R size of the refined vectors; N = B × T source sentences, one for every query.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nmt.attention.base import Attention, Glance, Keys, Memory
from nmt.settings import Builder, Choice
from nmt.tree import State, map_tensors, repeat


class Gated(Attention):
    """An attention over a source that a gate refines with every query: c_j = Att(Gate(H, s), s) (eq. 5, 6 and 8).

    ``inner`` scores *and* sums up the refined source. Which s the gate sees is the query's business, so the decoder's
    wiring decides it. Sequential only if the inner attention is. A class gives :meth:`precompute`, whose keys hold
    ``valid_BS``, and :meth:`refine`.
    """

    sums_memory = False

    def __init__(self, inner: Attention) -> None:
        super().__init__()
        self.inner = inner
        self.sequential = inner.sequential
        # An inner attention's Φ is of the source as it is refined, which is another one for every query.
        self.expects = "nothing" if inner.expects == "nothing" else "anew"
        self.context_size = inner.context_size

    def refine(self, query_BTQ: Tensor, keys: Keys) -> Tensor:
        """The gating layer H^g (B, T, S, R): for every query, the source refined with it."""
        raise NotImplementedError

    def start(self, valid_BS: Tensor) -> State:
        return self.inner.start(valid_BS)

    def look(self, query_BTQ: Tensor, keys: Keys, state: State) -> tuple[Glance, State]:
        refined_BTSR = self.refine(query_BTQ, keys)
        # Each query has a source of its own now: T queries become T sentences with one query each.
        batch, queries, length, _ = refined_BTSR.shape
        valid_NS = keys.valid_BS.repeat_interleave(queries, dim=0)
        inner_keys = self.inner.precompute(Memory(refined_BTSR.flatten(0, 1), valid_NS))
        query_N1Q = query_BTQ.reshape(batch * queries, 1, -1)
        glance, state = self.inner.step(query_N1Q, inner_keys, repeat(state, queries))
        return Glance(
            glance.context_BTE.reshape(batch, queries, -1),
            glance.weight_BTS.reshape(batch, queries, length),
            glance.choice_BT.reshape(batch, queries),
        ), map_tensors(lambda one: one[::queries], state)


class GAttKeys(NamedTuple):
    """The memory with its gate products U_z h, U_r h, computed once a sentence (the candidate's cannot be)."""

    value_BSE: Tensor
    valid_BS: Tensor
    update_BSE: Tensor
    reset_BSE: Tensor


class GAtt(Gated):
    """The gate's history is the source h_i, its input the query s (eq. 7):

        z_i = σ(W_z s + U_z h_i + b_z)
        r_i = σ(W_r s + U_r h_i + b_r)
        h̄_i = tanh(W s + U [r_i ⊙ h_i] + b)
        h'_i = (1 − z_i) ⊙ h_i + z_i ⊙ h̄_i

    Here z multiplies the *new* candidate and the reset gate acts *before* U, the opposite of ``torch.nn.GRU`` in both.
    """

    def __init__(self, query_size: int, memory_size: int, *, inner: Builder = Choice("bahdanau")) -> None:
        super().__init__(inner(query_size, memory_size))
        self.gate_size = memory_size  # rows of one gate's matrix
        self.query = nn.Linear(query_size, 3 * memory_size)  # W_z, W_r, W with b_z, b_r, b
        self.gates = nn.Linear(memory_size, 2 * memory_size, bias=False)  # U_z, U_r
        self.candidate = nn.Linear(memory_size, memory_size, bias=False)  # U

    def precompute(self, memory: Memory) -> GAttKeys:
        update_BSE, reset_BSE = self.gates(memory.value_BSE).chunk(2, dim=-1)
        return GAttKeys(memory.value_BSE, memory.valid_BS, update_BSE, reset_BSE)

    def refine(self, query_BTQ: Tensor, keys: GAttKeys) -> Tensor:
        update_BT1E, reset_BT1E, candidate_BT1E = self.query(query_BTQ).unsqueeze(2).chunk(3, dim=-1)
        h_B1SE = keys.value_BSE.unsqueeze(1)
        z_BTSE = torch.sigmoid(update_BT1E + keys.update_BSE.unsqueeze(1))
        r_BTSE = torch.sigmoid(reset_BT1E + keys.reset_BSE.unsqueeze(1))
        candidate_BTSE = torch.tanh(candidate_BT1E + self.candidate(r_BTSE * h_B1SE))
        return h_B1SE + z_BTSE * (candidate_BTSE - h_B1SE)  # (1 - z) h + z candidate


class GAttInvKeys(NamedTuple):
    """The products W_z h, W_r h, W h with their biases, computed once a sentence."""

    valid_BS: Tensor
    update_BSQ: Tensor
    reset_BSQ: Tensor
    candidate_BSQ: Tensor


class GAttInv(Gated):
    """GAtt-Inv (eq. 9): the gate's history is the query s, its input the source h_i:

        z_i = σ(W_z h_i + U_z s + b_z)
        r_i = σ(W_r h_i + U_r s + b_r)
        s̄_i = tanh(W h_i + U [r_i ⊙ s] + b)
        h'_i = (1 − z_i) ⊙ s + z_i ⊙ s̄_i

    The refined vectors have the size of s, so the context shrinks to it.
    """

    def __init__(self, query_size: int, memory_size: int, *, inner: Builder = Choice("bahdanau")) -> None:
        super().__init__(inner(query_size, query_size))
        self.gate_size = query_size  # rows of one gate's matrix
        self.memory = nn.Linear(memory_size, 3 * query_size)  # W_z, W_r, W with b_z, b_r, b
        self.gates = nn.Linear(query_size, 2 * query_size, bias=False)  # U_z, U_r
        self.candidate = nn.Linear(query_size, query_size, bias=False)  # U

    def precompute(self, memory: Memory) -> GAttInvKeys:
        return GAttInvKeys(memory.valid_BS, *self.memory(memory.value_BSE).chunk(3, dim=-1))

    def refine(self, query_BTQ: Tensor, keys: GAttInvKeys) -> Tensor:
        s_BT1Q = query_BTQ.unsqueeze(2)
        update_BT1Q, reset_BT1Q = self.gates(s_BT1Q).chunk(2, dim=-1)
        z_BTSQ = torch.sigmoid(keys.update_BSQ.unsqueeze(1) + update_BT1Q)
        r_BTSQ = torch.sigmoid(keys.reset_BSQ.unsqueeze(1) + reset_BT1Q)
        candidate_BTSQ = torch.tanh(keys.candidate_BSQ.unsqueeze(1) + self.candidate(r_BTSQ * s_BT1Q))
        return s_BT1Q + z_BTSQ * (candidate_BTSQ - s_BT1Q)  # (1 - z) s + z candidate
