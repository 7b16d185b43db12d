"""Long-memory problems: their definitions in plain loops, their baselines, and a training that an interruption does not
harm."""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from runs import quiet
from safetensors.torch import load_file

from nmt.cells import CELLS, JANET
from nmt.cli.remember import main
from nmt.ending import last_end
from nmt.errors import InputError
from nmt.journal import Journal
from nmt.memory_tasks import PROBLEMS, Adding, Copy, MemoryTask, build_rememberer, draw, judge, learn
from nmt.train import Interrupted

RANDOM = torch.Generator()


def a_task(**changes: Any) -> MemoryTask:
    small = {"problem": "adding", "length": 6, "hidden": 8, "updates": 7, "batch": 4, "tests": 10}
    return MemoryTask.model_validate({**small, "device": "cpu", "threads": 1, "log_every": 3, **changes})


@pytest.mark.parametrize("length", [2, 5, 50])
def test_copy_is_ten_symbols_blanks_a_delimiter_and_ten_answers(length: int) -> None:
    input_BTX, answer_BT = Copy.draw(20, length, RANDOM.manual_seed(3))
    assert input_BTX.shape == (20, length + 21, 10)
    seen = set()
    for row in range(20):
        symbols = input_BTX[row].argmax(dim=-1).tolist()
        assert input_BTX[row].sum(dim=-1).tolist() == [1.0] * (length + 21)
        first, rest = symbols[:10], symbols[10:]
        assert set(first) <= set(range(1, 9))
        assert rest == [0] * length + [9] + [0] * 10
        assert answer_BT[row].tolist() == [0] * (length + 11) + first
        seen |= set(first)
    assert seen == set(range(1, 9))


@pytest.mark.parametrize("length", [2, 7, 50])
def test_adding_marks_one_number_of_each_half(length: int) -> None:
    input_BTX, answer_B = Adding.draw(200, length, RANDOM.manual_seed(3))
    places = []
    for row in range(200):
        marked = [t for t in range(length) if input_BTX[row, t, 1] == 1]
        assert input_BTX[row, :, 1].sum() == 2
        assert marked[0] < length // 2 <= marked[1]
        assert float(answer_B[row]) == pytest.approx(sum(float(input_BTX[row, t, 0]) for t in marked))
        places.append(marked)
    assert bool(((input_BTX[..., 0] >= 0) & (input_BTX[..., 0] < 1)).all())
    assert {place for two in places for place in two} >= ({0, length - 1} if length < 10 else {0})


def test_the_baseline_of_copy_is_the_loss_of_who_knows_all_but_the_symbols() -> None:
    _, answer_BT = Copy.draw(5, 12, RANDOM.manual_seed(1))
    output_BTY = torch.full((5, 33, 9), -1e9)
    output_BTY[:, :-10, 0] = 0.0
    output_BTY[:, -10:, 1:] = 0.0
    assert float(Copy.loss(output_BTY, answer_BT)) == pytest.approx(Copy.baseline(12))
    assert Copy.baseline(12) == pytest.approx(10 * math.log(8) / 33)


def test_the_baseline_of_adding_is_the_error_of_who_says_1() -> None:
    _, answer_B = Adding.draw(200_000, 4, RANDOM.manual_seed(1))
    assert float(Adding.loss(torch.ones(200_000, 4, 1), answer_B)) == pytest.approx(Adding.baseline(4), rel=0.01)


def test_what_is_right() -> None:
    drawn = Copy.draw(3, 4, RANDOM.manual_seed(1))
    output_BTY = torch.nn.functional.one_hot(drawn.answer, 9).float()
    assert float(Copy.right(output_BTY, drawn.answer)) == 1
    output_BTY[:, -5:] = 0  # then 0 is said, which is no symbol
    assert float(Copy.right(output_BTY, drawn.answer)) == 0.5
    output_BTY[:, :-10] = 7  # what is said before does not count
    assert float(Copy.right(output_BTY, drawn.answer)) == 0.5
    said_BTY = torch.zeros(4, 6, 1)
    said_BTY[:, -1, 0] = torch.tensor([1.0, 1.039, 0.961, 1.041])
    assert float(Adding.right(said_BTY, torch.ones(4))) == 0.75


