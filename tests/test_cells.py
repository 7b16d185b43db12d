"""Cells against torch's own and against loops; what every cell of the table keeps to."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from references import Products, gru_reset_before
from torch import Tensor, nn

from nmt.cells import CELLS, GRU, LSTM, Cell, Dropout, Stacked, unroll
from nmt.tree import State, map_tensors

DOUBLE = torch.float64
X, H = 3, 4


def leaves(state: State) -> list[Tensor]:
    found: list[Tensor] = []
    map_tensors(lambda one: found.append(one) or one, state)
    return found


def stacked(kind: type[Cell], layers: int) -> Stacked:
    sizes = [X] + [H] * (layers - 1)
    return Stacked(kind(size, H) for size in sizes).double()


EVERY: dict[str, Any] = {
    **{name: lambda make=make: make(X, H).double() for name, make in CELLS.items()},
    **{f"{name} stacked": lambda make=make: stacked(make, 2) for name, make in CELLS.items()},
    "gru, reset before": lambda: GRU(X, H, reset="before").double(),
}
every_cell = pytest.mark.parametrize("make", EVERY.values(), ids=list(EVERY))


# ---------------------------------------------------------------------------------------------- the outside witness


def give_weights(cell: Cell, module: nn.Module, layer: int) -> None:
    with torch.no_grad():
        cell.input.weight.copy_(getattr(module, f"weight_ih_l{layer}"))
        cell.input.bias.copy_(getattr(module, f"bias_ih_l{layer}"))
        cell.hidden.weight.copy_(getattr(module, f"weight_hh_l{layer}"))
        cell.hidden.bias.copy_(getattr(module, f"bias_hh_l{layer}"))


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(("ours", "theirs"), [(GRU, nn.GRU), (LSTM, nn.LSTM)])
@pytest.mark.parametrize("backward", [False, True])
def test_equal_to_torch_in_values_and_gradients(ours: type, theirs: type, layers: int, backward: bool) -> None:
    module = theirs(X, H, layers, batch_first=True).double()
    cell = stacked(ours, layers)
    for layer in range(layers):
        give_weights(cell.layer(layer), module, layer)
    x_BTX = torch.randn(2, 5, X, dtype=DOUBLE, requires_grad=True)
    start_BH = torch.randn(2, H, dtype=DOUBLE, requires_grad=True)
    direction = [1] if backward else []

    first_LBH = start_BH.expand(layers, -1, -1).contiguous()
    start = (first_LBH, torch.zeros_like(first_LBH)) if theirs is nn.LSTM else first_LBH
    wanted = module(x_BTX.flip(direction), start)[0].flip(direction)
    found = unroll(cell, x_BTX, torch.ones(2, 5, dtype=torch.bool), cell.start(start_BH), backward=backward)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)

    coefficient = torch.randn_like(wanted)
    names = [f"{name}_l{n}" for n in range(layers) for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")]
    ours_of = [
        weight
        for n in range(layers)
        for linear in (cell.layer(n).input, cell.layer(n).hidden)
        for weight in (linear.weight, linear.bias)
    ]
    wanted_gradients = torch.autograd.grad(
        (wanted * coefficient).sum(), [x_BTX, start_BH, *(getattr(module, name) for name in names)]
    )
    found_gradients = torch.autograd.grad((found * coefficient).sum(), [x_BTX, start_BH, *ours_of])
    for one, other in zip(found_gradients, wanted_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_gru_with_the_reset_before_the_product_equals_plain_loops() -> None:
    cell = GRU(X, H, reset="before").double()
    products = Products(
        cell.input.weight.tolist(), cell.input.bias.tolist(), cell.hidden.weight.tolist(), cell.hidden.bias.tolist()
    )
    x_BX, h_BH = torch.randn(3, X, dtype=DOUBLE), torch.randn(3, H, dtype=DOUBLE)
    found, state = cell.step(x_BX, cell.start(h_BH))
    for row in range(3):
        wanted = gru_reset_before(products, x_BX[row].tolist(), h_BH[row].tolist())
        assert found[row].tolist() == pytest.approx(wanted, abs=1e-12)
    assert torch.equal(cell.read(state), found)


def test_the_two_places_of_the_reset_gate_differ() -> None:
    after, before = GRU(X, H).double(), GRU(X, H, reset="before").double()
    before.load_state_dict(after.state_dict())
    x_BX, h_BH = torch.randn(3, X, dtype=DOUBLE), torch.randn(3, H, dtype=DOUBLE)
    assert not torch.allclose(after.step(x_BX, h_BH)[0], before.step(x_BX, h_BH)[0], atol=1e-3)


# ------------------------------------------------------------------------------------------ what every cell keeps to


@every_cell
def test_a_state_is_read_back_as_it_was_started(make: Any) -> None:
    cell, h_BH = make(), torch.randn(2, H, dtype=DOUBLE)
    assert torch.equal(cell.read(cell.start(h_BH)), h_BH)


@every_cell
def test_a_step_is_the_input_product_and_then_the_advance(make: Any) -> None:
    cell, x_BX = make(), torch.randn(2, X, dtype=DOUBLE)
    assert (cell.input_size, cell.hidden_size) == (X, H)
    state = cell.start(torch.randn(2, H, dtype=DOUBLE))
    product_BG = cell.inputs(x_BX)
    assert product_BG.shape == (2, cell.product_size)
    h_BH, new = cell.advance(product_BG, state)
    again_BH, again = cell.step(x_BX, state)
    assert torch.equal(h_BH, again_BH)
    assert torch.equal(cell.read(new), h_BH)
    for one, other in zip(leaves(new), leaves(again), strict=True):
        assert torch.equal(one, other)


@every_cell
def test_arguments_stay_as_they_were(make: Any) -> None:
    cell, x_BTX = make(), torch.randn(2, 3, X, dtype=DOUBLE)
    valid_BT = torch.tensor([[True, True, True], [True, False, False]])
    state = cell.step(x_BTX[:, 0], cell.start(torch.randn(2, H, dtype=DOUBLE)))[1]
    arguments = [x_BTX, valid_BT, *leaves(state)]
    before = [one.clone() for one in arguments]
    cell.step(x_BTX[:, 0], state)
    for backward in (False, True):
        unroll(cell, x_BTX, valid_BT, state, backward=backward)
    assert all(torch.equal(one, other) for one, other in zip(arguments, before, strict=True))


@every_cell
@pytest.mark.parametrize("backward", [False, True])
def test_padding_anywhere_changes_nothing(make: Any, backward: bool) -> None:
    cell, real_TX = make(), torch.randn(3, X, dtype=DOUBLE)
    start_1H = torch.randn(1, H, dtype=DOUBLE)
    everywhere = torch.ones(1, 3, dtype=torch.bool)
    wanted_TH = unroll(cell, real_TX[None], everywhere, cell.start(start_1H), backward=backward)[0]

    places = [[0, 1, 2], [2, 3, 4], [0, 2, 4], [1, 2, 3], [0, 3, 4]]  # right, left, middle, both, middle
    x_BTX = torch.full((len(places), 5, X), 1e3, dtype=DOUBLE)
    valid_BT = torch.zeros(len(places), 5, dtype=torch.bool)
    for row, place in enumerate(places):
        x_BTX[row, place], valid_BT[row, place] = real_TX, True
    start_BH = start_1H.expand(len(places), -1)
    found_BTH = unroll(cell, x_BTX, valid_BT, cell.start(start_BH), backward=backward)
    assert found_BTH.shape == (len(places), 5, H)
    for row, place in enumerate(places):
        torch.testing.assert_close(found_BTH[row, place], wanted_TH, rtol=0, atol=1e-12)


@every_cell
def test_unroll_is_step_after_step(make: Any) -> None:
    cell, x_BTX = make(), torch.randn(2, 4, X, dtype=DOUBLE)
    state = start = cell.start(torch.randn(2, H, dtype=DOUBLE))
    found_BTH = unroll(cell, x_BTX, torch.ones(2, 4, dtype=torch.bool), start)
    for t in range(4):
        h_BH, state = cell.step(x_BTX[:, t], state)
        torch.testing.assert_close(found_BTH[:, t], h_BH, rtol=0, atol=1e-12)


@every_cell
def test_gradients_are_those_of_finite_differences(make: Any) -> None:
    cell = make()
    x_BTX = torch.randn(2, 3, X, dtype=DOUBLE, requires_grad=True)
    start_BH = torch.randn(2, H, dtype=DOUBLE, requires_grad=True)
    valid_BT = torch.tensor([[True, True, True], [False, True, False]])
    assert torch.autograd.gradcheck(lambda x, h: unroll(cell, x, valid_BT, cell.start(h)), (x_BTX, start_BH))


def test_dropout_acts_between_layers_and_in_training_only() -> None:
    dropped, x_BX, h_BH = Stacked((GRU(X, H), GRU(H, H)), Dropout(0.5)), torch.randn(1, X), torch.randn(1, H)
    results = {tuple(dropped.step(x_BX, dropped.start(h_BH))[0][0].tolist()) for _ in range(20)}
    bottoms = {tuple(dropped.step(x_BX, dropped.start(h_BH))[1][0].state[0].tolist()) for _ in range(20)}
    assert len(results) > 1
    assert len(bottoms) == 1  # the state itself is never dropped
    dropped.eval()
    assert torch.equal(dropped.step(x_BX, dropped.start(h_BH))[0], dropped.step(x_BX, dropped.start(h_BH))[0])
    alone = Stacked([GRU(X, H)], Dropout(0.5))
    assert torch.equal(alone.step(x_BX, alone.start(h_BH))[0], alone.step(x_BX, alone.start(h_BH))[0])
