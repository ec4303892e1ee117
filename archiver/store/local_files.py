"""What `LocalStore` does with open descriptors: unfinished files, their locks, and flushing.

All but `chunks_of` raise `OSError`, which the store translates; nothing here knows a key.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

# Python has no name of its own for syncfs(2).
_C_LIBRARY = ctypes.CDLL(None, use_errno=True)

COPY_BYTES = 1024 * 1024

# Before the umask: the archive holds people's messages, so it is never readable by everybody.
FILE_MODE = 0o640
FOLDER_MODE = 0o750

# Without O_NONBLOCK, opening a named pipe that somebody put there would wait for ever.
READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
ROOT_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY
FOLDER_FLAGS = ROOT_FLAGS | os.O_NOFOLLOW
_WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_SWEEP_FLAGS = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@contextlib.contextmanager
def chunks_of(data: bytes | Path) -> Iterator[Iterator[bytes | memoryview]]:
    """Give the bytes in pieces; a file that cannot be opened or read raises its own `OSError`."""
    if isinstance(data, Path):
        with data.open("rb", buffering=0) as source:
            yield iter(lambda: source.read(COPY_BYTES), b"")
    else:
        yield iter((data,))


def begin(folder: int) -> tuple[int, str]:
    """Make an empty file under a random name and lock it; returns its descriptor and name."""
    while True:
        name = secrets.token_hex(16)
        descriptor = os.open(name, _WRITE_FLAGS, FILE_MODE, dir_fd=folder)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # A sweep between the two calls takes the file for a stopped writer's and removes it.
            if os.fstat(descriptor).st_nlink:
                return descriptor, name
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write every byte, however many calls that takes."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def remove_if_left(folder: int, name: str) -> bool:
    """Remove an unfinished file unless its writer lives; returns whether it was removed."""
    try:
        descriptor = os.open(name, _SWEEP_FLAGS, dir_fd=folder)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name, dir_fd=folder)
    except (BlockingIOError, FileNotFoundError):
        return False
    finally:
        os.close(descriptor)
    return True


def exists(folder: int, name: str) -> bool:
    """Tell whether a name is taken, by whatever."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def flush_all(descriptor: int) -> None:
    """Wait until everything that was written to the file system of an open file is on the disk."""
    call = getattr(_C_LIBRARY, "syncfs", None)
    if call is None:
        os.sync()  # where there is no flushing of one file system
    elif call(descriptor):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def folders_in(folder: int) -> list[str]:
    """Return the names of the folders in a folder."""
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]


def flush_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(folder, ROOT_FLAGS)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
