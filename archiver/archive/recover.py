"""Clearing what a crash left: objects that a commit wrote and no ledger entry names."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from archiver.archive import layout, ledger
from archiver.archive.commit import Pending
from archiver.archive.reader import Archive
from archiver.clock import DAY_MS
from archiver.errors import KeyMissingError

# A note of another machine may belong to a commit that is under way there; after this long it cannot.
FOREIGN_NOTE_AGE_MS = DAY_MS


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was cleared: unfinished commits found, objects removed, notes left because their writer may be at work."""

    unfinished: int
    objects_removed: int
    left_alone: int


def recover(archive: Archive, *, writer: str, now_ms: int) -> Recovery:
    """Remove what unfinished commits left behind. Call it only while holding this machine's run lock.

    The notes of this machine's own ``writer`` belong to runs that are over; those of others are left alone for
    `FOREIGN_NOTE_AGE_MS`. Nothing that any ledger entry names is ever removed.
    """
    unfinished = removed = left_alone = 0
    for info in list(archive.store.list(layout.PENDING_PREFIX)):
        note = _read_note(archive, info.key)
        if note is not None and note.writer != writer and now_ms - note.at_ms < FOREIGN_NOTE_AGE_MS:
            left_alone += 1
            continue
        orphans = _orphans(archive, note) if note else []
        for key in orphans:
            archive.store.delete(key)
        unfinished += bool(orphans)
        removed += len(orphans)
        archive.store.delete(info.key)
    return Recovery(unfinished, removed, left_alone)


def _read_note(archive: Archive, key: str) -> Pending | None:
    """Return a note, or None if it is unreadable: notes are written whole, so then it names nothing we can trust."""
    try:
        return msgspec.json.decode(archive.store.read(key), type=Pending)
    except (KeyMissingError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _orphans(archive: Archive, note: Pending) -> list[str]:
    """Return the keys of a note that exist and that no ledger entry names."""
    named: set[str] = set()
    try:
        entry, _ = ledger.read_entry(archive.store, note.sequence)
        named.update(record.key for record in entry.added)
    except KeyMissingError:
        pass
    blob_keys = {key for key in note.keys if key.startswith(layout.BLOB_PREFIX)}
    if blob_keys:
        # Any commit may have named the same content, so the whole chain is asked; a crash amid blobs is rare.
        for entry, _ in archive.entries():
            named.update(layout.blob_key(blob.sha256) for blob in entry.blobs)
    return [key for key in note.keys if key not in named and _exists(archive, key)]


def _exists(archive: Archive, key: str) -> bool:
    try:
        archive.store.stat(key)
    except KeyMissingError:
        return False
    return True
