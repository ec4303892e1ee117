"""Memory that Arrow asked for and needs no more: when a process gives it back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from typing import Final

# Of mallopt(3), glibc.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
# Linux alone says how large a process is now; elsewhere the allocator is left to itself.
_SIZES: Final = Path("/proc/self/statm")


def use_system_allocator() -> None:
    """Let all of Arrow use the system's allocator, also where its own parts ask for memory; call it before pyarrow is imported.

    Afterwards it changes nothing: Arrow has chosen then, and what its parts asked for in between stays with an allocator that gives little
    back. https://arrow.apache.org/docs/cpp/env_vars.html, ARROW_DEFAULT_MEMORY_POOL.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


def give_memory_back(*, kept_bytes_max: int | None = None) -> None:
    """Let Arrow use the system's allocator in this process: it returns what a batch needed when the batch is done.

    Where that is glibc's, threads share two of its arenas: with one each, every thread keeps for itself what it freed. Of what lies free
    ``kept_bytes_max`` stay for what is needed next, if this is given: every page that the system gives must be found and cleared first,
    which takes as long as filling it.
    """
    import pyarrow as pa  # noqa: PLC0415 - who calls the other function has not imported it yet

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
    import pyarrow as pa  # noqa: PLC0415 - as above

    try:
        resident_pages = int(_SIZES.read_text().split()[1])
    except OSError:
        return
    if resident_pages * os.sysconf("SC_PAGE_SIZE") > resident_bytes:
        pa.default_memory_pool().release_unused()
