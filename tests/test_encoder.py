"""The encoder against torch's own bidirectional modules, by either way of running a cell; residual layers and masks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cell_loops import STEPS, UNITS, products
from references import Matrix
from torch import Tensor, nn

from nmt import encoder as module
from nmt.batching import collate
from nmt.cells import CELLS, GRU, LSTM, Elman, SentenceDropout, fused, unroll
from nmt.encoder import RecurrentEncoder
from nmt.model import EncoderDecoder, build_model
from nmt.recurrent import RecurrentSettings
from nmt.tree import State, map_tensors

DOUBLE = torch.float64
D, H = 3, 4
SOURCE = torch.tensor([[4, 5, 6, 7, 8], [4, 5, 1, 1, 1], [8, 7, 6, 1, 1]])
VALID = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]]).bool()


def give_weights(encoder: RecurrentEncoder, theirs: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """torch's weights in ours; the pairs of what is now equal."""
    pairs = []
    for number, layer in enumerate(encoder.layers):
        for cell, suffix in ((layer.forth, ""), (layer.back, "_reverse")):
            for linear, name in ((cell.input, "ih"), (cell.hidden, "hh")):
                pairs.append((linear.weight, getattr(theirs, f"weight_{name}_l{number}{suffix}")))
                pairs.append((linear.bias, getattr(theirs, f"bias_{name}_l{number}{suffix}")))
    with torch.no_grad():
        for ours, other in pairs:
            ours.copy_(other)
    return pairs


def packed(theirs: nn.Module, x_BSX: Tensor) -> Tensor:
    """h of torch's module over packed sentences, 0 in the padding."""
    lengths = VALID.sum(dim=1)
    sequence = nn.utils.rnn.pack_padded_sequence(x_BSX, lengths, batch_first=True, enforce_sorted=False)
    return nn.utils.rnn.pad_packed_sequence(theirs(sequence)[0], batch_first=True)[0]


