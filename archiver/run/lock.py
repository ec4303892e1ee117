"""One run at a time on one machine; across machines the ledger decides, entry by entry."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from archiver.errors import ArchiveBusyError, SpoolError

_LOCK_FILE = "run.lock"
_WRITER_FILE = "writer-id"
_WRITER_CHARACTERS_MAX = 64


@contextmanager
def hold(state: Path) -> Iterator[None]:
    """Hold this machine's run lock; raises `ArchiveBusyError` if another run has it, `SpoolError` if it cannot be had.

    The kernel lets go of the lock when the process ends, however it ends, so no lock is ever stale.
    """
    path = state / _LOCK_FILE
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A link would lead the process number that is written into it to somebody else's file.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        _lock(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def writer_id(state: Path, *, fresh: str) -> str:
    """Return the name of this state directory as a writer of archives; ``fresh`` becomes it the first time.

    Two writers must never have one name, for each clears what the other left unfinished; so a file that a crash emptied
    or something else wrote is replaced. Call it while holding the lock.
    """
    path = state / _WRITER_FILE
    try:
        known = path.read_bytes().strip() if path.exists() else b""
        if known.isalnum() and len(known) <= _WRITER_CHARACTERS_MAX:
            return known.decode("ascii")
        temporary = path.with_suffix(".new")
        with temporary.open("wb") as file:
            file.write(f"{fresh}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _unusable(path, error) from error
    return fresh


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    except BlockingIOError:
        holder = os.read(descriptor, 64).decode(errors="replace").strip() or "unknown"
        raise ArchiveBusyError(
            f"another run holds {path} (process {holder})",
            next_step="wait until it is done, or look at it with `ps -p` and that number; nothing was changed",
        ) from None
    except OSError as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: OSError) -> SpoolError:
    return SpoolError(
        f"{path} cannot be used: {error.strerror}",
        next_step="make the directory named by 'state:' in archiver.yaml writable for this user, or name another",
    )
