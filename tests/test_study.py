"""A study's file: what it may say, the runs it means, and every mistake told by its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from runs import write_project

from nmt.errors import InputError
from nmt.model import RecurrentSettings
from nmt.study import cells, load_study, runs
from nmt.sublayers import TransformerSettings

STUDY = """\
recipe: project/small.yaml
settings: [training.epochs=1]
grid:
  cell:
    gru: []
    lstm: [model.cell=lstm]
  size:
    8: []
    "12": [model.hidden=12, model.embedding=12]
seeds: [3, 1]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_project(tmp_path / "project")
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path / "study.yaml"


def mistakes(path: Path, text: str = "", *overrides: str) -> list[str]:
    """What is said of the study in ``text``, without the directory."""
    if text:
        path.write_text(text)
    with pytest.raises(InputError) as told:
        runs(load_study(path, overrides), path.parent / "runs")
    return str(told.value).replace(f"{path.parent}/", "").split("\n")


def test_every_cell_and_seed_is_a_run(path: Path) -> None:
    study = load_study(path)
    assert [cell.values for cell in cells(study)] == [("gru", "8"), ("gru", "12"), ("lstm", "8"), ("lstm", "12")]
    found = runs(study, Path("here"))
    assert [str(run) for run in found[:5]] == [
        "gru_8 seed 3", "gru_12 seed 3", "lstm_8 seed 3", "lstm_12 seed 3", "gru_8 seed 1",
    ]  # fmt: skip
    assert found[3].directory == Path("here/lstm_12/seed-3")
    recipe = found[3].settings
    assert (recipe.model.cell.kind, recipe.model.hidden, recipe.training.epochs, recipe.seed) == ("lstm", 12, 1, 3)
    assert recipe.corpus == path.parent / "project" / "corpus.yaml"
    assert len({run.key for run in found}) == 8


def test_a_value_may_have_a_recipe_of_its_own(path: Path) -> None:
    other = path.parent / "other.yaml"
    other.write_text(
        (path.parent / "project/small.yaml")
        .read_text()
        .replace("corpus.yaml", "project/corpus.yaml")
        .replace("{embedding: 8, hidden: 8}", "{kind: transformer, embedding: 8, heads: 2}")
    )
    path.write_text(
        "recipe: project/small.yaml\ngrid:\n  model:\n    rnn: []\n"
        "    transformer: {recipe: other.yaml, settings: [model.heads=4]}\n"
    )
    first, second = runs(load_study(path), path.parent)
    assert isinstance(first.settings.model, RecurrentSettings)
    assert isinstance(second.settings.model, TransformerSettings)
    assert second.settings.model.heads == 4


def test_a_path_in_a_setting_is_relative_to_the_study(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    path.write_text(STUDY.replace("training.epochs=1", "training.epochs=1, corpus=elsewhere.yaml"))
    assert runs(load_study(path), path)[0].settings.corpus == path.parent / "elsewhere.yaml"


def test_only_some_values(path: Path) -> None:
    study = load_study(path, ["only={size: [12]}", "seeds=[1]"])
    assert [cell.name for cell in cells(study)] == ["gru_12", "lstm_12"]


def test_the_axis_along_x(path: Path) -> None:
    assert load_study(path).axis == "size"
    assert load_study(path, ["along=cell"]).axis == "cell"
    assert load_study(path, ["only={size: [8]}"]).axis == "size"  # the last


MISTAKES = {
    "unknown key": (("seeds:", "seed:"), ['study.yaml, line 10: seed: unknown key; did you mean "seeds"?']),
    "unknown key of a setting": (
        ("model.cell=lstm", "model.sell=lstm"),
        ['study.yaml, line 6, "model.sell=lstm": model.sell: unknown key; did you mean "cell"?'],
    ),
    "unknown value of a setting": (
        ("model.cell=lstm", "model.cell=lstn"),
        ['study.yaml, line 6, "model.cell=lstn": model.cell: unknown kind "lstn"; did you mean "lstm"?'],
    ),
    "no setting": (
        ("training.epochs=1", "epochs"),
        ['study.yaml, line 2, "epochs": a setting is written key=value or section.key=value'],
    ),
    "a seed among the settings": (
        ("[model.cell=lstm]", "[seed=4]"),
        ['study.yaml, line 6: "seed=4": the seeds of a study stand in its list of seeds'],
    ),
    "a seed twice": (("[3, 1]", "[3, 3]"), ["a seed is given twice"]),
    "cells that are the same": (("model.cell=lstm", "model.cell=gru"), ["the cells gru_8 and lstm_8 have the same"]),
    "no seed": (("[3, 1]", "[]"), ["study.yaml, line 10: seeds:"]),
    "an axis without values": (
        ("    gru: []\n    lstm: [model.cell=lstm]\n", "    {}\n"),
        ['the axis "cell" has no value'],
    ),
    "a name that leads out of the study": (("gru:", "..:"), ['".." becomes part of a file\'s name']),
    "a name that is no name": (("gru:", "a/b:"), ['"a/b" becomes part of a file\'s name']),
    "a metric that does not exist": (("seeds", "metrics: [bleuu]\nseeds"), ["did you mean bleu?"]),
    "an axis that is not there": (
        ("seeds", "along: sizes\nseeds"),
        ['the grid has no axis "sizes"; it has cell, size'],
    ),
    "only a value that is not there": (
        ("seeds", "only: {size: [9]}\nseeds"),
        ['only: the axis "size" has no value "9"; it has 8, 12'],
    ),
    "an analysis that does not exist": (("seeds", "analyses: [cost]\nseeds"), ['unknown kind "cost"']),
    "an analysis with a mistake": (
        ("seeds", "analyses: [{kind: cost-by-length, length: [3]}]\nseeds"),
        ['analyses.0.length: unknown key; did you mean "lengths"?'],
    ),
    "a test set of cells": (("recipe", "kind: memory\ntests: [test]\nrecipe"), ["a study of memory has no test sets"]),
    "an analysis of translations for cells": (
        ("recipe", "kind: memory\nanalyses: [cost-by-length]\nrecipe"),
        ["cost-by-length reads translations"],
    ),
    "no recipe": (("recipe: project/small.yaml\n", ""), ['study.yaml: the key "recipe" is missing']),
    "a recipe that is not there": (("small", "gone"), ["project/gone.yaml: no such file or directory"]),
}  # fmt: skip


@pytest.mark.parametrize(("change", "sentences"), MISTAKES.values(), ids=list(MISTAKES))
def test_mistakes_are_told_by_their_lines(path: Path, change: tuple[str, str], sentences: list[str]) -> None:
    text = STUDY.replace(*change)
    assert text != STUDY
    found = mistakes(path, text)
    assert len(found) == len(set(found))
    for sentence in sentences:
        assert any(sentence in one for one in found), found


def test_all_mistakes_of_all_cells_at_once(path: Path) -> None:
    found = mistakes(path, STUDY.replace("model.cell=lstm", "model.sell=lstm").replace("hidden=12", "hiden=12"))
    assert [one.split(": ")[-1] for one in found] == [
        'unknown key; did you mean "hidden"?',
        'unknown key; did you mean "cell"?',
    ]


def test_two_values_of_one_name_in_a_path(path: Path) -> None:
    text = STUDY.replace("gru:", "a_b:").replace("lstm:", "a:").replace("    8: []", "    c: []")
    text = text.replace('"12"', "b_c")
    assert mistakes(path, text)[0].endswith("two cells are called a_b_c; give values other names")
