"""First states, wirings and readouts against their equations, stepped by torch's own cells."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nmt.attention import Bahdanau, Memory
from nmt.cells import GRU, Stacked
from nmt.decoder import (
    STARTS,
    WIRINGS,
    BackwardStart,
    Conditional,
    LookThenUpdate,
    MeanStart,
    RecurrentDecoder,
    Unfed,
    UpdateThenLook,
    Wiring,
)
from nmt.encoder import RecurrentEncoder
from nmt.layers import DirectReadout, MaxoutReadout, TanhReadout, at_least_float32

DOUBLE = torch.float64
B, T, S = 3, 4, 5
D, H, E = 2, 4, 6
VALID = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 1, 1]]).bool()


def a_memory(size: int = E) -> Memory:
    return Memory(torch.randn(B, S, size, dtype=DOUBLE), VALID)


# --------------------------------------------------------------------------------------------------- first states


def identity(start: MeanStart | BackwardStart) -> nn.Module:
    """s_0 = tanh of what the start reads: W = 1, b = 0."""
    with torch.no_grad():
        start.project.weight.copy_(torch.eye(start.project.in_features))
        start.project.bias.zero_()
    return start.double()


def test_mean_start_is_the_mean_over_the_valid_source() -> None:
    memory = a_memory()
    found = identity(MeanStart(E, E))(memory)
    for b in range(B):
        places = [s for s in range(S) if VALID[b, s]]
        for k in range(E):
            mean = sum(float(memory.value_BSE[b, s, k]) for s in places) / len(places)
            assert float(found[b, k].detach()) == pytest.approx(math.tanh(mean), abs=1e-12)


def test_backward_start_is_the_backward_state_of_the_first_word() -> None:
    memory = a_memory()
    found = identity(BackwardStart(E, E // 2))(memory)
    for b, first in enumerate([0, 0, 3]):
        wanted = [math.tanh(x) for x in memory.value_BSE[b, first, E // 2 :].tolist()]
        assert found[b].tolist() == pytest.approx(wanted, abs=1e-12)


def test_the_backward_state_of_the_first_word_has_read_the_whole_sentence() -> None:
    """Encoder and start together: s_0 depends on every word, and on nothing in the padding."""
    encoder = RecurrentEncoder(nn.Embedding(9, D), GRU, H, 1).double()
    start = BackwardStart(2 * H, H).double()
    source_BS = torch.tensor([[4, 5, 6, 7, 8], [4, 5, 1, 1, 1], [1, 1, 1, 4, 5]])
    first_BH = start(encoder(source_BS, VALID))
    torch.testing.assert_close(first_BH[1], first_BH[2], rtol=0, atol=1e-12)
    for b in range(B):
        for s in range(S):
            changed_BS = source_BS.clone()
            changed_BS[b, s] = 3
            moved = not torch.allclose(start(encoder(changed_BS, VALID))[b], first_BH[b], rtol=0, atol=1e-9)
            assert moved == bool(VALID[b, s])


def test_the_last_backward_layer_is_above_the_first() -> None:
    """Layers read the states of both directions of the layer below; torch's bidirectional GRU is the witness."""
    encoder = RecurrentEncoder(nn.Embedding(9, D), GRU, H, 2).double()
    theirs = nn.GRU(D, H, 2, batch_first=True, bidirectional=True).double()
    with torch.no_grad():
        for number, layer in enumerate(encoder.layers):
            for cell, suffix in ((layer.forth, ""), (layer.back, "_reverse")):
                for linear, name in ((cell.input, "ih"), (cell.hidden, "hh")):
                    linear.weight.copy_(getattr(theirs, f"weight_{name}_l{number}{suffix}"))
                    linear.bias.copy_(getattr(theirs, f"bias_{name}_l{number}{suffix}"))
    source_BS = torch.tensor([[4, 5, 6, 7, 8], [4, 5, 1, 1, 1]])
    lengths = torch.tensor([5, 2])
    packed = nn.utils.rnn.pack_padded_sequence(encoder.embedding(source_BS), lengths, batch_first=True)
    wanted, _ = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    memory = encoder(source_BS, VALID[:2])
    found = memory.value_BSE.masked_fill(~memory.valid_BS.unsqueeze(-1), 0.0)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


# -------------------------------------------------------------------------------------------------------- wirings


