"""The planted bugs can be planted, and a bug that nobody notices is told."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

REPOSITORY = Path(__file__).resolve().parent.parent
THE_TEN = (  # of the table "what it cost others", and of GAtt's and AER's definitions
    *("coverage-unread", "present-step-counted", "argument-changed", "mask-inverted", "state-not-reordered"),
    *("gate-ignored", "z-inverted", "reset-after", "possible-dropped", "end-row-kept"),
)


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("planted_bugs", REPOSITORY / "benchmarks" / "planted_bugs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


planted_bugs = loaded()
every_bug = pytest.mark.parametrize("name", planted_bugs.BUGS)


def test_the_ten_are_there() -> None:
    assert set(THE_TEN) <= planted_bugs.BUGS.keys()


@every_bug
def test_a_bug_can_be_planted(name: str) -> None:
    bug = planted_bugs.BUGS[name]
    text = (REPOSITORY / bug.file).read_text(encoding="utf-8")
    assert text.count(bug.right) == 1
    compile(text.replace(bug.right, bug.wrong), bug.file, "exec")
    assert bug.right != bug.wrong
    assert all((REPOSITORY / file).is_file() for file in planted_bugs.test_files(bug))


# ---------------------------------------------------------------------------------------------- a tiny checkout


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of one function and its test, with a bug that the test notices and one that it does not."""
    root = tmp_path / "checkout"
    (root / "tests").mkdir(parents=True)
    (root / "nmt").mkdir()
    (root / "nmt" / "sums.py").write_text("def add(a, b):\n    return a + b\n")
    (root / "tests" / "test_sums.py").write_text(
        "from nmt.sums import add\n\ndef test_zero():\n    assert add(2, 0) == 2\n\n"
        "def test_two():\n    assert add(2, 2) == 4\n"
    )
    bugs = {
        "minus": planted_bugs.Bug("subtracts", "nmt/sums.py", "a + b", "a - b", "sums"),
        "times": planted_bugs.Bug("adds twice", "nmt/sums.py", "a + b", "a + b if a == 2 else 0", "sums"),
    }
    monkeypatch.setattr(planted_bugs, "BUGS", bugs)
    monkeypatch.setattr(planted_bugs, "REPOSITORY", root)
    return root


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(planted_bugs.main, [*arguments])


def test_what_is_noticed_and_what_survives(tiny: Path) -> None:
    result = run("minus")
    assert result.exit_code == 0, result.output
    assert "tests/test_sums.py::test_two" in result.output
    result = run()
    assert result.exit_code == 1
    lines = result.output.split("\n")
    assert lines[0].endswith("tests/test_sums.py::test_two")
    assert lines[1].endswith("SURVIVED")
    assert lines[2] == "1 of 2 bugs are noticed"
    assert (tiny / "nmt" / "sums.py").read_text().endswith("a + b\n")  # bugs live in copies


def test_a_test_that_fails_by_itself_proves_nothing(tiny: Path) -> None:
    (tiny / "nmt" / "sums.py").write_text("def add(a, b):\n    return 0 if a + b else 0\n")
    result = run("minus")
    assert result.exit_code == 2
    assert "test_zero fails without any bug" in result.output


@pytest.mark.parametrize(("text", "count"), [("def add(a, b):\n    return sum((a, b))\n", 0), ("a + b\na + b\n", 2)])
def test_a_piece_that_is_not_there_once_is_refused(tiny: Path, text: str, count: int) -> None:
    (tiny / "nmt" / "sums.py").write_text(text)
    with pytest.raises(planted_bugs.InputError, match=f'nmt/sums.py: "a . b" is there {count} times, not once'):
        planted_bugs.plant(tiny, planted_bugs.BUGS["minus"])


def test_list_and_unknown_names(tiny: Path) -> None:
    result = run("--list")
    assert result.exit_code == 0
    assert result.output == "minus  subtracts  (nmt/sums.py)\ntimes  adds twice  (nmt/sums.py)\n"
    result = run("minsu")
    assert result.exit_code == 2
    assert 'there is no bug "minsu"; did you mean "minus"?' in result.output
