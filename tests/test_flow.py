"""Gradients through time against finite differences, gates against plain products, and nothing changed on the way."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from nmt.batching import collate
from nmt.cells import CELLS, LSTM, StateDropout, Unit, Update
from nmt.decoder import WIRINGS
from nmt.flow import Flow, LastWord, gate_statistics, gradient_flow, without_ends
from nmt.losses.coverage import DoublyStochastic
from nmt.losses.likelihood import CrossEntropy
from nmt.model import EncoderDecoder, RecurrentSettings, build_model
from nmt.sublayers import TransformerSettings
from nmt.transformer import DecoderLayer, EncoderLayer

DOUBLE = torch.float64
H = 3
BATCH = collate([[4, 5, 6], [7]], [[4, 5], [8, 8, 8]], [0, 1])


def a_model(**changes: Any) -> EncoderDecoder:
    model = build_model(RecurrentSettings.model_validate({"embedding": 2, "hidden": H, **changes}), 9, 9).double()
    with torch.no_grad():
        for one in model.parameters():
            one.uniform_(-1, 1)
    return model.eval()


def units(model: EncoderDecoder) -> dict[str, Unit]:
    return {name: one for name, one in model.named_modules() if isinstance(one, Unit)}


def moved(unit: Unit, step: int, place: int, by: float) -> Any:
    """A hook that adds to one number of h, for all sentences, after the step that is taken as number ``step``."""
    taken = -1

    def move(module: Unit, arguments: Any, update: Update) -> Update:
        nonlocal taken
        taken += 1
        if taken != step:
            return update
        h_BH = unit.read(update.state) + by * torch.nn.functional.one_hot(torch.tensor(place), H)
        return update._replace(state=(h_BH, update.state[1]) if isinstance(unit, LSTM) else h_BH)

    return unit.register_forward_hook(move)


def differences(model: EncoderDecoder, unit: Unit, step: int) -> Tensor:
    """|∂ loss_b / ∂ h| (B,) by central differences."""
    columns = []
    for place in range(H):
        losses = []
        for by in (1e-5, -1e-5):
            handle = moved(unit, step, place, by)
            with torch.no_grad():
                trace = model(BATCH.source_BS, BATCH.source_valid_BS, BATCH.input_BT)
            losses.append(CrossEntropy()(trace, BATCH))
            handle.remove()
        columns.append((losses[0] - losses[1]) / 2e-5)
    return torch.stack(columns, dim=1).norm(dim=1)


MODELS = [
    *({"cell": cell} for cell in CELLS),
    *({"wiring": wiring, "encoder_layers": 2, "decoder_layers": 2, "residual": True} for wiring in WIRINGS),
    {"dropout": {"state": 0.5}},
]


@pytest.mark.parametrize("changes", MODELS, ids=str)
def test_the_flow_is_that_of_finite_differences(changes: dict) -> None:
    model = a_model(**changes)
    found = gradient_flow(model, BATCH)
    assert list(found) == list(units(model))
    for name, unit in units(model).items():
        norm_BT, valid_BT = found[name]
        steps = norm_BT.shape[1]
        assert torch.equal(valid_BT, BATCH.source_valid_BS if name.startswith("encoder") else BATCH.target_valid_BT)
        for t in range(steps):
            wanted_B = differences(model, unit, steps - 1 - t if ".back" in name else t).masked_fill(~valid_BT[:, t], 0)
            torch.testing.assert_close(norm_BT[:, t], wanted_B, rtol=1e-5, atol=1e-8)


def moved_layer(layer: EncoderLayer | DecoderLayer, position: int, place: int, by: float) -> Any:
    """A hook that adds to one number of what the layer gives at a position, for all sentences."""

    def move(module: Any, arguments: Any, output: Any) -> Any:
        x_BTD = (output if isinstance(output, Tensor) else output[0]).clone()
        x_BTD[:, position, place] += by
        return x_BTD if isinstance(output, Tensor) else (x_BTD, *output[1:])

    return layer.register_forward_hook(move)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("loss", [CrossEntropy(), LastWord()], ids=["all", "last"])
def test_the_flow_through_a_transformer_is_that_of_finite_differences(norm: str, loss: CrossEntropy | LastWord) -> None:
    size = 4
    settings = {"embedding": size, "heads": 2, "encoder_layers": 2, "decoder_layers": 2, "norm": norm}
    model = build_model(TransformerSettings.model_validate(settings), 9, 9).double().eval()
    found = gradient_flow(model, BATCH, loss)
    layers = {name: one for name, one in model.named_modules() if isinstance(one, EncoderLayer | DecoderLayer)}
    assert list(found) == list(layers)
    assert len(layers) == 4
    for name, layer in layers.items():
        norm_BT, valid_BT = found[name]
        assert torch.equal(valid_BT, BATCH.source_valid_BS if name.startswith("encoder") else BATCH.target_valid_BT)
        for t in range(norm_BT.shape[1]):
            columns = []
            for place in range(size):
                losses = []
                for by in (1e-5, -1e-5):
                    handle = moved_layer(layer, t, place, by)
                    with torch.no_grad():
                        losses.append(loss(model(BATCH.source_BS, BATCH.source_valid_BS, BATCH.input_BT), BATCH))
                    handle.remove()
                columns.append((losses[0] - losses[1]) / 2e-5)
            wanted_B = torch.stack(columns, dim=1).norm(dim=1).masked_fill(~valid_BT[:, t], 0)
            torch.testing.assert_close(norm_BT[:, t], wanted_B, rtol=1e-5, atol=1e-8)


def test_the_last_word_alone() -> None:
    model = a_model()
    trace = model(BATCH.source_BS, BATCH.source_valid_BS, BATCH.input_BT)
    log_BTV = torch.log_softmax(trace.logit_BTV, dim=-1)
    wanted = []
    for row in range(2):
        last = int(BATCH.target_valid_BT[row].sum()) - 1
        wanted.append(-log_BTV[row, last, BATCH.target_BT[row, last]])
    torch.testing.assert_close(LastWord()(trace, BATCH), torch.stack(wanted))
    # What comes after the last word of a sentence owes it nothing, and what comes before does.
    flow = gradient_flow(model, BATCH, LastWord())["decoder.wiring.first.cells.0"]
    assert bool(flow.norm_BT[flow.valid_BT].all())
    assert not flow.norm_BT[~flow.valid_BT].any()


def test_without_ends_the_last_word_is_a_word() -> None:
    model, words = a_model(), without_ends(BATCH)
    assert words.target_valid_BT.tolist() == [[True, True, False, False], [True, True, True, False]]
    trace = model(words.source_BS, words.source_valid_BS, words.input_BT)
    log_BTV = torch.log_softmax(trace.logit_BTV, dim=-1)
    torch.testing.assert_close(LastWord()(trace, words), -torch.stack([log_BTV[0, 1, 5], log_BTV[1, 2, 8]]))
    flow = gradient_flow(model, words, LastWord())["decoder.wiring.first.cells.0"]
    assert torch.equal(flow.norm_BT > 0, flow.valid_BT)


def test_a_second_look_at_whole_targets_is_no_flow() -> None:
    settings = {"embedding": 4, "heads": 2, "encoder_layers": 1, "decoder_layers": 2}
    flows = []
    for context in ("before", "whole"):
        torch.manual_seed(3)
        shown = {**settings, "shown": {"context": context}}
        model = build_model(TransformerSettings.model_validate(shown), 9, 9).double().eval()
        flows.append(gradient_flow(model, BATCH))
    for name, flow in flows[0].items():
        assert flow.norm_BT.any()
        torch.testing.assert_close(flows[1][name].norm_BT, flow.norm_BT)


def test_means_by_distance_are_those_of_a_plain_loop() -> None:
    """Sentences of three, one and two steps, one of them padded on the left."""
    valid_BT = torch.tensor([[True, True, True], [True, False, False], [False, True, True]])
    norm_BT = torch.tensor([[1.0, 2.0, 4.0], [8.0, 0.0, 0.0], [0.0, 16.0, 32.0]])
    wanted = [(4 + 8 + 32) / 3, (2 + 16) / 2, 1.0]
    torch.testing.assert_close(Flow(norm_BT, valid_BT).mean_by_distance_K(), torch.tensor(wanted))


def test_padding_has_no_flow_and_the_mean_leaves_it_out() -> None:
    flow = gradient_flow(a_model(), BATCH)["encoder.layers.0.forth"]
    assert flow.norm_BT.shape == (2, 4)
    assert not flow.norm_BT[~flow.valid_BT].any()
    assert bool(flow.norm_BT[flow.valid_BT].all())
    torch.testing.assert_close(flow.mean_T()[0], (flow.norm_BT[0, 0] + flow.norm_BT[1, 0]) / 2)
    torch.testing.assert_close(flow.mean_T()[3], flow.norm_BT[0, 3])


def test_another_loss() -> None:
    model = a_model()
    flow = gradient_flow(model, BATCH, DoublyStochastic())
    assert not flow["decoder.wiring.cells.cells.0"].norm_BT[0, 2]  # the last state is looked with no more
    assert flow["decoder.wiring.first.cells.0"].norm_BT[0, 2] > 0
    assert gradient_flow(model, BATCH)["decoder.wiring.cells.cells.0"].norm_BT[0, 2] > 0


def numbers(values: Tensor) -> tuple[float, float, float]:
    flat = values.flatten().tolist()
    return sum(flat) / len(flat), sum(x < 0.1 for x in flat) / len(flat), sum(x > 0.9 for x in flat) / len(flat)


@pytest.mark.parametrize("direction", ["forth", "back"])
def test_gates_are_those_of_the_equations(direction: str) -> None:
    """A GRU stepped by hand: r and z = σ(W x + U h), over the real steps of both sentences."""
    model = a_model()
    with torch.no_grad():
        for one in units(model).values():
            one.input.weight.mul_(4)  # some gates saturate
    cell, values = getattr(model.encoder.layers[0], direction), []
    for row in range(2):
        x_TX = model.encoder.embedding(BATCH.source_BS[row][BATCH.source_valid_BS[row]])
        h_H = torch.zeros(H, dtype=DOUBLE)
        for x_X in x_TX if direction == "forth" else x_TX.flip(0):
            sums = (cell.input(x_X) + cell.hidden(h_H))[: 2 * H]
            values.append(torch.sigmoid(sums).reshape(2, H))
            h_H = cell.advance(cell.input(x_X), h_H)[0]
    found = gate_statistics(model, BATCH)[f"encoder.layers.0.{direction}"]
    for gate, wanted in zip(("reset", "update"), torch.stack(values, dim=1).detach(), strict=True):
        assert tuple(found[gate]) == pytest.approx(numbers(wanted), abs=1e-12)
        assert 0 < found[gate].closed + found[gate].open < 1


@pytest.mark.parametrize(
    ("cell", "gates"),
    [
        ("gru", ["reset", "update"]),
        ("lstm", ["input", "forget", "output"]),
        ("rnn", []),
        ("gru-without-reset", ["update"]),
        ("janet", ["forget", "input"]),
        ("minimal", ["forget"]),
    ],
)
def test_every_gate_of_every_cell_is_told(cell: str, gates: list[str]) -> None:
    model = a_model(cell=cell, encoder_layers=2)
    found = gate_statistics(model, BATCH)
    assert list(found) == list(units(model))
    assert all(list(of) == gates for of in found.values())


def test_forced_gates_are_seen_as_open_and_closed() -> None:
    model = a_model(cell="gru")
    with torch.no_grad():
        for one in units(model).values():
            one.input.bias[:H], one.input.bias[H : 2 * H] = -50, 50
    for gates in gate_statistics(model, BATCH).values():
        assert gates["reset"] == pytest.approx((0, 1, 0), abs=1e-12)
        assert gates["update"] == pytest.approx((1, 0, 1), abs=1e-12)


def test_a_transformers_layers_are_left_as_they_were() -> None:
    model = build_model(TransformerSettings(embedding=4, heads=2), 9, 9)
    gradient_flow(model, BATCH)
    assert not any(one._forward_hooks for one in model.modules())
    assert all(one.grad is None for one in model.parameters())
    assert gate_statistics(model, BATCH) == {}


@pytest.mark.parametrize("analysis", [gradient_flow, gate_statistics])
def test_the_model_stays_as_it_was(analysis: Any) -> None:
    model = a_model(cell="lstm", dropout={"state": 0.5}).train()
    before = {key: one.clone() for key, one in model.state_dict().items()}
    with torch.no_grad():
        analysis(model, BATCH)
    assert all(torch.equal(one, before[key]) for key, one in model.state_dict().items())
    assert all(one.grad is None for one in model.parameters())
    assert not any(one._forward_hooks for one in model.modules())
    assert model.training
    assert any(isinstance(one, StateDropout) for one in model.modules())


@pytest.mark.parametrize("kind", ["gatt-cell", "gatt-inv-cell"])
def test_the_gate_of_an_attention_is_no_cell_that_goes_through_time(kind: str) -> None:
    model = a_model(attention={"kind": kind, "cell": "lstm"})
    names = [name for name in units(model) if ".attention." not in name]
    assert len(units(model)) == len(names) + 1
    assert list(gradient_flow(model, BATCH)) == list(gate_statistics(model, BATCH)) == names
