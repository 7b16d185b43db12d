"""Gated attention (GAtt) and its inverse, of Zhang, Xiong and Su 2017 (arXiv:1704.08430), equations 5-9.

Before every look the source is refined with respect to the decoder's state, so that what is attended to, and what
is summed up, changes from step to step.

What it costs, in multiplications for every pair of a query and a source position, beside those once a sentence and
once a query (Q, E, A are the sizes of query, memory and scorer; an additive scorer's own E A are once a sentence where
nothing refines the source, but here the source it multiplies is another one for every query):

=================== =========== ====================== =====================
gate                candidate   additive inner score   context
=================== =========== ====================== =====================
none                            A                      E
gatt                E²          E A + A                E
gatt-inv            Q²          Q A + A                Q
gatt-reset-after    E           E A + A                E
=================== =========== ====================== =====================

No form of the additive score saves its E A: U_a h' = U_a h + U_a [z ⊙ (h̄ − h)] still multiplies a vector of the pair.
The *general* score (W_aᵀ s) · h' costs E for a pair.

Shapes: see :mod:`nmt.attention.base`; R size of the refined vectors; N = B × T source sentences, one for every query.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nmt import native
from nmt.attention import after_look
from nmt.attention.base import Attention, Glance, Keys, Memory
from nmt.attention.dot import Product
from nmt.attention.gates import Operand, after_gate, exact_gate, of_query, of_source
from nmt.layers import at_least_float32
from nmt.loops import project, step_by_step
from nmt.settings import Builder, Choice
from nmt.tree import State, repeat


class Gated(Attention):
    """An attention over a source that a gate refines with every query: c_j = Att(Gate(H, s), s) (eq. 5, 6 and 8).

    ``inner`` scores *and* sums up the refined source. Which s the gate sees is the query's business, so the decoder's
    wiring decides it. Sequential only if the inner attention is. A class gives :meth:`precompute`, whose keys hold
    ``valid_BS``, and :meth:`refine`.

    The refined sources of all queries are what training must remember, several times over. With ``recompute`` it
    forgets them and computes every look once more for the gradient, which is the same: less memory for more time.
    """

    sums_memory = False

    def __init__(self, inner: Attention, recompute: bool) -> None:
        super().__init__()
        self.inner, self.recompute = inner, recompute
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
        if not (self.recompute and torch.is_grad_enabled()):
            return self._look(query_BTQ, keys, state)
        with step_by_step():
            glance, state = checkpoint(self._look, query_BTQ, keys, state, use_reentrant=False)
        return glance, state

    def _look(self, query_BTQ: Tensor, keys: Keys, state: State) -> tuple[Glance, State]:
        refined_BTSR = self.refine(query_BTQ, keys)
        # Each query has a source of its own now: T queries become T sentences with one query each.
        batch, queries, length, _ = refined_BTSR.shape
        valid_NS = keys.valid_BS.repeat_interleave(queries, dim=0)
        inner_keys = self.inner.precompute(Memory(refined_BTSR.flatten(0, 1), valid_NS))
        query_N1Q = query_BTQ.reshape(batch * queries, 1, -1)
        state_N = state if self.sequential else repeat(state, queries)
        glance, state_N = self.inner.step(query_N1Q, inner_keys, state_N)
        return Glance(
            glance.context_BTE.reshape(batch, queries, -1),
            glance.weight_BTS.reshape(batch, queries, length),
            glance.choice_BT.reshape(batch, queries),
        ), state_N if self.sequential else state


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

    def __init__(
        self, query_size: int, memory_size: int, *, inner: Builder = Choice("bahdanau"), recompute: bool = False
    ) -> None:
        super().__init__(inner(query_size, memory_size), recompute)
        self.gate_size = memory_size  # rows of one gate's matrix
        self.query = nn.Linear(query_size, 3 * memory_size)  # W_z, W_r, W with b_z, b_r, b
        self.gates = nn.Linear(memory_size, 2 * memory_size, bias=False)  # U_z, U_r
        self.candidate = nn.Linear(memory_size, memory_size, bias=False)  # U

    def precompute(self, memory: Memory) -> GAttKeys:
        update_BSE, reset_BSE = at_least_float32(self.gates(memory.value_BSE)).chunk(2, dim=-1)
        return GAttKeys(memory.value_BSE, memory.valid_BS, update_BSE, reset_BSE)

    def refine(self, query_BTQ: Tensor, keys: GAttKeys) -> Tensor:
        update_BTE, reset_BTE, candidate_BTE = at_least_float32(project(self.query, query_BTQ)).chunk(3, dim=-1)
        return exact_gate(
            self.candidate.weight,
            qz=of_query(update_BTE),
            kz=of_source(keys.update_BSE),
            qr=of_query(reset_BTE),
            kr=of_source(keys.reset_BSE),
            h=of_source(keys.value_BSE),
            c=of_query(candidate_BTE),
        )


class GAttResetAfterKeys(NamedTuple):
    """The memory with its products U_z h, U_r h, U h, computed once a sentence."""

    value_BSE: Tensor
    valid_BS: Tensor
    update_BSE: Tensor
    reset_BSE: Tensor
    candidate_BSE: Tensor


class GAttResetAfter(Gated):
    """GAtt whose reset gate acts *after* the product, as in cuDNN's form of the GRU, and not as in the paper:

        h̄_i = tanh(W s + r_i ⊙ (U h_i) + b)

    and z, r and h' as in :class:`GAtt`, with the same parameters: cuDNN's second bias, inside the reset, is left out.
    U h is computed once a sentence, so no product of the *gate* is left for every pair of positions. An additive inner
    score has one (see the head of this file); the *general* one has none, but learnt less surely (docs/speed.md).
    """

    def __init__(
        self, query_size: int, memory_size: int, *, inner: Builder = Choice("bahdanau"), recompute: bool = False
    ) -> None:
        super().__init__(inner(query_size, memory_size), recompute)
        self.gate_size = memory_size  # rows of one gate's matrix
        self.query = nn.Linear(query_size, 3 * memory_size)  # W_z, W_r, W with b_z, b_r, b
        self.gates = nn.Linear(memory_size, 2 * memory_size, bias=False)  # U_z, U_r
        self.candidate = nn.Linear(memory_size, memory_size, bias=False)  # U

    def precompute(self, memory: Memory) -> GAttResetAfterKeys:
        update_BSE, reset_BSE = at_least_float32(self.gates(memory.value_BSE)).chunk(2, dim=-1)
        candidate_BSE = at_least_float32(self.candidate(memory.value_BSE))
        return GAttResetAfterKeys(*memory, update_BSE, reset_BSE, candidate_BSE)

    def refine(self, query_BTQ: Tensor, keys: GAttResetAfterKeys) -> Tensor:
        return after_gate(**self._operands(query_BTQ, keys))

    def _look(self, query_BTQ: Tensor, keys: GAttResetAfterKeys, state: State) -> tuple[Glance, State]:
        if not (isinstance(self.inner, Product) and native.usable(keys.value_BSE, keys.candidate_BSE)):
            return super()._look(query_BTQ, keys, state)
        a_BTE = self.inner.toward(query_BTQ)
        context_BTE, weight_BTS = after_look.look(a_BTE, keys.valid_BS, **self._operands(query_BTQ, keys))
        return Glance(context_BTE, weight_BTS, weight_BTS.new_zeros(weight_BTS.shape[:2])), state

    def _operands(self, query_BTQ: Tensor, keys: GAttResetAfterKeys) -> dict[str, Operand]:
        update_BTE, reset_BTE, candidate_BTE = at_least_float32(project(self.query, query_BTQ)).chunk(3, dim=-1)
        return {
            "qz": of_query(update_BTE),
            "kz": of_source(keys.update_BSE),
            "qr": of_query(reset_BTE),
            "kr": of_source(keys.reset_BSE),
            "qc": of_query(candidate_BTE),
            "kc": of_source(keys.candidate_BSE),
            "h": of_source(keys.value_BSE),
        }


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

    def __init__(
        self, query_size: int, memory_size: int, *, inner: Builder = Choice("bahdanau"), recompute: bool = False
    ) -> None:
        super().__init__(inner(query_size, query_size), recompute)
        self.gate_size = query_size  # rows of one gate's matrix
        self.memory = nn.Linear(memory_size, 3 * query_size)  # W_z, W_r, W with b_z, b_r, b
        self.gates = nn.Linear(query_size, 2 * query_size, bias=False)  # U_z, U_r
        self.candidate = nn.Linear(query_size, query_size, bias=False)  # U

    def precompute(self, memory: Memory) -> GAttInvKeys:
        return GAttInvKeys(memory.valid_BS, *at_least_float32(self.memory(memory.value_BSE)).chunk(3, dim=-1))

    def refine(self, query_BTQ: Tensor, keys: GAttInvKeys) -> Tensor:
        update_BTQ, reset_BTQ = at_least_float32(project(self.gates, query_BTQ)).chunk(2, dim=-1)
        return exact_gate(
            self.candidate.weight,
            qz=of_query(update_BTQ),
            kz=of_source(keys.update_BSQ),
            qr=of_query(reset_BTQ),
            kr=of_source(keys.reset_BSQ),
            h=of_query(query_BTQ),
            c=of_source(keys.candidate_BSQ),
        )
