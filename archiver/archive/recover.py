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
    for note_key in [info.key for info in archive.store.list(layout.PENDING_PREFIX)]:
        note = _read_note(archive, note_key)
        if note is None or (note.writer != writer and now_ms - note.at_ms < FOREIGN_NOTE_AGE_MS):
            left_alone += 1
            continue
        orphans = _orphans(archive, note_key, note)
        for key in orphans:
            archive.store.delete(key)
        unfinished += bool(orphans)
        removed += len(orphans)
        archive.store.delete(note_key)
    return Recovery(unfinished, removed, left_alone)


def _read_note(archive: Archive, key: str) -> Pending | None:
    """Return a note, or None if it is none that we wrote: it has gone, or it does not say what its key says."""
    try:
        note = msgspec.json.decode(archive.store.read(key), type=Pending)
    except (KeyMissingError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return note if key == layout.pending_key(note.sequence, note.attempt) else None


def _orphans(archive: Archive, note_key: str, note: Pending) -> list[str]:
    """Return the keys of a note that exist, that a commit writes, and that no ledger entry names."""
    named: set[str] = set()
    try:
        entry, _ = ledger.read_entry(archive.store, note.sequence)
        named.update(record.key for record in entry.added)
    except KeyMissingError:
        pass
    if any(map(layout.is_blob_key, note.keys)):
        # Any commit may have named the same content, so the whole chain is asked; a crash amid blobs is rare. And
        # another commit that is under way may have found the blob there, and be about to name it.
        for entry, _ in archive.entries():
            named.difference_update(removal.key for removal in entry.removed)
            named.update(layout.blob_key(blob.sha256) for blob in entry.blobs)
        for info in archive.store.list(layout.PENDING_PREFIX):
            other = _read_note(archive, info.key) if info.key != note_key else None
            named.update(filter(layout.is_blob_key, other.keys if other else ()))
    return [
        key
        for key in note.keys
        if (layout.is_blob_key(key) or layout.is_written_by(key, note.sequence, note.attempt))
        and key not in named
        and _exists(archive, key)
    ]


def _exists(archive: Archive, key: str) -> bool:
    try:
        archive.store.stat(key)
    except KeyMissingError:
        return False
    return True
