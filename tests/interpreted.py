"""The laws of the kernels for GPUs in Triton's interpreter, on a CPU: run by ``test_triton_kernels.py`` in a process of
its own, for Triton decides when it is imported whether it interprets."""

from __future__ import annotations

import os
from collections.abc import Iterator

assert os.environ["TRITON_INTERPRET"] == "1"

import pytest  # noqa: E402
from computed import COMPUTED, GATES, assert_as_by_torch, assert_as_under_autocast, assert_nothing_hides, backend  # noqa: E402

from nmt import triton_kernels  # noqa: E402


@pytest.fixture(autouse=True)
def interpreted() -> Iterator[None]:
    """What is on the CPU is computed by Triton."""
    with backend("cpu", triton_kernels.run):
        yield


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tiles along each axis, the last of each not full."""
    monkeypatch.setattr(triton_kernels, "ROWS", 2)
    monkeypatch.setattr(triton_kernels, "BLOCK", 16)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", COMPUTED)
def test_the_same_as_by_torch(name: str) -> None:
    assert_as_by_torch(COMPUTED[name])


@pytest.mark.parametrize("name", GATES)
def test_the_same_under_autocast(name: str) -> None:
    assert_as_under_autocast(COMPUTED[name])


@pytest.mark.parametrize("name", COMPUTED)
def test_what_is_not_a_number_stays_none(name: str) -> None:
    assert_nothing_hides(COMPUTED[name])
