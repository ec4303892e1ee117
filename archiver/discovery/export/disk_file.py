"""A file that is written once, from its first byte to its last, in pieces of any size: a long one past the cache, if it is to stay."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from archiver.store.local_files import write_all
from archiver.store.local_uncached import UncachedWriter

# So much is written at once. A file that is shorter is written in one piece, and through the cache.
BUFFER_BYTES: Final = 1024 * 1024


class DiskFile:
    """A new file. ``is_to_stay`` says that nobody reads it soon. Every call may raise `OSError`.

    Through the cache each byte would be copied into pages that the system must find first, which took five times the processor's time and
    twice as long: a package is more than the cache holds, and must be on the disk by its end anyway (`archiver.store.local_uncached`).
    """

    def __init__(self, path: Path, *, is_to_stay: bool) -> None:
        self._number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        self._put: Callable[[memoryview], None] = partial(write_all, self._number)
        if is_to_stay:
            self._put = UncachedWriter(self._number).write
        # Memory of the system's own begins with a page, as what goes past the cache must.
        self._buffer = memoryview(mmap.mmap(-1, BUFFER_BYTES))
        self._filled = 0

    def write(self, data: bytes | memoryview) -> None:
        """Write the next bytes."""
        rest = memoryview(data)
        while rest:
            some = rest[: BUFFER_BYTES - self._filled]
            self._buffer[self._filled : self._filled + len(some)] = some
            self._filled += len(some)
            rest = rest[len(some) :]
            if self._filled == BUFFER_BYTES:
                self._write_out()

    def close(self) -> None:
        """End the file; harmless when it is closed."""
        try:
            if self._number >= 0:
                self._write_out()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Leave the file without what was not written yet; harmless when it is closed."""
        if self._number >= 0:
            number, self._number = self._number, -1
            self._buffer = memoryview(b"")
            os.close(number)

    def _write_out(self) -> None:
        filled, self._filled = self._filled, 0
        self._put(self._buffer[:filled])
