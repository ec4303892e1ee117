"""Erasing from the store what a committed disposal took out of the archive, and saying so in the ledger when all of it has gone.

It may be done twice, by any machine, and goes on after a crash. A data object's key is used once, so it is erased without a question. A
blob's key is its content's, and the same content may have come again since: a blob stays while a later entry names it, or while a note
announces that a commit under way is about to. Both are asked right before each blob goes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

from archiver.archive import layout, ledger
from archiver.archive.commit import Author, Pending
from archiver.archive.disposal import commit_erased
from archiver.archive.ledger import Entry, HeadMovedError
from archiver.archive.reader import Archive, Head
from archiver.archive.recover import is_of_disposal, may_clear, read_note
from archiver.archive.schema import TABLES
from archiver.errors import ObjectLockedError, StorageError

COMMIT_TRIES_MAX: Final = 20

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Kept:
    """A removed object that is still in the store, and why.

    A ``lock`` keeps it (until when, in milliseconds since 1970 UTC; None is a legal hold, which has no end), or a commit is
    ``awaited`` that may be about to name a blob again.
    """

    key: str
    why: Literal["lock", "awaited"]
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased of one disposal, by the sequence of its entry; nothing ``kept`` means that the ledger says it is erased."""

    sequence: int
    erased: int
    kept: tuple[Kept, ...]


def finish_disposals(
    archive: Archive,
    head: Head,
    *,
    author: Author,
    now_ms: int,
    executor: Executor,
    progress: Progress,
) -> tuple[Head, list[Erasure]]:
    """Erase what earlier disposals left in the store, because of a crash or of a lock that may have ended.

    Disposals that another machine began within the last day, and may be at, are left to it. Call it only while holding this machine's
    run lock. Returns the newest head.
    """
    erasures: list[Erasure] = []
    for sequence in head.unerased:
        entry, digest = ledger.read_entry(archive.store, sequence)
        if _is_elsewhere(archive, entry, writer=author.writer, now_ms=now_ms):
            continue
        head, erasure = erase_removed(
            archive, head, (entry, digest), author=author, now_ms=now_ms, executor=executor, progress=progress
        )
        erasures.append(erasure)
    return head, erasures


def erase_removed(
    archive: Archive,
    head: Head,
    disposal: tuple[Entry, str],
    *,
    author: Author,
    now_ms: int,
    executor: Executor,
    progress: Progress,
) -> tuple[Head, Erasure]:
    """Erase what one disposal removed, given its entry and the entry's digest, and append the entry that says so."""
    entry, digest = disposal
    later = _Later(archive, entry.sequence, digest)
    kept: list[Kept] = []
    tasks = executor.map(lambda removal: _erase(archive, removal.key, later), entry.removed)
    for done, outcome in enumerate(tasks, 1):
        kept += outcome
        progress("erasing", done, len(entry.removed))
    for key in _orphaned_versions(archive, head, later):
        with suppress(ObjectLockedError):
            archive.store.erase(key)
    if not kept:
        head = _say_erased(archive, head, entry.sequence, author=author, now_ms=now_ms)
    if not any(item.why == "awaited" for item in kept):
        # A note tells whose work the rest is; what only a lock keeps may be tried by anybody.
        with suppress(StorageError):
            for key, _ in _notes_of(archive, entry):
                archive.store.delete(key)
    return head, Erasure(entry.sequence, len(entry.removed) - len(kept), tuple(kept))


def _orphaned_versions(archive: Archive, head: Head, later: _Later) -> list[str]:
    """Return keys under which only old versions lie that no commit ever named.

    They are what a commit that lost a race wrote and deleted again, with the rows that another commit then wrote: text that a
    disposal must not leave behind. Only a store with versions has any.
    """
    prefixes = (*(f"{table}/" for table in TABLES), layout.BLOB_PREFIX)
    hidden = {info.key for prefix in prefixes for info in archive.store.list_hidden(prefix)} - head.files.keys()
    if not hidden:
        return []
    named = {layout.blob_key(blob.sha256) for entry, _ in archive.entries() for blob in entry.blobs}
    named.update(record.key for entry, _ in archive.entries() for record in entry.added)
    return sorted(hidden - named - later.announced())


def _erase(archive: Archive, key: str, later: _Later) -> list[Kept]:
    if layout.is_blob_key(key):
        match later.use_of(key):
            case "named":
                return []  # it is live again, and no business of this disposal
            case "announced":
                return [Kept(key, "awaited")]
    try:
        archive.store.erase(key)
    except ObjectLockedError as error:
        return [Kept(key, "lock", error.until_ms)]
    return []


class _Later:
    """What came after a disposal: the blobs that later entries name, and those that notes announce. Safe to share between threads."""

    def __init__(self, archive: Archive, sequence: int, digest: str) -> None:
        self._archive = archive
        self._last = (sequence, digest)
        self._named: set[str] = set()
        self._lock = threading.Lock()

    def use_of(self, key: str) -> Literal["named", "announced"] | None:
        """Tell how a blob is in use again, None if it is not.

        Notes are read before entries: a commit writes its entry first and then removes its note, so it is in one of them.
        """
        announced = self.announced()
        with self._lock:
            for entry, digest in ledger.entries_after(self._archive.store, *self._last):
                self._named.difference_update(removal.key for removal in entry.removed)
                self._named.update(layout.blob_key(blob.sha256) for blob in entry.blobs)
                self._last = (entry.sequence, digest)
            if key in self._named:
                return "named"
        return "announced" if key in announced else None

    def announced(self) -> set[str]:
        """Return the keys that notes name now."""
        store = self._archive.store
        notes = (read_note(store, info.key) for info in store.list(layout.PENDING_PREFIX))
        return {key for note in notes if note is not None for key in note.keys}


def _say_erased(archive: Archive, head: Head, sequence: int, *, author: Author, now_ms: int) -> Head:
    tries = 0
    while sequence in head.unerased:
        try:
            return commit_erased(archive, head, sequence, author=author, at_ms=now_ms)
        except HeadMovedError:
            tries += 1
            if tries == COMMIT_TRIES_MAX:
                raise
            head = archive.head(head)
    return head  # another machine finished it meanwhile


def _is_elsewhere(archive: Archive, entry: Entry, *, writer: str, now_ms: int) -> bool:
    """Tell whether another machine may be at erasing this: it left its note, and not long ago."""
    return any(not may_clear(note, writer=writer, now_ms=now_ms) for _, note in _notes_of(archive, entry))


def _notes_of(archive: Archive, entry: Entry) -> list[tuple[str, Pending]]:
    """Return the notes of disposals at this place of the ledger, with their keys."""
    prefix = layout.pending_key(entry.sequence, "").removesuffix(".json")
    notes = [(info.key, read_note(archive.store, info.key)) for info in archive.store.list(prefix)]
    return [(key, note) for key, note in notes if note is not None and is_of_disposal(note)]
