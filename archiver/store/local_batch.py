"""Many files made durable at once: a disk that is flushed once for all of them, and not for each, takes a fraction of the time.

The order is that of a single write, only for all together: first the bytes of every file are on the disk, then each gets its name, then the
names are on the disk. So here too a name appears with all its bytes or not at all. Large pieces go to the disk as they come, so that little
is left to flush (`local_uncached`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

from archiver.errors import KeyExistsError
from archiver.store import local_files as files
from archiver.store.keys import check_key
from archiver.store.local_errors import Verb
from archiver.store.local_uncached import UncachedWriter

_Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A file that has all its bytes but no key: its folder's descriptor and its name there."""

    folder: int
    name: str


class _Translated(Protocol):
    def __call__(self, verb: Verb, path: _Path) -> contextlib.AbstractContextManager[None]: ...


class LocalBatch:
    """The batch of a `LocalStore`; ``folder`` is where unfinished files lie, the rest is the store's own."""

    def __init__(
        self,
        folder: int,
        *,
        translated: _Translated,
        is_taken: Callable[[_Path], bool],
        publish: Callable[[Unfinished, _Path], bool],
    ) -> None:
        self.taken: set[str] = set()
        self._folder = folder
        self._translated = translated
        self._is_taken = is_taken
        self._publish = publish
        self._lock = Lock()
        self._open: list[tuple[int, str]] = []
        self._written: list[tuple[str, str]] = []

    def create(self, key: str, pieces: Iterable[bytes | memoryview]) -> None:
        """Write the pieces to a file without a key; raises `KeyExistsError` if the key is taken by then."""
        check_key(key)
        path = tuple(key.split("/"))
        if self._is_taken(path):
            raise KeyExistsError(f"{key} exists already")
        with self._translated("write", path):
            descriptor, name = files.begin(self._folder)
        with self._lock:
            self._open.append((descriptor, name))
        writer = UncachedWriter(descriptor)
        for piece in pieces:
            with self._translated("write", path):
                writer.write(piece)
        with self._lock:
            self._written.append((key, name))

    def finish(self) -> None:
        """Flush the bytes, give the names and flush those."""
        if not self._written:
            return
        with self._translated("write", ()):
            files.flush_all(self._folder)
        for key, name in sorted(self._written):
            if not self._publish(Unfinished(self._folder, name), tuple(key.split("/"))):
                self.taken.add(key)
        with self._translated("write", ()):
            files.flush_all(self._folder)

    def drop(self) -> None:
        """Remove the files' first names, and files that got no other."""
        for descriptor, name in self._open:
            # What cannot be removed now, the next sweep removes.
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._folder)
            os.close(descriptor)
        self._open.clear()