def make_stack(input_size: int, layers: int) -> Stacked:
    return Stacked(GRU(size, H) for size in [input_size] + [H] * (layers - 1))


def witness(cell: GRU, columns: nn.Linear | None = None) -> Callable[[Tensor, Tensor], Tensor]:
    """torch's GRU cell with the weights of ours; further columns of W, for a second input, on its right."""
    weight = cell.input.weight if columns is None else torch.cat([cell.input.weight, columns.weight], dim=1)
    theirs = nn.GRUCell(weight.shape[1], H).double()
    with torch.no_grad():
        theirs.weight_ih.copy_(weight)
        theirs.bias_ih.copy_(cell.input.bias)
        theirs.weight_hh.copy_(cell.hidden.weight)
        theirs.bias_hh.copy_(cell.hidden.bias)
    return theirs


def run(wiring: Wiring, embedded_BTD: Tensor, memory: Memory, start_BH: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs and contexts of all target positions."""
    keys, state = wiring.attention.precompute(memory), wiring.start(start_BH)
    attended, outputs, contexts = wiring.attention.start(VALID), [], []
    for product_BG in wiring.inputs(embedded_BTD).unbind(dim=1):
        output_BO, glance, state, attended = wiring.step(product_BG, keys, state, attended)
        outputs.append(output_BO)
        contexts.append(glance.context_BTE[:, 0])
    assert outputs[0].shape == (B, wiring.output_size)
    return torch.stack(outputs, dim=1), torch.stack(contexts, dim=1)


def look_then_update(wiring: LookThenUpdate, embedded_BTD: Tensor, see: Callable, start_BH: Tensor) -> tuple:
    """c_j = att(H, s_{j−1}); s_j = cell([E[y_{j−1}]; c_j], s_{j−1})."""
    bottom, *above = wiring.cells.cells
    layers = [witness(bottom, wiring.context), *(witness(cell) for cell in above)]
    s, outputs, contexts = [start_BH] * len(layers), [], []
    for word in embedded_BTD.unbind(dim=1):
        c = see(s[-1])
        below = torch.cat([word, c], dim=1)
        for number, layer in enumerate(layers):
            below = s[number] = layer(below, s[number])
        outputs.append(s[-1])
        contexts.append(c)
    return outputs, contexts


def conditional(wiring: Conditional, embedded_BTD: Tensor, see: Callable, start_BH: Tensor) -> tuple:
    """s' = cell1(E[y_{j−1}], s_{j−1}); c_j = att(H, s'); s_j = cell2(c_j, s')."""
    first, layers = witness(wiring.first.layer(0)), [witness(cell) for cell in wiring.cells.cells]
    s, outputs, contexts = [start_BH] * len(layers), [], []
    for word in embedded_BTD.unbind(dim=1):
        s[0] = first(word, s[0])
        below = c = see(s[0])
        for number, layer in enumerate(layers):
            below = s[number] = layer(below, s[number])
        outputs.append(s[-1])
        contexts.append(c)
    return outputs, contexts


def update_then_look(wiring: UpdateThenLook, embedded_BTD: Tensor, see: Callable, start_BH: Tensor) -> tuple:
    """s_j = cell([E[y_{j−1}]; h̃_{j−1}], s_{j−1}); c_j = att(H, s_j); h̃_j = tanh(W_c [c_j; s_j]); h̃_0 = 0."""
    bottom, *above = wiring.cells.cells
    layers = [witness(bottom, wiring.feed), *(witness(cell) for cell in above)]
    s, h, outputs, contexts = [start_BH] * len(layers), torch.zeros_like(start_BH), [], []
    for word in embedded_BTD.unbind(dim=1):
        below = torch.cat([word, h], dim=1)
        for number, layer in enumerate(layers):
            below = s[number] = layer(below, s[number])
        c = see(s[-1])
        h = torch.tanh(wiring.combine(torch.cat([c, s[-1]], dim=1)))
        outputs.append(h)
        contexts.append(c)
    return outputs, contexts


def unfed(wiring: Unfed, embedded_BTD: Tensor, see: Callable, start_BH: Tensor) -> tuple:
    """s_j = cell(E[y_{j−1}], s_{j−1}); c_j = att(H, s_j)."""
    layers = [witness(cell) for cell in wiring.cells.cells]
    s, outputs, contexts = [start_BH] * len(layers), [], []
    for below in embedded_BTD.unbind(dim=1):
        for number, layer in enumerate(layers):
            below = s[number] = layer(below, s[number])
        outputs.append(s[-1])
        contexts.append(see(s[-1]))
    return outputs, contexts


EQUATIONS = {
    "look-then-update": look_then_update,
    "conditional": conditional,
    "update-then-look": update_then_look,
    "unfed": unfed,
}


def test_every_wiring_has_its_equation_here() -> None:
    assert set(EQUATIONS) == set(WIRINGS)
    assert set(STARTS) == {"mean", "backward"}


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("kind", WIRINGS)
def test_a_wiring_equals_its_equations(kind: str, layers: int) -> None:
    wiring = WIRINGS[kind](make_stack, layers, D, Bahdanau(H, E)).double()
    memory, start_BH = a_memory(), torch.randn(B, H, dtype=DOUBLE)
    embedded_BTD = torch.randn(B, T, D, dtype=DOUBLE)

    def see(query_BQ: Tensor) -> Tensor:
        keys = wiring.attention.precompute(memory)
        return wiring.attention.step(query_BQ[:, None], keys, ())[0].context_BTE[:, 0]

    outputs, contexts = EQUATIONS[kind](wiring, embedded_BTD, see, start_BH)
    found_outputs, found_contexts = run(wiring, embedded_BTD, memory, start_BH)
    torch.testing.assert_close(found_outputs, torch.stack(outputs, dim=1), rtol=0, atol=1e-12)
    torch.testing.assert_close(found_contexts, torch.stack(contexts, dim=1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", WIRINGS)
def test_logits_are_the_output_layer_over_the_readout(kind: str) -> None:
    """The readout meets the output, the embedding of the word before, and the context, of the same position."""
    wiring = WIRINGS[kind](make_stack, 1, D, Bahdanau(H, E))
    readout = TanhReadout(wiring.output_size, D, E, 3)
    decoder = RecurrentDecoder(nn.Embedding(7, D), MeanStart(E, H), wiring, readout, nn.Linear(3, 7)).double()
    memory, token_BT = a_memory(), torch.randint(1, 7, (B, T))
    logit_BTV, _, _ = decoder(token_BT, memory, wiring.attention.precompute(memory), decoder.start(memory))
    embedded_BTD = decoder.embedding(token_BT)
    output_BTO, context_BTE = run(wiring, embedded_BTD, memory, decoder.initial(memory))
    wanted = decoder.output(torch.tanh(readout.combine(torch.cat([output_BTO, embedded_BTD, context_BTE], dim=-1))))
    torch.testing.assert_close(logit_BTV, wanted, rtol=0, atol=1e-12)


# ------------------------------------------------------------------------------------------------------- readouts


def test_maxout_by_hand() -> None:
    """t_k = max(t̃_{2k−1}, t̃_{2k}): neighbours compete."""
    readout = MaxoutReadout(1, 1, 1, 2)
    with torch.no_grad():
        readout.combine.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0]]))
        readout.combine.bias.copy_(torch.tensor([0.0, 0, 0, 0.5]))
    found = readout(torch.tensor([[[2.0]]]), torch.tensor([[[3.0]]]), torch.tensor([[[-4.0]]]))
    assert found.tolist() == [[[3.0, -1.5]]]  # max(2, 3) and max(−4, −2 + 0.5)


def test_tanh_by_hand() -> None:
    readout = TanhReadout(1, 1, 1, 1)
    with torch.no_grad():
        readout.combine.weight.copy_(torch.tensor([[1.0, 10.0, 100.0]]))
        readout.combine.bias.fill_(1.0)
    found = readout(torch.tensor([[[0.3]]]), torch.tensor([[[-0.2]]]), torch.tensor([[[0.01]]]))
    assert found.item() == pytest.approx(math.tanh(0.3 - 2 + 1 + 1), abs=1e-6)


def test_direct_is_the_output_itself() -> None:
    output = torch.randn(1, 1, 4)
    assert DirectReadout(4, 1, 1, 4)(output, torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)) is output
    with pytest.raises(ValueError, match="output size 4, not 3"):
        DirectReadout(4, 1, 1, 3)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [(torch.bfloat16, torch.float32), (torch.float16, torch.float32), (torch.float32,) * 2, (torch.float64,) * 2],
)
def test_at_least_float32(given: torch.dtype, wanted: torch.dtype) -> None:
    assert at_least_float32(torch.ones(1, dtype=given)).dtype == wanted
