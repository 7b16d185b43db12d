"""Multiplicative, concatenating, local and many-headed attention against their equations in plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from looks import DOUBLE, A, E, Q, check, spread, weights
from references import Look, Matrix, Vector, bahdanau, dot, local_p, look, softmax, times, weighted_sum

from nmt.attention import Attention, Bahdanau, Concat, Dot, General, LocalP, Memory, MultiHead, ScaledDot


def test_dot_equals_its_equation() -> None:
    check(Dot(E, E), lambda s, source, valid: look([dot(s, h) for h in source], source, valid), query_size=E)


def test_dot_needs_one_size() -> None:
    with pytest.raises(ValueError, match='one size, not 5 and 6; choose attention "general"'):
        Dot(Q, E)


@pytest.mark.parametrize("size", [None, A])
def test_scaled_dot_equals_its_equation(size: int | None) -> None:
    attention = spread(ScaledDot(Q, E, size=size))
    w_q, w_k = weights(attention.query, attention.memory)
    assert len(w_q) == len(w_k) == (size or Q)

    def reference(s: Vector, source: Matrix, valid: list[bool]) -> Look:
        return look([dot(times(w_q, s), times(w_k, h)) / math.sqrt(size or Q) for h in source], source, valid)

    check(attention, reference)


def test_general_equals_its_equation() -> None:
    attention = spread(General(Q, E))
    (w,) = weights(attention.memory)
    check(attention, lambda s, source, valid: look([dot(s, times(w, h)) for h in source], source, valid))


@pytest.mark.parametrize("size", [None, A])
def test_concat_equals_its_equation(size: int | None) -> None:
    """v · tanh(W [s; h]), W the two matrices side by side."""
    attention = spread(Concat(Q, E, size=size))
    w_s, w_h, [v] = weights(attention.query, attention.memory, attention.energy)
    w = [left + right for left, right in zip(w_s, w_h, strict=True)]
    assert len(w) == (size or Q)

    def reference(s: Vector, source: Matrix, valid: list[bool]) -> Look:
        return look([dot(v, [math.tanh(x) for x in times(w, s + h)]) for h in source], source, valid)

    check(attention, reference)


@pytest.mark.parametrize("window", [1.0, 4.0, 10.0])
@pytest.mark.parametrize("inner", [General, Bahdanau])
def test_local_p_equals_equations_9_and_10(inner: type[Attention], window: float) -> None:
    attention = spread(LocalP(Q, E, window=window, inner=inner))
    w_p, [v_p] = weights(attention.hidden, attention.centre)
    if inner is General:
        (w,) = weights(attention.inner.memory)
    else:
        w, u, [v] = weights(attention.inner.query, attention.inner.memory, attention.inner.energy)

    def reference(s: Vector, source: Matrix, valid: list[bool]) -> Look:
        if inner is General:
            energy = [dot(s, times(w, h)) for h in source]
        else:
            weight = bahdanau(w, u, v, s, source, [True] * len(source))[1]
            energy = [math.log(one) for one in weight]
        weight = local_p(w_p, v_p, window, s, energy, valid)
        return weighted_sum(weight, source), weight

    check(attention, reference)


def test_the_centre_of_local_p_by_hand() -> None:
    """v_p = 0 puts it at the middle of the real words, S / 2, wherever the padding stands; D = 2 makes σ = 1."""
    attention = LocalP(1, 1, window=2.0, inner=General).double()
    with torch.no_grad():
        for one in attention.parameters():
            one.zero_()
    valid_BS = torch.tensor([[True, True, True, True, False, False], [False, False, True, True, True, True]])
    memory = Memory(torch.zeros(2, 6, 1, dtype=DOUBLE), valid_BS)
    glance, _ = attention.step(torch.zeros(2, 1, 1, dtype=DOUBLE), attention.precompute(memory), ())
    bell = [math.exp(-2), math.exp(-0.5), 1, math.exp(-0.5)]  # places 0, 1, 2, 3; the centre is 2
    wanted = [one / sum(bell) for one in bell]
    assert glance.weight_BTS[0, 0].tolist() == pytest.approx([*wanted, 0, 0], abs=1e-12)
    assert glance.weight_BTS[1, 0].tolist() == pytest.approx([0, 0, *wanted], abs=1e-12)


@pytest.mark.parametrize(("heads", "size"), [(1, None), (5, None), (3, 9)])
def test_heads_equal_their_equation(heads: int, size: int | None) -> None:
    attention = spread(MultiHead(Q, E, heads=heads, size=size))
    w_q, w_k, w_v, w_o = weights(attention.query, attention.key, attention.value, attention.output)
    assert attention.context_size == len(w_o) == (size or Q)
    k = (size or Q) // heads

    def reference(s: Vector, source: Matrix, valid: list[bool]) -> Look:
        joined, told = [], [0.0] * len(source)
        for head in range(heads):
            rows = slice(head * k, (head + 1) * k)
            energy = [dot(times(w_q[rows], s), times(w_k[rows], h)) / math.sqrt(k) for h in source]
            weight = softmax(energy, valid)
            joined += weighted_sum(weight, [times(w_v[rows], h) for h in source])
            told = [before + one / heads for before, one in zip(told, weight, strict=True)]
        return times(w_o, joined), told

    check(attention, reference)


def test_heads_drop_weights_in_training_and_tell_those_undropped() -> None:
    torch.manual_seed(1)
    attention = spread(MultiHead(Q, E, heads=5, dropout=0.4))
    draws, length = 20_000, 3
    memory = Memory(torch.randn(1, length, E, dtype=DOUBLE), torch.ones(1, length, dtype=torch.bool))
    query_BTQ = torch.randn(1, 1, Q, dtype=DOUBLE).expand(1, draws, Q)
    keys = attention.precompute(memory)
    plain, _ = attention.eval().step(query_BTQ, keys, ())
    dropped, _ = attention.train().step(query_BTQ, keys, ())
    assert torch.equal(dropped.weight_BTS, plain.weight_BTS)
    context_TE, wanted_E = dropped.context_BTE[0].detach(), plain.context_BTE[0, 0].detach()
    assert len(context_TE.unique(dim=0)) > draws / 2  # of (2^3)^5 masks
    error_E = (context_TE.mean(dim=0) - wanted_E).abs() / context_TE.std(dim=0) * draws**0.5
    assert float(error_E.max()) < 4  # standard errors: what is left is scaled up to the same mean
    # A mask b / 0.6, b = 1 with probability 0.6, has the variance 0.4 / 0.6.
    value_HSK, w_o = keys.value_BHSK[0].detach(), attention.output.weight.detach()
    weight_HS = attention.head_weights(query_BTQ[:, :1], keys, ())[0, :, 0].detach()
    part_HSE = torch.einsum("hs,hsk,ehk->hse", weight_HS, value_HSK, w_o.view(len(w_o), 5, -1))
    variance_E = (part_HSE**2).sum(dim=(0, 1)) * 0.4 / 0.6
    torch.testing.assert_close(context_TE.var(dim=0), variance_E, rtol=0.1, atol=0)


def test_heads_share_the_size_evenly() -> None:
    with pytest.raises(ValueError, match="4 heads cannot share the size 5 evenly"):
        MultiHead(Q, E, heads=4)
