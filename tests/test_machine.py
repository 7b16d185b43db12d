"""What a command asks of the machine it runs on."""

from __future__ import annotations

import ctypes
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nmt import cli
from nmt.machine import keep_freed_memory

# Page faults of asking for 64 MB, touching every page and freeing it, fifty times over.
FAULTS = """
import ctypes, resource
from nmt.machine import keep_freed_memory
{call}
libc = ctypes.CDLL("libc.so.6")
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
for _ in range(50):
    place = libc.malloc(64 * 2**20)
    ctypes.memset(place, 1, 64 * 2**20)
    libc.free(place)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def faults(call: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS.format(call=call)], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_freed_memory_is_used_again() -> None:
    assert keep_freed_memory()
    # 16,384 pages of 4 KiB, cleared by the system fifty times or once.
    assert faults("") - faults("assert keep_freed_memory()") > 30 * 16384


@pytest.mark.parametrize("error", [OSError, AttributeError])
def test_another_c_library_is_left_alone(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise error(name)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert not keep_freed_memory()


# Products with terms, and with factors, below the smallest normal number: enough of them for two threads.
TINY = """
import torch
from nmt.machine import flush_denormals
torch.set_num_threads(2)
{call}
one = torch.full((256, 256), 1e-20)
products = one @ one, (1e-39 * torch.ones(2**20)) * 1.0
print(sum(int((product != 0).sum()) for product in products))
"""


@pytest.mark.parametrize(("call", "left"), [("", 2**16 + 2**20), ("flush_denormals()", 0)])
def test_no_thread_computes_with_denormal_numbers(call: str, left: int) -> None:
    done = subprocess.run([sys.executable, "-c", TINY.format(call=call)], capture_output=True, text=True, check=True)
    assert int(done.stdout) == left


@pytest.mark.parametrize("command", sorted(Path(cli.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_every_command_that_computes_settles_first(command: Path) -> None:
    text = command.read_text(encoding="utf-8")
    computes = re.search(r"from nmt\.(translator|train|memory_tasks|study_results) import", text) is not None
    assert computes == ("\n    settle()\n" in text)
