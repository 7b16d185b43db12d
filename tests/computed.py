"""The operations of attention that :mod:`nmt.kernels` has compiled loops for, and what these must compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from nmt import kernels, native
from nmt.attention.bahdanau import additive
from nmt.attention.gates import after_gate, exact_gate, of_query, of_source
from nmt.loops import looping

B, T, S, E = 3, 2, 5, 37  # E: no multiple of what a processor computes at a time


@contextmanager
def backend(device: str, run: kernels.Run | None) -> Iterator[None]:
    """In the block what is on a device is computed by ``run``, or by torch's own operations."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(kernels.BACKENDS, device, lambda: run)
        if run is None:
            patched.setattr(native, "_library", lambda: None)
        yield


def query() -> Tensor:
    return torch.randn(B, T, E)


def source() -> Tensor:
    return torch.randn(B, S, E)


def gatt_in_a_loop(weight_EE: Tensor, query_BTG: Tensor, gates_BSG: Tensor, h_BSE: Tensor) -> Tensor:
    """As a decoder has it: step by step, of parts of larger products, adding to gradients that all steps share."""
    kz_BSE, kr_BSE = gates_BSG.chunk(2, dim=-1)
    refined = []
    with looping():
        for query_B1G in query_BTG.split(1, dim=1):
            qz, qr, c = map(of_query, query_B1G.chunk(3, dim=-1))
            kz, kr, h = map(of_source, (kz_BSE, kr_BSE, h_BSE))
            refined.append(exact_gate(weight_EE, qz=qz, kz=kz, qr=qr, kr=kr, h=h, c=c))
    return torch.cat(refined, dim=1)


# From what it reads to (B, T, S) or (B, T, S, E): the additive score, and each gate of GAtt and of its inverse.
Operation = tuple[Callable[..., Tensor], list[Callable[[], Tensor]]]
COMPUTED: dict[str, Operation] = {
    "additive": (additive, [query, source, lambda: torch.randn(E)]),
    "gatt": (
        lambda u, qz, kz, qr, kr, h, c: exact_gate(
            u, qz=of_query(qz), kz=of_source(kz), qr=of_query(qr), kr=of_source(kr), h=of_source(h), c=of_query(c)
        ),
        [lambda: torch.randn(E, E) / E**0.5, query, source, query, source, source, query],
    ),
    "gatt-inv": (
        lambda u, qz, kz, qr, kr, h, c: exact_gate(
            u, qz=of_query(qz), kz=of_source(kz), qr=of_query(qr), kr=of_source(kr), h=of_query(h), c=of_source(c)
        ),
        [lambda: torch.randn(E, E) / E**0.5, query, source, query, source, query, source],
    ),
    "gatt-loop": (
        gatt_in_a_loop,
        [
            lambda: torch.randn(E, E) / E**0.5,
            lambda: torch.randn(B, T, 3 * E),
            lambda: torch.randn(B, S, 2 * E),
            source,
        ],
    ),
    "gatt-reset-after": (
        lambda qz, kz, qr, kr, qc, kc, h: after_gate(
            qz=of_query(qz), kz=of_source(kz), qr=of_query(qr), kr=of_source(kr), qc=of_query(qc), kc=of_source(kc),
            h=of_source(h),
        ),
        [query, source, query, source, query, source, source],
    ),
}  # fmt: skip
GATES = [name for name in COMPUTED if name != "additive"]


def drawn(operation: Operation, device: str = "cpu") -> list[Tensor]:
    """What it reads."""
    torch.manual_seed(3)
    return [make().to(device) for make in operation[1]]


def values_and_gradients(operation: Operation, given: list[Tensor]) -> list[Tensor]:
    """What it computes, and the gradient of each thing that it reads."""
    leaves = [one.clone().requires_grad_() for one in given]
    result = operation[0](*leaves)
    torch.manual_seed(4)
    grad = torch.randn(result.shape).to(result)
    return [result.detach(), *torch.autograd.grad(result, leaves, grad)]


def assert_as_by_torch(operation: Operation, device: str = "cpu") -> None:
    """Single precision against double: as near as single precision comes by torch's own operations."""
    given = drawn(operation, device)
    found = values_and_gradients(operation, given)
    with backend(device, None):
        torch_single = values_and_gradients(operation, given)
        wanted = values_and_gradients(operation, [one.double() for one in given])
    assert any(not torch.equal(one, other) for one, other in zip(found, torch_single, strict=True)), "it was not called"
    for one, other, exact in zip(found, torch_single, wanted, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=3e-6, atol=2e-5)
        torch.testing.assert_close(one.double(), exact, rtol=3e-6, atol=2e-5)


def assert_as_under_autocast(operation: Operation, device: str = "cpu") -> None:
    """What is kept for every pair is in bfloat16, whose 8 bits make the difference; sums are in single precision."""
    given = drawn(operation, device)
    with torch.autocast(device, torch.bfloat16):
        found = values_and_gradients(operation, given)
        with backend(device, None):
            wanted = values_and_gradients(operation, given)
    assert found[0].dtype == torch.bfloat16
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype
        assert (one - other).abs().max() < 0.02 * other.abs().max()


def assert_nothing_hides(operation: Operation, device: str = "cpu") -> None:
    """A training that diverges must be told: no clamp may hide what is not a number."""
    given = drawn(operation, device)
    for number in range(len(given)):
        spoilt = [one.clone() for one in given]
        spoilt[number].view(-1)[0] = torch.nan
        assert operation[0](*spoilt).isnan().any(), f"operand {number}"
