"""Memory that Arrow asked for and needs no more: when a process gives it back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from typing import Final

import pyarrow as pa

# Of mallopt(3), glibc.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
# Linux alone says how large a process is now; elsewhere the allocator is left to itself.
_SIZES: Final = Path("/proc/self/statm")


def give_memory_back(*, kept_bytes_max: int | None = None) -> None:
    """Let Arrow use the system's allocator in this process: it returns what a batch needed when the batch is done.

    Where that is glibc's, threads share two of its arenas: with one each, every thread keeps for itself what it freed. Of what lies free
    ``kept_bytes_max`` stay for what is needed next, if this is given: every page that the system gives must be found and cleared first,
    which takes as long as filling it.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 2)
        if kept_bytes_max is not None:
            # What is longer than half of it is asked of the system each time, and given back.
            mallopt(_M_MMAP_THRESHOLD, kept_bytes_max // 2)
            mallopt(_M_TRIM_THRESHOLD, kept_bytes_max)


def trim_above(resident_bytes: int) -> None:
    """Give back what lies free between what is in use, if this process has more than so many bytes in memory.

    Columns of very different lengths that come and go leave holes, which the allocator keeps. To look for them takes milliseconds.
    """
    try:
        resident_pages = int(_SIZES.read_text().split()[1])
    except OSError:
        return
    if resident_pages * os.sysconf("SC_PAGE_SIZE") > resident_bytes:
        pa.default_memory_pool().release_unused()
