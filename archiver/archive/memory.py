"""Memory that Arrow asked for and needs no more: when a process gives it back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from typing import Final

import pyarrow as pa

_M_ARENA_MAX: Final = -8  # of mallopt(3), glibc
# Linux alone says how large a process is now; elsewhere the allocator is left to itself.
_SIZES: Final = Path("/proc/self/statm")


def give_memory_back() -> None:
    """Let Arrow use the system's allocator in this process: it returns what a batch needed when the batch is done.

    Where that is glibc's, threads share two of its arenas: with one each, every thread keeps for itself what it freed.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


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
