"""The newest head that this machine saw, kept apart from the archive: a ledger that has lost its end cannot show it.

Each entry names the one before, so a chain cut short is still a chain. A run therefore compares it with its own memory
and refuses to go on where entries are gone that it has seen: it would give their numbers away again.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from archiver.archive import ledger
from archiver.archive.reader import Archive, Head
from archiver.errors import KeyMissingError, LedgerBrokenError, SpoolError

_FILE = "last-head.json"


class LastHead(msgspec.Struct, frozen=True):
    """Which archive it was, and the sequence and digest of its newest entry."""

    archive_id: str
    sequence: int
    digest: str


def check(state: Path, archive: Archive) -> None:
    """Raise `LedgerBrokenError` if the ledger no longer holds the newest entry that this machine saw of this archive."""
    seen = _read(state)
    if seen is None or seen.archive_id != archive.facts.archive_id:
        return
    try:
        _, digest = ledger.read_entry(archive.store, seen.sequence)
    except KeyMissingError:
        digest = "gone"
    if digest != seen.digest:
        raise LedgerBrokenError(
            f"the ledger of {archive.store.url} does not hold entry {seen.sequence} as this machine saw it: "
            f"its digest was {seen.digest}, now it is {digest}",
            next_step="restore the ledger from a copy; if a copy was made the archive since (`archiver promote`), name that one; if the "
            f"archive was put back to an earlier state on purpose, remove {state / _FILE}",
        )


def remember(state: Path, archive: Archive, head: Head) -> None:
    """Keep the newest head, durably; raises `SpoolError` if this machine's folder cannot be written."""
    if head.sequence == 0:
        return
    path = state / _FILE
    temporary = path.with_suffix(".new")
    try:
        with temporary.open("wb") as file:
            file.write(msgspec.json.encode(LastHead(archive.facts.archive_id, head.sequence, head.digest)))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise SpoolError(
            f"{path} cannot be written: {error.strerror}",
            next_step="make the directory named by 'state:' in archiver.yaml writable for this user",
        ) from error


def _read(state: Path) -> LastHead | None:
    """Return what was kept; nothing, or something that a crash or somebody else left, is no memory."""
    try:
        return msgspec.json.decode((state / _FILE).read_bytes(), type=LastHead)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
