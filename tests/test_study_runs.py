"""Which runs of a study are missing, and the processes that train them: once each, whatever happens."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest

import nmt.study_runs
from nmt.memory_tasks import MemoryTask
from nmt.settings import load
from nmt.study import KINDS, Kind, Run, Study, load_study, runs
from nmt.study_runs import end_of, failure_of, missing, train_missing, with_threads

STUDY = """\
kind: memory
recipe: task.yaml
grid:
  cell: {gru: [cell=gru], rnn: [cell=rnn]}
seeds: [1, 2]
"""


class Faked:
    """A study of four runs whose command is tests/fake_run.py."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (directory / "task.yaml").write_text("length: 4\n")
        (directory / "study.yaml").write_text(STUDY)
        self.study: Study = load_study(directory / "study.yaml")
        self.runs: list[Run] = runs(self.study, directory / "runs")
        self.said: list[str] = []
        self._monkeypatch = monkeypatch
        monkeypatch.setitem(KINDS, "memory", Kind(MemoryTask, "fake_run"))
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
        monkeypatch.setenv("FAKE_KEYS", json.dumps({str(run.directory): run.key for run in self.runs}))
        monkeypatch.setattr(nmt.study_runs, "_RETRY_SECONDS", 0.1)
        monkeypatch.setattr(nmt.study_runs, "_POLL_SECONDS", 0.02)
        self.do()

    def do(self, **what: str) -> None:
        """What each run does, by the number of the run: ``r0="fail"``."""
        told = {str(self.runs[int(name[1:])].directory): one for name, one in what.items()}
        self._monkeypatch.setenv("FAKE_DO", json.dumps(told))

    def train(self, jobs: int = 1) -> bool:
        self.said.clear()
        return train_missing(self.study, self.runs, jobs, self.said.append)

    def events(self, number: int) -> list[str]:
        place = self.runs[number].directory
        place = place.with_name(f"{place.name}.events")
        return [line.split()[0] for line in place.read_text().split("\n")[:-1]] if place.exists() else []


@pytest.fixture
def faked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Faked:
    return Faked(tmp_path, monkeypatch)


def wait_for(what: object, *arguments: object) -> None:
    """Until it is so; a machine under load takes its time."""
    end = time.monotonic() + 60
    while not what(*arguments):  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_is_missing_is_trained_and_nothing_twice(faked: Faked) -> None:
    assert missing(faked.runs) == faked.runs
    assert not faked.train()
    assert [faked.events(number) for number in range(4)] == [["begin", "end"]] * 4
    assert missing(faked.runs) == []
    assert sum("done in" in one for one in faked.said) == 4
    assert faked.said[-1].endswith("(4 of 4)")
    (faked.runs[2].directory / "log.jsonl").unlink()
    assert not faked.train(jobs=3)
    assert [len(faked.events(number)) for number in range(4)] == [2, 2, 4, 2]


def test_first_seeds_of_all_cells_come_first(faked: Faked) -> None:
    faked.train()
    begun = [one.removesuffix(": begins") for one in faked.said if one.endswith(": begins")]
    assert begun == ["gru seed 1", "rnn seed 1", "gru seed 2", "rnn seed 2"]


def test_a_run_of_other_settings_is_not_the_one_that_is_wanted(faked: Faked) -> None:
    faked.train()
    changed = [run._replace(settings=run.settings.model_copy(update={"updates": 5})) for run in faked.runs]
    assert missing(changed) == changed
    elsewhere = with_threads(faked.runs, 3, 1)
    assert {run.settings.threads for run in elsewhere} == {3}
    assert missing(elsewhere) == []  # how it is computed is no part of what it is


def test_a_log_that_was_cut_off_or_goes_on_is_no_end(faked: Faked) -> None:
    faked.train()
    log = faked.runs[0].directory / "log.jsonl"
    whole = log.read_text()
    assert end_of(faked.runs[0]) is not None
    for text in (whole[:-9], whole + '{"event": "resume", "update": 1}\n', "", "[]\n"):
        log.write_text(text)
        assert end_of(faked.runs[0]) is None


