"""Coverage in the attention against the equations of Tu et al. 2016 and See et al. 2017, in plain loops."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from looks import DOUBLE, A, E, Q, check_in_order, spread, weights
from references import (
    CoverageGate,
    Look,
    Matrix,
    additive,
    dot,
    each,
    gated_coverage,
    look,
    plus,
    sigmoid,
    thirds,
    times,
)

from nmt.attention import LinguisticCoverage, Memory, NeuralCoverage, SeeCoverage


def scorer(attention: LinguisticCoverage | NeuralCoverage | SeeCoverage) -> tuple[Matrix, Matrix, list[float], Matrix]:
    """W, U, v, V of equation 11."""
    one = attention.scorer
    w, u, [v], v_beta = weights(one.query, one.memory, one.energy, attention.coverage)
    return w, u, v, v_beta


@pytest.mark.parametrize("size", [None, A])
@pytest.mark.parametrize("fertility", [2.0, 5.0, None])
def test_linguistic_coverage_equals_equations_9_to_11(fertility: float | None, size: int | None) -> None:
    attention = spread(LinguisticCoverage(Q, E, size=size, fertility=fertility))
    assert attention.context_size == E
    w, u, v, v_beta = scorer(attention)
    u_f = [] if fertility is None else attention.fertility.weight.tolist()[0]

    def reference(queries: Matrix, source: Matrix, valid: list[bool]) -> Iterator[Look]:
        phi = [1.0 if fertility is None else fertility * sigmoid(dot(u_f, h)) for h in source]
        before: Matrix = []  # the weights of the looks before this one
        for s in queries:
            beta = [sum(row[j] for row in before) / phi[j] for j in range(len(source))]
            energy = [additive(w, u, v, s, h, times(v_beta, [one])) for h, one in zip(source, beta, strict=True)]
            seen = look(energy, source, valid)
            before.append(seen[1])
            yield seen

    check_in_order(attention, reference)


@pytest.mark.parametrize("width", [1, 10, 100])
@pytest.mark.parametrize("gated", [True, False])
def test_neural_coverage_equals_its_equations(gated: bool, width: int) -> None:
    attention = spread(NeuralCoverage(Q, E, width=width, gated=gated))
    w, u, v, v_beta = scorer(attention)
    parts = weights(attention.weight, attention.memory, attention.query)  # V, B, W: candidate, z, r
    (u_beta,) = weights(attention.before)
    if gated:
        (candidate, z, r) = (
            CoverageGate(u_one, *(thirds(part)[place] for part in parts))
            for place, u_one in enumerate([u_beta, *weights(attention.before_z, attention.before_r)])
        )
    else:
        candidate = CoverageGate(u_beta, *parts)

    def reference(queries: Matrix, source: Matrix, valid: list[bool]) -> Iterator[Look]:
        beta = [[0.0] * width for _ in source]
        for s in queries:
            energy = [additive(w, u, v, s, h, times(v_beta, one)) for h, one in zip(source, beta, strict=True)]
            seen = look(energy, source, valid)
            now = list(zip(beta, seen[1], source, strict=True))
            if gated:
                beta = [gated_coverage(z, r, candidate, one, alpha, h, s) for one, alpha, h in now]
            else:
                beta = [each(math.tanh, candidate.of(one, alpha, h, s)) for one, alpha, h in now]
            yield seen

    check_in_order(attention, reference)


@pytest.mark.parametrize("size", [None, A])
def test_see_coverage_equals_equations_8_and_9(size: int | None) -> None:
    attention = spread(SeeCoverage(Q, E, size=size))
    w_s, w_h, v, w_c = scorer(attention)
    bias = attention.bias.tolist()
    assert len(bias) == (size or E)

    def reference(queries: Matrix, source: Matrix, valid: list[bool]) -> Iterator[Look]:
        covered = [0.0] * len(source)
        for s in queries:
            energy = [additive(w_s, w_h, v, s, h, times(w_c, [c]), bias) for h, c in zip(source, covered, strict=True)]
            seen = look(energy, source, valid)
            covered = plus(covered, seen[1])
            yield seen

    check_in_order(attention, reference)


def test_coverage_pushes_attention_on_by_hand() -> None:
    """e_j = 4 tanh(h_j − c_j) for h = 1, 0: the first look takes the first word, the second both alike."""
    attention = SeeCoverage(1, 1).double()
    with torch.no_grad():
        for one in attention.parameters():
            one.zero_()
        attention.scorer.memory.weight.fill_(1.0)
        attention.scorer.energy.weight.fill_(4.0)
        attention.coverage.weight.fill_(-1.0)
    h = [1.0, 0.0]
    memory = Memory(torch.tensor([[[one] for one in h]], dtype=DOUBLE), torch.ones(1, 2, dtype=torch.bool))
    state = attention.start(memory.valid_BS)
    assert not state.any()  # nothing is covered before the first look
    shares = []
    for _ in range(2):
        glance, state = attention.step(torch.zeros(1, 1, 1, dtype=DOUBLE), attention.precompute(memory), state)
        shares.append(glance.weight_BTS[0, 0, 0].item())
    assert shares[0] > 0.95
    assert shares[1] < 0.6
    first = sigmoid(4 * math.tanh(1.0))
    assert shares[0] == pytest.approx(first, abs=1e-12)
    assert shares[1] == pytest.approx(sigmoid(4 * math.tanh(1 - first) - 4 * math.tanh(first - 1)), abs=1e-12)
    assert state.flatten().tolist() == pytest.approx([sum(shares), 2 - sum(shares)], abs=1e-12)


def test_a_fertility_too_small_for_a_number_makes_nothing_of_padding() -> None:
    """σ of what stands at padding may be 0; what has not been looked at has been covered by nothing all the same."""
    attention = LinguisticCoverage(Q, E)
    assert attention.fertility is not None
    torch.nn.init.constant_(attention.fertility.weight, -1.0)
    valid_BS = torch.tensor([[True, True, False]])
    value_BSE = torch.zeros(1, 3, E).masked_fill(~valid_BS.unsqueeze(-1), 1e3).requires_grad_()
    keys = attention.precompute(Memory(value_BSE, valid_BS))
    glance, state = attention.step(torch.ones(1, 2, Q), keys, attention.start(valid_BS))
    assert [state[0, 2, 0].item(), *glance.weight_BTS[0, :, 2].tolist()] == [0.0, 0.0, 0.0]
    glance.context_BTE.sum().backward()
    gradients = [value_BSE.grad, *(one.grad for one in attention.parameters() if one.grad is not None)]
    assert all(one is not None and bool(one.isfinite().all()) for one in gradients)
