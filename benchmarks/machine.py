"""What the machine can do: its name, and the rate of matrix products at the shapes of a work.

As a process it is a system like others (see ``benchmarks.protocol``): its works are named as the systems are whose
products they time.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

GIGA = 1e9


def description() -> str:
    """Processor, cores, memory, system and date: what a table of results begins with."""
    gibibytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{processor()}, {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} of "
        f"{os.cpu_count()} cores, {gibibytes:.0f} GiB, {platform.system()}, Python {platform.python_version()}, "
        f"{date.today().isoformat()}"
    )


def processor() -> str:
    """The processor's name, with the features that decide how fast its products are."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n")
    except OSError:
        return platform.processor() or platform.machine()
    facts = dict(tuple(part.strip() for part in line.split(":", 1)) for line in lines if ":" in line)
    names = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "AVX-512 bf16", "amx_bf16": "AMX bf16"}
    flags = set(facts.get("flags", "").split())
    told = ", ".join(name for flag, name in names.items() if flag in flags)
    return facts.get("model name", platform.machine()) + (f" ({told})" if told else "")


def seconds_of_products(shapes: list[tuple[int, int, int, float]], precision: str, runs: int) -> tuple[float, float]:
    """Operations of a training's products, and the seconds they take at the best of several runs each.

    A shape is rows, inner and outer size, and how often. Y = X W and the gradient of X are made as often as that, with
    so many rows; the gradient of W can be made at once of all the rows, whatever the order of steps: that of up to
    4096 rows is timed.
    """
    import torch

    dtype = getattr(torch, precision)
    operations = seconds = 0.0
    for rows, inner, outer, times in shapes:
        together = rows * max(1, min(round(times), 4096 // rows))
        x, w, y = (torch.randn(size, dtype=dtype) for size in ((rows, inner), (inner, outer), (rows, outer)))
        xs, ys = torch.randn(inner, together, dtype=dtype), torch.randn(together, outer, dtype=dtype)
        once = 2.0 * rows * inner * outer
        for function, done in (
            (partial(torch.mm, x, w), once),
            (partial(torch.mm, y, w.T), once),
            (partial(torch.mm, xs, ys), once * together / rows),
        ):
            operations += times * once
            seconds += times * once / done * best_seconds(function, runs)
    return operations, seconds


def best_seconds(function: Callable[[], object], runs: int) -> float:
    """Seconds of the fastest of several runs, after one that warms up; a run is as many calls as make 2 ms."""
    started = time.perf_counter()
    function()
    calls = max(1, round(0.002 / max(1e-6, time.perf_counter() - started)))
    best = float("inf")
    for _ in range(runs):
        started = time.perf_counter()
        for _ in range(calls):
            function()
        best = min(best, (time.perf_counter() - started) / calls)
    return best


def make(settings: dict[str, Any]) -> dict[str, Callable[[int], dict[str, float]]]:
    """The products of every work of ``settings["works"]``: name to precision and shapes."""

    def measured(precision: str, shapes: list[tuple[int, int, int, float]], runs: int) -> dict[str, float]:
        operations, seconds = seconds_of_products(shapes, precision, runs)
        return {"operations": operations, "product_seconds": seconds}

    return {name: partial(measured, precision, shapes) for name, (precision, shapes) in settings["works"].items()}


if __name__ == "__main__":
    from benchmarks.protocol import serve

    serve(make)
