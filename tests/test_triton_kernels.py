"""The kernels for GPUs: in Triton's interpreter, by its compiler, and on a GPU where there is one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from computed import (
    COMPUTED,
    GATES,
    assert_as_by_torch,
    assert_as_under_autocast,
    assert_nothing_hides,
    backend,
    drawn,
    values_and_gradients,
)
from torch import Tensor

from nmt import kernels, native

HERE = Path(__file__).parent
installed = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed: pip install '.[gpu-test]'")
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
every = pytest.mark.parametrize("name", COMPUTED)


@installed
@pytest.mark.slow
def test_in_the_interpreter() -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(HERE / "interpreted.py")]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=HERE.parent)
    assert done.returncode == 0, done.stdout


def calls(name: str, kind: torch.dtype) -> dict[str, tuple[tuple[int, ...], tuple[Tensor, ...]]]:
    """The kernels that an operation and its gradient call, with sizes and arguments."""
    told = {}

    def listen(
        kernel: str, sizes: tuple[int, int, int, int], *arguments: Tensor, wide: torch.dtype | None = None
    ) -> None:
        told[kernel] = sizes, arguments

    with backend("cpu", listen), torch.autocast("cpu", torch.bfloat16, enabled=kind == torch.bfloat16):
        values_and_gradients(COMPUTED[name], drawn(COMPUTED[name]))
    return told


TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16"}


def typed(value: Any, path: tuple[int, ...], constants: dict[tuple[int, ...], Any], constant: bool) -> Any:
    """The type of an argument as Triton's own launcher would tell it; what it takes for constant goes there."""
    if isinstance(value, tuple):
        return tuple(typed(one, (*path, place), constants, constant) for place, one in enumerate(value))
    if isinstance(value, Tensor):
        return TYPES[value.dtype]
    if constant or value is None or value == 1:
        constants[path] = value
        return "constexpr"
    return "i32"


@installed
@pytest.mark.slow
@pytest.mark.parametrize("kind", TYPES, ids=str)
@pytest.mark.parametrize("name", ["additive", "gatt-loop", "gatt-inv", "gatt-reset-after"])
def test_by_the_compiler(name: str, kind: torch.dtype) -> None:
    """Every call compiles for an H100, of which the interpreter knows nothing. Nothing is added atomically, in an order
    that would change from run to run; and bfloat16 is rounded to the nearest, where the interpreter cuts off."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from nmt import triton_kernels

    told = calls(name, kind)
    assert len(told) >= 2
    for kernel, (sizes, arguments) in told.items():
        function, _ = triton_kernels.KERNELS[kernel]
        given = [*sizes[1:], *map(triton_kernels._argument, arguments), triton_kernels.ROWS, triton_kernels.BLOCK]
        constants: dict[tuple[int, ...], Any] = {}
        signature = {
            argument: typed(value, (place,), constants, argument in {"ROWS", "BLOCK"})
            for place, (argument, value) in enumerate(zip(function.arg_names, given, strict=True))
        }
        source = ASTSource(function, signature, constants)
        made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=triton_kernels.OPTIONS)
        assert made.asm["cubin"]
        assert not re.search(r"\b(atom|red)\.", made.asm["ptx"])
        cuts = kernel not in {"additive_forward", "additive_backward", "after_backward"}  # whose results are float32
        assert ("cvt.rn.bf16" in made.asm["ptx"]) == (cuts and kind == torch.bfloat16)


def test_without_triton_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not installed, switched off, or without a GPU: None, for torch's own operations."""
    ways: list[Callable[[], None]] = [
        lambda: monkeypatch.setitem(sys.modules, "nmt.triton_kernels", None),
        lambda: monkeypatch.setenv("NMT_NATIVE", "0"),
    ]
    for way in ways:
        with monkeypatch.context():
            way()
            assert kernels._triton.__wrapped__() is None
        monkeypatch.undo()
    if not torch.cuda.is_available():
        assert kernels._triton.__wrapped__() is None


def test_a_backend_takes_what_is_on_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    one = torch.zeros(2)
    with backend("cpu", native.run):
        assert kernels.usable(one, one.bfloat16())
        assert not kernels.usable(one.double())
        assert not kernels.usable(one, one.to("meta"))
        assert not kernels.usable(one.to("meta"))
    with backend("cpu", None):
        assert not kernels.usable(one)


@on_a_gpu
@every
def test_the_same_as_by_torch(name: str) -> None:
    assert kernels._triton() is not None
    assert_as_by_torch(COMPUTED[name], "cuda")


@on_a_gpu
@pytest.mark.parametrize("name", GATES)
def test_the_same_under_autocast(name: str) -> None:
    assert_as_under_autocast(COMPUTED[name], "cuda")


@on_a_gpu
@every
def test_what_is_not_a_number_stays_none(name: str) -> None:
    assert_nothing_hides(COMPUTED[name], "cuda")


@on_a_gpu
@every
def test_every_run_adds_in_the_same_order(name: str) -> None:
    found = [values_and_gradients(COMPUTED[name], drawn(COMPUTED[name], "cuda")) for _ in range(2)]
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
