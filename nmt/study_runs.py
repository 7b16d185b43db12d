"""The runs of a study: which are missing, and processes that train them.

RUNS/CELL/seed-N/         a run as nmt-train leaves it
RUNS/CELL/seed-N.yaml     its recipe, with which nmt-train goes on with it as well
RUNS/CELL/seed-N.said     what its process told people
RUNS/CELL/seed-N.failed   why it failed, until it is tried again
RUNS/CELL/seed-N.lock     held as long as a process trains it

Each run is a process of its own, so that one which fails, or needs more memory than there is, takes nothing else with
it. The process itself holds the lock with us: whoever started it may be killed, and no run is trained twice.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nmt.ending import last_end
from nmt.errors import InputError
from nmt.recipe import Recipe
from nmt.settings import dump
from nmt.study import KINDS, Run, Study
from nmt.text import write_lines

BAD_INPUT = 2  # the status of a command that was given it
_POLL_SECONDS, _RETRY_SECONDS = 0.1, 1.0


def end_of(run: Run) -> dict[str, Any] | None:
    """The record of the end of a run of just these settings, or None where it is missing or unfinished."""
    end = last_end(run.directory)
    return end if end is not None and end.get("settings") == run.key else None


def failure_of(run: Run) -> str | None:
    """Why a run failed when it was tried last, or None."""
    try:
        return _beside(run, "failed").read_text(encoding="utf-8").rstrip("\n") or None
    except OSError:
        return None


def missing(runs: Sequence[Run]) -> list[Run]:
    """The runs that have not come to their end."""
    return [run for run in runs if end_of(run) is None]


def with_threads(runs: Sequence[Run], threads: int | None, share: int) -> list[Run]:
    """The runs on so many threads of the CPU each; None: as their settings say, or a share where they say nothing."""
    return [run._replace(settings=_on_threads(run.settings, threads, share)) for run in runs]


def _on_threads(settings: Any, threads: int | None, share: int) -> Any:
    if isinstance(settings, Recipe):
        training = settings.training.model_copy(update={"threads": threads or settings.training.threads or share})
        return settings.model_copy(update={"training": training})
    return settings.model_copy(update={"threads": threads or settings.threads or share})


@dataclass
class _Working:
    run: Run
    process: subprocess.Popen[bytes]
    since: float
    lock: int  # ours and the process's: how it ended is told before anybody else may try
    told: int = 0  # how often it was asked to stop

    def hand_on(self, asked: Sequence[int]) -> None:
        """Hand on what we were asked since the last time; whoever asks a third time does not want to wait."""
        if self.told < len(asked):
            self.told = len(asked)
            self.process.send_signal(asked[-1] if self.told < 3 else signal.SIGKILL)


def train_missing(study: Study, runs: Sequence[Run], jobs: int, say: Callable[[str], None]) -> bool:
    """Train what is missing, ``jobs`` runs at a time, and wait for what other processes train of it.

    A run that fails is told, remembered (:func:`failure_of`) and left. Ctrl-C and SIGTERM are handed to the processes,
    which keep their checkpoints; asked again, they stop at once. Returns whether that happened.
    """
    began, waiting, working = time.time(), missing(runs), list[_Working]()
    elsewhere: dict[str, float] = {}  # runs that others hold, and when to ask again
    done = len(runs) - len(waiting)
    with _asked(say) as asked:
        while working or (waiting and not asked):
            for one in working:
                one.hand_on(asked)
            for one in [one for one in working if one.process.poll() is not None]:
                working.remove(one)
                done += _ended(one, bool(asked), say, f"{done + 1} of {len(runs)}")
                os.close(one.lock)
            for run in list(waiting):
                if asked or len(working) >= jobs or elsewhere.get(str(run), 0.0) > time.monotonic():
                    continue
                lock = _locked(run)
                if lock is None:
                    if str(run) not in elsewhere:
                        say(f"{run}: another process is at it")
                    elsewhere[str(run)] = time.monotonic() + _RETRY_SECONDS
                    continue
                waiting.remove(run)
                if end_of(run) is not None or _failed_since(run, began):  # another process was faster
                    os.close(lock)
                    done += end_of(run) is not None
                    continue
                say(f"{run}: {'goes on' if run.directory.exists() else 'begins'}")
                working.append(_started(study, run, lock))
            time.sleep(_POLL_SECONDS)
    return bool(asked)


def _started(study: Study, run: Run, lock: int) -> _Working:
    recipe, said = _beside(run, "yaml"), _beside(run, "said")
    command = KINDS[study.kind].command
    write_lines(recipe, [f"# {command}: {run}", *dump(run.settings).removesuffix("\n").split("\n")])
    _beside(run, "failed").unlink(missing_ok=True)
    arguments = [sys.executable, "-m", command, str(recipe), "--run", str(run.directory)]
    # Of a session of its own, so that a terminal's Ctrl-C comes once, by way of us.
    with open(said, "ab") as stream:
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True, pass_fds=[lock]
        )
    return _Working(run, process, time.monotonic(), lock)


def _ended(one: _Working, asked: bool, say: Callable[[str], None], count: str) -> bool:
    """Tell how a process ended; whether its run is finished."""
    run, status = one.run, one.process.returncode
    if status == 0 and end_of(run) is not None:
        say(f"{run}: done in {(time.monotonic() - one.since) / 60:.1f} minutes ({count})")
        return True
    if asked:
        say(f"{run}: interrupted; the same command goes on from its last checkpoint")
        return False
    reason = _last_words(_beside(run, "said"))
    if status < 0:
        reason = f"ended by {signal.Signals(-status).name}" + (" (out of memory?)" if status == -9 else "")
    elif status != BAD_INPUT:
        reason = f"{reason} (all of it in {_beside(run, 'said')})"
    write_lines(_beside(run, "failed"), [reason])
    say(f"{run}: failed: {reason}")
    return False


def _last_words(said: Path) -> str:
    lines = said.read_text(encoding="utf-8", errors="replace").rstrip("\n").split("\n")
    return lines[-1].removeprefix("error: ") or "it said nothing"


def _beside(run: Run, ending: str) -> Path:
    return run.directory.with_name(f"{run.directory.name}.{ending}")


def _failed_since(run: Run, began: float) -> bool:
    place = _beside(run, "failed")
    return place.exists() and place.stat().st_mtime >= began


def _locked(run: Run) -> int | None:
    """The lock of a run as an open file, or None where another process holds it."""
    place = _beside(run, "lock")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise InputError(f"{place}: {(error.strerror or str(error)).lower()}; choose another directory") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


@contextmanager
def _asked(say: Callable[[str], None]) -> Iterator[list[int]]:
    """A list that is empty until Ctrl-C or SIGTERM."""
    asked: list[int] = []

    def note(number: int, frame: Any) -> None:
        if not asked:
            say("stopping: every run keeps a checkpoint first; ask again to stop at once")
        asked.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
