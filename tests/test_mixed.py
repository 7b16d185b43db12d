"""Mixed models: each side is that of a model of its kind, what cannot be is told, and what is written is read again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pydantic
import pytest
import torch
from runs import write_project
from torch import nn

from nmt.attention import Memory
from nmt.batching import collate
from nmt.cells import CELLS
from nmt.errors import InputError
from nmt.mixed import MixedSettings
from nmt.model import EncoderDecoder, build_model
from nmt.recipe import keep_recipe, load_recipe
from nmt.recurrent import RecurrentSettings
from nmt.sublayers import TransformerSettings

DOUBLE = torch.float64
WORDS = 9
BATCH = collate([[4, 5, 6, 7], [8, 4], [6]], [[5, 4], [6, 7, 8, 8], []], range(3))
TRANSFORMER: dict[str, Any] = {"kind": "transformer", "embedding": 4, "heads": 2, "layers": 2}
RECURRENT: dict[str, Any] = {"kind": "recurrent", "embedding": 3, "hidden": 5, "layers": 2}


def mixed(encoder: Any, decoder: Any, **changes: Any) -> MixedSettings:
    return MixedSettings.model_validate({"kind": "mixed", "encoder": encoder, "decoder": decoder, **changes})


def built(settings: Any) -> EncoderDecoder:
    model = build_model(settings, WORDS, WORDS).to(DOUBLE).eval()
    with torch.no_grad():
        for one in model.parameters():
            one.uniform_(-1, 1)
    return model


def check_sides(model: EncoderDecoder, encoder: Any, decoder: nn.Module) -> None:
    """The sides of a mixed model give what those of models of one kind give, with the same weights."""
    encoder.load_state_dict(model.encoder.state_dict())
    decoder.load_state_dict(model.decoder.state_dict())
    memory: Memory = encoder(BATCH.source_BS, BATCH.source_valid_BS)
    logit_BTV, seen, _ = decoder(BATCH.input_BT, memory, decoder.precompute(memory), decoder.start(memory))
    trace = model(BATCH.source_BS, BATCH.source_valid_BS, BATCH.input_BT)
    assert torch.equal(trace.logit_BTV, logit_BTV)
    assert torch.equal(trace.weight_BTS, seen.weight_BTS)


def test_a_recurrent_decoder_over_a_transformer() -> None:
    """A sequential attention, residual layers and input feeding, over a memory of 4: that of two directions of 2."""
    decoding = {"wiring": "update-then-look", "attention": "coverage-neural", "residual": True, "cell": "lstm"}
    model = built(mixed({**TRANSFORMER, "positions": "rotary", "norm": "post"}, {**RECURRENT, **decoding}))
    sizes = {"embedding": 3, "hidden": 5, "encoder_hidden": 2, "decoder_layers": 2}
    recurrent = built(RecurrentSettings.model_validate({**sizes, **decoding}))
    layers = {"embedding": 4, "heads": 2, "encoder_layers": 2, "positions": "rotary", "norm": "post"}
    check_sides(model, built(TransformerSettings.model_validate(layers)).encoder, recurrent.decoder)


def test_a_transformer_decoder_over_cells() -> None:
    layers = {"feed_forward": "swiglu", "positions": "learned", "shown": {"layer": 1, "head": 2}}
    encoder = {**RECURRENT, "hidden": 2, "cell": "janet", "residual": True}
    model = built(mixed(encoder, {**TRANSFORMER, **layers}))
    sizes = {"embedding": 3, "hidden": 2, "encoder_layers": 2, "cell": "janet", "residual": True}
    recurrent = built(RecurrentSettings.model_validate(sizes))
    transformer = built(TransformerSettings.model_validate({"embedding": 4, "heads": 2, "decoder_layers": 2, **layers}))
    check_sides(model, recurrent.encoder, transformer.decoder)


def test_a_memory_of_another_size_is_projected_by_each_head() -> None:
    model: Any = built(mixed({**RECURRENT, "hidden": 7}, TRANSFORMER))
    attention = model.decoder.layers[0].source.attention
    assert (attention.key.weight.shape, attention.context_size, attention.heads) == ((4, 14), 4, 2)


def test_cells_of_each_side_are_its_own() -> None:
    encoder = {**RECURRENT, "cell": "minimal", "dropout": {"state": 0.5, "mask": "sentence"}}
    names = [type(one).__name__ for one in built(mixed(encoder, {**RECURRENT, "cell": "lstm"})).modules()]
    assert (names.count("MinimalGatedUnit"), names.count("StateDropout"), names.count("LSTM")) == (4, 4, 3)


def test_ties() -> None:
    model = built(mixed(TRANSFORMER, {**RECURRENT, "embedding": 4}, tie="all"))
    assert model.encoder.embedding.weight is model.decoder.embedding.weight is model.decoder.output.weight
    model = built(mixed(RECURRENT, TRANSFORMER, tie="target"))
    assert model.encoder.embedding.weight is not model.decoder.embedding.weight is model.decoder.output.weight


def test_what_the_documentation_shows_is_understood(repository: Path, tmp_path: Path) -> None:
    page = (repository / "docs" / "transformer.md").read_text(encoding="utf-8")
    kinds = []
    place = write_project(tmp_path)
    place.write_text(place.read_text(encoding="utf-8").replace("model: {embedding: 8, hidden: 8}\n", ""))
    for snippet in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL):
        (tmp_path / "shown.yaml").write_text(f"base: {place.name}\n{snippet}", encoding="utf-8")
        recipe = load_recipe(tmp_path / "shown.yaml")
        kinds.append((recipe.model.kind, recipe.model.attention and recipe.model.attention.kind))
        build_model(recipe.model, WORDS, WORDS)
    assert kinds == [
        ("transformer", "multi-head"),
        ("transformer", None),
        ("transformer", None),
        ("mixed", "coverage-neural"),
        ("recurrent", "gatt-cell"),
    ]
    for cell in CELLS:
        assert re.search(rf"\| .*`({cell}|{{kind: {cell}, .*}})`.* \|", page), f"{cell} is not in the table of gates"


# -------------------------------------------------------------------------------------------------------- what is told

BACKWARD = {**RECURRENT, "start": "backward"}


@pytest.mark.parametrize(
    ("encoder", "decoder", "more", "place", "told"),
    [
        (RECURRENT, {**TRANSFORMER, "attention": "coverage-neural"}, {}, "decoder", "decodes all positions of a layer"),
        (TRANSFORMER, BACKWARD, {}, "decoder", 'which a Transformer has not; choose the start "mean"'),
        (RECURRENT, {**TRANSFORMER, "attention": "dot"}, {}, "decoder", "one size, not 4 and 10"),
        (TRANSFORMER, {**RECURRENT, "attention": "dot"}, {}, "decoder", "one size, not 5 and 4"),
        (RECURRENT, {**TRANSFORMER, "shown": {"layer": 3}}, {}, "decoder", "shown.layer is 3, but the decoder's"),
        (TRANSFORMER, {**RECURRENT, "readout": "direct"}, {}, "decoder", 'readout "direct" would hide the context'),
        (TRANSFORMER, {**RECURRENT, "output": "marginal"}, {}, "decoder", 'choose the wiring "unfed"'),
        (TRANSFORMER, RECURRENT, {"tie": "all"}, None, "embeddings of one size: 4 in the encoder is not 3"),
        (TRANSFORMER, {**RECURRENT, "readout_size": 9}, {"tie": "target"}, None, "9 is not 3"),
        ({"embedding": 4}, RECURRENT, {}, "encoder", "each side of a mixed model says its kind"),
        (TRANSFORMER, {**RECURRENT, "kind": "mixed"}, {}, "decoder", "each side of a mixed model says its kind"),
    ],
)
def test_what_cannot_be_is_told(encoder: Any, decoder: Any, more: Any, place: str | None, told: str) -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        mixed(encoder, decoder, **more)
    (error,) = caught.value.errors()
    assert told in error["msg"]
    assert error["loc"][:1] == (() if place is None else (place,))


def test_a_backward_start_over_cells_is_fine() -> None:
    built(mixed(RECURRENT, BACKWARD))


RECIPE = "{kind: mixed, encoder: {kind: transformer, embedding: 8}, decoder: {kind: recurrent, hidden: 8}}"


def test_a_recipe_is_told_of_a_setting_of_the_other_kind_with_its_line(tmp_path: Path) -> None:
    recipe = write_project(tmp_path)
    text = recipe.read_text(encoding="utf-8").replace("model: {embedding: 8, hidden: 8}", f"model: {RECIPE}")
    recipe.write_text(text.replace("hidden: 8", "heads: 8"), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_recipe(recipe)
    assert str(caught.value).startswith(f"{recipe}, line 5: model.decoder.heads: unknown key")


def test_a_resolved_recipe_is_read_again(tmp_path: Path) -> None:
    recipe = load_recipe(write_project(tmp_path), [f"model={RECIPE}"])
    for _ in range(2):  # the second time the run is there
        keep_recipe(recipe, tmp_path / "run")
    assert load_recipe(tmp_path / "run" / "recipe.yaml") == recipe
    other = load_recipe(tmp_path / "small.yaml")
    with pytest.raises(InputError, match="model was mixed, is now recurrent"):
        keep_recipe(other, tmp_path / "run")


def test_a_loss_that_reads_a_fertility_is_told_of_one_that_changes(tmp_path: Path) -> None:
    changes = [f"model={RECIPE}", "model.decoder.attention={kind: gatt, inner: coverage-linguistic}"]
    place = write_project(tmp_path)
    load_recipe(place, changes)
    with pytest.raises(InputError, match='"gatt" around coverage expects anew at every step'):
        load_recipe(place, [*changes, "training.objective=[{loss: cross-entropy}, {loss: fertility}]"])
