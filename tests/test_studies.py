"""Every study that is shipped: read, and a run of every value of every axis built and stepped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from runs import Trained, quiet
from test_recipes import cut

from nmt.journal import Journal
from nmt.memory_tasks import MemoryTask, learn
from nmt.model import build_model
from nmt.preparation import prepare
from nmt.recipe import Recipe
from nmt.study import Run, cells, load_study, runs

DIRECTORY = Path(__file__).resolve().parent.parent / "recipes" / "studies"
STUDIES = sorted(DIRECTORY.glob("study-*.yaml"))


def covering(path: Path) -> list[Run]:
    """Runs of the first seed in which each value of each axis is met: in that cell whose other values are the first."""
    study = load_study(path)
    first = cells(study)[0].values
    all_runs = runs(study, Path("runs"))[: len(cells(study))]
    return [run for run in all_runs if sum(a != b for a, b in zip(run.cell.values, first, strict=True)) <= 1]


ONES = [
    # The first of each study always; the others with the slow tests, all together half a minute.
    pytest.param(path, run, id=f"{path.stem}-{run.cell.name}", marks=[pytest.mark.slow] if number else [])
    for path in STUDIES
    if not path.stem.endswith("-small")
    for number, run in enumerate(covering(path))
]


def test_there_are_the_studies() -> None:
    names = {path.stem.removeprefix("study-") for path in STUDIES}
    assert {"cells", "scores", "depth-width", "rnn-vs-transformer", "memory"} <= names


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_says_how_to_run_it_and_means_runs(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith(f"# nmt-study recipes/studies/{path.name}")
    found = runs(load_study(path), Path("runs"))
    assert len({run.key for run in found}) == len(found) > 1


def test_cells_are_all_cells_layers_and_dropouts() -> None:
    found = runs(load_study(DIRECTORY / "study-cells.yaml"), Path("runs"))
    assert len(found) == 6 * 2 * 2 * 3
    dropouts = {(one.embedding, one.layer, one.output) for one in (run.settings.model.dropout for run in found)}
    assert dropouts == {(0, 0, 0), (0.2, 0.2, 0.2)}


def test_depths_have_as_many_parameters() -> None:
    counts = []
    for run in covering(DIRECTORY / "study-depth-width.yaml"):
        with torch.device("meta"):
            model = build_model(run.settings.model, 1100, 1000)
        counts.append(sum(one.numel() for one in model.parameters()))
    assert all(abs(count / 1.65e6 - 1) < 0.025 for count in counts), counts


def test_scores_meet_queries_and_keys_of_the_sizes_they_are_named_after() -> None:
    for run in covering(DIRECTORY / "study-scores.yaml"):
        model = run.settings.model
        assert 2 * (model.encoder_hidden or model.hidden) == int(run.cell.name.rpartition("-")[2])
        assert model.hidden == 128


@pytest.mark.parametrize(("path", "run"), ONES)
def test_is_stepped(path: Path, run: Run, tmp_path: Path) -> None:
    if isinstance(run.settings, MemoryTask):
        few = {
            "updates": 1,
            "batch": 2,
            "tests": 2,
            "hidden": 8,
            "device": "cpu",
            "length": min(run.settings.length, 60),
        }
        with Journal(None) as journal:
            journal.say = quiet  # type: ignore[method-assign]
            assert learn(run.settings.model_copy(update=few), tmp_path, journal)["loss"] > 0
        return
    recipe = run.settings
    assert isinstance(recipe, Recipe)
    validation = recipe.training.validation.model_copy(update={"sentences": 1})
    training = recipe.training.model_copy(
        update={"updates": 1, "batch_tokens": 100, "device": "cpu", "threads": 1, "validation": validation}
    )
    text = recipe.text  # so little text allows no vocabulary of a recipe's size
    sides = {
        side: getattr(text, side).model_copy(update={"kind": "words", "size": None}) for side in ("source", "target")
    }
    changed = {"training": training, "corpus": cut(recipe, tmp_path), "text": text.model_copy(update=sides)}
    recipe = recipe.model_copy(update=changed)
    trainer = Trained(recipe, prepare(recipe, quiet), tmp_path / "run").run()
    assert trainer.progress.update == 1
    assert all(bool(one.isfinite().all()) for one in trainer.model.parameters())
