"""What a command asks of the machine it runs on."""

from __future__ import annotations

import ctypes
import resource
import sys

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def settle() -> None:
    """All that a command which computes asks of its process, before torch computes anything."""
    keep_freed_memory()
    flush_denormals()


def keep_freed_memory() -> bool:
    """Have the C library keep what is freed instead of handing it back to the system: for a process that trains.

    Every update frees and asks for the same large tensors. glibc by default gets each of them fresh from the system,
    which clears it page by page: a quarter of the time of an update of a small model on a CPU. Returns whether the C
    library could be told; another than glibc is left as it is.
    """
    try:
        tell = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(tell(_MMAP_MAX, 0) and tell(_TRIM_THRESHOLD, 2**31 - 1))


def flush_denormals() -> None:
    """Have the processor take numbers below the smallest normal one (1e−38 in float32) for 0.

    Where a softmax is sure, the gradients of what it does not look at get that small, and a product of such numbers
    takes the processor a hundred times as long. To be called before torch computes anything: the threads that it begins
    then take the setting over, and only then.
    """
    import torch

    torch.set_flush_denormal(True)


def peak_memory(device: str = "cpu") -> int:
    """The most memory that this process has held so far, in bytes: torch's tensors on a ``cuda`` device, else all of
    the process, libraries too."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
