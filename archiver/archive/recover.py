"""Clearing what a crash left: objects that a commit wrote and no ledger entry names."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from archiver.archive import layout, ledger
from archiver.archive.commit import FOREIGN_NOTE_AGE_MS, Pending
from archiver.archive.reader import Archive
from archiver.errors import KeyMissingError, ObjectLockedError
from archiver.store import Store


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was cleared: unfinished commits found, objects removed, notes left because their writer may be at work."""

    unfinished: int
    objects_removed: int
    left_alone: int


def recover(archive: Archive, *, writer: str, now_ms: int) -> Recovery:
    """Remove what unfinished commits left behind. Call it only while holding this machine's run lock.

    The notes of this machine's own ``writer`` belong to runs that are over; those of others are left alone for
    `FOREIGN_NOTE_AGE_MS`. So is the note of a disposal that is committed and not erased yet: it tells whose it is to
    finish. Nothing that any ledger entry names is ever removed.
    """
    unfinished = removed = left_alone = 0
    note_keys = [info.key for info in archive.store.list(layout.PENDING_PREFIX)]
    unerased = archive.head().unerased if note_keys else ()
    for note_key in note_keys:
        note = read_note(archive.store, note_key)
        if note is None or _is_being_erased(note, unerased) or not may_clear(note, writer=writer, now_ms=now_ms):
            left_alone += 1
            continue
        orphans = _orphans(archive, note_key, note)
        for key in orphans:
            with suppress(ObjectLockedError):  # what a lock keeps is hidden now, and nobody counts it
                archive.store.erase(key)
        unfinished += bool(orphans)
        removed += len(orphans)
        archive.store.delete(note_key)
    return Recovery(unfinished, removed, left_alone)


def is_of_disposal(note: Pending) -> bool:
    """Tell whether a note announced a disposal: of all commits it alone writes a certificate."""
    return any(layout.plan_of_certificate(key) is not None for key in note.keys)


def _is_being_erased(note: Pending, unerased: Collection[int]) -> bool:
    return note.sequence in unerased and is_of_disposal(note)


def may_clear(note: Pending, *, writer: str, now_ms: int) -> bool:
    """Tell whether what a note announced is nobody's work any more: it is this machine's own, or too old."""
    return note.writer == writer or now_ms - note.at_ms >= FOREIGN_NOTE_AGE_MS


def read_note(store: Store, key: str) -> Pending | None:
    """Return a note, or None if it is none that we wrote: it has gone, or it does not say what its key says."""
    try:
        note = msgspec.json.decode(store.read(key), type=Pending)
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
            other = read_note(archive.store, info.key) if info.key != note_key else None
            named.update(filter(layout.is_blob_key, other.keys if other else ()))
    return [
        key
        for key in note.keys
        if (layout.is_blob_key(key) or layout.is_written_by(key, note.sequence, note.attempt))
        and key not in named
        and _exists(archive, key)
    ] + [key for key in note.keys if layout.plan_of_certificate(key) and _is_orphaned_certificate(archive, key, note)]


class _Attempted(msgspec.Struct, frozen=True):
    """What a certificate says of the attempt that wrote it."""

    attempt: str


def _is_orphaned_certificate(archive: Archive, key: str, note: Pending) -> bool:
    """Tell whether a certificate is this attempt's own, and no entry names it: another attempt's may be about to be named."""
    try:
        attempt = msgspec.json.decode(archive.store.read(key), type=_Attempted).attempt
    except (KeyMissingError, msgspec.MsgspecError, UnicodeDecodeError):
        return False
    plan = layout.plan_of_certificate(key)
    return attempt == note.attempt and all(
        entry.disposal is None or entry.disposal.plan != plan for entry, _ in archive.entries()
    )


def _exists(archive: Archive, key: str) -> bool:
    try:
        archive.store.stat(key)
    except KeyMissingError:
        return False
    return True
