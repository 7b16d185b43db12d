"""The whole of it: small models learn to turn sequences around, and look where they should while they say them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from runs import Trained, prepared, reversals, write_project, write_reversals

from nmt.translator import Translator

LONGEST = 6

SETTINGS = (
    "model.embedding=32",
    "model.hidden=32",
    "training.epochs=8",
    "training.batch_tokens=400",
    "training.optimiser={kind: adam, rate: 0.01}",
    "training.schedule={kind: inverse-square-root, warmup: 100}",
    "training.validation.by=loss",
)

VARIANTS = {
    "bahdanau": (),
    "gatt": ("model.attention=gatt",),
    "lstm": ("model.cell=lstm",),
}


@pytest.mark.parametrize("overrides", VARIANTS.values(), ids=list(VARIANTS))
def test_learns_to_reverse_and_looks_at_the_mirrored_place(overrides: tuple[str, ...], tmp_path: Path) -> None:
    path = write_project(tmp_path)
    write_reversals(tmp_path, "train", reversals(3000, seed=1, longest=LONGEST))
    write_reversals(tmp_path, "dev", reversals(50, seed=2, longest=LONGEST))
    sources = reversals(100, seed=3, longest=LONGEST)
    recipe, data = prepared(path, *SETTINGS, *overrides)
    Trained(recipe, data, tmp_path / "run").run()

    translations = Translator.load(tmp_path / "run", "cpu").translate([" ".join(words) for words in sources])

    exact = [one.words == words[::-1] for one, words in zip(translations, sources, strict=True)]
    assert np.mean(exact) >= 0.95
    looked = [
        int(row.argmax()) == len(one.source_words) - 1 - place
        for one in translations
        for place, row in enumerate(one.matrix())
    ]
    assert np.mean(looked) >= 0.9, np.mean(looked)
