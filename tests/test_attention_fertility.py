"""Bounds by fertility: the constrained softmax against two independent solvers, and the attention made of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from looks import DOUBLE, VALID, B, E, Q, S, T, a_memory, check_in_order, queries, spread, weights
from references import Look, Matrix, Vector, additive, constrained_softmax, dot, plus, softmax, times, weighted_sum
from scipy.optimize import minimize

from nmt.attention import Attention, Bahdanau, Dot, FertilityBound, General, LocalP, Memory
from nmt.attention.fertility import ConstrainedSoftmax


def csoftmax(energy: Vector, bound: Vector, dtype: torch.dtype = DOUBLE) -> Vector:
    found = ConstrainedSoftmax.apply(torch.tensor([energy], dtype=dtype), torch.tensor([bound], dtype=dtype))
    return found[0].tolist()


def by_active_sets(energy: Vector, bound: Vector) -> Vector:
    """Every set of saturated places is tried; the one that keeps all bounds and comes nearest to softmax(z)."""
    best, nearest = [], math.inf
    for saturated in itertools.product([False, True], repeat=len(energy)):
        left = 1 - sum(u for u, full in zip(bound, saturated, strict=True) if full)
        total = sum(math.exp(z) for z, full in zip(energy, saturated, strict=True) if not full)
        if total == 0 and abs(left) > 1e-12:
            continue
        weight = [
            u if full else math.exp(z) * left / total for z, u, full in zip(energy, bound, saturated, strict=True)
        ]
        if any(a > u + 1e-12 or a < -1e-12 for a, u in zip(weight, bound, strict=True)):
            continue
        divergence = sum(a * (math.log(a) - z) for a, z in zip(weight, energy, strict=True) if a > 1e-15)
        if divergence < nearest:
            best, nearest = weight, divergence
    return best


@st.composite
def problems(draw: st.DrawFn) -> tuple[Vector, Vector]:
    """Energies and bounds that leave room for a mass of 1: some 0, some above 1."""
    size = draw(st.integers(1, 6))
    energy = draw(st.lists(st.floats(-6, 6), min_size=size, max_size=size))
    parts = draw(st.lists(st.sampled_from([0.0, 0.05, 0.2, 0.5, 1.0, 2.0]), min_size=size, max_size=size))
    if sum(parts) < 1:
        parts[draw(st.integers(0, size - 1))] = 1.0  # the sink
    return energy, parts


@given(problems())
def test_equals_the_equation_by_halving(problem: tuple[Vector, Vector]) -> None:
    weight = csoftmax(*problem)
    assert weight == pytest.approx(constrained_softmax(*problem), abs=1e-10)
    assert sum(weight) == pytest.approx(1, abs=1e-12)
    assert all(0 <= a <= u for a, u in zip(weight, problem[1], strict=True))


@given(problems())
def test_equals_the_best_of_all_active_sets(problem: tuple[Vector, Vector]) -> None:
    assert csoftmax(*problem) == pytest.approx(by_active_sets(*problem), abs=1e-10)


def test_equals_a_general_solver() -> None:
    """scipy's SLSQP minimises KL(α ‖ softmax(z)) under the constraints."""
    generator = np.random.default_rng(1)
    for _ in range(10):
        energy, bound = generator.normal(size=5) * 2, generator.uniform(0.1, 0.6, size=5) + 0.05
        found = minimize(
            lambda a, z=energy: float(np.sum(a * (np.log(a) - z))),
            np.full(5, 0.1),
            jac=lambda a, z=energy: np.log(a) - z + 1,
            bounds=[(1e-12, u) for u in bound],
            constraints={"type": "eq", "fun": lambda a: a.sum() - 1, "jac": np.ones_like},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert csoftmax(energy.tolist(), bound.tolist()) == pytest.approx(found.x.tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("energy", "bound", "wanted"),
    [
        ([0.0, 0.0], [1.0, 1.0], [0.5, 0.5]),  # nothing is bound: softmax
        ([0.0, 0.0], [0.25, 1.0], [0.25, 0.75]),
        ([9.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.5, 0.5]),  # used up
        ([math.log(6), math.log(3), 0.0], [0.4, 2.0, 2.0], [0.4, 0.45, 0.15]),
        ([math.log(7), math.log(2), 0.0], [0.4, 0.3, 1.0], [0.4, 0.3, 0.3]),  # the second bound binds after the first
        ([3.0, 2.0, 1.0], [0.5, 0.25, 0.25], [0.5, 0.25, 0.25]),  # bounds that add up to 1: all saturated
        ([1.0, 2.0, 3.0], [0.5, 0.25, 0.25], [0.5, 0.25, 0.25]),
        ([5.0], [1.0], [1.0]),
        ([5.0], [3.0], [1.0]),
        ([0.0, 900.0], [1.0, 0.5], [0.5, 0.5]),  # softmax(z) of the first is 0 in any floating point
        ([0.0, 900.0, 1800.0], [1.0, 0.5, 0.25], [0.25, 0.5, 0.25]),
        ([0.0, 0.0, 900.0], [1.0, 1.0, 0.5], [0.25, 0.25, 0.5]),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_hand_worked(energy: Vector, bound: Vector, wanted: Vector, dtype: torch.dtype) -> None:
    for order in itertools.permutations(range(len(energy))):
        weight = csoftmax([energy[i] for i in order], [bound[i] for i in order], dtype)
        precision = 1e-12 if dtype == DOUBLE else 1e-6
        assert weight == pytest.approx([wanted[i] for i in order], abs=precision)


def test_bounds_that_are_far_away_change_nothing() -> None:
    energy = torch.randn(7, dtype=DOUBLE).tolist()
    assert csoftmax(energy, [1.0] * 7) == pytest.approx(softmax(energy, [True] * 7), abs=1e-12)


# ------------------------------------------------------------------------------------------------------ gradients


@pytest.mark.parametrize(
    "bound",
    [
        [1.0, 1.0, 1.0, 1.0, 1.0],
        [0.05, 1.0, 1.0, 1.0, 1.0],
        [0.05, 0.1, 0.0, 0.3, 1.0],
        [0.02, 0.02, 0.02, 0.02, 1.0],  # one place alone is free
    ],
)
def test_gradients_are_those_of_finite_differences(bound: Vector) -> None:
    energy = torch.tensor([[0.3, -0.2, 0.9, 0.1, 0.0]] * 2, dtype=DOUBLE) + 0.1 * torch.randn(2, 5, dtype=DOUBLE)
    free = torch.tensor([bound] * 2, dtype=DOUBLE)
    weight = ConstrainedSoftmax.apply(energy, free)
    assert ((weight - free).abs() > 1e-3)[free > weight].all()  # no kink is near
    # A bound of 0 has a gradient on one side only, so it is left alone.
    open_ = free > 0

    def weights_of(energy: torch.Tensor, some: torch.Tensor) -> torch.Tensor:
        return ConstrainedSoftmax.apply(energy, torch.zeros_like(free).masked_scatter(open_, some))

    assert torch.autograd.gradcheck(weights_of, (energy.requires_grad_(), free[open_].requires_grad_()))


def test_where_all_is_saturated_energies_have_no_gradient() -> None:
    energy = torch.tensor([3.0, 2.0, 1.0], dtype=DOUBLE, requires_grad=True)
    bound = torch.tensor([0.5, 0.25, 0.25], dtype=DOUBLE, requires_grad=True)
    (ConstrainedSoftmax.apply(energy, bound) * torch.tensor([1.0, 2.0, 3.0], dtype=DOUBLE)).sum().backward()
    assert energy.grad.tolist() == pytest.approx([0, 0, 0], abs=1e-14)
    assert bound.grad.isfinite().all()


def test_gradients_through_the_steps() -> None:
    """A bound that binds is what earlier looks left, so earlier scores get a gradient through it."""
    attention = spread(FertilityBound(Q, E, inner=General, fertility=0.45))
    memory, query_BTQ = a_memory(), queries()

    def looked(query_BTQ: torch.Tensor, value_BSE: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        keys = attention.precompute(Memory(value_BSE, VALID))
        glance, _ = attention.step(query_BTQ, keys, attention.start(VALID))
        return glance.context_BTE, glance.weight_BTS

    weight_BTS = looked(query_BTQ, memory.value_BSE)[1]
    assert (weight_BTS.sum(1)[0] > 0.45 - 1e-9).sum() >= 2  # bounds bind
    inputs = (query_BTQ.requires_grad_(), memory.value_BSE.requires_grad_(), *attention.parameters())
    assert torch.autograd.gradcheck(looked, inputs)


# -------------------------------------------------------------------------------------------------- the attention


@pytest.mark.parametrize("fertility", [0.3, 0.5, 2.0])
@pytest.mark.parametrize("boost", [0.0, 0.2])
@pytest.mark.parametrize("inner", [General, Bahdanau])
def test_equals_its_equations(inner: type[Attention], boost: float, fertility: float) -> None:
    attention = spread(FertilityBound(Q, E, inner=inner, fertility=fertility, boost=boost))
    one = attention.inner
    if inner is Bahdanau:
        w, u, [v] = weights(one.query, one.memory, one.energy)
    else:
        (w,) = weights(one.memory)

    def reference(queries: Matrix, source: Matrix, valid: list[bool]) -> Iterator[Look]:
        spent = [0.0] * len(source)
        sink = max(place for place, real in enumerate(valid) if real)
        for s in queries:
            energy, bound = [], []
            for place, h in enumerate(source):
                left = max(fertility - spent[place], 0.0)
                score = additive(w, u, v, s, h) if inner is Bahdanau else dot(s, times(w, h))
                energy.append(score if place == sink else score + boost * left)
                bound.append(1.0 if place == sink else left if valid[place] else 0.0)
            weight = constrained_softmax(energy, bound)
            spent = plus(spent, weight)
            yield weighted_sum(weight, source), weight

    check_in_order(attention, reference)


def test_no_word_gets_more_than_its_fertility_and_the_end_gets_the_rest() -> None:
    """Two words of fertility 1 and the end of the sentence, which nobody wants: after two steps it gets everything."""
    attention = FertilityBound(1, 1, inner=Dot, fertility=1.0).double()
    memory = Memory(torch.tensor([[[5.0], [5.0], [-50.0]]], dtype=DOUBLE), torch.ones(1, 3, dtype=torch.bool))
    query_BTQ = torch.ones(1, 4, 1, dtype=DOUBLE)
    glance, _ = attention.step(query_BTQ, attention.precompute(memory), attention.start(memory.valid_BS))
    wanted = [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
    for found, row in zip(glance.weight_BTS[0].tolist(), wanted, strict=True):
        assert found == pytest.approx(row, abs=1e-12)


def test_a_source_that_is_nothing_but_its_end() -> None:
    attention = spread(FertilityBound(Q, E, inner=Bahdanau, fertility=0.1))
    valid_BS = torch.tensor([[False, True, False]])
    memory = Memory(torch.randn(1, 3, E, dtype=DOUBLE), valid_BS)
    glance, _ = attention.step(queries()[:1], attention.precompute(memory), attention.start(valid_BS))
    assert glance.weight_BTS.tolist() == [[[0.0, 1.0, 0.0]] * T]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_steps_stay_a_distribution(dtype: torch.dtype) -> None:
    attention = spread(FertilityBound(Q, E, inner=LocalPOfGeneral, fertility=0.5)).to(dtype)
    memory = Memory(a_memory().value_BSE.to(dtype), VALID)
    query_BTQ = torch.randn(B, 60, Q, dtype=dtype)
    glance, spent_BS = attention.step(query_BTQ, attention.precompute(memory), attention.start(VALID))
    precision = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(glance.weight_BTS.sum(-1), torch.ones(B, 60, dtype=dtype), rtol=0, atol=precision)
    for b, sink in enumerate([3, 1, 3]):
        words = [place for place in range(S) if place != sink and VALID[b, place]]
        assert spent_BS[b, words].tolist() == pytest.approx([0.5] * len(words), abs=precision)
    assert glance.weight_BTS.dtype == spent_BS.dtype == dtype


def LocalPOfGeneral(query_size: int, memory_size: int) -> Attention:
    return LocalP(query_size, memory_size, inner=General)
