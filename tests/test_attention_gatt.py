"""GAtt, its other reset and GAtt-Inv against equations 5 to 9 of Zhang, Xiong and Su 2017, alone and around others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from looks import DOUBLE, VALID, B, E, Q, S, T, a_memory, check, check_in_order, gate_of, queries, spread, weights
from references import (
    Look,
    Matrix,
    additive,
    bahdanau,
    constrained_softmax,
    gate,
    gate_reset_after,
    look,
    plus,
    times,
    weighted_sum,
)
from torch import Tensor

from nmt.attention import (
    ATTENTIONS,
    Attention,
    Bahdanau,
    FertilityBound,
    GAtt,
    GAttInv,
    GAttResetAfter,
    Hard,
    LinguisticCoverage,
    Memory,
)
from nmt.settings import choice


def a_gatt(inner: Callable[..., Attention] = Bahdanau) -> GAtt:
    return spread(GAtt(Q, E, inner=inner))


def test_gatt_equals_equations_7_and_8() -> None:
    attention = a_gatt()
    assert attention.context_size == E
    inner = attention.inner
    w, u, [v] = weights(inner.query, inner.memory, inner.energy)
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
    w, u, [v] = weights(inner.query, inner.memory, inner.energy)
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


def test_gatt_is_sequential_only_if_its_inner_attention_is() -> None:
    assert not a_gatt().sequential
    assert not GAttInv(Q, E, inner=Bahdanau).sequential
    assert a_gatt(LinguisticCoverage).sequential


# ----------------------------------------------------------------------------------------------- reset after U h


def test_gatt_reset_after_equals_its_equation() -> None:
    attention = spread(GAttResetAfter(Q, E, inner=Bahdanau))
    assert attention.context_size == E
    inner = attention.inner
    w, u, [v] = weights(inner.query, inner.memory, inner.energy)
    p = gate_of(attention)
    check(attention, lambda s, source, valid: bahdanau(w, u, v, s, [gate_reset_after(p, h, s) for h in source], valid))


@pytest.mark.parametrize(("b_r", "equal"), [(-60.0, True), (60.0, True), (0.0, False)])
def test_where_the_reset_stands_matters_only_when_it_is_half_open(b_r: float, equal: bool) -> None:
    before, after, memory, query_BTQ = a_gatt(), GAttResetAfter(Q, E, inner=Bahdanau).double(), a_memory(), queries()
    with torch.no_grad():
        before.query.bias[E : 2 * E] = b_r
    after.load_state_dict(before.state_dict())  # the parameters of one are those of the other
    one, other = (both.refine(query_BTQ, both.precompute(memory)) for both in (before, after))
    assert torch.allclose(one, other, rtol=0, atol=1e-12) == equal


# ------------------------------------------------------------------------------------------------------- GAtt-Inv


def test_gatt_inv_equals_equation_9() -> None:
    """History and input change places: the refined vectors are of the query's kind."""
    attention = spread(GAttInv(Q, E, inner=Bahdanau))
    assert attention.context_size == Q
    inner = attention.inner
    w, u, [v] = weights(inner.query, inner.memory, inner.energy)
    p = gate_of(attention)
    check(attention, lambda s, source, valid: bahdanau(w, u, v, s, [gate(p, s, h) for h in source], valid))


def test_z_of_gatt_inv_at_its_ends_by_hand() -> None:
    """z = 0 gives the query at every source position, z = 1 the candidate; with r = 0 that forgets the query."""
    attention = GAttInv(1, 1, inner=Bahdanau).double()
    memory = Memory(torch.tensor([[[0.3], [-0.7]]], dtype=DOUBLE), torch.ones(1, 2, dtype=torch.bool))
    query_BTQ = torch.full((1, 1, 1), 0.8, dtype=DOUBLE)

    def refined(b_z: float, b_r: float) -> list[float]:
        with torch.no_grad():
            attention.memory.weight.copy_(torch.tensor([[0.0], [0.0], [0.5]]))
            attention.memory.bias.copy_(torch.tensor([b_z, b_r, 0.0]))
            attention.gates.weight.zero_()
            attention.candidate.weight.fill_(2.0)
        return attention.refine(query_BTQ, attention.precompute(memory)).flatten().tolist()

    assert refined(-50, 50) == pytest.approx([0.8, 0.8], abs=1e-12)
    assert refined(50, 50) == pytest.approx([math.tanh(0.15 + 1.6), math.tanh(-0.35 + 1.6)], abs=1e-12)
    assert refined(50, -50) == pytest.approx([math.tanh(0.15), math.tanh(-0.35)], abs=1e-12)


# --------------------------------------------------------------------------------------------------- compositions