@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_update_has_its_own_sequences_and_the_test_others(problem: str) -> None:
    task = a_task(problem=problem)
    first, again, second, other = (
        draw(one, 4, update).input_BTX
        for one, update in ((task, 1), (task, 1), (task, 2), (task.model_copy(update={"seed": 2}), 1))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_cell_learns_every_problem_in_a_directory(problem: str, cell: str, tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.say = quiet  # type: ignore[method-assign]
        found = learn(a_task(problem=problem, cell=cell, updates=4), tmp_path, journal)
    assert set(found) == {"loss", "ratio", "right", "parameters", "seconds", "steps/s", "peak memory"}
    assert found["ratio"] == pytest.approx(found["loss"] / PROBLEMS[problem].baseline(6))
    unit = CELLS[cell](PROBLEMS[problem].input_size, 8)
    own = sum(one.numel() for one in unit.parameters())
    assert found["parameters"] == own + 9 * PROBLEMS[problem].output_size


def test_janet_knows_how_long_the_sequences_are() -> None:
    for problem, steps in (("adding", 6), ("copy", 27)):
        cell = build_rememberer(a_task(problem=problem, cell="janet")).cell
        assert isinstance(cell, JANET)
        assert cell.longest == steps


def test_a_short_sum_is_learnt(tmp_path: Path) -> None:
    """Two numbers, both marked: a cell that has learnt it is far below who remembers nothing."""
    task = a_task(length=2, hidden=16, updates=300, batch=32, optimiser={"rate": 0.01}, tests=200)
    before = judge(task, build_rememberer(task), torch.device("cpu"))
    with Journal(None) as journal:
        journal.say = quiet  # type: ignore[method-assign]
        found = learn(task, tmp_path, journal)
    assert before["ratio"] > 0.5
    assert found["ratio"] < 0.05


def test_interrupted_and_gone_on_with_it_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = a_task(cell="lstm", updates=9)
    results, weights = [], []
    for name, stops in (("whole", []), ("halves", [2, 5])):
        directory = tmp_path / name
        directory.mkdir()
        for stop in (*stops, None):
            with Journal(directory) as journal:
                journal.say = quiet  # type: ignore[method-assign]
                stop_at(monkeypatch, stop)
                if stop is None:
                    results.append(learn(task, directory, journal))
                else:
                    with pytest.raises(Interrupted):
                        learn(task, directory, journal)
        (place,) = directory.glob("checkpoints/update-*")
        assert place.name == "update-00000009"
        weights.append(load_file(place / "model.safetensors"))
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(one, weights[1][name]) for name, one in weights[0].items())
    assert results[0]["loss"] == results[1]["loss"]


def stop_at(monkeypatch: pytest.MonkeyPatch, update: int | None) -> None:
    """Ctrl-C when the sequences of an update are drawn."""

    def drawn(task: MemoryTask, sequences: int, number: int) -> Any:
        if number == update:
            os.kill(os.getpid(), signal.SIGINT)
        return draw(task, sequences, number)

    monkeypatch.setattr("nmt.memory_tasks.draw", drawn)


def test_a_loss_that_is_no_number(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal, pytest.raises(InputError, match="training diverged: at update 3 "):
        learn(a_task(cell="rnn", optimiser={"rate": 1e38}), tmp_path, journal)


def test_a_run_of_another_task_is_not_gone_on_with(tmp_path: Path) -> None:
    text = "problem: adding\nlength: 3\nhidden: 4\nupdates: 2\nbatch: 2\ntests: 2\nthreads: 1\n"

    def run(content: str) -> Any:
        (tmp_path / "task.yaml").write_text(content)
        return CliRunner().invoke(main, [str(tmp_path / "task.yaml"), "--run", str(tmp_path / "run")])

    assert run(text).exit_code == 0
    for other in (text.replace("length: 3", "length: 4"), text.replace("updates: 2", "updates: 1")):
        result = run(other)
        assert result.exit_code == 2
        assert "holds a run of another task; choose another directory, or remove this one" in result.stderr
    assert run(text.replace("updates: 2", "updates: 3")).exit_code == 0  # longer is no other task
    end = last_end(tmp_path / "run")
    assert end is not None
    assert end["update"] == 3


def test_the_command_ends_its_log(tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text(
        "problem: copy\nlength: 3\nhidden: 4\nupdates: 2\nbatch: 2\ntests: 2\nthreads: 1\n"
    )
    result = CliRunner().invoke(main, [str(tmp_path / "task.yaml"), "--run", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    end = last_end(tmp_path / "run")
    assert end is not None
    assert {"settings", "loss", "ratio", "right", "parameters"} <= end.keys()