@pytest.mark.parametrize("way", [fused, unroll])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(("ours", "theirs"), [(GRU, nn.GRU), (LSTM, nn.LSTM), (Elman, nn.RNN)])
def test_bidirectional_layers_equal_torchs_packed_ones(
    ours: Any, theirs: Any, layers: int, way: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values and gradients, by torch's loop and by ours; layers read the states of both directions of the one below."""

    def run(cell: Any, x_BSX: Tensor, valid_BS: Tensor, *, backward: bool = False) -> Tensor:
        start = cell.start(x_BSX.new_zeros(len(x_BSX), H))
        return way(cell, x_BSX, valid_BS, start, backward=backward)

    monkeypatch.setattr(module, "run", run)
    encoder = RecurrentEncoder(nn.Embedding(9, D), ours, H, layers).double()
    witness = theirs(D, H, layers, batch_first=True, bidirectional=True).double()
    pairs = give_weights(encoder, witness)
    weight = encoder.embedding.weight

    memory = encoder(SOURCE, VALID)
    found_BSE = memory.value_BSE.masked_fill(~memory.valid_BS.unsqueeze(-1), 0.0)
    wanted_BSE = packed(witness, encoder.embedding(SOURCE))
    torch.testing.assert_close(found_BSE, wanted_BSE, rtol=0, atol=1e-12)
    coefficient_BSE = torch.randn_like(wanted_BSE)
    found = torch.autograd.grad((found_BSE * coefficient_BSE).sum(), [weight, *(one for one, _ in pairs)])
    wanted = torch.autograd.grad((wanted_BSE * coefficient_BSE).sum(), [weight, *(one for _, one in pairs)])
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", UNITS)
def test_two_bidirectional_layers_equal_plain_loops(name: str) -> None:
    """Sentences of different lengths, each alone in the loops: from both ends, then the states of both directions from
    both ends."""
    encoder = RecurrentEncoder(nn.Embedding(9, D), UNITS[name], H, 2).double()
    found_BSE = encoder(SOURCE, VALID).value_BSE
    for row, valid_S in enumerate(VALID):
        x = encoder.embedding(SOURCE[row][valid_S]).tolist()
        for layer in encoder.layers:
            forth, back = read(name, layer.forth, x), read(name, layer.back, x[::-1])[::-1]
            x = [one + other for one, other in zip(forth, back, strict=True)]
        assert found_BSE[row][valid_S].flatten().tolist() == pytest.approx([one for h in x for one in h], abs=1e-12)


def read(name: str, cell: Any, x: Matrix) -> Matrix:
    """h at every step of a sentence."""
    weights, kept, found = products(cell), ([0.0] * H, [0.0] * H), []
    for one in x:
        kept = STEPS[name](weights, one, kept)
        found.append(kept[0])
    return found


@pytest.mark.parametrize("cell", CELLS)
def test_residual_layers_add_what_they_read(cell: str) -> None:
    encoder = RecurrentEncoder(nn.Embedding(9, D), CELLS[cell], H, 3, residual=True).double()
    x_BSX = encoder.layers[0](encoder.embedding(SOURCE), VALID)
    for layer in list(encoder.layers)[1:]:
        x_BSX = x_BSX + layer(x_BSX, VALID)
    torch.testing.assert_close(encoder(SOURCE, VALID).value_BSE[VALID], x_BSX[VALID], rtol=0, atol=1e-12)
    plain = RecurrentEncoder(nn.Embedding(9, D), CELLS[cell], H, 3).double()
    plain.load_state_dict(encoder.state_dict())
    assert not torch.allclose(plain(SOURCE, VALID).value_BSE[VALID], x_BSX[VALID], atol=1e-3)


@pytest.mark.parametrize("place", ["embedding_dropout", "layer_dropout"])
def test_one_mask_for_a_sentence(place: str) -> None:
    """Layers that hand on what they read show the mask: the same numbers are 0 at every position."""

    class Twice(nn.Module):
        def forward(self, x_BSX: Tensor, valid_BS: Tensor) -> Tensor:
            return torch.cat([x_BSX, x_BSX], dim=-1)[..., : 2 * H]

    encoder = RecurrentEncoder(nn.Embedding(9, H), GRU, H, 2, dropout=SentenceDropout, **{place: 0.5})
    encoder.layers = nn.ModuleList([Twice(), Twice()])
    with torch.no_grad():
        encoder.embedding.weight.fill_(1.0)
    value_BSE = encoder(SOURCE, VALID).value_BSE
    assert torch.equal(value_BSE, value_BSE[:, :1].expand_as(value_BSE))
    assert set(value_BSE.unique().tolist()) == {0.0, 2.0}
    assert len(value_BSE[:, 0].unique(dim=0)) > 1
    assert torch.equal(encoder.eval()(SOURCE, VALID).value_BSE, torch.ones_like(value_BSE))


# ---------------------------------------------------------------------------------------- masks in a whole model


def leaves(state: State) -> list[Tensor]:
    found: list[Tensor] = []
    map_tensors(lambda one: found.append(one) or one, state)
    return found


def a_model(wiring: str, cell: str = "gru", **dropout: Any) -> EncoderDecoder:
    values = {"embedding": 8, "hidden": 8, "encoder_layers": 2, "decoder_layers": 3, "wiring": wiring, "cell": cell}
    model = build_model(RecurrentSettings.model_validate({**values, "dropout": dropout}), 9, 9)
    return model.double()


BATCH = collate([[4, 5, 6], [7]], [[4, 5, 6, 7], [8, 8]], [0, 1])
ALL = {"embedding": 0.5, "layer": 0.5, "state": 0.5}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("wiring", ["look-then-update", "conditional", "update-then-look"])
def test_masks_of_a_sentence_outlast_its_pieces(wiring: str, cell: str) -> None:
    """In training, decoding in pieces equals decoding at once, for the masks are part of the state."""
    model = a_model(wiring, cell, mask="sentence", **ALL).train()
    memory = model.encode(BATCH.source_BS, BATCH.source_valid_BS)
    start = model.start(memory)
    whole, _ = model.decode(BATCH.input_BT, memory, start)
    state, logits = start, []
    for token_BT in BATCH.input_BT.split(2, dim=1):
        trace, state = model.decode(token_BT, memory, state)
        logits.append(trace.logit_BTV)
    torch.testing.assert_close(torch.cat(logits, dim=1), whole.logit_BTV, rtol=0, atol=1e-12)
    other, _ = model.decode(BATCH.input_BT, memory, model.start(memory))
    assert not torch.allclose(other.logit_BTV, whole.logit_BTV, atol=1e-3)


@pytest.mark.parametrize("mask", ["position", "sentence"])
@pytest.mark.parametrize("place", ["embedding", "layer", "state"])
def test_masks_act_on_both_sides_and_in_training_only(place: str, mask: str) -> None:
    model = a_model("conditional", mask=mask, **{place: 0.5}).train()

    def parts() -> tuple[Tensor, Tensor]:
        memory = model.encode(BATCH.source_BS, BATCH.source_valid_BS)
        return memory.memory.value_BSE, model.decode(BATCH.input_BT, memory, model.start(memory))[0].logit_BTV

    assert not torch.equal(parts()[0], parts()[0])
    encoded = model.encode(BATCH.source_BS, BATCH.source_valid_BS)
    assert not torch.equal(*(model.decode(BATCH.input_BT, encoded, model.start(encoded))[0].logit_BTV for _ in "ab"))
    model.eval()
    assert all(torch.equal(one, other) for one, other in zip(parts(), parts(), strict=True))


def test_search_never_sees_a_mask() -> None:
    plain, dropped = a_model("conditional").eval(), a_model("conditional", mask="sentence", **ALL).eval()
    states = []
    for model in (plain, dropped):
        states.append(model.start(model.encode(BATCH.source_BS, BATCH.source_valid_BS)))
    assert [one.shape for one in leaves(states[0])] == [one.shape for one in leaves(states[1])]
    assert len(leaves(dropped.train().start(dropped.encode(BATCH.source_BS, BATCH.source_valid_BS)))) > len(
        leaves(states[0])
    )
