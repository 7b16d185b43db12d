"""Attention against the equations of its paper, in plain loops; hand-worked numbers; gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from references import Gate, bahdanau, gate, thirds
from torch import Tensor

from nmt.attention import ATTENTIONS, Attention, Bahdanau, GAtt, Glance, Memory
from nmt.attention.base import attend, distribute
from nmt.settings import choice

DOUBLE = torch.float64
B, T, S, Q, E, A = 3, 2, 4, 5, 6, 7
# No padding; padding on the right; padding on the left.
VALID = torch.tensor([[True, True, True, True], [True, True, False, False], [False, True, True, True]])


def a_memory() -> Memory:
    return Memory(torch.randn(B, S, E, dtype=DOUBLE), VALID)


def queries() -> Tensor:
    return torch.randn(B, T, Q, dtype=DOUBLE)


def spread(attention: Attention) -> Attention:
    """Weights large enough that every wrong sign or place shows."""
    with torch.no_grad():
        for one in attention.parameters():
            one.normal_()
    return attention


def a_gatt(inner: Callable[..., Attention] = Bahdanau) -> GAtt:
    return spread(GAtt(Q, E, inner=inner).double())


def gate_of(attention: GAtt) -> Gate:
    """The gate's matrices, by the places that the module's comments give them."""
    w_z, w_r, w = thirds(attention.query.weight.tolist())
    b_z, b_r, b = thirds(attention.query.bias.tolist())
    both = attention.gates.weight.tolist()
    return Gate(w_z, w_r, w, b_z, b_r, b, both[:E], both[E:], attention.candidate.weight.tolist())


def check(attention: Attention, reference: Callable[[list, list, list], tuple[list, list]]) -> None:
    memory, query_BTQ = a_memory(), queries()
    glance, _ = attention.step(query_BTQ, attention.precompute(memory), attention.start(VALID))
    for b in range(B):
        for t in range(T):
            context, weight = reference(query_BTQ[b, t].tolist(), memory.value_BSE[b].tolist(), VALID[b].tolist())
            assert glance.context_BTE[b, t].tolist() == pytest.approx(context, abs=1e-10)
            assert glance.weight_BTS[b, t].tolist() == pytest.approx(weight, abs=1e-10)
    assert torch.equal(glance.choice_BT, torch.zeros(B, T, dtype=DOUBLE))  # soft attention chose nothing


@pytest.mark.parametrize("size", [None, A])
def test_bahdanau_equals_its_equation(size: int | None) -> None:
    attention = spread(Bahdanau(Q, E, size=size).double())
    assert attention.context_size == E
    assert attention.energy.weight.shape == (1, size or E)
    w, u, [v] = (one.weight.tolist() for one in (attention.query, attention.memory, attention.energy))
    check(attention, lambda s, h, valid: bahdanau(w, u, v, s, h, valid))


def test_gatt_equals_equations_7_and_8() -> None:
    attention = a_gatt()
    assert attention.context_size == E
    inner = attention.inner
    w, u, [v] = (one.weight.tolist() for one in (inner.query, inner.memory, inner.energy))
    p = gate_of(attention)

    def reference(s: list, source: list, valid: list) -> tuple[list, list]:
        refined = [gate(p, h, s) for h in source]
        return bahdanau(w, u, v, s, refined, valid)  # scores and weighted sum both of the refined source

    check(attention, reference)


def test_the_gating_layer_equals_equation_7() -> None:
    attention, memory, query_BTQ = a_gatt(), a_memory(), queries()
    refined_BTSE = attention.refine(query_BTQ, attention.precompute(memory))
    p = gate_of(attention)
    for b in range(B):
        for t in range(T):
            for s in range(S):
                wanted = gate(p, memory.value_BSE[b, s].tolist(), query_BTQ[b, t].tolist())
                assert refined_BTSE[b, t, s].tolist() == pytest.approx(wanted, abs=1e-10)


def test_gatt_twice_gates_twice() -> None:
    attention = a_gatt(lambda query_size, memory_size: GAtt(query_size, memory_size, inner=Bahdanau))
    between = attention.inner
    assert isinstance(between, GAtt)
    inner = between.inner
    w, u, [v] = (one.weight.tolist() for one in (inner.query, inner.memory, inner.energy))
    outer_gate, inner_gate = gate_of(attention), gate_of(between)

    def reference(s: list, source: list, valid: list) -> tuple[list, list]:
        return bahdanau(w, u, v, s, [gate(inner_gate, gate(outer_gate, h, s), s) for h in source], valid)

    check(attention, reference)


def test_z_at_its_ends_by_hand() -> None:
    """z = 0 keeps the source, z = 1 replaces it by the candidate; with r = 0 the candidate forgets the source."""
    attention = GAtt(1, 1, inner=Bahdanau).double()
    memory = Memory(torch.tensor([[[0.3], [-0.7]]], dtype=DOUBLE), torch.ones(1, 2, dtype=torch.bool))
    query_BTQ = torch.ones(1, 1, 1, dtype=DOUBLE)

    def refined(b_z: float, b_r: float) -> list[float]:
        with torch.no_grad():
            attention.query.weight.copy_(torch.tensor([[0.0], [0.0], [0.5]]))
            attention.query.bias.copy_(torch.tensor([b_z, b_r, 0.0]))
            attention.gates.weight.zero_()
            attention.candidate.weight.fill_(2.0)
        return attention.refine(query_BTQ, attention.precompute(memory)).flatten().tolist()

    assert refined(-50, 50) == pytest.approx([0.3, -0.7], abs=1e-12)
    assert refined(50, 50) == pytest.approx([math.tanh(0.5 + 2 * 0.3), math.tanh(0.5 - 2 * 0.7)], abs=1e-12)
    assert refined(50, -50) == pytest.approx([math.tanh(0.5)] * 2, abs=1e-12)


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_gradients_are_those_of_finite_differences(kind: str) -> None:
    attention = choice(ATTENTIONS).validate(kind).build(ATTENTIONS, Q, E).double().eval()

    def looked(query_BTQ: Tensor, value_BSE: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        keys = attention.precompute(Memory(value_BSE, VALID))
        glance, _ = attention.step(query_BTQ, keys, attention.start(VALID))
        return glance.context_BTE, glance.weight_BTS

    # The parameters are listed too: gradcheck changes them, entry by entry, where they stand.
    inputs = (queries().requires_grad_(), a_memory().value_BSE.requires_grad_(), *attention.parameters())
    assert torch.autograd.gradcheck(looked, inputs)


# ------------------------------------------------------------------------------------------------- what they share


def test_softmax_over_the_valid_positions_by_hand() -> None:
    energy_BTS = torch.tensor([[[math.log(2), math.log(6), 50.0]], [[math.log(5), 1e4, 3.0]]], dtype=DOUBLE)
    valid_BS = torch.tensor([[True, True, False], [True, False, False]])
    weight_BTS = distribute(energy_BTS, valid_BS)
    assert weight_BTS.flatten().tolist() == pytest.approx([0.25, 0.75, 0, 1, 0, 0], abs=1e-15)
    assert weight_BTS[0, 0, 2] == weight_BTS[1, 0, 1] == weight_BTS[1, 0, 2] == 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_energies_at_the_edge_of_a_type_stay_finite(dtype: torch.dtype) -> None:
    edge = torch.finfo(dtype)
    energy_BTS = torch.tensor([[[edge.min, 0.0, edge.max]]], dtype=dtype)
    weight_BTS = distribute(energy_BTS, torch.tensor([[True, True, False]]))
    assert weight_BTS.flatten().tolist() == [0.0, 1.0, 0.0]


def test_the_context_is_the_expectation_by_hand() -> None:
    glance = attend(torch.tensor([[[0.25, 0.75, 0.0]]]), torch.tensor([[[4.0, 8.0], [0.0, 4.0], [100.0, 100.0]]]))
    assert glance.context_BTE.flatten().tolist() == [1.0, 5.0]
    assert glance.choice_BT.tolist() == [[0.0]]


class Recorder(Attention):
    """A sequential attention: it looks at the place after the one it looked at last, and counts its looks."""

    sequential = True

    def __init__(self, query_size: int, memory_size: int) -> None:
        super().__init__()
        self.context_size = memory_size

    def precompute(self, memory: Memory) -> Memory:
        return memory

    def start(self, valid_BS: Tensor) -> Tensor:
        return torch.zeros(len(valid_BS), dtype=torch.int64)

    def look(self, query_BTQ: Tensor, keys: Memory, state: Tensor) -> tuple[Glance, Tensor]:
        assert query_BTQ.shape[1] == 1
        weight_BTS = torch.nn.functional.one_hot(state, keys.value_BSE.shape[1])[:, None].to(query_BTQ.dtype)
        return attend(weight_BTS, keys.value_BSE), state + 1


@pytest.mark.parametrize("wrap", [lambda inner: inner(Q, E), lambda inner: GAtt(Q, E, inner=inner).double()])
def test_a_sequential_attention_looks_once_after_another(wrap: Callable[..., Attention]) -> None:
    attention, memory = wrap(Recorder), a_memory()
    assert attention.sequential
    glance, state = attention.step(queries(), attention.precompute(memory), attention.start(VALID))
    assert glance.weight_BTS.argmax(dim=-1).tolist() == [[0, 1]] * B
    assert state.tolist() == [2] * B


def test_gatt_is_sequential_only_if_its_inner_attention_is() -> None:
    assert not a_gatt().sequential
