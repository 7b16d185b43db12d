"""``nmt-diagnose``: a table a test set, a row a run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from commands import pipe, refused
from runs import Trained, prepared, write_project

from nmt.cli.diagnose import COLUMNS, main
from nmt.diagnostics import MEASURES, diagnose
from nmt.text import read_lines, read_parallel, write_lines
from nmt.translator import Translator


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs ``a`` and ``b`` with the test sets ``held-out`` and, only ``a``, ``other``."""
    directory = tmp_path_factory.mktemp("runs")
    recipe = write_project(directory / "project")
    for name, override in (("a", "seed=1"), ("b", "model.attention=gatt")):
        run = directory / name
        Trained(*prepared(recipe, "training.epochs=1", override), run).run()
        tests = {"held-out": "test"} | ({"other": "dev"} if name == "a" else {})
        for test, stem in tests.items():
            for ending, side in (("src", "src"), ("ref", "trg")):
                lines = list(read_lines(recipe.parent / f"{stem}.{side}"))
                write_lines(run / "translations" / f"{test}.{ending}", lines)
    return directory


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*(str(one) for one in arguments), "--device", "cpu"])


def tables(*arguments: object) -> dict[str, dict[str, Mapping[str, float]]]:
    """Test set, run, measure."""
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["format"] == 1
    return {one["test"]: {row["run"]: row["measures"] for row in one["runs"]} for one in document["tests"]}


def test_every_test_set_of_a_run_and_every_run_of_a_test_set(runs: Path) -> None:
    found = tables(runs / "a", runs / "b")
    assert {test: list(rows) for test, rows in found.items()} == {"held-out": ["a", "b"], "other": ["a"]}
    for name in ("a", "b"):
        text = [runs / name / "translations" / f"held-out.{ending}" for ending in ("src", "ref")]
        wanted = diagnose(Translator.load(runs / name, "cpu"), read_parallel(*text)).measures
        assert found["held-out"][name] == wanted


def test_the_table_shows_every_measure_in_its_unit(runs: Path) -> None:
    assert COLUMNS.keys() == MEASURES.keys()
    result = invoke(runs / "a", runs / "b", "--test", "held-out")
    assert result.exit_code == 0, result.output
    lines = result.stdout.split("\n")
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    assert [row[:2] for row in rows] == [["a", "5"], ["b", "5"]]
    measures = tables(runs / "a", "--test", "held-out")["held-out"]["a"]
    assert float(rows[0][2]) == pytest.approx(measures["variance_over_steps"], abs=5e-5)
    assert float(rows[0][8]) == pytest.approx(100 * measures["ignored"], abs=5e-3)
    assert rows[0][2:] != rows[1][2:]
    assert lines[-2].startswith("Forced decoding")


def test_a_text_of_ones_own(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "s").write_text("a b c\n\nd e\n")
    (tmp_path / "t").write_text("c b a\na\ne d\n")
    result = invoke(runs / "a", "--src", tmp_path / "s", "--ref", tmp_path / "t")
    assert result.exit_code == 0, result.output
    assert "a: 1 pairs with an empty side are left out" in result.stdout
    pipes = [pipe((tmp_path / side).read_bytes()) for side in "st"]
    assert invoke(runs / "a", "--src", pipes[0], "--ref", pipes[1]).stdout == result.stdout
    shutil.copytree(runs / "a", tmp_path / "a", ignore=shutil.ignore_patterns("translations"))
    assert tables(tmp_path / "a", "-s", tmp_path / "s", "-r", tmp_path / "t")["text"].keys() == {"a"}
    both = tables(runs / "a", tmp_path / "a", "-s", tmp_path / "s", "-r", tmp_path / "t")
    assert both["text"].keys() == {str(runs / "a"), str(tmp_path / "a")}  # two runs of one name go by their paths


def test_a_text_in_which_nothing_can_be_measured(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "s").write_text("\n")
    result = invoke(runs / "a", "-s", tmp_path / "s", "-r", tmp_path / "s")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("–") == len(MEASURES)


def test_the_options_are_these() -> None:
    assert {one.name for one in main.params} == {
        *("runs", "name", "source", "target", "weights", "device", "as_json", "version")
    }


# --------------------------------------------------------------------------------------------------------- refusals


def test_no_run(runs: Path, tmp_path: Path) -> None:
    assert "is no run directory (it has no recipe.yaml)" in refused(invoke(runs / "a", tmp_path))


def test_a_run_that_has_translated_nothing(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "a", tmp_path / "a", ignore=shutil.ignore_patterns("translations"))
    assert "holds no test set (it is written when training ends); give --src and --ref" in refused(
        invoke(tmp_path / "a")
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [("heldout", 'did you mean "held-out"?'), ("xyz", "there are held-out, other")],
)
def test_a_test_set_that_there_is_not(runs: Path, name: str, hint: str) -> None:
    assert refused(invoke(runs / "a", "--test", name)) == f'{runs / "a"}: has no test set "{name}"; {hint}\n'


def test_a_test_set_that_only_one_run_has(runs: Path) -> None:
    assert 'b: has no test set "other"; there are held-out' in refused(
        invoke(runs / "a", runs / "b", "--test", "other")
    )


def test_sides_of_unequal_length(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "s").write_text("a\nb\n")
    (tmp_path / "t").write_text("a\n")
    sentence = refused(invoke(runs / "a", "--src", tmp_path / "s", "--ref", tmp_path / "t"))
    assert sentence.startswith(f"{tmp_path / 't'} has 1 lines but {tmp_path / 's'} has more")


def test_half_a_text_and_two_texts(runs: Path, tmp_path: Path) -> None:
    assert "give both" in refused(invoke(runs / "a", "--src", tmp_path / "s"))
    text = ("--src", tmp_path / "s", "--ref", tmp_path / "s")
    assert "--test names a test set of the runs" in refused(invoke(runs / "a", *text, "--test", "held-out"))
    assert "no such file" in refused(invoke(runs / "a", *text))
