"""What all tests share: one thread, the same randomness every time, real text where there is some."""

from __future__ import annotations

import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest

# Speed of a shared machine is no property of the code; the same examples everywhere make a failure repeatable.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Torch on one thread: small tensors are faster so, and sums come in one order."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_randomness() -> None:
    """Each test starts from the same seeds, whatever ran before it."""
    import torch

    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real text and gold alignments beside the checkout, no part of the project; where there is none, skip."""
    path = REPOSITORY.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("no ../shared/data beside the checkout (real text that is no part of the project)")
    return path


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts, for these tests and for the processes they begin: a shell has what it runs in the background
    ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _denormal_numbers() -> Iterator[None]:
    """A command has the processor take them for 0, for its own process: here that is the tests', one of which counts on
    them."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)