def test_gatt_around_hard_around_coverage() -> None:
    """Scored with coverage, of the refined source; the refined vector that is likeliest is what is seen."""

    def inner(query_size: int, memory_size: int) -> Attention:
        return Hard(query_size, memory_size, inner=LinguisticCoverage)

    attention = a_gatt(inner).eval()
    coverage = attention.inner.inner
    assert isinstance(coverage, LinguisticCoverage)
    scorer = coverage.scorer
    w, u, [v] = weights(scorer.query, scorer.memory, scorer.energy)
    v_beta, [u_f] = weights(coverage.coverage, coverage.fertility)
    p = gate_of(attention)

    def reference(queries: Matrix, source: Matrix, valid: list[bool]) -> Iterator[Look]:
        beta = [0.0] * len(source)
        for s in queries:
            refined = [gate(p, h, s) for h in source]
            energy = [additive(w, u, v, s, h, times(v_beta, [one])) for h, one in zip(refined, beta, strict=True)]
            _, weight = look(energy, refined, valid)
            fertility = [2 / (1 + math.exp(-sum(x * y for x, y in zip(u_f, h, strict=True)))) for h in refined]
            beta = [b + a / f for b, a, f in zip(beta, weight, fertility, strict=True)]
            yield refined[weight.index(max(weight))], weight

    check_in_order(attention, reference)


def test_gatt_around_bounds() -> None:
    attention = a_gatt(
        lambda query_size, memory_size: FertilityBound(query_size, memory_size, inner=Bahdanau, fertility=0.7)
    )
    inner = attention.inner.inner
    w, u, [v] = weights(inner.query, inner.memory, inner.energy)
    p = gate_of(attention)

    def reference(queries: Matrix, source: Matrix, valid: list[bool]) -> Iterator[Look]:
        spent = [0.0] * len(source)
        sink = max(place for place, one in enumerate(valid) if one)
        for s in queries:
            refined = [gate(p, h, s) for h in source]
            left = [max(0.7 - one, 0.0) for one in spent]
            energy = [additive(w, u, v, s, h) + 0.2 * one for h, one in zip(refined, left, strict=True)]
            energy[sink] -= 0.2 * left[sink]
            bound = [one if real else 0.0 for one, real in zip(left, valid, strict=True)]
            bound[sink] = 1.0
            weight = constrained_softmax(energy, bound)
            spent = plus(spent, weight)
            yield weighted_sum(weight, refined), weight

    check_in_order(attention, reference)


def test_gatt_around_hard_samples_refined_vectors_for_many_queries_at_once() -> None:
    """Looks that know nothing of each other run together, and which sentence samples stays what it was."""
    attention = a_gatt(lambda query_size, memory_size: Hard(query_size, memory_size, inner=Bahdanau)).train()
    memory, query_BTQ = a_memory(), queries()
    keys = attention.precompute(memory)
    refined_BTSE = attention.refine(query_BTQ, keys)
    state = attention.start(VALID)._replace(sampling_B=torch.tensor([True, False, True]))
    glance, after = attention.step(query_BTQ, keys, state)
    assert after.sampling_B.tolist() == [True, False, True]
    expected_BTE = (glance.weight_BTS.unsqueeze(-1) * refined_BTSE).sum(2)
    torch.testing.assert_close(glance.context_BTE[1], expected_BTE[1], rtol=0, atol=1e-12)
    for b in (0, 2):
        for t in range(T):
            place = [torch.equal(glance.context_BTE[b, t], refined_BTSE[b, t, s]) for s in range(S)].index(True)
            assert glance.choice_BT[b, t] == glance.weight_BTS[b, t, place].log()


# ------------------------------------------------------------------------------------------- recomputing the source


SAMPLING = {"kind": "hard", "expectation": 0.0}


@pytest.mark.parametrize("inner", ["bahdanau", "coverage-neural", SAMPLING, "gatt"], ids=str)
@pytest.mark.parametrize("kind", ["gatt", "gatt-inv", "gatt-reset-after"])
def test_what_is_recomputed_is_the_same(kind: str, inner: Any) -> None:
    """Values and gradients to the last digit, samples of hard attention too; and less is remembered."""
    plain, recomputed = (
        choice(ATTENTIONS).validate({"kind": kind, "inner": inner, "recompute": one}).build(ATTENTIONS, Q, E).double()
        for one in (False, True)
    )
    recomputed.load_state_dict(spread(plain).state_dict())
    memory, query_BTQ = a_memory(), queries()
    results, remembered = [], []
    for attention in (plain, recomputed):
        torch.manual_seed(3)
        inputs = [memory.value_BSE.clone().requires_grad_(), query_BTQ.clone().requires_grad_()]
        kept: dict[int, int] = {}

        def keep(one: Tensor, kept: dict[int, int] = kept) -> Tensor:
            kept[one.untyped_storage().data_ptr()] = one.untyped_storage().nbytes()
            return one

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda one: one):
            keys = attention.precompute(Memory(inputs[0], VALID))
            glance, _ = attention.step(inputs[1], keys, attention.start(VALID))
        assert glance.choice_BT.any() == (inner == SAMPLING)
        found = (glance.context_BTE.square().sum() + glance.weight_BTS.square().sum() + glance.choice_BT.sum()) / B
        found.backward()
        results.append([*glance, *(one.grad for one in [*inputs, *attention.parameters()])])
        remembered.append(sum(kept.values()))
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
    one_refined_source = B * S * attention.context_size * 8  # bytes
    assert remembered[0] - remembered[1] > T * one_refined_source
