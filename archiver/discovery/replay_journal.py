"""What was replayed into one channel: a file of lines, each on the disk before the next step is taken.

A message is entered as *about* before it is sent and as *sent*, with the uid that Flock gave it, afterwards. So after a stop, one that is
only *about* may have been posted or not, and everything else is certain. The file is held by one process at a time.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal

import msgspec

from archiver.errors import ArchiveBusyError, SpoolError

FOLDER: Final = "replays"
_FILE_MODE: Final = 0o600

# ``about``: it is being sent. ``sent``: it is there. ``not sent``: it certainly is not. ``refused``: Flock does not take it.
State = Literal["about", "sent", "not sent", "refused"]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one part of one message: its mark, where it comes from, and once it is there the uid that Flock gave it.

    ``why`` says how we know, where that is not Flock's own answer.
    """

    mark: str
    chat_id: str
    message_uid: str
    part: int
    state: State
    at: str
    posted_uid: str | None = None
    why: str | None = None


class Journal:
    """The lines of one channel; use it from one thread."""

    def __init__(self, descriptor: int, path: Path, lines: dict[str, Line]) -> None:
        self._descriptor = descriptor
        self._path = path
        self._lines = lines

    def of(self, mark: str) -> Line | None:
        """Return the last that is known of a mark."""
        return self._lines.get(mark)

    def enter(self, line: Line) -> None:
        """Write a line and wait until it is on the disk; raises `SpoolError`, and then nothing may be sent."""
        try:
            data = memoryview(msgspec.json.encode(line) + b"\n")
            while data:
                data = data[os.write(self._descriptor, data) :]
            os.fsync(self._descriptor)
        except OSError as error:
            raise _unusable(self._path, error) from error
        self._lines[line.mark] = line


@contextmanager
def open_journal(state: Path, channel: str) -> Iterator[Journal]:
    """Give the journal of a channel, made if there is none.

    Raises `ArchiveBusyError` if another process has it, and `SpoolError` if it cannot be read whole: then what was posted is not known.
    """
    path = journal_path(state, channel)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, _FILE_MODE)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArchiveBusyError(
                f"another replay into {channel} is under way", next_step="wait until it is done; nothing was posted"
            ) from None
        try:
            data = path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            if len(whole) != len(data):
                # A line that a stop cut off was never on the disk, so nothing was done after it.
                os.ftruncate(descriptor, len(whole))
            _flush(path.parent)
        except OSError as error:
            raise _unusable(path, error) from error
        yield Journal(descriptor, path, _read(path, whole))
    finally:
        os.close(descriptor)


def journal_path(state: Path, channel: str) -> Path:
    """Return where the journal of a channel lies; its id is no file name."""
    return state / FOLDER / f"{sha256(channel.encode()).hexdigest()[:32]}.jsonl"


def read_journal(state: Path, channel: str) -> dict[str, Line]:
    """Return the last line of each mark without holding the file; nothing where there is none."""
    path = journal_path(state, channel)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _unusable(path, error) from error
    return _read(path, data[: data.rfind(b"\n") + 1])


def _read(path: Path, data: bytes) -> dict[str, Line]:
    lines: dict[str, Line] = {}
    for number, text in enumerate(data.splitlines(), 1):
        try:
            line = msgspec.json.decode(text, type=Line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise SpoolError(
                f"{path}:{number} cannot be read ({error}), so what was posted is not known",
                next_step="put the file back as it was, from a copy of the state folder",
            ) from None
        lines[line.mark] = line
    return lines


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unusable(path: Path, error: OSError) -> SpoolError:
    return SpoolError(
        f"{path} cannot be used: {error.strerror}",
        next_step="make the directory named by 'state:' in archiver.yaml writable for this user; nothing was posted since",
    )
