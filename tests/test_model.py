"""What a recipe's model section builds: sizes counted by hand, ties, first weights, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pydantic
import pytest
import torch
from torch import Tensor, nn

from nmt.batching import collate
from nmt.cells import CELLS, Cell
from nmt.decoder import OUTPUTS, STARTS, WIRINGS
from nmt.errors import InputError
from nmt.initialisation import INITIALISATIONS
from nmt.layers import READOUTS
from nmt.losses.likelihood import CrossEntropy
from nmt.model import EncoderDecoder, RecurrentSettings, build_model
from nmt.settings import load
from nmt.vocabulary import PAD

D, H = 3, 4
SOURCE, TARGET = 7, 6


def a_model(source: int = SOURCE, target: int = TARGET, **changes: Any) -> EncoderDecoder:
    values = {"embedding": D, "hidden": H, **changes}
    return build_model(RecurrentSettings.model_validate(values), source, target)


def size(model: nn.Module) -> int:
    return sum(one.numel() for one in model.parameters())


# ------------------------------------------------------------------------------------------------ sizes, by hand

# A GRU that reads X has 3 gates of W (H × X), U (H × H) and two biases.
GRU_3, GRU_4, GRU_8 = (3 * (4 * x + 4 * 4 + 4 + 4) for x in (3, 4, 8))
LSTM_3, LSTM_8 = (4 * (4 * x + 4 * 4 + 4 + 4) for x in (3, 8))
EMBEDDINGS = 7 * 3 + 6 * 3
ENCODER = 2 * GRU_3  # memory of 8
START = 4 * 8 + 4
BAHDANAU = 8 * 4 + 8 * 8 + 8  # W, U, v
GATT = (24 * 4 + 24) + 16 * 8 + 8 * 8  # W with b, U_z and U_r, U
READOUT = 3 * (4 + 3 + 8) + 3
OUTPUT = 6 * 3 + 6
REST = EMBEDDINGS + ENCODER + START + READOUT + OUTPUT


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, REST + BAHDANAU + GRU_3 + GRU_8),
        ({"attention": "gatt"}, REST + GATT + BAHDANAU + GRU_3 + GRU_8),
        ({"attention": {"kind": "bahdanau", "size": 5}}, REST + 5 * 4 + 5 * 8 + 5 + GRU_3 + GRU_8),
        ({"wiring": "look-then-update"}, REST + BAHDANAU + GRU_3 + 12 * 8),
        ({"wiring": "update-then-look"}, REST + BAHDANAU + GRU_3 + 12 * 4 + (4 * 12 + 4)),
        ({"wiring": "unfed"}, REST + BAHDANAU + GRU_3),
        ({"wiring": "unfed", "output": "marginal"}, REST + BAHDANAU + GRU_3),
        ({"decoder_layers": 3}, REST + BAHDANAU + GRU_3 + GRU_8 + 2 * GRU_4),
        ({"encoder_layers": 2}, REST + BAHDANAU + GRU_3 + GRU_8 + 2 * GRU_8),
        # A memory of 4: START, the encoder and all that reads the memory are smaller; two GRUs of 3 and 2.
        (
            {"encoder_hidden": 2, "attention": "dot"},
            EMBEDDINGS + 2 * 3 * (2 * 3 + 2 * 2 + 2 + 2) + (4 * 4 + 4) + GRU_3 + GRU_4 + (3 * 11 + 3) + OUTPUT,
        ),
        ({"encoder_hidden": 4}, REST + BAHDANAU + GRU_3 + GRU_8),
        ({"cell": "lstm"}, REST - ENCODER + BAHDANAU + 2 * LSTM_3 + LSTM_3 + LSTM_8),
        ({"start": "backward"}, REST - START + 4 * 4 + 4 + BAHDANAU + GRU_3 + GRU_8),
        ({"readout": "maxout"}, REST + READOUT + BAHDANAU + GRU_3 + GRU_8),
        ({"readout_size": 5}, REST - READOUT - OUTPUT + 5 * 15 + 5 + 6 * 5 + 6 + BAHDANAU + GRU_3 + GRU_8),
        ({"tie": "target"}, REST - 6 * 3 + BAHDANAU + GRU_3 + GRU_8),
        (
            {"wiring": "update-then-look", "readout": "direct"},
            REST - READOUT - OUTPUT + (6 * 4 + 6) + BAHDANAU + GRU_3 + 12 * 4 + (4 * 12 + 4),
        ),
    ],
    ids=str,
)
def test_parameters_counted_by_hand(changes: dict, wanted: int) -> None:
    assert size(a_model(**changes)) == wanted


def test_the_first_count_in_one_number() -> None:
    assert size(a_model()) == 743


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_every_parameter_is_used(wiring: str, layers: int, cell: str) -> None:
    model = a_model(wiring=wiring, encoder_layers=layers, decoder_layers=layers, cell=cell)
    with torch.no_grad():
        for one in model.parameters():
            one.uniform_(-1, 1)
    batch = collate([[4, 5, 6], [4]], [[4, 5], [5, 5, 4]], [0, 1])
    memory = model.encode(batch.source_BS, batch.source_valid_BS)
    CrossEntropy()(model.decode(batch.input_BT, memory, model.start(memory))[0], batch).sum().backward()
    used = sum(one.numel() for one in model.parameters() if one.grad is not None and one.grad.any())
    assert used == size(model)


# ----------------------------------------------------------------------------------------------------------- ties


@pytest.mark.parametrize(("tie", "kept"), [("none", 3), ("target", 2), ("all", 1)])
def test_tied_weights_are_one_weight(tie: str, kept: int) -> None:
    model = a_model(source=TARGET, tie=tie)
    places = [model.encoder.embedding.weight, model.decoder.embedding.weight, model.decoder.output.weight]
    assert len({id(one) for one in places}) == len({one.data_ptr() for one in places}) == kept
    assert size(a_model(source=TARGET)) - size(model) == (3 - kept) * TARGET * D
    batch = collate([[4, 5]], [[4]], [0])
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
    memory = model.encode(batch.source_BS, batch.source_valid_BS)
    CrossEntropy()(model.decode(batch.input_BT, memory, model.start(memory))[0], batch).sum().backward()
    optimiser.step()
    if tie != "none":
        assert torch.equal(model.decoder.output.weight, model.decoder.embedding.weight)
    if tie == "all":
        assert torch.equal(model.encoder.embedding.weight, model.decoder.embedding.weight)
    again = a_model(source=TARGET, tie=tie)
    again.load_state_dict(model.state_dict())
    assert all(torch.equal(one, other) for one, other in zip(again.parameters(), model.parameters(), strict=True))


# --------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"readout": "direct"}, 'would hide the context from the output with the wiring "conditional"; choose "tanh"'),
        ({"readout": "direct", "wiring": "look-then-update"}, "would hide the context from the output"),
        (
            {"readout": "direct", "wiring": "update-then-look", "readout_size": 5},
            "readout_size 5 must be the hidden size 4 for a direct readout",
        ),
        ({"tie": "target", "readout_size": 5}, 'tie "target" needs a readout as wide as the embedding: 5 is not 3'),
        (
            {"tie": "all", "readout": "direct", "wiring": "update-then-look"},
            'tie "all" needs a readout as wide as the embedding: 4 is not 3',
        ),
        ({"output": "marginal"}, 'exact only where no state reads the context, as the wiring "conditional" does'),
        (
            {"output": "marginal", "wiring": "unfed", "attention": "gatt"},
            'needs an attention whose context is a weighted sum of the memory, which "gatt" is not',
        ),
        (
            {"output": "marginal", "wiring": "unfed", "attention": "hard"},
            'which "hard" is not; choose another attention, or the output "expectation"',
        ),
        ({"readout": "direct", "wiring": "unfed"}, "would hide the context from the output"),
        ({"cell": "elmo"}, 'unknown kind "elmo"; known here: gru'),
        ({"attention": "bahdanow"}, 'did you mean "bahdanau"'),
        ({"hidden": 0}, "greater than or equal to 1"),
        ({"dropout": {"layer": 1.0}}, "less than 1"),
    ],
)
def test_impossible_combinations_are_told(changes: dict, sentence: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=sentence):
        a_model(**changes)


def test_one_embedding_for_two_vocabularies_is_refused() -> None:
    with pytest.raises(ValueError, match="7 source words, 6 target words"):
        a_model(tie="all")


@pytest.mark.parametrize(
    ("attention", "sentence"),
    [
        ("dot", "a dot product needs queries and memory of one size, not 4 and 8; choose"),
        ("{kind: multi-head, heads: 3}", "3 heads cannot share the size 4 evenly; choose"),
        ("{kind: hard, inner: gatt}", "hard attention chooses among the vectors that its inner attention sums up"),
    ],
)
def test_attention_that_does_not_fit_is_told_with_its_line(attention: str, sentence: str, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"hidden: 4\nembedding: 3\nattention: {attention}\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load(recipe, RecurrentSettings)
    assert str(caught.value).startswith(f"{recipe}, line 3: attention: {sentence}")


def test_other_mistakes_are_told_beside_an_attention_that_cannot_be_tried() -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        a_model(hidden="large", attention="dot")
    assert [one["loc"] for one in caught.value.errors()] == [("hidden",)]


def test_a_direct_readout_of_the_hidden_size_may_be_said() -> None:
    model = a_model(readout="direct", wiring="update-then-look", readout_size=H)
    assert model.decoder.output.in_features == H


@pytest.mark.parametrize(
    ("field", "table"),
    [
        ("wiring", WIRINGS),
        ("start", STARTS),
        ("readout", READOUTS),
        ("output", OUTPUTS),
        ("initialisation", INITIALISATIONS),
    ],
)
def test_the_settings_name_every_member_of_the_table(field: str, table: dict) -> None:
    assert list(get_args(RecurrentSettings.model_fields[field].annotation)) == list(table)


# --------------------------------------------------------------------------------------------------- first weights


def orthogonal(matrix: Tensor) -> bool:
    return torch.allclose(matrix @ matrix.T, torch.eye(len(matrix)), atol=1e-5)


def gates(product: nn.Linear, height: int) -> list[Tensor]:
    return list(torch.split(product.weight.detach(), height))


def cells(model: nn.Module) -> list[Cell]:
    return [one for one in model.modules() if isinstance(one, Cell) and hasattr(one, "hidden")]


@pytest.mark.parametrize("initialisation", INITIALISATIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_matrices_begin_orthogonal_gate_by_gate(initialisation: str, cell: str) -> None:
    model = a_model(initialisation=initialisation, cell=cell, hidden=16, encoder_layers=2, decoder_layers=2)
    assert len(cells(model)) == 4 + 3
    for one in cells(model):
        assert len(gates(one.hidden, 16)) == one.product_size // 16
        assert all(orthogonal(gate) for gate in gates(one.hidden, 16))


@pytest.mark.parametrize("initialisation", INITIALISATIONS)
def test_biases_and_padding_begin_at_0(initialisation: str) -> None:
    model = a_model(initialisation=initialisation, attention="gatt")
    biases = [one for name, one in model.named_parameters() if name.endswith("bias")]
    assert len(biases) > 10
    assert not any(one.any() for one in biases)
    for embedding in (model.encoder.embedding, model.decoder.embedding):
        assert not embedding.weight[PAD].any()
        assert embedding.weight[PAD + 1 :].all()


def test_default_weights_have_their_documented_spread() -> None:
    """Embeddings N(0, 1/D); matrices uniform up to √(6 / (in + out))."""
    model = a_model(source=5000, target=4000, embedding=64, hidden=80)
    for embedding in (model.encoder.embedding, model.decoder.embedding):
        assert float(embedding.weight.detach()[1:].std()) == pytest.approx(64**-0.5, rel=0.02)
    for product in (model.decoder.output, model.decoder.readout.combine, model.decoder.wiring.attention.memory):
        limit = (6 / (product.in_features + product.out_features)) ** 0.5
        assert 0.98 * limit < float(product.weight.detach().abs().max()) <= limit
        assert float(product.weight.detach().std()) == pytest.approx(limit / 3**0.5, rel=0.03)


def test_glorot_embeddings_are_the_only_difference_from_the_default() -> None:
    """Uniform up to √(6 / (V + D)); every other weight is drawn as the default draws it."""
    torch.manual_seed(1)
    default = a_model(source=5000, target=4000, embedding=64, hidden=80)
    torch.manual_seed(1)
    model = a_model(source=5000, target=4000, embedding=64, hidden=80, initialisation="glorot")
    for embedding, words in ((model.encoder.embedding, 5000), (model.decoder.embedding, 4000)):
        limit = (6 / (words + 64)) ** 0.5
        assert float(embedding.weight.detach().abs().max()) == pytest.approx(limit, rel=1e-3)
        assert float(embedding.weight.detach()[1:].std()) == pytest.approx(limit / 3**0.5, rel=0.02)
    for (name, one), other in zip(model.named_parameters(), default.parameters(), strict=True):
        assert torch.equal(one, other) == (not name.endswith("embedding.weight"))


@pytest.mark.parametrize("words", [4000, 4096])  # the second is a multiple of the readout: no square matrix either
@pytest.mark.parametrize("wiring", WIRINGS)
def test_normal_weights_are_the_papers(words: int, wiring: str) -> None:
    """Zhang et al. 2017, section 4.1: N(0, 0.01²), square matrices, those of the gates too, orthogonal."""
    model = a_model(
        source=words, target=words, embedding=32, hidden=64, attention="gatt", wiring=wiring, initialisation="normal"
    )
    attention = model.decoder.wiring.attention
    square = [(attention.gates, 128), (attention.candidate, 128), (attention.inner.memory, 128)]
    square += [(one.hidden, 64) for one in cells(model)]
    # W_z, W_r, W of the gate, W of the scorer: 128 by 64. The cells' input matrices: 64 by 32, or by 128.
    oblong = [attention.query, attention.inner.query, model.decoder.output, model.decoder.readout.combine]
    oblong += [one.input for one in cells(model)]
    if wiring == "look-then-update":
        oblong.append(model.decoder.wiring.context)
    if wiring == "update-then-look":
        square.append((model.decoder.wiring.feed, 64))
        oblong.append(model.decoder.wiring.combine)
    for product, height in square:
        assert all(orthogonal(gate) for gate in gates(product, height))
    for product in oblong:
        assert float(product.weight.detach().std()) == pytest.approx(0.01, rel=0.05)
    for embedding in (model.encoder.embedding, model.decoder.embedding):
        assert float(embedding.weight.detach()[1:].std()) == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize("initialisation", INITIALISATIONS)
def test_first_weights_come_from_torchs_generator(initialisation: str) -> None:
    def drawn(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return nn.utils.parameters_to_vector(a_model(initialisation=initialisation).parameters())

    assert torch.equal(drawn(3), drawn(3))
    assert not torch.equal(drawn(3), drawn(4))


# --------------------------------------------------------------------------------------------------------- dropout


@pytest.mark.parametrize("place", ["embedding", "layer", "output"])
def test_dropout_acts_where_it_is_said_to_and_in_training_only(place: str) -> None:
    model = a_model(hidden=16, embedding=16, encoder_layers=2, decoder_layers=2, dropout={place: 0.5})
    batch = collate([[4, 5]], [[4]], [0])

    def parts() -> tuple[Tensor, Tensor, Tensor]:
        memory = model.encode(batch.source_BS, batch.source_valid_BS)
        trace, _ = model.decode(batch.input_BT, memory, model.start(memory))
        return memory.memory.value_BSE, trace.weight_BTS, trace.logit_BTV

    (memory, weight, logit), (again_memory, again_weight, again_logit) = parts(), parts()
    assert torch.equal(memory, again_memory) == (place == "output")
    assert torch.equal(weight, again_weight) == (place == "output")
    assert not torch.equal(logit, again_logit)
    model.eval()
    assert all(torch.equal(one, other) for one, other in zip(parts(), parts(), strict=True))
