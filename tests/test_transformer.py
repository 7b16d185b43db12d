"""The Transformer against its equations in plain loops, its positions by formula, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pydantic
import pytest
import torch
from looks import gate_of, weights
from references import (
    Matrix,
    Vector,
    affine,
    bahdanau,
    dot,
    each,
    gate,
    plus,
    sigmoid,
    softmax,
    times,
    weighted_sum,
)
from runs import Trained, prepared, write_project
from torch import Tensor

from nmt.attention import ATTENTIONS, MultiHead
from nmt.batching import collate
from nmt.ensemble import Ensemble
from nmt.losses.base import Loss
from nmt.losses.coverage import Coverage, DoublyStochastic
from nmt.losses.guided import Guided
from nmt.model import EncoderDecoder, build_model
from nmt.positions import POSITIONS, Rotary, Sinusoidal
from nmt.search import SearchSettings, beam_search, force
from nmt.settings import choice
from nmt.sublayers import FEED_FORWARDS, NORMS, TransformerSettings
from nmt.train import gather
from nmt.tree import repeat
from nmt.vocabulary import BOS

DOUBLE = torch.float64
D, F, H, WORDS = 4, 6, 2, 9
SOURCES = [[4, 5, 6, 7], [8, 4], [6]]
TARGETS = [[5, 4], [6, 7, 8, 8], []]
BATCH = collate(SOURCES, TARGETS, range(3))


def settings(**changes: Any) -> TransformerSettings:
    sizes = {"embedding": D, "hidden": F, "heads": H, "encoder_layers": 2, "decoder_layers": 2}
    return TransformerSettings.model_validate({**sizes, **changes})


def a_model(**changes: Any) -> EncoderDecoder:
    """In float64, with weights at which every part matters."""
    model = build_model(settings(**changes), WORDS, WORDS).to(DOUBLE).eval()
    with torch.no_grad():
        for one in model.parameters():
            one.uniform_(-1, 1)
    return model


# ------------------------------------------------------------------------------------- the equations in plain loops


def linear(module: Any, x: Vector) -> Vector:
    product = times(module.weight.tolist(), x)
    return product if module.bias is None else plus(product, module.bias.tolist())


def norm(module: Any, x: Vector) -> Vector:
    mean = sum(x) / len(x)
    deviation = math.sqrt(sum((one - mean) ** 2 for one in x) / len(x) + 1e-5)
    parts = zip(x, module.weight.tolist(), module.bias.tolist(), strict=True)
    return [(one - mean) / deviation * weight + bias for one, weight, bias in parts]


def wave(place: int) -> Vector:
    """Vaswani et al. 2017, section 3.5."""
    return [(math.cos if k % 2 else math.sin)(place / 10000 ** (2 * (k // 2) / D)) for k in range(D)]


def turned(x: Vector, place: int) -> Vector:
    """Each pair of numbers as a complex one, times e^(i angle)."""
    found: Vector = []
    for pair in range(len(x) // 2):
        angle = place / 10000 ** (2 * pair / len(x))
        number = complex(x[2 * pair], x[2 * pair + 1]) * complex(math.cos(angle), math.sin(angle))
        found += [number.real, number.imag]
    return found


def unturned(x: Vector, place: int) -> Vector:
    return x


Turn = Callable[[Vector, int], Vector]


def heads(
    module: Any, s: Vector, memory: Matrix, turn: Turn, place: int, seen: Sequence[bool]
) -> tuple[Vector, Matrix]:
    """Vaswani et al. 2017, section 3.2.2: what all heads give for one query, and where each looks."""
    query, size = linear(module.query, s), D // H
    keys, values = [linear(module.key, h) for h in memory], [linear(module.value, h) for h in memory]
    joined, looks = [], []
    for head in range(H):
        part = slice(head * size, (head + 1) * size)
        energy = [dot(turn(query[part], place), turn(k[part], j)) / math.sqrt(size) for j, k in enumerate(keys)]
        looks.append(softmax(energy, seen))
        joined += weighted_sum(looks[-1], [v[part] for v in values])
    return linear(module.output, joined), looks


def gelu(x: float) -> float:
    return x * (1 + math.erf(x / math.sqrt(2))) / 2


def feed_forward(module: Any, kind: str, x: Vector) -> Vector:
    wide = linear(module.widen, x)
    if kind == "swiglu":
        gate = linear(module.gate, x)
        wide = [g * sigmoid(g) * w for g, w in zip(gate, wide, strict=True)]
    else:
        wide = each(gelu if kind == "gelu" else lambda one: max(0.0, one), wide)
    return linear(module.narrow, wide)


def around(module: Any, kind: str, x: Matrix, part: Callable[[Matrix], Matrix]) -> Matrix:
    """A part of a layer between its norm and what it is added to."""
    if kind == "pre":
        return [plus(one, change) for one, change in zip(x, part([norm(module.norm, one) for one in x]), strict=True)]
    return [norm(module.norm, plus(one, change)) for one, change in zip(x, part(x), strict=True)]


def embedded(module: Any, words: Sequence[int], positions: str) -> Matrix:
    rows = [[math.sqrt(D) * one for one in module.embedding.weight[word].tolist()] for word in words]
    if positions == "rotary":
        return rows
    learned = module.embedded.positions.vectors.tolist() if positions == "learned" else None
    return [plus(row, learned[place] if learned else wave(place)) for place, row in enumerate(rows)]


def by_heads(module: Any, s: Vector, h: Matrix) -> tuple[Vector, Matrix]:
    return heads(module, s, h, unturned, 0, [True] * len(h))


def by_gatt(module: Any, s: Vector, h: Matrix) -> tuple[Vector, Matrix]:
    """Zhang et al. 2017, equations 5 to 8: the layer's query is the gate's input."""
    p, inner = gate_of(module), module.inner
    w, u, [v] = weights(inner.query, inner.memory, inner.energy)
    context, look = bahdanau(w, u, v, s, [gate(p, one, s) for one in h], [True] * len(h))
    return context, [look]


def reference(
    model: Any,
    chosen: TransformerSettings,
    source: list[int],
    target: list[int],
    seen: Any = by_heads,
    forwards: bool = True,
) -> tuple[Matrix, list]:
    """Logits for every target position, and where every head of every layer looks: [layer][position][head]; not
    ``forwards``, the decoder knows the words that come later."""
    positions = chosen.positions.kind
    turn: Turn = turned if positions == "rotary" else unturned

    def itself(module: Any, x: Matrix, forwards: bool) -> Matrix:
        before = [[not forwards or j <= t for j in range(len(x))] for t in range(len(x))]
        return [heads(module, one, x, turn, t, before[t])[0] for t, one in enumerate(x)]

    def after(module: Any, x: Matrix) -> Matrix:
        return [norm(module.last, one) for one in x] if chosen.norm == "pre" else x

    def wide(layer: Any, x: Matrix) -> Matrix:
        return around(
            layer.around_feed_forward,
            chosen.norm,
            x,
            lambda rows: [feed_forward(layer.feed_forward, chosen.feed_forward, row) for row in rows],
        )

    h = embedded(model.encoder, source, positions)
    for layer in model.encoder.layers:
        h = around(layer.around_itself, chosen.norm, h, lambda rows, one=layer.itself: itself(one, rows, False))
        h = wide(layer, h)
    h = after(model.encoder, h)

    s, looks = embedded(model.decoder, target, positions), []
    for layer in model.decoder.layers:
        s = around(layer.around_itself, chosen.norm, s, lambda rows, one=layer.itself: itself(one, rows, forwards))
        looks.append([])

        def look(rows: Matrix, module: Any = layer.source.attention, told: list = looks[-1]) -> Matrix:
            found = [seen(module, row, h) for row in rows]
            told += [weights for _, weights in found]
            return [change for change, _ in found]

        s = around(layer.around_source, chosen.norm, s, look)
        s = wide(layer, s)
    output = model.decoder.output
    return [affine(output.weight.tolist(), output.bias.tolist(), row) for row in after(model.decoder, s)], looks


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("kind", FEED_FORWARDS)
@pytest.mark.parametrize("normed", NORMS)
def test_the_model_is_its_equations(normed: str, kind: str, positions: str) -> None:
    changes = {"norm": normed, "feed_forward": kind, "positions": positions}
    model = a_model(**changes)
    trace = model(BATCH.source_BS, BATCH.source_valid_BS, BATCH.input_BT)
    memory = model.encode(BATCH.source_BS, BATCH.source_valid_BS)
    weight_BLHTS = model.decoder.weights(BATCH.input_BT, memory.keys, model.start(memory))
    for row in range(3):
        source = BATCH.source_BS[row][BATCH.source_valid_BS[row]].tolist()
        target = BATCH.input_BT[row][BATCH.target_valid_BT[row]].tolist()
        logits, looks = reference(model, settings(**changes), source, target)
        for t, logit in enumerate(logits):
            assert trace.logit_BTV[row, t].tolist() == pytest.approx(logit, abs=1e-10)
            for layer in range(2):
                found = weight_BLHTS[row, layer, :, t, : len(source)].tolist()
                for head in range(H):
                    assert found[head] == pytest.approx(looks[layer][t][head], abs=1e-10)
            mean = [sum(column) / H for column in zip(*looks[-1][t], strict=True)]
            assert trace.weight_BTS[row, t, : len(source)].tolist() == pytest.approx(mean, abs=1e-10)


@pytest.mark.parametrize("normed", NORMS)
def test_gatt_looks_for_a_transformer_as_its_equations_say(normed: str) -> None:
    changes = {"norm": normed, "attention": "gatt"}
    model = a_model(**changes)
    trace = model(BATCH.source_BS, BATCH.source_valid_BS, BATCH.input_BT)
    for row in range(3):
        source = BATCH.source_BS[row][BATCH.source_valid_BS[row]].tolist()
        target = BATCH.input_BT[row][BATCH.target_valid_BT[row]].tolist()
        logits, looks = reference(model, settings(**changes), source, target, by_gatt)
        for t, logit in enumerate(logits):
            assert trace.logit_BTV[row, t].tolist() == pytest.approx(logit, abs=1e-10)
            assert trace.weight_BTS[row, t, : len(source)].tolist() == pytest.approx(looks[-1][t][0], abs=1e-10)


# -------------------------------------------------------------------------------------------------------- positions


def test_sinusoidal_positions_by_formula() -> None:
    place_BT = torch.tensor([[0, 1, 7], [100, 3, 0]])
    found = Sinusoidal(D, D).add(torch.zeros(2, 3, D, dtype=DOUBLE), place_BT)
    for b in range(2):
        for t in range(3):
            assert found[b, t].tolist() == pytest.approx(wave(int(place_BT[b, t])), abs=1e-12)


def test_sinusoidal_positions_of_an_odd_size_are_the_first_numbers() -> None:
    found = Sinusoidal(3, 3).add(torch.zeros(1, 1, 3, dtype=DOUBLE), torch.tensor([[5]]))
    assert found[0, 0].tolist() == pytest.approx([math.sin(5), math.cos(5), math.sin(5 / 10000 ** (2 / 3))], abs=1e-12)


def test_rotary_scores_depend_on_the_distance_alone() -> None:
    rotary = Rotary(8, 8)
    query, key = torch.randn(1, 1, 1, 8, dtype=DOUBLE), torch.randn(1, 1, 1, 8, dtype=DOUBLE)

    def score(here: int, there: int) -> float:
        at = [rotary.turn(x, torch.tensor([[place]])) for x, place in ((query, here), (key, there))]
        return float((at[0] * at[1]).sum())

    assert score(3, 1) == pytest.approx(score(43, 41), abs=1e-10)
    assert score(0, 5) == pytest.approx(score(17, 22), abs=1e-10)
    assert abs(score(3, 1) - score(1, 3)) > 1e-3
    assert score(4, 4) == pytest.approx(float((query * key).sum()), abs=1e-10)


def test_learned_positions_beyond_the_longest_share_the_last() -> None:
    learned: Any = POSITIONS["learned"](D, D, longest=3)
    found = learned.add(torch.zeros(1, 5, D), torch.arange(5).unsqueeze(0))
    assert torch.equal(found[0, 2:], learned.vectors[2].expand(3, D))
    assert not torch.equal(found[0, 1], found[0, 2])


def test_no_position_sees_what_comes_after() -> None:
    model = a_model()
    changed_BT = BATCH.input_BT.clone()
    changed_BT[:, 3:] = 8 - changed_BT[:, 3:] % 2
    one, other = (
        model(BATCH.source_BS, BATCH.source_valid_BS, token).logit_BTV for token in (BATCH.input_BT, changed_BT)
    )
    torch.testing.assert_close(one[:, :3], other[:, :3], rtol=0, atol=1e-12)
    assert not torch.isclose(one[:, 3:], other[:, 3:]).all()


# --------------------------------------------------------------------------------------------- what is shown, shared


@pytest.mark.parametrize(
    ("layer", "head", "wanted"),
    [
        ("last", "mean", lambda weight: weight[:, 1].mean(dim=1)),
        (1, "mean", lambda weight: weight[:, 0].mean(dim=1)),
        (2, 1, lambda weight: weight[:, 1, 0]),
        (1, 2, lambda weight: weight[:, 0, 1]),
        ("mean", "mean", lambda weight: weight.mean(dim=(1, 2))),
        ("mean", 2, lambda weight: weight[:, :, 1].mean(dim=1)),
    ],
)
def test_what_is_shown(layer: Any, head: Any, wanted: Callable[[Tensor], Tensor]) -> None:
    model: Any = a_model(shown={"layer": layer, "head": head})
    memory = model.encode(BATCH.source_BS, BATCH.source_valid_BS)
    trace, _ = model.decode(BATCH.input_BT, memory, model.start(memory))
    weight_BLHTS = model.decoder.weights(BATCH.input_BT, memory.keys, model.start(memory))
    assert weight_BLHTS.shape == (3, 2, H, *trace.weight_BTS.shape[1:])
    torch.testing.assert_close(trace.weight_BTS, wanted(weight_BLHTS), rtol=0, atol=1e-12)


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize(("layer", "head"), [(1, 2), ("last", "mean")])
def test_what_is_shown_of_a_whole_target_knows_the_words_that_come_later(layer: Any, head: Any, positions: str) -> None:
    """As Garg et al. 2019 train: looks of a decoder that sees all words, words of one that sees those before."""
    changes = {"positions": positions, "shown": {"layer": layer, "head": head, "context": "whole"}}
    model = a_model(**changes)
    trace = model(BATCH.source_BS, BATCH.source_valid_BS, BATCH.input_BT)
    weight_BLHTS = model.head_weights(BATCH.source_BS, BATCH.source_valid_BS, BATCH.input_BT)
    for row in range(3):
        source = BATCH.source_BS[row][BATCH.source_valid_BS[row]].tolist()
        target = BATCH.input_BT[row][BATCH.target_valid_BT[row]].tolist()
        logits, _ = reference(model, settings(**changes), source, target)
        _, looks = reference(model, settings(**changes), source, target, forwards=False)
        for t, logit in enumerate(logits):
            assert trace.logit_BTV[row, t].tolist() == pytest.approx(logit, abs=1e-10)
            found, both = trace.weight_BTS[row, t, : len(source)].tolist(), looks[-1][t]
            mean = [sum(column) / H for column in zip(*both, strict=True)]
            assert found == pytest.approx(looks[0][t][1] if layer == 1 else mean, abs=1e-10)
            for number in range(2):
                told = weight_BLHTS[row, number, :, t, : len(source)]
                torch.testing.assert_close(told, told.new_tensor(looks[number][t]), rtol=0, atol=1e-10)
    memory = model.encode(BATCH.source_BS, BATCH.source_valid_BS)
    before, _ = model.decode(BATCH.input_BT, memory, model.start(memory))  # as search does
    assert torch.equal(before.logit_BTV, trace.logit_BTV)
    assert not torch.allclose(before.weight_BTS, trace.weight_BTS, atol=1e-3)
    assert torch.equal(model.predict(BATCH.input_BT, memory).weight_BTS, trace.weight_BTS)


def test_training_and_ensembles_read_what_is_shown_of_a_whole_target(tmp_path: Path) -> None:
    model = "model={kind: transformer, embedding: 8, heads: 2, encoder_layers: 1, decoder_layers: 2, shown: {}}"
    losses = "training.objective=[{loss: cross-entropy}, {loss: coverage}]"
    recipe = write_project(tmp_path)
    found = {}
    for context in ("before", "whole"):
        changes = (model.replace("{}", f"{{layer: 1, context: {context}}}"), losses)
        trainer = Trained(*prepared(recipe, *changes), tmp_path / context).trainer()
        batch = gather(trainer.data.train, range(5))
        trace = trainer.model(batch.source_BS, batch.source_valid_BS, batch.input_BT)
        parts = trainer.losses(batch, trainer.objective.started(1)).parts
        torch.testing.assert_close(parts["coverage"], Coverage()(trace, batch))
        both = Ensemble([trainer.model, trainer.model])
        ensemble = both(batch.source_BS, batch.source_valid_BS, batch.input_BT)
        torch.testing.assert_close(ensemble.weight_BTS, trace.weight_BTS)
        found[context] = trace
        trainer.journal.close()
    torch.testing.assert_close(found["whole"].logit_BTV, found["before"].logit_BTV)  # the same first weights
    assert not torch.allclose(found["whole"].weight_BTS, found["before"].weight_BTS, atol=1e-4)


@pytest.mark.parametrize("attention", ["multi-head", "gatt", "bahdanau", "local-p"])
@pytest.mark.parametrize("head", [1, "mean"])
def test_hypotheses_share_the_memory_of_their_sentence(attention: str, head: Any) -> None:
    """Several words at once, for the hypotheses of every sentence, are what they are with a memory each."""
    model = a_model(attention=attention, shown={"head": head})
    memory = model.encode(BATCH.source_BS, BATCH.source_valid_BS)
    state, token_BT = repeat(model.start(memory), 2), torch.randint(4, WORDS, (6, 3))
    for piece_BT in (torch.full((6, 1), BOS), token_BT):
        shared, after = model.decode(piece_BT, memory, state)
        alone, state = model.decode(piece_BT, repeat(memory, 2), state)
        for name in ("logit_BTV", "weight_BTS", "choice_BT", "context_BTE"):
            torch.testing.assert_close(getattr(shared, name), getattr(alone, name), rtol=0, atol=1e-12)
        for one, other in zip(after.past, state.past, strict=True):
            torch.testing.assert_close(one.key_BHPK, other.key_BHPK, rtol=0, atol=1e-12)


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_score_found_is_the_score_forced(positions: str) -> None:
    model = a_model(positions=positions)
    found = beam_search(model, BATCH.source_BS, BATCH.source_valid_BS, SearchSettings(beam=3, n_best=3))
    for row in range(3):
        assert len(found[row]) == 3
        for one in found[row]:
            again = collate([SOURCES[row]], [one.tokens], [0])
            (forced,) = force(model, again, SearchSettings())
            assert one.log_prob == pytest.approx(forced.log_prob, abs=1e-5)
            torch.testing.assert_close(one.weight_TS, forced.weight_TS, rtol=0, atol=1e-5)


# ----------------------------------------------------------------------------------------------- losses, ties, refusals


def step(model: EncoderDecoder, optimiser: torch.optim.Optimizer, loss: Loss, batch: Any) -> float:
    optimiser.zero_grad()
    total = loss(model(batch.source_BS, batch.source_valid_BS, batch.input_BT), batch).sum()
    total.backward()
    optimiser.step()
    return total.item()


@pytest.mark.parametrize("head", [1, "mean"])
def test_losses_on_attention_teach_what_is_shown(head: Any) -> None:
    # Five target positions on three of the source look twice at two of them at least; guided has no such floor.
    for loss, floor in ((Coverage(), 2.0), (DoublyStochastic(), 0.0), (Guided(), 0.0)):
        model: Any = a_model(shown={"layer": 1, "head": head}).train()
        batch = collate(SOURCES, TARGETS, range(3))
        if isinstance(loss, Guided):
            links = torch.tensor([[[0, 1, 1], [1, 0, 1]], [[0, 0, 1], [3, 1, 1]], [[-1, -1, -1], [-1, -1, -1]]])
            batch = batch._replace(link_BL3=links)
        optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
        before = step(model, optimiser, loss, batch)
        assert model.decoder.layers[0].source.attention.query.weight.grad.any()
        assert model.decoder.output.weight.grad is None  # nothing of it is in the loss
        for _ in range(40):
            after = step(model, optimiser, loss, batch)
        assert after - floor < (before - floor) / 2


def test_a_guided_head_is_one_head_of_one_layer() -> None:
    """As Garg et al. 2019 guide: the first of two layers, one of its heads; nothing else of what looks is taught."""
    model: Any = a_model(shown={"layer": 1, "head": 2}).train()
    links = torch.tensor([[[0, 1, 1], [1, 0, 1]], [[0, 0, 1], [3, 1, 1]], [[-1, -1, -1], [-1, -1, -1]]])
    batch = BATCH._replace(link_BL3=links)
    Guided()(model(batch.source_BS, batch.source_valid_BS, batch.input_BT), batch).sum().backward()
    below, above = (layer.source.attention for layer in model.decoder.layers)
    for product in (below.query, below.key):
        first, second = product.weight.grad.chunk(2)
        assert not first.any()
        assert second.abs().amax(dim=1).all()
    assert all(one.grad is None or not one.grad.any() for one in (*above.parameters(), below.value.weight))


def test_ties() -> None:
    none, target, every = (build_model(settings(tie=tie), WORDS, WORDS) for tie in ("none", "target", "all"))
    assert none.decoder.output.weight is not none.decoder.embedding.weight
    assert target.decoder.output.weight is target.decoder.embedding.weight is not target.encoder.embedding.weight
    assert every.decoder.output.weight is every.encoder.embedding.weight
    with pytest.raises(ValueError, match='tie "all" needs one vocabulary'):
        build_model(settings(tie="all"), WORDS, WORDS + 1)


@pytest.mark.parametrize("place", ["embedding", "layer", "attention", "feed_forward"])
def test_dropout_acts_in_training_alone(place: str) -> None:
    model = a_model(dropout={place: 0.5})
    arguments = (BATCH.source_BS, BATCH.source_valid_BS, BATCH.input_BT)
    plain = a_model(dropout={place: 0.0})
    plain.load_state_dict(model.state_dict())
    assert torch.equal(model(*arguments).logit_BTV, plain(*arguments).logit_BTV)
    model.train()
    assert not torch.equal(model(*arguments).logit_BTV, model(*arguments).logit_BTV)


def test_the_attention_to_the_source_has_as_many_heads_by_default() -> None:
    assert settings(embedding=8, heads=8).decoder.make_attention(8).heads == 8
    assert isinstance(settings().decoder.make_attention(D), MultiHead)


SEQUENTIAL = [kind for kind in ATTENTIONS if choice(ATTENTIONS).validate(kind).build(ATTENTIONS, D, D).sequential]


def test_sequential_attentions_are_refused() -> None:
    assert {"coverage-linguistic", "coverage-neural", "coverage-see", "fertility-bound"} <= set(SEQUENTIAL)
    for kind in [*SEQUENTIAL, {"kind": "gatt", "inner": "coverage-neural"}]:
        with pytest.raises(pydantic.ValidationError, match=r'decodes all positions.*such as "multi-head" or "gatt"'):
            settings(attention=kind)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"heads": 3}, "3 heads cannot share the embedding's size 4 evenly"),
        ({"heads": 4, "positions": "rotary"}, "rotary positions turn pairs of numbers, but a head has 1"),
        ({"shown": {"layer": 3}}, "shown.layer is 3, but the decoder's attention has 2"),
        ({"shown": {"head": 3}}, "shown.head is 3, but the decoder's attention has 2"),
        ({"shown": {"head": 2}, "attention": "bahdanau"}, "shown.head is 2, but the decoder's attention has 1"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=told):
        settings(**changes)
