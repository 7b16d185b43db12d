"""Levine et al. 2020: how deep a Transformer should be for its width, told by a dry run."""

from __future__ import annotations

from pathlib import Path

import pytest
from runs import prepared, write_project

from nmt.depth import depth_threshold, remarks_on_depth
from nmt.mixed import MixedSettings
from nmt.rehearsal import rehearse
from nmt.sublayers import TransformerSettings


@pytest.mark.parametrize(("width", "layers"), [(3, 1), (27, 3), (3**6, 6)])
def test_the_threshold_is_the_power_of_three_that_the_width_is(width: int, layers: int) -> None:
    assert depth_threshold(width) == pytest.approx(layers)


def remarks(**settings: int) -> list[str]:
    return list(remarks_on_depth(TransformerSettings.model_validate({"heads": 1, **settings})))


def test_a_side_that_is_deeper_gets_a_remark() -> None:
    assert remarks(embedding=82, encoder_layers=4, decoder_layers=4) == []
    (sentence,) = remarks(embedding=82, encoder_layers=4, decoder_layers=5)
    assert sentence.startswith("remark: 5 decoder layers are more than log3(82) = 4.0, up to which depth")
    assert len(remarks(embedding=82, encoder_layers=6, decoder_layers=6)) == 2


def test_a_side_of_a_mixed_model_too() -> None:
    deep = {"kind": "transformer", "embedding": 27, "heads": 1, "layers": 4}
    model = MixedSettings.model_validate({"encoder": {"kind": "recurrent"}, "decoder": deep})
    (sentence,) = remarks_on_depth(model)
    assert sentence.startswith("remark: 4 decoder layers are more than log3(27) = 3.0")


def test_a_dry_run_tells_it_of_a_transformer_alone(tmp_path: Path) -> None:
    path = write_project(tmp_path)
    deep = "model={kind: transformer, embedding: 8, heads: 2, encoder_layers: 2, decoder_layers: 1}"
    lines = list(rehearse(*prepared(path, deep)))
    assert [line.startswith("remark: 2 encoder layers") for line in lines] == [False, True, *[False] * (len(lines) - 2)]
    assert not any("remark" in line for line in rehearse(*prepared(path)))
