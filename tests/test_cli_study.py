"""``nmt-study``: real runs of nmt-train, from one command to its tables."""

from __future__ import annotations

import json
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from runs import write_project
from torch import Tensor

from nmt.batching import collate
from nmt.cli.study import main
from nmt.cost import cost_by_length
from nmt.preparation import prepare
from nmt.recipe import load_recipe
from nmt.translator import Translator

STUDY = """\
recipe: small.yaml
settings: [training.epochs=1, training.validation.sentences=2]
grid:
  cell:
    gru: []
    diverging: [training.optimiser.rate=1e37, training.log_every=1]
resamples: 10
trials: 10
analyses: [{kind: cost-by-length, lengths: [3, 6]}, {kind: gradient-by-distance, sentences: 3}, training-curve]
"""


def study(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The study's file and what was told of it; its second cell fails."""
    path = write_project(tmp_path_factory.mktemp("study")).parent / "study.yaml"
    path.write_text(STUDY)
    return path, study(path, "--runs", path.parent / "runs", "--out", path.parent / "out", "--threads", 1)


def test_one_command_trains_and_tells(finished: tuple[Path, Result]) -> None:
    path, result = finished
    assert result.exit_code == 0, result.output
    runs = path.parent / "runs"
    assert (runs / "gru" / "seed-1" / "report.md").is_file()  # a run as nmt-train leaves it
    end = json.loads((runs / "gru" / "seed-1" / "log.jsonl").read_text().split("\n")[-2])
    assert end["event"] == "end"
    table = result.stdout.split("\n")
    assert table[0] == "## held-out"
    assert re.match(r"\| gru +\| +1 \| +\d+\.\d\d \|", table[4])
    assert re.match(r"\| diverging +\| +0/1 \| +– \|", table[5])
    assert re.search(r"^diverging seed 1: failed: training diverged: at update \d+ ", result.stdout, re.MULTILINE)
    out = sorted(place.name for place in (path.parent / "out").iterdir())
    assert {"study.md", "study.tsv", "study.html", "study-time-by-length.svg", "study-train-loss.svg"} <= set(out)
    assert "study-gradient-by-distance.svg" in out
    assert "2 runs: 0 finished, 2 missing" in result.stderr


def figure(path: Path, name: str) -> list[float]:
    """What the study's table says of one of its figures."""
    lines = [line.split("\t") for line in (path.parent / "out" / "study.tsv").read_text().split("\n")]
    return [float(line[5]) for line in lines if line[0] == name]


def test_the_gradient_of_the_last_word_by_distance(finished: tuple[Path, Result]) -> None:
    run = finished[0].parent / "runs" / "gru" / "seed-1"
    model, dev = Translator.load(run).model.eval(), prepare(load_recipe(run / "recipe.yaml"), print).dev
    norms: dict[int, list[float]] = {}
    for number in sorted(range(len(dev)), key=lambda n: -dev.target_lengths[n])[:3]:
        words = dev.target(number)
        batch = collate([dev.source(number)], [words], [0])
        heard: list[Tensor] = []
        cell = model.get_submodule("decoder.wiring.cells.cells.0")  # its state is what the next step begins with
        handle = cell.register_forward_hook(lambda module, arguments, update, heard=heard: heard.append(update.state))
        logit_BTV = model(batch.source_BS, batch.source_valid_BS, batch.input_BT).logit_BTV
        handle.remove()
        last = len(words) - 1  # the end of the sentence comes after it
        log = torch.log_softmax(logit_BTV[0, last], dim=-1)[words[last]]
        for t, gradient in enumerate(torch.autograd.grad(log, heard[: last + 1])):
            norms.setdefault(last - t, []).append(float(gradient.norm()))
    means = [statistics.fmean(norms[distance]) for distance in sorted(norms)]
    assert figure(finished[0], "gradient-by-distance") == pytest.approx([one / means[0] for one in means], rel=1e-4)


def test_the_cost_by_length(finished: tuple[Path, Result]) -> None:
    recipe = load_recipe(finished[0].parent / "runs" / "gru" / "seed-1" / "recipe.yaml")
    wanted = [one / 2**20 for one in cost_by_length(recipe, [3, 6]).memory]
    assert figure(finished[0], "memory-by-length") == pytest.approx(wanted)


def test_the_table_alone(finished: tuple[Path, Result]) -> None:
    path, first = finished
    result = study(path, "--runs", path.parent / "runs", "--table")
    assert result.exit_code == 0
    assert result.stdout.split("\n\nWritten")[0] == first.stdout.split("\n\nWritten")[0]
    assert "begins" not in result.stderr


def test_a_dry_run_says_what_is_missing_and_trains_nothing(finished: tuple[Path, Result]) -> None:
    path, _ = finished
    log = path.parent / "runs" / "gru" / "seed-1" / "log.jsonl"
    before = log.read_bytes()
    result = study(path, "--runs", path.parent / "runs", "--dry-run", "seeds=[1, 2]", "only={cell: [gru]}")
    assert result.exit_code == 0, result.output
    first, second, *_ = result.stdout.split("\n")
    assert re.fullmatch(
        r"gru: seeds 2 missing; training of each about \d+ seconds?, as finished runs of it took", first
    )
    assert re.fullmatch(r"all: about \d+ seconds? with 1 at a time, validations and tests not counted", second)
    assert log.read_bytes() == before
    result = study(path, "--runs", path.parent / "elsewhere", "--dry-run", "only={cell: [gru]}")
    assert "as a few updates tell" in result.stdout
    assert not (path.parent / "elsewhere").exists()


@pytest.mark.slow
def test_interrupted_and_gone_on_with(tmp_path: Path) -> None:
    path = write_project(tmp_path).parent / "study.yaml"
    path.write_text("recipe: small.yaml\ngrid: {cell: {gru: []}}\nanalyses: []\nsettings: [training.epochs=100000]\n")
    command = [sys.executable, "-m", "nmt.cli.study", str(path), "--runs", str(tmp_path / "runs")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "runs" / "gru" / "seed-1" / "log.jsonl"
    end = time.monotonic() + 200
    while not (log.exists() and "validation" in log.read_text()):
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "gru seed 1: interrupted" in err
    assert (out, "--table tells of what is finished" in err) == ("", True)
    (checkpoint,) = sorted(log.parent.glob("checkpoints/update-*"))[-1:]
    update = int(checkpoint.name.rpartition("-")[2])
    result = study(
        path, "--runs", tmp_path / "runs", f"settings=[training.updates={update + 1}, training.epochs=100000]"
    )
    assert result.exit_code == 0, result.output
    events = [json.loads(line) for line in log.read_text().split("\n")[:-1]]
    assert [one["update"] for one in events if one["event"] == "resume"] == [update]
    assert (events[-1]["event"], events[-1]["update"]) == ("end", update + 1)


def test_the_options_are_these() -> None:
    """A setting belongs into the study; a flag needs a reason."""
    assert {one.name for one in main.params} == {
        "study", "overrides", "runs", "out", "jobs", "threads", "dry_run", "table",
    }  # fmt: skip


def test_mistakes_end_with_status_2(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("grid: {}\n")
    result = study(tmp_path / "study.yaml")
    assert result.exit_code == 2
    assert 'the key "recipe" is missing' in result.stderr
    assert study(tmp_path / "gone.yaml").exit_code == 2


def test_a_directory_that_is_a_file(tmp_path: Path) -> None:
    path = write_project(tmp_path).parent / "study.yaml"
    path.write_text(STUDY)
    result = study(path, "--runs", path)
    assert result.exit_code == 2
    assert re.search(r"error: .*study\.yaml/gru/seed-1\.lock: not a directory; choose another", result.stderr)
