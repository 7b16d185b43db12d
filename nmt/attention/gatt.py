"""Gated attention (GAtt) of Zhang, Xiong and Su 2017 (arXiv:1704.08430), equations 5-8.

Before every look the source is refined with respect to the decoder's state, so that what is attended to, and what
is summed up, changes from step to step.

Shapes: see :mod:`nmt.attention.base`; N = B × T source sentences, one for every query.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nmt.attention.base import Attention, Glance, Memory
from nmt.settings import Builder, Choice
from nmt.tree import State


class GAttKeys(NamedTuple):
    """The memory with its gate products U_z h, U_r h, computed once a sentence (the candidate's cannot be)."""

    value_BSE: Tensor
    valid_BS: Tensor
    update_BSE: Tensor
    reset_BSE: Tensor


class GAtt(Attention):
    """An attention over a source that a gate has first refined with the query s (eq. 7), history h_i, input s:

        z_i = σ(W_z s + U_z h_i + b_z)
        r_i = σ(W_r s + U_r h_i + b_r)
        h̄_i = tanh(W s + U [r_i ⊙ h_i] + b)
        h'_i = (1 − z_i) ⊙ h_i + z_i ⊙ h̄_i

    Here z multiplies the *new* candidate and the reset gate acts *before* U, the opposite of ``torch.nn.GRU`` in both.
    ``inner`` then scores and sums up h' (eq. 8: both use the refined source). Which s the gate sees is the query's
    business, so the decoder's wiring decides it. Sequential only if the inner attention is.
    """

    def __init__(self, query_size: int, memory_size: int, *, inner: Builder = Choice("bahdanau")) -> None:
        super().__init__()
        self.inner: Attention = inner(query_size, memory_size)
        self.sequential = self.inner.sequential
        self.context_size = self.inner.context_size
        self.gate_size = memory_size  # rows of one gate's matrix
        self.query = nn.Linear(query_size, 3 * memory_size)  # W_z, W_r, W with b_z, b_r, b
        self.gates = nn.Linear(memory_size, 2 * memory_size, bias=False)  # U_z, U_r
        self.candidate = nn.Linear(memory_size, memory_size, bias=False)  # U

    def precompute(self, memory: Memory) -> GAttKeys:
        update_BSE, reset_BSE = self.gates(memory.value_BSE).chunk(2, dim=-1)
        return GAttKeys(memory.value_BSE, memory.valid_BS, update_BSE, reset_BSE)

    def start(self, valid_BS: Tensor) -> State:
        return self.inner.start(valid_BS)

    def look(self, query_BTQ: Tensor, keys: GAttKeys, state: State) -> tuple[Glance, State]:
        refined_BTSE = self.refine(query_BTQ, keys)
        # Each query has a source of its own now: T queries become T sentences with one query each.
        batch, queries, length, _ = refined_BTSE.shape
        valid_NS = keys.valid_BS.repeat_interleave(queries, dim=0)
        inner_keys = self.inner.precompute(Memory(refined_BTSE.flatten(0, 1), valid_NS))
        glance, state = self.inner.step(query_BTQ.reshape(batch * queries, 1, -1), inner_keys, state)
        return Glance(
            glance.context_BTE.reshape(batch, queries, -1),
            glance.weight_BTS.reshape(batch, queries, length),
            glance.choice_BT.reshape(batch, queries),
        ), state

    def refine(self, query_BTQ: Tensor, keys: GAttKeys) -> Tensor:
        """The gating layer H^g (B, T, S, E) of eq. 6 and 7: for every query, the source refined with it."""
        update_BT1E, reset_BT1E, candidate_BT1E = self.query(query_BTQ).unsqueeze(2).chunk(3, dim=-1)
        h_B1SE = keys.value_BSE.unsqueeze(1)
        z_BTSE = torch.sigmoid(update_BT1E + keys.update_BSE.unsqueeze(1))
        r_BTSE = torch.sigmoid(reset_BT1E + keys.reset_BSE.unsqueeze(1))
        candidate_BTSE = torch.tanh(candidate_BT1E + self.candidate(r_BTSE * h_B1SE))
        return h_B1SE + z_BTSE * (candidate_BTSE - h_B1SE)  # (1 - z) h + z candidate
