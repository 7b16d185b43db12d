"""What a loop shares gets the gradient that autograd would have summed up, and gets it once."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import Tensor, nn

import nmt.cells.sequence
from nmt.attention.gates import exact_gate, of_query, of_source
from nmt.cells import CELLS, Cell, unroll
from nmt.loops import expectation, looping, project, project_back, share, share_linear, step_by_step

DOUBLE = torch.float64


def steps(linear: nn.Linear, value_BSE: Tensor, x_BK: Tensor, loop: bool) -> Tensor:
    with looping() if loop else contextlib.nullcontext():
        for _ in range(4):
            weight_BTS = torch.softmax(x_BK[:, :5], dim=-1).unsqueeze(1)
            x_BK = torch.tanh(project(linear, x_BK) + expectation(weight_BTS, value_BSE)[:, 0])
    return x_BK.sum()


def leaves_of_steps(bias: bool) -> tuple[nn.Linear, Tensor, Tensor, list[Tensor]]:
    torch.manual_seed(1)
    linear = nn.Linear(6, 6, bias=bias).double()
    value_BSE = torch.randn(3, 5, 6, dtype=DOUBLE, requires_grad=True)
    x_BK = torch.randn(3, 6, dtype=DOUBLE, requires_grad=True)
    return linear, value_BSE, x_BK, [*linear.parameters(), value_BSE, x_BK]


@pytest.mark.parametrize("bias", [True, False])
def test_gradients_are_those_of_autograd(bias: bool) -> None:
    linear, value_BSE, x_BK, leaves = leaves_of_steps(bias)
    plain, looped = (torch.autograd.grad(steps(linear, value_BSE, x_BK, loop), leaves) for loop in (False, True))
    for one, other in zip(plain, looped, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_a_gradient_may_be_asked_for_twice_and_in_parts() -> None:
    """What was left for one gradient is not in the next."""
    linear, value_BSE, x_BK, leaves = leaves_of_steps(bias=True)
    wanted = torch.autograd.grad(steps(linear, value_BSE, x_BK, False), leaves)
    total = steps(linear, value_BSE, x_BK, True)
    for _ in range(2):
        found = torch.autograd.grad(total, leaves, retain_graph=True)
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    (of_input,) = torch.autograd.grad(total, [x_BK], retain_graph=True)
    torch.testing.assert_close(of_input, wanted[-1], rtol=1e-12, atol=1e-12)
    for one, other in zip(torch.autograd.grad(total, leaves), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_nothing_is_shared_where_no_gradient_is_wanted() -> None:
    weight = torch.ones(2, 2, requires_grad=True)
    assert share(weight) is None, "no loop"
    with looping():
        assert share(weight.detach()) is None
        with torch.no_grad():
            assert share(weight) is None
        with step_by_step():
            assert share(weight) is None
        shared = share(weight)
        assert shared is not None
        assert share(weight) is shared, "once a loop"
        with looping():
            assert share(weight) is not shared, "another loop"
    assert share(weight) is None


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("kind", CELLS)
def test_a_cell_over_a_sentence(kind: str, backward: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(2)
    cell: Cell = CELLS[kind](3, 4).double()
    x_BTX = torch.randn(2, 5, 3, dtype=DOUBLE, requires_grad=True)
    valid_BT = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 1, 0, 0]]).bool()
    found = []
    for _ in range(2):
        h_BTH = unroll(cell, x_BTX, valid_BT, cell.start(x_BTX.new_zeros(2, 4)), backward=backward)
        found.append(torch.autograd.grad(h_BTH.square().sum(), [*cell.parameters(), x_BTX]))
        monkeypatch.setattr(nmt.cells.sequence, "looping", contextlib.nullcontext)
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_under_autocast_what_is_shared_is_made_coarse_once() -> None:
    linear = nn.Linear(4, 4)
    with looping(), torch.autocast("cpu", torch.bfloat16):
        y = project(linear, torch.ones(2, 4))
        shared = share_linear(linear)
    assert y.dtype == torch.bfloat16
    assert shared is not None
    assert shared.bias_G is not None
    assert shared.weight_GK.dtype == shared.bias_G.dtype == torch.bfloat16
    y.sum().backward()
    assert linear.weight.grad is not None
    assert linear.weight.grad.dtype == torch.float32
    torch.testing.assert_close(linear.weight.grad, torch.full((4, 4), 2.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("frozen", ["weight", "bias"])
def test_a_frozen_part_of_a_layer_is_at_work_and_gets_no_gradient(frozen: str, dtype: torch.dtype) -> None:
    torch.manual_seed(4)
    linear, x = nn.Linear(4, 4), torch.randn(2, 4)
    getattr(linear, frozen).requires_grad_(False)
    free = linear.bias if frozen == "weight" else linear.weight
    found = []
    for way in (looping, contextlib.nullcontext):
        with way(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            y = project(linear, x)
        found.append((y, *torch.autograd.grad(y.float().square().sum(), free)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0.02 if dtype == torch.bfloat16 else 1e-6, atol=1e-6)


def test_a_layer_and_its_matrix_turned_share_what_they_leave_apart() -> None:
    torch.manual_seed(5)
    linear, x = nn.Linear(4, 4, dtype=DOUBLE), torch.randn(2, 4, dtype=DOUBLE)
    found = []
    for way in (looping, contextlib.nullcontext):
        with way():
            y = sum(project_back(linear, project(linear, x * step)).square().sum() for step in (1, 2))
        assert isinstance(y, Tensor)
        found.append(torch.autograd.grad(y, [linear.weight, linear.bias]))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_a_tensor_that_is_shared_in_two_ways_gets_both_gradients() -> None:
    value_BSE = torch.randn(1, 2, 3, requires_grad=True)
    weight_BTS = torch.rand(1, 1, 2)
    for alone in (expectation(weight_BTS, value_BSE).sum(), value_BSE.sum()):
        alone.backward()
    wanted, value_BSE.grad = value_BSE.grad, None
    with looping():
        of_source(value_BSE)  # adds to a sum, where the other leaves parts of a product
        both = expectation(weight_BTS, value_BSE).sum() + value_BSE.sum()
    both.backward()
    torch.testing.assert_close(value_BSE.grad, wanted)


def test_under_autocast_a_sum_over_many_steps_notices_each() -> None:
    """In bfloat16 512 + 2 is 512."""
    linear = nn.Linear(4, 4)
    with looping(), torch.autocast("cpu", torch.bfloat16):
        total = sum(project(linear, torch.ones(2, 4)).float().sum() for _ in range(400))
    assert isinstance(total, Tensor)
    total.backward()
    assert linear.bias.grad is not None
    assert linear.bias.grad.tolist() == [800.0] * 4


def test_under_autocast_the_gate_notices_each_step() -> None:
    torch.manual_seed(3)
    weight_EE = torch.randn(4, 4, requires_grad=True)
    q_B1E, k_BSE = torch.randn(1, 1, 4), torch.randn(1, 2, 4)
    grads = []
    for steps_ in (1, 600):
        with looping(), torch.autocast("cpu", torch.bfloat16):
            q, k = of_query(q_B1E), of_source(k_BSE)
            total = sum(exact_gate(weight_EE, qz=q, kz=k, qr=q, kr=k, h=k, c=q).float().sum() for _ in range(steps_))
        assert isinstance(total, Tensor)
        grads.append(torch.autograd.grad(total, weight_EE)[0])
    torch.testing.assert_close(grads[1], 600 * grads[0], rtol=1e-4, atol=1e-6)
