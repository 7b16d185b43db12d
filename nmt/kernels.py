"""Which compiled loops compute the operations of attention, by the device that their tensors are on.

On a CPU those of :mod:`nmt.native`, on a GPU those of :mod:`nmt.triton_kernels`, of the same names and arguments; where
a machine cannot have them nothing is said, and who asks computes with torch's own operations. ``NMT_NATIVE=0`` switches
both off. What only a CPU has loops for asks :mod:`nmt.native` itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from nmt import native

Run = Callable[..., None]


def _native() -> Run | None:
    return native.run if native.usable() else None


@cache
def _triton() -> Run | None:
    """None where Triton is not installed, or what it makes does not run: a trial has one kernel made."""
    if os.environ.get("NMT_NATIVE") == "0":
        return None
    try:
        from nmt import triton_kernels

        one = torch.zeros(1, 1, 1, 1, device="cuda")
        triton_kernels.run("reset_forward", (1, 1, 1, 1), one, one, one, one.new_empty(1, 1), wide=torch.float32)
    except Exception:  # of an import, of a compiler, of a driver: whatever it is, torch's operations are right
        return None
    return triton_kernels.run


BACKENDS: dict[str, Callable[[], Run | None]] = {"cpu": _native, "cuda": _triton}


def usable(*tensors: Tensor) -> bool:
    """Whether :func:`run` takes these: on one device that has a backend, in float32 or bfloat16."""
    kind = tensors[0].device.type
    fit = all(one.device.type == kind and one.dtype in native.WIDE for one in tensors)
    return fit and kind in BACKENDS and BACKENDS[kind]() is not None


def run(name: str, sizes: tuple[int, int, int, int], *arguments: Tensor, wide: torch.dtype | None = None) -> None:
    """Call the function ``name`` of ``native.c`` or its like with B, T, S, E and its arrays; with ``wide`` that of this
    type. A tensor of four axes is ``rows``: float32, with an axis of 1 where all share it. Another one is an array.
    """
    backend = BACKENDS[arguments[0].device.type]()
    assert backend is not None
    backend(name, sizes, *arguments, wide=wide)
