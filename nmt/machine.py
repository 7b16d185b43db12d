"""What a command asks of the machine it runs on."""

from __future__ import annotations

import ctypes

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


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
