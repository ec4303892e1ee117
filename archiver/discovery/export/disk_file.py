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
# What goes on beside who writes: the disk, and the two digests of a bag.
LANES: Final = 3


class Digest(Protocol):
    """As `hashlib` makes them."""

    def update(self, data: memoryview, /) -> None:
        """Take further bytes."""


class DiskFile:
    """A new file; without a path none, though all the rest is done. ``digests`` are given all bytes. Every call may raise `OSError`.

    ``is_to_stay`` says that nobody reads it soon. Through the cache each byte would be copied into pages that the system must find first,
    which took five times the processor's time and twice as long; and a package must be on the disk by its end anyway
    (`archiver.store.local_uncached`). ``beside`` writes a piece and makes each of its digests, all at once and while the next piece is
    filled, where one is given: one digest after another takes longer than making the lines. Nothing that it does waits for another. What
    goes wrong is told by a later call, `close` at the latest.
    """

    def __init__(
        self, path: Path | None, *, is_to_stay: bool, digests: Sequence[Digest] = (), beside: Executor | None = None
    ) -> None:
        self._number: int | None = None
        self._beside = beside
        self._works: list[Callable[[memoryview], None]] = []
        self._under_way: list[Future[None]] = []
        if path is not None:
            self._number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            self._works.append(UncachedWriter(self._number).write if is_to_stay else partial(write_all, self._number))
        self._works += [digest.update for digest in digests]
        self._buffer = _buffer()
        self._spare: memoryview | None = None
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
            self._settle()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Leave the file without what was not written yet; harmless when it is closed."""
        # Who was interrupted may leave some: they must not write into what gets this file's number next.
        wait(self._under_way)
        self._filled, self._works, self._under_way = 0, [], []
        if (number := self._number) is not None:
            self._number = None
            os.close(number)

    def _write_out(self) -> None:
        piece = self._buffer[: self._filled]
        self._filled = 0
        # Each lane takes the pieces in their order, and the other buffer is filled anew only when all have taken it.
        self._settle()
        if self._beside is None or len(piece) < BUFFER_BYTES:
            for work in self._works:
                work(piece)
            return
        for work in self._works:
            self._under_way.append(self._beside.submit(work, piece))
        self._buffer, self._spare = self._spare or _buffer(), self._buffer

    def _settle(self) -> None:
        wait(self._under_way)
        under_way, self._under_way = self._under_way, []
        for each in under_way:
            each.result()


def _buffer() -> memoryview:
    # Memory of the system's own begins with a page, as what goes past the cache must.
    return memoryview(mmap.mmap(-1, BUFFER_BYTES))
