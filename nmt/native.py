"""The innermost loops of attention, compiled from ``native.c`` when they are first needed on a CPU.

Where there is no C compiler, or what it makes does not load, nothing is said and everything is computed by torch's own
operations: :func:`usable` is False. The compiler is ``$CC``, or the first of cc, gcc and clang; what it made is kept
(``$XDG_CACHE_HOME/nmt``, by default ~/.cache/nmt) for this source, compiler and processor. ``NMT_NATIVE=0`` switches it
off.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# Precise flags: a number that is none stays none.
_FLAGS = ["-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC"]
# With threads, or without where these do not load. OpenMP's library is not linked in: torch has loaded its own, and
# with another one beside it two pools of threads would wait for the same cores.
_WAYS = ["-fopenmp", "-fopenmp-simd"]
WIDE = {torch.float32: "float", torch.bfloat16: "bfloat16"}  # the types of what is per pair


class _Rows(ctypes.Structure):
    _fields_ = (
        ("at", ctypes.c_void_p),
        ("b", ctypes.c_int64),
        ("t", ctypes.c_int64),
        ("s", ctypes.c_int64),
    )


def usable(*tensors: Tensor) -> bool:
    """Whether :func:`run` takes these: on a CPU, in float32 or bfloat16."""
    return all(one.device.type == "cpu" and one.dtype in WIDE for one in tensors) and _library() is not None


def run(name: str, sizes: tuple[int, int, int, int], *arguments: Tensor, wide: torch.dtype | None = None) -> None:
    """Call a function of ``native.c`` with B, T, S, E and its arrays; with ``wide`` that of this type.

    A tensor of four axes is ``rows``: float32, with an axis of 1 where all share it. Another one is an array.
    """
    function = getattr(_library(), f"{name}_{WIDE[wide]}" if wide else name)
    # C would take any memory for what it expects.
    if any(one.is_floating_point() and one.dtype not in (torch.float32, wide) for one in arguments):
        raise TypeError(f"{name}: float32 expected, not {', '.join(str(one.dtype) for one in arguments)}")
    torch.get_num_threads()  # asked in a thread of Python's own, it has OpenMP there keep to torch's number of them
    function(*map(ctypes.c_int64, sizes), *map(_argument, arguments))


def _argument(tensor: Tensor) -> Any:
    if tensor.dim() != 4:
        if not tensor.is_contiguous():
            raise ValueError(f"an array with gaps: shape {tuple(tensor.shape)}, steps {tensor.stride()}")
        return ctypes.c_void_p(tensor.data_ptr())
    if tensor.dtype != torch.float32 or (tensor.stride(-1) != 1 and tensor.shape[-1] > 1):
        raise ValueError(f"rows of {tensor.dtype} with steps {tensor.stride()}")
    steps = [0 if size == 1 else step for size, step in zip(tensor.shape[:3], tensor.stride()[:3], strict=True)]
    return _Rows(tensor.data_ptr(), *steps)


@cache
def _library() -> ctypes.CDLL | None:
    compilers = filter(shutil.which, [os.environ.get("CC", ""), "cc", "gcc", "clang"])
    compiler = next(compilers, None)
    if os.environ.get("NMT_NATIVE") == "0" or compiler is None:
        return None
    source = files("nmt").joinpath("native.c").read_bytes()
    for way in _WAYS:
        try:
            return _loaded(compiler, source, way)
        except (OSError, subprocess.SubprocessError, RuntimeError):  # the last: no home directory
            continue
    return None


def _loaded(compiler: str, source: bytes, way: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(_compiled(compiler, source, way)))
    except OSError:  # damaged, or of a machine with another C library
        _compiled(compiler, source, way).unlink()
        return ctypes.CDLL(str(_compiled(compiler, source, way)))


def _compiled(compiler: str, source: bytes, way: str) -> Path:
    key = hashlib.sha256(repr((source, compiler, _FLAGS, way, _processor())).encode()).hexdigest()[:32]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nmt"
    place = folder / f"native-{key}.so"
    if not place.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            part, made = Path(work) / "native.o", Path(work) / "native.so"
            compile_ = [compiler, *_FLAGS, way, "-c", "-x", "c", "-", "-o", str(part)]
            subprocess.run(compile_, input=source, capture_output=True, check=True, timeout=120)
            link = [compiler, "-shared", str(part), "-o", str(made)]
            subprocess.run(link, capture_output=True, check=True, timeout=120)
            made.replace(place)  # whole or absent, whoever else compiles it now
    return place


def _processor() -> str:
    """What -march=native follows: a cache may be shared by several machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n")
        told = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        told = ""
    return f"{platform.system()} {platform.machine()} {platform.processor()} {told}"
