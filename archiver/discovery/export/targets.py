"""Where a package goes: a folder, or a place in a store such as a bucket. Files appear whole or not at all, and none is kept twice.

In a folder a file is written beside its place and moved there when it is whole. For a store it is written to a folder for temporary
files first, one file at a time, and then handed over.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from archiver.errors import KeyExistsError, KeyMissingError, StorageError, StoreFullError, StoreRefusedError
from archiver.store import Store

# What is ours while a package is being made, and gone when it is whole.
OWN_FOLDER: Final = ".export"
_CHUNK_BYTES: Final = 1024 * 1024
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Target(Protocol):
    """The place of one package; paths are relative to it, with slashes, of safe names. Raises `StorageError` of any kind."""

    is_in_place: bool
    """Whether a file that is written becomes the one that stays; it is read again soon otherwise, to be handed over."""

    @property
    def url(self) -> str:
        """Where it is, for people."""

    def scratch(self, name: str) -> Path:
        """Return a local path for a file that is being written, whose folder exists."""

    def take(self, written: Path, path: str) -> None:
        """Move a file that is whole to its place; whatever is there already was left by a try that did not note it."""

    def read(self, path: str) -> bytes:
        """Return a small file; raises `KeyMissingError`."""

    def pieces(self, path: str) -> Iterator[bytes]:
        """Yield what was appended to a file of our own, a little at a time, cut anywhere; nothing if there is none."""

    def replace(self, path: str, data: bytes) -> None:
        """Write a small file, whether or not there is one."""

    def append(self, path: str, data: bytes) -> None:
        """Add to a file of our own, which a reader may find without the last piece."""

    def digest(self, path: str, size: int) -> str | None:
        """Return the SHA-256 of a file that should have such a size; None if it is not there or has another one."""

    def paths(self) -> Iterator[str]:
        """Yield the paths of files that are there, ours among them."""

    def remove(self, path: str) -> None:
        """Remove a file; nothing there is no error."""

    def close(self) -> None:
        """Remove what is only for the time of writing."""


class FolderTarget:
    """A folder, made with the first file. It must be on a disk of this machine's own."""

    is_in_place = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    @property
    def url(self) -> str:
        """Its absolute path."""
        return str(self._folder)

    def scratch(self, name: str) -> Path:
        """Return a path inside, so that taking it is a move."""
        try:
            with self._translated():
                (self._folder / OWN_FOLDER / "partial").mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileNotFoundError as error:  # what lies above it is no place for folders
            raise written_error(error, self.url) from None
        return self._folder / OWN_FOLDER / "partial" / name

    def take(self, written: Path, path: str) -> None:
        """Flush it to the disk and rename it."""
        with self._translated():
            target = self._folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with written.open("rb") as stream:
                os.fsync(stream.fileno())
            written.replace(target)

    def read(self, path: str) -> bytes:
        """Return a file's bytes."""
        try:
            with self._translated():
                return (self._folder / path).read_bytes()
        except FileNotFoundError:
            raise KeyMissingError(f"there is no {self._folder / path}") from None

    def pieces(self, path: str) -> Iterator[bytes]:
        """Read it through."""
        try:
            with self._translated(), (self._folder / path).open("rb") as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    yield chunk
        except FileNotFoundError:
            return

    def replace(self, path: str, data: bytes) -> None:
        """Write it beside and rename it."""
        scratch = self.scratch("small")
        with self._translated():
            scratch.write_bytes(data)
        self.take(scratch, path)

    def append(self, path: str, data: bytes) -> None:
        """Append to the file."""
        with self._translated(), (self._folder / path).open("ab") as stream:
            stream.write(data)

    def digest(self, path: str, size: int) -> str | None:
        """Read it through."""
        try:
            with self._translated(), (self._folder / path).open("rb") as stream:
                if os.fstat(stream.fileno()).st_size != size:
                    return None
                return _digest(stream)
        except FileNotFoundError:
            return None

    def paths(self) -> Iterator[str]:
        """Walk through it, following no links."""
        for folder, folders, names in os.walk(self._folder):
            folders.sort()
            for name in sorted(names):
                yield (Path(folder) / name).relative_to(self._folder).as_posix()
            for name in folders:
                if (Path(folder) / name).is_symlink():
                    yield (Path(folder) / name).relative_to(self._folder).as_posix()

    def remove(self, path: str) -> None:
        """Remove the file."""
        with self._translated():
            (self._folder / path).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove our own folder if nothing is in it that a later try needs."""
        shutil.rmtree(self._folder / OWN_FOLDER / "partial", ignore_errors=True)
        with contextlib.suppress(OSError):
            (self._folder / OWN_FOLDER).rmdir()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise written_error(error, self.url) from None


class StoreTarget:
    """A place in a store. ``folder`` is one for temporary files, as large as the largest file of the package."""

    is_in_place = False

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._segments = 0

    @property
    def url(self) -> str:
        """The store's."""
        return self._store.url

    def scratch(self, name: str) -> Path:
        """Return a path in the folder for temporary files."""
        return self._folder / name

    def take(self, written: Path, path: str) -> None:
        """Hand it over, in place of what an earlier try left."""
        try:
            self._store.create(path, written)
        except KeyExistsError:
            self._store.delete(path)
            self._store.create(path, written)
        except OSError as error:
            raise written_error(error, str(self._folder)) from None
        written.unlink(missing_ok=True)

    def read(self, path: str) -> bytes:
        """Return an object."""
        return self._store.read(path)

    def pieces(self, path: str) -> Iterator[bytes]:
        """Yield the objects that each piece is."""
        for info in self._store.list(f"{path}/"):
            yield self._store.read(info.key)

    def replace(self, path: str, data: bytes) -> None:
        """Replace the object."""
        self._store.replace(path, data)

    def append(self, path: str, data: bytes) -> None:
        """Write one more piece."""
        if not self._segments:
            self._segments = sum(1 for _ in self._store.list(f"{path}/"))
        self._store.replace(f"{path}/{self._segments:08d}", data)
        self._segments += 1

    def digest(self, path: str, size: int) -> str | None:
        """Read it through."""
        try:
            if self._store.stat(path).size != size:
                return None
            with self._store.open(path) as stream:
                return _digest(stream)
        except KeyMissingError:
            return None

    def paths(self) -> Iterator[str]:
        """List the objects."""
        for info in self._store.list(""):
            yield info.key

    def remove(self, path: str) -> None:
        """Remove the object, and its pieces."""
        for info in list(self._store.list(f"{path}/")):
            self._store.delete(info.key)
        self._store.delete(path)

    def close(self) -> None:
        """Do nothing: the folder for temporary files is removed by who made it."""


def written_error(error: OSError, place: str) -> StorageError:
    """Return what an error of the file system means while a package is written."""
    if error.errno in _FULL:
        return StoreFullError(
            f"there is no space left in {place}",
            next_step="make space, and give the same command again: it goes on where it stopped",
        )
    return StoreRefusedError(
        f"cannot write to {place}: {error.strerror or error}",
        next_step="name a folder that this user may write, by --to",
    )


def _digest(stream: BinaryIO) -> str:
    found = sha256()
    while chunk := stream.read(_CHUNK_BYTES):
        found.update(chunk)
    return found.hexdigest()
