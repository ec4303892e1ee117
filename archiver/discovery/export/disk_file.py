"""A file that is written once, from its first byte to its last, in pieces of any size, and digested: a long one past the cache."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, wait
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import pyarrow as pa

from archiver.store.local_files import write_all
from archiver.store.local_uncached import UncachedWriter

# So much is written at once, and digested: after each piece Python's threads wait for each other. A shorter file is written in one piece,
# and through the cache.
BUFFER_BYTES: Final = 4 * 1024 * 1024
# From so many bytes on, others go on while a piece is copied.
LONG_BYTES: Final = 128 * 1024


class Digest(Protocol):
    """As `hashlib` makes them."""

    def update(self, data: memoryview, /) -> None:
        """Take further bytes."""


class DiskFile:
    """A new file; without a path none, though all the rest is done. ``digests`` are given all bytes. Every call may raise `OSError`.

    ``is_to_stay`` says that nobody reads it soon. Through the cache each byte would be copied into pages that the system must find first,
    which took five times the processor's time and twice as long; and a package must be on the disk by its end anyway
    (`archiver.store.local_uncached`). ``disk`` writes a piece while it is digested, where one is given; that waits for nobody else.
    """

    def __init__(
        self, path: Path | None, *, is_to_stay: bool, digests: Sequence[Digest] = (), disk: Executor | None = None
    ) -> None:
        self._number: int | None = None
        self._digests = digests
        self._disk = disk
        self._writing: Callable[[memoryview], None] | None = None
        self._under_way: Future[None] | None = None
        if path is not None:
            self._number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            self._writing = UncachedWriter(self._number).write if is_to_stay else partial(write_all, self._number)
        # Memory of the system's own begins with a page, as what goes past the cache must.
        self._buffer = memoryview(mmap.mmap(-1, BUFFER_BYTES))
        self._filled = 0

    def write(self, data: bytes | memoryview) -> None:
        """Write the next bytes."""
        rest = memoryview(data)
        while rest:
            some = rest[: BUFFER_BYTES - self._filled]
            end = self._filled + len(some)
            if len(some) < LONG_BYTES:
                # Other threads wait for this copying, for microseconds: to let them in at each of many small pieces takes longer.
                self._buffer[self._filled : end] = some
            else:
                pa.FixedSizeBufferWriter(pa.py_buffer(self._buffer[self._filled : end])).write(some)
            self._filled = end
            rest = rest[len(some) :]
            if self._filled == BUFFER_BYTES:
                self._write_out()

    def close(self) -> None:
        """End the file; harmless when it is closed."""
        try:
            if self._filled:
                self._write_out()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Leave the file without what was not written yet; harmless when it is closed."""
        if self._under_way is not None:
            # Who was interrupted may leave one: it must not write into what gets this file's number next.
            wait([self._under_way])
        self._filled, self._digests, self._writing, self._under_way = 0, (), None, None
        if (number := self._number) is not None:
            self._number = None
            os.close(number)

    def _write_out(self) -> None:
        piece = self._buffer[: self._filled]
        self._filled = 0
        if self._writing is not None and self._disk is not None and len(piece) == BUFFER_BYTES:
            self._under_way = self._disk.submit(self._writing, piece)
        elif self._writing is not None:
            self._writing(piece)
        for digest in self._digests:
            digest.update(piece)
        if self._under_way is not None:
            # The buffer is filled anew only then, and what went wrong is told.
            self._under_way.result()
            self._under_way = None
