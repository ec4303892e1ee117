"""The folder that a restore fills: every file is whole and held against its digest before it gets its name, and a list names them all.

``manifest-sha256.txt`` is what ``sha256sum -c`` reads. A restore that stopped goes on in the same folder: what is there is hashed again
and kept if it is what it must be.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Final

from archiver.archive import blobs
from archiver.errors import RefusedError, StoreFullError, StoreRefusedError

ORDER_NAME: Final = ".restore-order.json"
REPORT_NAME: Final = "restore.json"
MANIFEST_NAME: Final = "manifest-sha256.txt"
_UNFINISHED: Final = ".restore-unfinished-"
_FOLDER_MODE: Final = 0o750
_FILE_MODE: Final = 0o640


class RestoreFolder:
    """Files under ``root``; safe to share between threads, as long as no two write the same name."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._written: dict[str, str] = {}

    def open(self, order: bytes) -> None:
        """Begin, or go on with the same order; raises `RefusedError` where something else lies."""
        try:
            self._root.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            there = sorted(path.name for path in self._root.iterdir())
        except OSError as error:
            raise _refused(self._root, error) from error
        if there and ORDER_NAME not in there:
            raise RefusedError(
                f"{self._root} is not empty, and no restore is under way there",
                next_step="name an empty folder, or one that is not there yet",
            )
        if there:
            if (self._root / ORDER_NAME).read_bytes() != order:
                raise RefusedError(
                    f"{self._root} holds another restore",
                    next_step="give the same options again to go on with it, or name another folder",
                )
            for path in self._root.glob(f"{_UNFINISHED}*"):
                path.unlink(missing_ok=True)
        else:
            self._place(ORDER_NAME, [order])

    def holds(self, name: str, digest: str) -> bool:
        """Tell whether a file is there already and is what its digest says, and if so count it as written."""
        path = self._root / name
        if path.is_symlink() or not path.is_file():
            return False
        with path.open("rb") as stream:
            found, _ = blobs.digest_of(stream)
        if found == digest:
            self._written[name] = digest
        return found == digest

    def write(self, name: str, pieces: Iterable[bytes | memoryview]) -> str:
        """Write a file from its pieces and return its SHA-256; what the pieces raise is passed on, and then there is no such file."""
        digest = self._place(name, pieces)
        self._written[name] = digest
        return digest

    def finish(self, report: bytes) -> str:
        """Write the report and the list of all files; returns the SHA-256 of the list."""
        self.write(REPORT_NAME, [report])
        lines = [f"{digest}  {name}\n" for name, digest in sorted(self._written.items())]
        return self._place(MANIFEST_NAME, [line.encode() for line in lines])

    def _place(self, name: str, pieces: Iterable[bytes | memoryview]) -> str:
        unfinished = self._root / f"{_UNFINISHED}{secrets.token_hex(8)}"
        digest = sha256()
        try:
            try:
                descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
            except OSError as error:
                raise _refused(self._root, error) from error
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                for piece in pieces:
                    digest.update(piece)
                    rest = memoryview(piece)
                    while rest:
                        try:
                            rest = rest[file.write(rest) :]
                        except OSError as error:
                            raise _refused(self._root, error) from error
                os.fsync(file.fileno())
            path = self._root / name
            try:
                path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
                unfinished.replace(path)
            except OSError as error:
                raise _refused(path, error) from error
        finally:
            unfinished.unlink(missing_ok=True)
        return digest.hexdigest()


def _refused(path: Path, error: OSError) -> StoreFullError | StoreRefusedError:
    what = f"cannot write {path}: {os.strerror(error.errno or 0)}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StoreFullError(what, next_step="make space and run the same again; what is there stays")
    return StoreRefusedError(what, next_step="let this user write there, or name another folder")
