"""Opening what somebody brought, and its lines: packed with gzip or not, of any length, in any encoding, cut anywhere."""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Final

from archiver.archive.ledger import InputFile
from archiver.capture.imports.records import Unreadable, unreadable
from archiver.errors import RefusedError, UsageError

LINE_BYTES_MAX: Final = 16 * 1024 * 1024
_BLOCK_BYTES: Final = 1024 * 1024
_GZIP_MAGIC: Final = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A file that was read once from end to end, for its digest, and stays open, so that all further readings are of the same file."""

    file: InputFile
    handle: IO[bytes]
    _seen: tuple[int, int]

    def check_unchanged(self) -> None:
        """Raise `RefusedError` if the file was written to since it was opened."""
        if _seen(self.handle) != self._seen:
            raise RefusedError(
                f"{self.file.name} was changed while it was read",
                next_step="bring a file that nobody writes to any more, and import it again",
            )

    @property
    def is_gzip(self) -> bool:
        """Tell whether the file is packed with gzip, whatever its name is."""
        self.handle.seek(0)
        return self.handle.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC


@contextmanager
def opened(path: Path) -> Iterator[OpenedFile]:
    """Open a file; raises `UsageError` if it cannot be read or is no regular file."""
    try:
        # A pipe would wait for somebody to write into it; it is no file that could be read twice.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path} cannot be read: {reason}", next_step="name a file that is there") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UsageError(f"{path} is no regular file", next_step="name a file, not a folder or a pipe")
    with os.fdopen(descriptor, "rb") as handle:
        seen = _seen(handle)
        digest, size = sha256(), 0
        while block := handle.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
        found = OpenedFile(InputFile(name=path.name, sha256=digest.hexdigest(), bytes=size), handle, seen)
        found.check_unchanged()
        yield found


def lines_of(source: OpenedFile) -> Iterator[tuple[int, bytes] | Unreadable]:
    """Yield the lines of a file with their numbers from 1, each without its end; what is too long or cut off is unreadable."""
    source.handle.seek(0)
    if not source.is_gzip:
        source.handle.seek(0)
        yield from _lines(source.handle)
        return
    source.handle.seek(0)
    number = 0
    with gzip.GzipFile(fileobj=source.handle, mode="rb") as unpacked:
        try:
            for line in _lines(unpacked):
                number = line[0] if isinstance(line, tuple) else number + 1
                yield line
        except (OSError, EOFError, zlib.error) as error:
            yield Unreadable(f"after line {number}", f"the gzip file is damaged or cut off: {error}", b"")


def _lines(handle: IO[bytes] | gzip.GzipFile) -> Iterator[tuple[int, bytes] | Unreadable]:
    number = 0
    while line := handle.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(line) > LINE_BYTES_MAX:
            yield unreadable(f"line {number}", f"longer than {LINE_BYTES_MAX} bytes", line[:LINE_BYTES_MAX])
            while line and not line.endswith(b"\n"):
                line = handle.readline(_BLOCK_BYTES)
            continue
        yield number, line.removesuffix(b"\n").removesuffix(b"\r")


def _seen(handle: IO[bytes]) -> tuple[int, int]:
    state = os.fstat(handle.fileno())
    return state.st_size, state.st_mtime_ns
