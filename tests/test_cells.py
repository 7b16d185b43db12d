"""Cells against torch's own and against loops; what every cell of the table keeps to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from cell_loops import STEPS, UNITS, products
from torch import Tensor, nn

from nmt.cells import (
    CELLS,
    GRU,
    JANET,
    LSTM,
    Cell,
    Dropout,
    Elman,
    GRUWithoutReset,
    Residual,
    SentenceDropout,
    Stacked,
    StateDropout,
    Unit,
    fused,
    run,
    unroll,
)
from nmt.initialisation import INITIALISATIONS
from nmt.model import build_model
from nmt.recurrent import RecurrentSettings
from nmt.tree import State, map_tensors

DOUBLE = torch.float64
X, H = 3, 4


def leaves(state: State) -> list[Tensor]:
    found: list[Tensor] = []
    map_tensors(lambda one: found.append(one) or one, state)
    return found


def stacked(kind: Callable[..., Unit], layers: int, stack: type[Stacked] = Stacked) -> Stacked:
    sizes = [X] + [H] * (layers - 1)
    return stack(kind(size, H) for size in sizes).double()


EVERY: dict[str, Any] = {
    **{name: lambda make=make: make(X, H).double() for name, make in UNITS.items()},
    **{f"{name} stacked": lambda make=make: stacked(make, 2) for name, make in CELLS.items()},
    **{f"{name} residual": lambda make=make: stacked(make, 3, Residual) for name, make in CELLS.items()},
    **{
        f"{name} dropped": lambda make=make: StateDropout(make(X, H), 0.5).double().eval()
        for name, make in CELLS.items()
    },
}
every_cell = pytest.mark.parametrize("make", EVERY.values(), ids=list(EVERY))
every_unit = pytest.mark.parametrize("make", UNITS.values(), ids=list(UNITS))


# ---------------------------------------------------------------------------------------------- the outside witness


def give_weights(cell: Cell, module: nn.Module, layer: int) -> None:
    with torch.no_grad():
        cell.input.weight.copy_(getattr(module, f"weight_ih_l{layer}"))
        cell.input.bias.copy_(getattr(module, f"bias_ih_l{layer}"))
        cell.hidden.weight.copy_(getattr(module, f"weight_hh_l{layer}"))
        cell.hidden.bias.copy_(getattr(module, f"bias_hh_l{layer}"))


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(("ours", "theirs"), [(GRU, nn.GRU), (LSTM, nn.LSTM), (Elman, nn.RNN)])
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


def test_every_cell_has_its_witness() -> None:
    assert set(STEPS) == set(UNITS)


@pytest.mark.parametrize("name", STEPS)
def test_a_cell_equals_plain_loops(name: str) -> None:
    cell = UNITS[name](X, H).double()
    weights = products(cell)
    x_BTX, h_BH = torch.randn(3, 2, X, dtype=DOUBLE), torch.randn(3, H, dtype=DOUBLE)
    state = cell.start(h_BH)
    kept = [(h_BH[row].tolist(), [0.0] * H) for row in range(3)]
    for t in range(2):
        found, state = cell.step(x_BTX[:, t], state)
        for row in range(3):
            kept[row] = STEPS[name](weights, x_BTX[row, t].tolist(), kept[row])
            assert found[row].tolist() == pytest.approx(kept[row][0], abs=1e-12)
        assert torch.equal(cell.read(state), found)


def test_janet_with_beta_0_is_the_gru_without_reset_gate() -> None:
    cell, other, further = JANET(X, H, beta=0.0).double(), GRUWithoutReset(X, H).double(), JANET(X, H).double()
    other.load_state_dict(cell.state_dict())
    further.load_state_dict(cell.state_dict())
    x_BTX, start_BH = torch.randn(2, 6, X, dtype=DOUBLE), torch.randn(2, H, dtype=DOUBLE)
    valid_BT = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    found, wanted = (unroll(one, x_BTX, valid_BT, start_BH) for one in (cell, other))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    assert not torch.allclose(unroll(further, x_BTX, valid_BT, start_BH), wanted, atol=1e-3)  # β = 1


@pytest.mark.parametrize("reset", ["before", "after"])
@pytest.mark.parametrize("chosen", range(5))
def test_forced_gates_make_the_state_depend_on_one_chosen_input(reset: Any, chosen: int) -> None:
    """z = 0 and r = 0 where the input says so write the candidate, which has forgotten h; z = 1 elsewhere keeps it."""
    cell, seen = GRU(X, H, reset=reset).double(), []
    with torch.no_grad():  # the last of the input's numbers is a mark: 1 at the chosen step, 0 elsewhere
        for linear in (cell.input, cell.hidden):
            linear.weight[: 2 * H], linear.bias[: 2 * H] = 0.0, 0.0
        cell.hidden.bias[2 * H :] = 0.0
        cell.input.weight[:H, -1], cell.input.bias[:H] = -800.0, 400.0  # r
        cell.input.weight[H : 2 * H, -1], cell.input.bias[H : 2 * H] = -800.0, 400.0  # z
    cell.register_forward_hook(lambda module, arguments, update: seen.append(update.gates))
    x_BTX = torch.randn(2, 5, X, dtype=DOUBLE)
    x_BTX[:, :, -1] = (torch.arange(5) == chosen).double()
    x_BTX.requires_grad_()
    start_BH = torch.randn(2, H, dtype=DOUBLE, requires_grad=True)
    h_BTH = unroll(cell, x_BTX, torch.ones(2, 5, dtype=torch.bool), start_BH)

    for t, gates in enumerate(seen):
        for gate_BH in gates.values():
            torch.testing.assert_close(gate_BH, torch.full_like(gate_BH, float(t != chosen)), rtol=0, atol=1e-12)
    written_BH = torch.tanh(cell.input(x_BTX[:, chosen])[:, 2 * H :])
    for t in range(5):
        torch.testing.assert_close(h_BTH[:, t], start_BH if t < chosen else written_BH, rtol=0, atol=1e-12)
    by_input, by_start = torch.autograd.grad(h_BTH[:, -1].square().sum(), [x_BTX, start_BH])
    assert [t for t in range(5) if by_input[:, t].abs().max() > 1e-12] == [chosen]
    assert by_start.abs().max() < 1e-12


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


@every_cell
def test_sizes_need_only_broadcast(make: Any) -> None:
    """Many states and many inputs, each with each."""
    cell, x_BX, h_SH = make(), torch.randn(2, X, dtype=DOUBLE), torch.randn(5, H, dtype=DOUBLE)
    found_BSH, _ = cell.advance(cell.inputs(x_BX).unsqueeze(1), cell.start(h_SH.unsqueeze(0)))
    wanted = [cell.step(x_BX, cell.start(h_H.expand(2, H)))[0] for h_H in h_SH]
    torch.testing.assert_close(found_BSH, torch.stack(wanted, dim=1), rtol=0, atol=1e-12)


@every_cell
def test_what_is_carried_on_keeps_its_precision(make: Any) -> None:
    cell = make().float()
    state = cell.start(torch.randn(2, H))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        h_BH, new = cell.step(torch.randn(2, X), state)
    assert {one.dtype for one in [h_BH, *leaves(new)]} == {torch.float32}


@every_unit
def test_gates_are_told(make: Any) -> None:
    cell, x_BX, h_BH = make(X, H), torch.randn(2, X), torch.randn(2, H)
    update = cell(cell.inputs(x_BX), h_BH, cell.start(h_BH))
    assert torch.equal(cell.read(update.state), cell.step(x_BX, cell.start(h_BH))[0])
    assert bool(update.gates) != isinstance(cell, Elman)
    assert len(update.gates) <= cell.product_size // H
    for gate_BH in update.gates.values():
        assert gate_BH.shape == (2, H)
        assert bool(((gate_BH > 0) & (gate_BH < 1)).all())


# -------------------------------------------------------------------------------------------------- first weights


def test_chrono_biases_are_logarithms_of_a_uniform_time() -> None:
    torch.manual_seed(2)
    forget_bias_H, candidate_bias_H = JANET(2, 4000, longest=30.0).input.bias.detach().chunk(2)
    time_H = forget_bias_H.exp().sort().values
    assert 1 <= time_H[0] < time_H[-1] <= 30.001
    torch.testing.assert_close(time_H, torch.linspace(1, 30, 4000), rtol=0, atol=0.8)
    assert not candidate_bias_H.any()


@pytest.mark.parametrize("initialisation", INITIALISATIONS)
@pytest.mark.parametrize("dropped", [0.0, 0.5])
def test_chrono_biases_outlast_the_initialisation_of_a_model(initialisation: str, dropped: float) -> None:
    settings = RecurrentSettings.model_validate(
        {
            "hidden": 64,
            "cell": {"kind": "janet", "longest": 20},
            "decoder_layers": 2,
            "initialisation": initialisation,
            "dropout": {"state": dropped},
        }
    )
    found = [one for one in build_model(settings, 9, 9).modules() if isinstance(one, JANET)]
    assert len(found) == 5
    for cell in found:
        forget_bias_H, candidate_bias_H = cell.input.bias.detach().chunk(2)
        assert 1.0 <= float(forget_bias_H.min().exp()) < 4 < 17 < float(forget_bias_H.max().exp()) <= 20.001
        assert not candidate_bias_H.any()


@pytest.mark.parametrize("dropped", [0.0, 0.5])
def test_a_forget_bias_outlasts_the_initialisation_of_a_model(dropped: float) -> None:
    cell, dropout = {"kind": "lstm", "forget_bias": 1.5}, {"state": dropped}
    settings = RecurrentSettings.model_validate({"hidden": 6, "cell": cell, "decoder_layers": 2, "dropout": dropout})
    found = [one for one in build_model(settings, 9, 9).modules() if isinstance(one, LSTM)]
    assert len(found) == 5
    for one in found:  # i, f, g, o
        assert (one.input.bias + one.hidden.bias).reshape(4, 6).unique(dim=1).flatten().tolist() == [0, 1.5, 0, 0]


# ------------------------------------------------------------------------------------------- layers and residuals


def test_residual_layers_add_up() -> None:
    """y_1 = h_1, y_n = h_n + y_{n−1}, and layer n reads y_{n−1}."""
    cell = stacked(GRU, 3, Residual)
    x_BTX, start_BH = torch.randn(2, 4, X, dtype=DOUBLE), torch.randn(2, H, dtype=DOUBLE)
    found = unroll(cell, x_BTX, torch.ones(2, 4, dtype=torch.bool), cell.start(start_BH))
    below, wanted = x_BTX, torch.zeros(2, 4, H, dtype=DOUBLE)
    for number in range(3):
        first_BH = torch.zeros_like(start_BH) if number else start_BH
        h_BTH = unroll(cell.layer(number), below, torch.ones(2, 4, dtype=torch.bool), first_BH)
        below = wanted = wanted + h_BTH
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


# --------------------------------------------------------------------------------------------------------- dropout


@pytest.mark.parametrize("stack", [Stacked, Residual])
@pytest.mark.parametrize("kind", [Dropout, SentenceDropout])
def test_dropout_acts_between_layers_and_in_training_only(kind: type[Dropout], stack: type[Stacked]) -> None:
    dropped, x_BX, h_BH = stack((GRU(X, H), GRU(H, H)), kind(0.5)), torch.randn(1, X), torch.randn(1, H)

    def first() -> tuple[Tensor, State]:
        return dropped.step(x_BX, dropped.start(h_BH))

    assert len({tuple(first()[0][0].tolist()) for _ in range(20)}) > 1
    assert len({tuple(first()[1][0].state[0].tolist()) for _ in range(20)}) == 1  # the state itself is never dropped
    dropped.eval()
    assert torch.equal(first()[0], first()[0])
    alone = stack([GRU(X, H)], kind(0.5))
    assert torch.equal(alone.step(x_BX, alone.start(h_BH))[0], alone.step(x_BX, alone.start(h_BH))[0])


def test_a_new_mask_at_every_position() -> None:
    dropout, x_BTX = Dropout(0.5), torch.ones(3, 40, 20)
    assert dropout.start(x_BTX, 20) == ()
    kept_BTX = dropout(x_BTX)
    assert set(kept_BTX.unique().tolist()) == {0.0, 2.0}
    assert len(kept_BTX[0].unique(dim=0)) > 30


def test_one_mask_for_all_positions_of_a_sentence() -> None:
    dropout, x_BTX = SentenceDropout(0.25), torch.ones(200, 5, 30, dtype=DOUBLE)
    mask_BX = dropout.start(x_BTX, 30)
    kept_BTX = dropout(x_BTX, mask_BX)
    assert torch.equal(kept_BTX, kept_BTX[:, :1].expand_as(kept_BTX))
    assert set(kept_BTX.unique().tolist()) == {0.0, 1 / 0.75}
    assert len(kept_BTX[:, 0].unique(dim=0)) > 190  # sentences do not share it
    assert float((kept_BTX == 0).double().mean()) == pytest.approx(0.25, abs=0.02)
    assert torch.equal(dropout(x_BTX[:, 3], mask_BX), kept_BTX[:, 3])
    assert not torch.equal(dropout.start(x_BTX, 30), mask_BX)
    assert dropout.eval().start(x_BTX, 30) == ()
    assert dropout(x_BTX) is x_BTX
    assert SentenceDropout(0.0).start(x_BTX, 30) == ()


@every_unit
def test_state_dropout_is_columns_of_u_left_out_for_a_whole_sentence(make: Any) -> None:
    """U (m ⊙ h) = (U diag m) h: the same cell with other weights is the witness. What is carried on is whole."""
    unit = make(X, H).double()
    dropped = StateDropout(unit, 0.5)
    x_BTX, start_BH = torch.randn(4, 5, X, dtype=DOUBLE), torch.randn(4, H, dtype=DOUBLE)
    start = dropped.start(start_BH)
    found_BTH = unroll(dropped, x_BTX, torch.ones(4, 5, dtype=torch.bool), start)
    assert len(start[1].unique(dim=0)) > 1
    for row, mask_H in enumerate(start[1]):
        other = make(X, H).double()
        other.load_state_dict(unit.state_dict())
        with torch.no_grad():
            other.hidden.weight.mul_(mask_H)
        wanted_BTH = unroll(other, x_BTX[[row]], torch.ones(1, 5, dtype=torch.bool), other.start(start_BH[[row]]))
        torch.testing.assert_close(found_BTH[[row]], wanted_BTH, rtol=0, atol=1e-12)


def test_no_mask_is_left_out_of_training() -> None:
    """So search has nothing to reorder, and every number is that of the unit."""
    unit = GRU(X, H)
    dropped, x_BX, h_BH = StateDropout(unit, 0.5).eval(), torch.randn(2, X), torch.randn(2, H)
    h_BH, state = dropped.step(x_BX, dropped.start(h_BH))
    assert len(leaves(state)) == 1
    assert [key.removeprefix("unit.") for key in dropped.state_dict()] == list(unit.state_dict())


# ----------------------------------------------------------------------------------------------------- torch's loop

FUSED = {name: make for name, make in UNITS.items() if make(X, H).kernel is not None}
# No padding, on the right, on the left, in the middle, everywhere.
VALID = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 1, 1], [1, 0, 0, 1], [0, 0, 0, 0]]).bool()


def test_which_cells_have_a_kernel() -> None:
    assert list(FUSED) == ["gru", "lstm", "rnn"]
    with pytest.raises(ValueError, match="no kernel for JANET"):
        fused(JANET(X, H), torch.randn(1, 2, X), torch.ones(1, 2, dtype=torch.bool), torch.zeros(1, H))


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("name", FUSED)
def test_fused_equals_plain_in_values_and_gradients(name: str, backward: bool) -> None:
    cell = FUSED[name](X, H).double()
    x_BTX = torch.randn(5, 4, X, dtype=DOUBLE).masked_fill(~VALID.unsqueeze(-1), 1e3).requires_grad_()
    start_BH = torch.randn(5, H, dtype=DOUBLE, requires_grad=True)
    coefficient_BTH = torch.randn(5, 4, H, dtype=DOUBLE)
    results = []
    for way in (fused, unroll):
        h_BTH = way(cell, x_BTX, VALID, cell.start(start_BH), backward=backward).masked_fill(~VALID.unsqueeze(-1), 0.0)
        gradients = torch.autograd.grad((h_BTH * coefficient_BTH).sum(), [x_BTX, start_BH, *cell.parameters()])
        results.append([h_BTH, *gradients])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    assert not results[0][1][~VALID].any()


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("name", [*CELLS, "dropped"])
def test_the_fastest_way_equals_plain(name: str, backward: bool) -> None:
    """In single precision, where torch has other kernels than in double."""
    cell = StateDropout(LSTM(X, H), 0.0) if name == "dropped" else CELLS[name](X, H)
    x_BTX = torch.randn(5, 4, X, requires_grad=True)
    results = []
    for way in (run, lambda *a, **kw: unroll(*a, cell.start(torch.zeros(5, H)), **kw)):
        h_BTH = way(cell, x_BTX, VALID, backward=backward).masked_fill(~VALID.unsqueeze(-1), 0.0)
        results.append([h_BTH, *torch.autograd.grad(h_BTH.square().sum(), [x_BTX, *cell.parameters()])])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_cell_that_is_listened_to_takes_every_step() -> None:
    cell, x_BTX, valid_BT, heard = LSTM(X, H), torch.randn(2, 5, X), torch.ones(2, 5, dtype=torch.bool), []
    quiet_BTH = run(cell, x_BTX, valid_BT)
    handle = cell.register_forward_hook(lambda module, arguments, update: heard.append(update))
    torch.testing.assert_close(run(cell, x_BTX, valid_BT), quiet_BTH)
    assert [sorted(update.gates) for update in heard] == [["forget", "input", "output"]] * 5
    handle.remove()
    run(cell, x_BTX, valid_BT)
    assert len(heard) == 5


def test_autocast_keeps_the_state_of_an_encoder_whole() -> None:
    cell, x_BTX, valid_BT = LSTM(X, H), torch.randn(2, 5, X), torch.ones(2, 5, dtype=torch.bool)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert run(cell, x_BTX, valid_BT).dtype == torch.float32
