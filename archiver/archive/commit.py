"""Adding to the archive: all of a batch or nothing of it, and of two writers exactly one wins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import msgspec
import pyarrow as pa

from archiver.archive import blobs, layout, ledger
from archiver.archive.copies import refuse_copy
from archiver.archive.ledger import BlobRecord, Entry, EntryKind, FileRecord, Gap, HeadMovedError, HoldChange, InputFile
from archiver.archive.reader import Archive, Head, advance, encode_checkpoint, is_checkpoint_due
from archiver.archive.schema import FORMAT, TABLES, Table
from archiver.archive.tables import EncodedFile, encode, split_by_day
from archiver.clock import DAY_MS, from_text, to_text
from archiver.errors import KeyExistsError, RefusedError, StorageError
from archiver.store import Store

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Author:
    """Who commits: the run, the person or service, the software version, and this machine's own writer id."""

    run: str
    actor: str
    software: str
    writer: str


@dataclass(frozen=True, slots=True)
class Draft:
    """What one commit will hold; ``blobs`` maps what the rows name to the local files with the bytes.

    ``watermarks`` and ``cursors`` are those that this batch moves; the others stay as they are.
    """

    at_ms: int
    kind: EntryKind = "capture"
    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    blobs: Mapping[BlobRecord, Path] = field(default_factory=dict)
    settled: tuple[str, ...] = ()
    watermarks: Mapping[str, int] = field(default_factory=dict)
    cursors: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[InputFile, ...] = ()
    hold: HoldChange | None = None
    gaps: tuple[Gap, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Tell whether committing this would say nothing."""
        moves = self.settled or self.watermarks or self.cursors or self.inputs or self.hold
        return not (moves or any(rows.num_rows for rows in self.tables.values()))


# A note of another machine may belong to a commit that is under way there; after this long it cannot.
FOREIGN_NOTE_AGE_MS = DAY_MS


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """The note left before anything else is written: which objects this attempt is about to write."""

    sequence: int
    attempt: str
    writer: str
    at_ms: int
    keys: tuple[str, ...]


def commit(archive: Archive, head: Head, draft: Draft, *, author: Author, attempt: str, executor: Executor) -> Head:
    """Add a batch on top of ``head`` and return the new head.

    ``attempt`` is eight random hex digits, new for each call. Raises `HeadMovedError` if another writer was first: nothing was added
    then, and the batch must be prepared again on the new head. Raises `RefusedError` for a copy, which only `archiver clone` writes to,
    and if a blob is just being erased by a disposal. Raises `StorageError` if the store cannot; what became of the commit is then
    decided by the ledger, and `archiver.archive.recover` tidies up.
    """
    refuse_copy(archive.store)
    _require_blobs_stay(archive, head, draft)
    sequence = head.sequence + 1
    encoded = list(executor.map(_encode_part, _parts(draft)))
    keys = [
        layout.data_key(file.table, file.day, sequence=sequence, attempt=attempt, number=number)
        for number, file in enumerate(encoded, 1)
    ]
    note = Pending(
        sequence=sequence,
        attempt=attempt,
        writer=author.writer,
        at_ms=draft.at_ms,
        keys=(*keys, *(layout.blob_key(record.sha256) for record in draft.blobs)),
    )
    note_key = write_note(archive.store, note)
    _for_each(
        executor, lambda item: _create(archive.store, *item), zip(keys, (file.data for file in encoded), strict=True)
    )
    _for_each(executor, lambda item: blobs.put(archive.store, *item), draft.blobs.items())
    entry = _entry(archive, head, draft, author=author, added=tuple(map(_record, keys, encoded)))
    try:
        new_head = _append(archive, head, entry)
    except HeadMovedError:
        with suppress(StorageError):  # what cannot be removed now has its note
            for key in keys:
                archive.store.erase(key)
            if not draft.blobs:  # else the note stays for `recover`, which knows whether any commit names the blobs
                archive.store.delete(note_key)
        raise
    # The commit is durable. What follows is tidying, and failing at it must not look like a failed commit.
    with suppress(StorageError):
        archive.store.delete(note_key)
    return new_head


def append_entry(archive: Archive, head: Head, entry: Entry) -> Head:
    """Append the entry that follows a head, with a checkpoint where one is due, and return the head after it.

    Raises as `archiver.archive.ledger.append` does, and `RefusedError` for a copy, which only `archiver clone` writes to. A checkpoint that
    cannot be written is no matter.
    """
    if entry.promotion is None:  # that entry ends a copy's being one
        refuse_copy(archive.store)
    return _append(archive, head, entry)


def _append(archive: Archive, head: Head, entry: Entry) -> Head:
    if is_checkpoint_due(entry.sequence):
        checkpoint = encode_checkpoint(advance(head, entry, ""))
        entry = msgspec.structs.replace(entry, checkpoint=sha256(checkpoint).hexdigest())
    new_head = advance(head, entry, ledger.append(archive.store, entry))
    if entry.checkpoint:
        with suppress(StorageError):
            archive.write_checkpoint(new_head)
    return new_head


def write_note(store: Store, note: Pending) -> str:
    """Announce what an attempt at a commit is about to write, before anything else is written; returns the note's key."""
    key = layout.pending_key(note.sequence, note.attempt)
    _create(store, key, ledger.canonical_json(note))
    return key


def _create(store: Store, key: str, data: bytes) -> None:
    """Create an object whose key nobody else writes, so that what is there already is our own first try."""
    try:
        store.create(key, data)
    except KeyExistsError:
        if store.read(key) != data:
            raise


def _for_each(executor: Executor, task: Callable[[_T], None], items: Iterable[_T]) -> None:
    """Do a task for every item and return when none is under way any more, also where one failed.

    An object that were still being written when its commit has failed would escape `recover`.
    """
    done, _ = wait([executor.submit(task, item) for item in items])
    for future in done:
        future.result()


def _parts(draft: Draft) -> Iterator[tuple[Table, date, pa.Table]]:
    for name, rows in draft.tables.items():
        table = TABLES[name]
        for day, part in split_by_day(table, rows):
            yield table, day, part


def _encode_part(part: tuple[Table, date, pa.Table]) -> EncodedFile:
    return encode(*part)


def _record(key: str, file: EncodedFile) -> FileRecord:
    return FileRecord(
        table=file.table,
        key=key,
        bytes=len(file.data),
        sha256=file.sha256,
        rows=file.rows,
        ranges=file.ranges,
        open_rows=file.open_rows,
        astray_rows=file.astray_rows,
    )


def _entry(archive: Archive, head: Head, draft: Draft, *, author: Author, added: tuple[FileRecord, ...]) -> Entry:
    return msgspec.structs.replace(
        next_entry(archive, head, draft.kind, at_ms=draft.at_ms, author=author),
        added=added,
        blobs=tuple(sorted(draft.blobs, key=lambda record: record.sha256)),
        settled=draft.settled,
        watermarks={**head.watermarks, **draft.watermarks},
        counts={name: rows.num_rows for name, rows in draft.tables.items() if rows.num_rows},
        gaps=draft.gaps,
        cursors=dict(draft.cursors),
        inputs=draft.inputs,
        hold=draft.hold,
    )


def next_entry(archive: Archive, head: Head, kind: EntryKind, *, at_ms: int, author: Author) -> Entry:
    """Return the entry that follows a head and changes nothing; what it changes is for the caller to put in."""
    return Entry(
        format=FORMAT,
        archive_id=archive.facts.archive_id,
        sequence=head.sequence + 1,
        previous=head.digest,
        at=to_text(at_ms),
        kind=kind,
        run=author.run,
        actor=author.actor,
        software=author.software,
        added=(),
        blobs=(),
        removed=(),
        settled=(),
        watermarks=head.watermarks,
        counts={},
        gaps=(),
    )


def _require_blobs_stay(archive: Archive, head: Head, draft: Draft) -> None:
    """Refuse to name a blob that a disposal, recent and perhaps under way on another machine, may still be erasing."""
    wanted = {layout.blob_key(record.sha256) for record in draft.blobs}
    for sequence in head.unerased if wanted else ():
        entry, _ = ledger.read_entry(archive.store, sequence)
        going = wanted.intersection(removal.key for removal in entry.removed)
        if going and draft.at_ms - from_text(entry.at) < FOREIGN_NOTE_AGE_MS:
            raise RefusedError(
                f"{min(going)} in {archive.store.url} is to be archived again while disposal {sequence} is still erasing it",
                next_step="run `archiver run` where that disposal was started, which finishes it; then run again, nothing is lost",
            )
