"""Writing large files past the file system's cache, straight from the caller's memory to the disk.

What is written for good and not read soon needs no copy in the cache: the processor is spared copying every byte once more, the disk
works from the first piece on and not only when the cache is flushed, and what others read stays in it. Linux calls this O_DIRECT. Many
file systems know it, for whole blocks only, and some refuse. So it is tried, and what does not go this way goes through the cache. It
makes nothing durable by itself, for the disk has a cache too: whoever writes flushes as ever.
"""

from __future__ import annotations

import errno
import fcntl
import os
from typing import Final

from archiver.store import local_files as files

# Of every disk that is sold a block fits into this; one that wants more refuses, and then the cache is used.
BLOCK_BYTES: Final = 4096
# Each write waits for the disk. Small ones are quicker gathered in the cache and flushed together.
UNCACHED_FROM_BYTES: Final = 256 * 1024

# Only Linux has it.
_DIRECT: Final[int] = getattr(os, "O_DIRECT", 0)


class UncachedWriter:
    """Writes pieces to the end of an open, empty file; raises `OSError` as any write."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._written = 0
        self._is_possible = _DIRECT != 0
        self._is_direct = False

    def write(self, piece: bytes | memoryview) -> None:
        """Write a whole piece, which may go this way or that in parts."""
        rest = memoryview(piece)
        if self._is_possible and len(rest) >= UNCACHED_FROM_BYTES and self._written % BLOCK_BYTES == 0:
            rest = rest[self._write_blocks(rest[: len(rest) // BLOCK_BYTES * BLOCK_BYTES]) :]
        if rest:
            self._switch(direct=False)
            files.write_all(self._descriptor, rest)
            self._written += len(rest)

    def _write_blocks(self, blocks: memoryview) -> int:
        """Write past the cache and return how many bytes went; where that is refused it is not tried again."""
        done = 0
        try:
            self._switch(direct=True)
            while done < len(blocks):
                size = os.write(self._descriptor, blocks[done:])
                done += size
                self._written += size
        except OSError as error:
            # EINVAL is the answer to what is not aligned as this disk wants it, also behind a write that fell short.
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            self._is_possible = False
        return done

    def _switch(self, *, direct: bool) -> None:
        if direct != self._is_direct:
            flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags | _DIRECT if direct else flags & ~_DIRECT)
            self._is_direct = direct
