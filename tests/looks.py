"""What the tests of attention against their equations share: a small source, queries, and the comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch
from references import Gate, Look, Matrix, Vector, thirds
from torch import Tensor, nn

from nmt.attention import Attention, GAtt, GAttInv, GAttResetAfter, Memory

DOUBLE = torch.float64
B, T, S, Q, E, A = 3, 3, 4, 5, 6, 7
# No padding; padding on the right; padding on the left.
VALID = torch.tensor([[True, True, True, True], [True, True, False, False], [False, True, True, True]])


def a_memory(size: int = E) -> Memory:
    return Memory(torch.randn(B, S, size, dtype=DOUBLE), VALID)


def queries(size: int = Q) -> Tensor:
    return torch.randn(B, T, size, dtype=DOUBLE)


def spread(attention: Attention) -> Attention:
    """In float64, with weights large enough that every wrong sign or place shows."""
    with torch.no_grad():
        for one in attention.double().parameters():
            one.normal_()
    return attention


def weights(*products: nn.Linear) -> list[Matrix]:
    return [one.weight.tolist() for one in products]


def gate_of(attention: GAtt | GAttResetAfter | GAttInv) -> Gate:
    """The gate's matrices, by the places that the module's comments give them."""
    joined = attention.memory if isinstance(attention, GAttInv) else attention.query
    w_z, w_r, w = thirds(joined.weight.tolist())
    b_z, b_r, b = thirds(joined.bias.tolist())
    size = attention.gate_size
    both = attention.gates.weight.tolist()
    return Gate(w_z, w_r, w, b_z, b_r, b, both[:size], both[size:], attention.candidate.weight.tolist())


def check_in_order(
    attention: Attention, reference: Callable[[Matrix, Matrix, list[bool]], Iterable[Look]], query_size: int = Q
) -> None:
    """All looks at once are those of the reference, which gets the queries of a sentence and gives its looks."""
    memory, query_BTQ = a_memory(), queries(query_size)
    glance, _ = attention.step(query_BTQ, attention.precompute(memory), attention.start(VALID))
    for b in range(B):
        looks = list(reference(query_BTQ[b].tolist(), memory.value_BSE[b].tolist(), VALID[b].tolist()))
        assert len(looks) == T
        for t, (context, weight) in enumerate(looks):
            assert glance.context_BTE[b, t].tolist() == pytest.approx(context, abs=1e-10)
            assert glance.weight_BTS[b, t].tolist() == pytest.approx(weight, abs=1e-10)
    assert torch.equal(glance.choice_BT, torch.zeros(B, T, dtype=DOUBLE))  # soft attention chose nothing


def check(attention: Attention, reference: Callable[[Vector, Matrix, list[bool]], Look], query_size: int = Q) -> None:
    """The same for an attention whose looks know nothing of each other."""
    check_in_order(attention, lambda queries, h, valid: [reference(s, h, valid) for s in queries], query_size)