def test_the_recipe_beside_a_run_is_the_runs_own(faked: Faked) -> None:
    faked.train()
    for run in faked.runs:
        assert load(run.directory.with_name(f"seed-{run.seed}.yaml"), MemoryTask) == run.settings


def test_failures_are_named_and_stop_nothing(faked: Faked) -> None:
    faked.do(r0="fail", r1="crash", r2="die")
    assert not faked.train()
    assert failure_of(faked.runs[0]) == "training diverged"
    assert re.fullmatch(r"RuntimeError: a bug \(all of it in .*seed-1\.said\)", failure_of(faked.runs[1]) or "")
    assert failure_of(faked.runs[2]) == "ended by SIGKILL (out of memory?)"
    assert failure_of(faked.runs[3]) is None
    assert missing(faked.runs) == faked.runs[:3]
    assert "gru seed 1: failed: training diverged" in faked.said
    faked.do()
    faked.train()  # asked again, they are tried again
    assert missing(faked.runs) == []
    assert [failure_of(run) for run in faked.runs] == [None] * 4


def test_a_process_that_says_it_is_done_and_is_not(faked: Faked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_KEYS", json.dumps({}))
    faked.train()
    assert missing(faked.runs) == faked.runs
    assert all("it said nothing" in (failure_of(run) or "") for run in faked.runs)


@pytest.mark.parametrize("jobs", [1, 2])
def test_so_many_at_a_time(faked: Faked, jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_SECONDS", "0.3")
    faked.train(jobs)
    changes = []
    for run in faked.runs:
        lines = run.directory.with_name(f"{run.directory.name}.events").read_text().split("\n")[:-1]
        begin, end = (float(line.split()[1]) for line in lines)
        changes += [(begin, 1), (end, -1)]
    at_work = [sum(change for _, change in sorted(changes)[: place + 1]) for place in range(len(changes))]
    assert max(at_work) == jobs


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_handed_on_once_and_the_study_goes_on_later(faked: Faked, number: signal.Signals) -> None:
    faked.do(r0="wait", r1="wait")

    def ask() -> None:
        wait_for(lambda: faked.events(0) == faked.events(1) == ["begin"])
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    thread = threading.Thread(target=ask)
    thread.start()
    assert faked.train(jobs=2)
    thread.join()
    assert signal.getsignal(number) is before
    assert faked.events(0) == faked.events(1) == ["begin", number.name]
    assert faked.events(2) == []  # nothing new begins
    assert "gru seed 1: interrupted; the same command goes on from its last checkpoint" in faked.said
    assert failure_of(faked.runs[0]) is None
    faked.do()
    assert not faked.train()
    assert missing(faked.runs) == []
    assert "gru seed 1: goes on" in faked.said


def test_two_processes_share_the_work(faked: Faked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_SECONDS", "0.2")
    faked.do(r3="fail")
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=faked.train) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    assert [faked.events(number) for number in range(4)] == [["begin", "end"]] * 3 + [["begin"]]
    assert missing(faked.runs) == [faked.runs[3]]


def test_a_run_whose_starter_was_killed_is_left_to_its_process(faked: Faked) -> None:
    faked.do(r0="wait")
    starter = multiprocessing.get_context("fork").Process(target=faked.train)
    starter.start()
    wait_for(lambda: faked.events(0) == ["begin"])
    starter.kill()
    starter.join()
    assert nmt.study_runs._locked(faked.runs[0]) is None
    (orphan,) = processes_with(str(faked.runs[0].directory))
    faked.do()

    def end() -> None:
        wait_for(lambda: missing(faked.runs) == faked.runs[:1])
        os.kill(orphan, signal.SIGTERM)

    thread = threading.Thread(target=end)
    thread.start()
    assert not faked.train()
    thread.join()
    assert "gru seed 1: another process is at it" in faked.said
    assert faked.events(0) == ["begin", "SIGTERM", "begin", "end"]


def processes_with(argument: str) -> list[int]:
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes().split(b"\0")
        except OSError:  # it has ended meanwhile
            continue
        if argument.encode() in words:
            found.append(int(place.parent.name))
    return found
