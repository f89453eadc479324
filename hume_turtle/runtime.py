"""The process that computes, as opposed to what it computes."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees for what it allocates next; whether it does.

    By itself glibc returns every large freed block to the system. Each tensor of a convolutional
    network then begins with page faults: half of the time, on a CPU. The process may keep up to
    the most that it has held at once; processes that it forks inherit the setting. Results do
    not change.

    A setting of the whole process and for good: the commands that embed call this, the library
    itself never does. It has an effect with glibc alone, and returns False elsewhere.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return False
    # No block is mapped by itself, and the heap never shrinks. M_MMAP_THRESHOLD would not do: an
    # int, and in older versions 32 MiB at most.
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1))
