"""A seekable reader over an object of which only ranges can be fetched, made for Parquet's way of reading.

A Parquet file is read from its end, then a few ranges in the middle. So the last bytes come with the opening, a range is
fetched as long as it was asked for and a little more, and more the longer the reading goes on without a jump.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# A usual Parquet footer, and every small object whole.
TAIL_BYTES = 128 * 1024
READ_AHEAD_MIN_BYTES = 128 * 1024
READ_AHEAD_MAX_BYTES = 8 * 1024 * 1024

# Where the reader copies small reads from, so that a line or a length costs no call of ours.
BUFFER_BYTES = 64 * 1024

Fetch = Callable[[int, int], bytes]


class RangeReader(io.RawIOBase):
    """Reads ``size`` bytes through ``fetch(start, end)``, which returns exactly the bytes from start to before end.

    ``tail`` holds the last bytes if they are known already. What ``fetch`` raises is passed on.
    """

    def __init__(self, fetch: Fetch, *, size: int, tail: bytes = b"") -> None:
        super().__init__()
        self._fetch = fetch
        self._size = size
        self._tail = tail
        self._tail_at = size - len(tail)
        self._window = b""
        self._window_at = 0
        self._read_ahead_bytes = READ_AHEAD_MIN_BYTES
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a position, which costs nothing until the next read."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError(f"there is no position {start + offset}")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer from the position on, perhaps not to its end; returns how many bytes, 0 at the end."""
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), self._size - self._position)
        if wanted <= 0:
            return 0
        piece = self._piece(wanted)
        view[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def readall(self) -> bytes:
        """Return everything from the position on, with one fetch."""
        start, self._position = self._position, max(self._position, self._size)
        if start >= self._tail_at:
            return self._tail[start - self._tail_at :]
        return self._fetch(start, self._tail_at) + self._tail

    def _piece(self, wanted: int) -> memoryview:
        """Return at least one and at most ``wanted`` bytes at the position."""
        if self._position >= self._tail_at:
            source, source_at = self._tail, self._tail_at
        else:
            if not self._window_at <= self._position < self._window_at + len(self._window):
                self._move_window(wanted)
            source, source_at = self._window, self._window_at
        start = self._position - source_at
        return memoryview(source)[start : start + wanted]

    def _move_window(self, wanted: int) -> None:
        goes_on = self._position == self._window_at + len(self._window)
        self._read_ahead_bytes = (
            min(self._read_ahead_bytes * 2, READ_AHEAD_MAX_BYTES) if goes_on else READ_AHEAD_MIN_BYTES
        )
        end = min(self._position + max(wanted, self._read_ahead_bytes), self._tail_at)
        self._window = self._fetch(self._position, end)
        self._window_at = self._position
