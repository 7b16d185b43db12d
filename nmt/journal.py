"""What a training says while it runs: a line for people, a JSONL record for programs, TensorBoard where asked for."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from nmt.errors import InputError

LOG_FILE = "log.jsonl"


class Journal:
    """Tells of a run on standard error and in ``RUN/log.jsonl``.

    On a terminal a progress bar runs below the lines; elsewhere there are the lines alone. A context manager.
    """

    def __init__(self, run: Path | None, tensorboard: bool = False) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._file = _opened(run) if run else None
        self._board = _board(run) if run and tensorboard else None
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the run: nothing more is told."""
        self.end_epoch()
        if self._file:
            self._file.close()
        if self._board:
            self._board.close()

    def say(self, sentence: str) -> None:
        """A line for people."""
        self.console.print(sentence, markup=False)

    def record(self, event: str, update: int, values: Mapping[str, Any]) -> None:
        """A line for programs: an object with ``event``, ``update``, ``time`` (seconds since 1970) and the values."""
        if self._file:
            self._file.write(json.dumps({"event": event, "update": update, "time": time.time(), **values}) + "\n")
            self._file.flush()
        if self._board:
            for name, value in values.items():
                if isinstance(value, int | float):
                    self._board.add_scalar(f"{event}/{name}", value, update)

    def begin_epoch(self, epoch: int, batches: int, done: int) -> None:
        """Show a bar for an epoch, where there is a terminal."""
        self.end_epoch()
        if self.console.is_terminal:
            columns = (TextColumn("epoch {task.fields[epoch]}"), BarColumn(), TextColumn("{task.percentage:.0f}%"))
            self._progress = Progress(*columns, TimeRemainingColumn(), console=self.console, transient=True)
            self._progress.add_task("epoch", total=batches, completed=done, epoch=epoch)
            self._progress.start()

    def advance(self, batches: int) -> None:
        """So many batches of the epoch more are done."""
        if self._progress:
            self._progress.advance(self._progress.task_ids[0], batches)

    def end_epoch(self) -> None:
        """Take the bar away."""
        if self._progress:
            self._progress.stop()
            self._progress = None


def _opened(run: Path) -> TextIO:
    """The log, open to be added to by this process alone. Raises ``InputError`` when another one holds it."""
    file = open(run / LOG_FILE, "a", encoding="utf-8")  # noqa: SIM115 - the journal closes it
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise InputError(
            f"{run}: another training is at work in this run; wait for it, or choose another --run"
        ) from None
    _cut_torn_line(run / LOG_FILE)
    return file


def _cut_torn_line(log: Path) -> None:
    """Remove what was being written when the machine went down: a line without its end."""
    written = log.read_bytes()
    if (whole := written.rfind(b"\n") + 1) < len(written):
        os.truncate(log, whole)


def _board(run: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError('--tensorboard needs the extra: pip install "nmt[tensorboard]"') from None
    return SummaryWriter(str(run / "tensorboard"))
