"""A file that is written once, from its first byte to its last, in pieces of any size, and digested: a long one past the cache."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import pyarrow as pa

from archiver.store.local_files import write_all
from archiver.store.local_uncached import UncachedWriter

# So much is written at once. A file that is shorter is written in one piece, and through the cache.
BUFFER_BYTES: Final = 1024 * 1024


class Digest(Protocol):
    """As `hashlib` makes them."""

    def update(self, data: memoryview, /) -> None:
        """Take further bytes."""


class DiskFile:
    """A new file; without a path none, though all the rest is done. ``digests`` are given all bytes. Every call may raise `OSError`.

    ``is_to_stay`` says that nobody reads it soon. Through the cache each byte would be copied into pages that the system must find first,
    which took five times the processor's time and twice as long; and a package must be on the disk by its end anyway
    (`archiver.store.local_uncached`).
    """

    def __init__(self, path: Path | None, *, is_to_stay: bool, digests: Sequence[Digest] = ()) -> None:
        self._number: int | None = None
        self._takers: list[Callable[[memoryview], None]] = [digest.update for digest in digests]
        if path is not None:
            self._number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            self._takers.append(UncachedWriter(self._number).write if is_to_stay else partial(write_all, self._number))
        # Memory of the system's own begins with a page, as what goes past the cache must.
        self._buffer = pa.py_buffer(mmap.mmap(-1, BUFFER_BYTES))
        # Arrow copies without keeping other threads waiting, which a slice of Python's would.
        self._filling = pa.FixedSizeBufferWriter(self._buffer)
        self._filled = 0

    def write(self, data: bytes | memoryview) -> None:
        """Write the next bytes."""
        rest = memoryview(data)
        while rest:
            some = rest[: BUFFER_BYTES - self._filled]
            self._filling.write(some)
            self._filled += len(some)
            rest = rest[len(some) :]
            if self._filled == BUFFER_BYTES:
                self._write_out()

    def close(self) -> None:
        """End the file; harmless when it is closed."""
        try:
            self._write_out()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Leave the file without what was not written yet; harmless when it is closed."""
        self._filled, self._takers = 0, []
        if (number := self._number) is not None:
            self._number = None
            os.close(number)

    def _write_out(self) -> None:
        piece = memoryview(self._buffer)[: self._filled]
        self._filled = 0
        self._filling = pa.FixedSizeBufferWriter(self._buffer)
        for take in self._takers:
            take(piece)
