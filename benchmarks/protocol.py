"""How the parent speaks with the process that each measured system has to itself.

A line of JSON each way. The first line from the parent is the system's settings, and the answer ``{"ready": seconds}``
comes when it is built. Then ``{"do": NAME, "count": N}`` runs one of its works and is answered by what the work counted
(tokens, sentences), how long it took by the clock and on the processor, and the most memory that the process has held::

    {"target": 3921, "source": 4012, "pairs": 113021, "seconds": 2.11, "cpu_seconds": 2.1, "peak_memory": 512000000}

A process of its own makes peak memory and the number of threads the system's alone, and lets the parent alternate
between systems.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

PATIENCE = 1800.0  # seconds until a system that does not answer is given up
ROOT = Path(__file__).resolve().parent.parent

# From how often something is to be done to what was counted while it was.
Work = Callable[[int], Mapping[str, float]]
Works = Mapping[str, Work]


class SystemFailedError(Exception):
    """A measured system could not do what it was asked to: its last words."""


# ---------------------------------------------------------------------------------------------- the system's side


def serve(make: Callable[[dict[str, Any]], Works]) -> None:
    """Make a system from the settings that come first, and do what is asked for until the parent closes the pipe."""
    # Libraries print what they like; the answers keep the pipe to themselves.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values: float) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    settings = json.loads(sys.stdin.readline())
    _, seconds, _ = timed(lambda: _with_threads(settings["threads"]))
    started = time.perf_counter()
    works = make(settings)
    answer(ready=time.perf_counter() - started + seconds)
    for line in sys.stdin:
        asked = json.loads(line)
        counted, seconds, cpu_seconds = timed(lambda: works[asked["do"]](asked["count"]))  # noqa: B023 - run at once
        answer(**counted, seconds=seconds, cpu_seconds=cpu_seconds, peak_memory=peak_memory())


def timed(function: Callable[[], Any]) -> tuple[Any, float, float]:
    """What a function gives, and the seconds that it took by the clock and on the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    result = function()
    return result, time.perf_counter() - clock, time.process_time() - processor


def _with_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def peak_memory() -> float:
    """The most memory that this process has held, in bytes.

    Linux hands ``ru_maxrss`` on from the process that started this one; ``VmHWM`` is of this one alone.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return 1024.0 * int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1.0 if sys.platform == "darwin" else 1024.0)


# ---------------------------------------------------------------------------------------------- the parent's side


class Child:
    """A system in a process of its own: ``python -m MODULE`` of an environment. A context manager.

    Raises :class:`SystemFailedError` wherever the system fails.
    """

    def __init__(self, python: str | Path, module: str, settings: Mapping[str, Any]) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the child
        threads = str(settings["threads"])
        self.process = subprocess.Popen(
            [str(python), "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            cwd=ROOT,
            # One number of threads for everybody, whoever makes them.
            env=os.environ
            | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
            | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads),
        )
        self.ready = self._ask(dict(settings))["ready"]

    def do(self, name: str, count: int) -> dict[str, float]:
        """Have a work done; what it counted, with ``seconds``, ``cpu_seconds`` and ``peak_memory``."""
        return self._ask({"do": name, "count": count})

    def _ask(self, message: Mapping[str, Any]) -> dict[str, float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
            if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
                self.process.kill()
                raise SystemFailedError(f"no answer within {PATIENCE:g} s")
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.process.wait()
            self.errors.seek(0)
            raise SystemFailedError(
                self.errors.read().strip()[-2000:] or f"it ended with status {self.process.returncode}"
            )
        answer: dict[str, float] = json.loads(line)
        return answer

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.errors.close()
