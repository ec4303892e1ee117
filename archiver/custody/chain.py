"""The ledger from its first entry to its head: what it says must be there, and where it breaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain as joined

from archiver.archive import layout
from archiver.archive.ledger import Disposal, Entry, FileRecord
from archiver.archive.reader import Archive
from archiver.custody.findings import Damage
from archiver.errors import LedgerBrokenError


@dataclass(frozen=True, slots=True)
class Chain:
    """Where the chain leads: its head, what is live there, what went, and what is wrong with it.

    ``files`` maps the key of each data object that must be there to its record, ``blobs`` the SHA-256 of each blob that must be there to
    its size in bytes. ``gone`` maps the key of each object that was removed to the sequence of the entry that removed it, ``disposals``
    those entries to what they say, and ``unerased`` are those of which something may still lie in the store. ``written`` and ``disposed``
    count rows by table. After a break nothing can be trusted, so all of it then stands as of the last entry before.
    """

    sequence: int
    digest: str
    files: dict[str, FileRecord]
    blobs: dict[str, int]
    gone: dict[str, int]
    disposals: dict[int, Disposal]
    unerased: frozenset[int]
    written: dict[str, int]
    disposed: dict[str, int]
    damages: tuple[Damage, ...]


class _Course:
    """What stands as of one entry, and is changed by the next."""

    def __init__(self) -> None:
        self.files: dict[str, FileRecord] = {}
        self.blobs: dict[str, int] = {}
        self.gone: dict[str, int] = {}
        self.disposals: dict[int, Disposal] = {}
        self.unerased: set[int] = set()
        self.written: Counter[str] = Counter()
        self.disposed: Counter[str] = Counter()
        self.watermarks: dict[str, int] = {}


def follow(archive: Archive) -> Chain:
    """Read every entry; raises `StorageError` if the store does not give one, `NewerFormatError` for one beyond this version."""
    sequence, digest = 0, archive.facts_digest
    course = _Course()
    damages: list[Damage] = []
    try:
        for entry, entry_digest in archive.entries():
            faults = joined(_faults(archive, entry), _changes(entry, course), _steps_back(entry, course))
            damages += [Damage("ledger", layout.entry_key(entry.sequence), what) for what in faults]
            sequence, digest, course.watermarks = entry.sequence, entry_digest, entry.watermarks
    except LedgerBrokenError as error:
        damages.append(Damage("ledger", layout.entry_key(sequence + 1), error.what))
    return Chain(
        sequence=sequence,
        digest=digest,
        files=course.files,
        blobs=course.blobs,
        gone=course.gone,
        disposals=course.disposals,
        unerased=frozenset(course.unerased),
        written=dict(course.written),
        disposed=dict(course.disposed),
        damages=tuple(damages),
    )


def _faults(archive: Archive, entry: Entry) -> Iterator[str]:
    """Yield what in an entry contradicts the archive or itself."""
    if entry.archive_id != archive.facts.archive_id:
        yield f"belongs to archive {entry.archive_id}, not to {archive.facts.archive_id}"
    held: Counter[str] = Counter()
    for record in entry.added:
        held[record.table] += record.rows
        if _table_of(record.key) != record.table:
            yield f"names {record.key} as a part of table {record.table}"
    counted = {name: rows for name, rows in entry.counts.items() if rows}
    if entry.kind == "capture" and held != counted:
        yield f"counts {counted} rows, but the objects it adds hold {dict(held)}"
    if (told := entry.promotion) and (told.head_sequence, told.head_digest) != (entry.sequence - 1, entry.previous):
        yield f"says that the copy stood at entry {told.head_sequence} with digest {told.head_digest}, which is not the one before"


def _changes(entry: Entry, course: _Course) -> Iterator[str]:
    """Apply what an entry removes and adds, and yield what contradicts the entries before."""
    removed: Counter[str] = Counter()
    for removal in entry.removed:
        is_blob = removal.key.startswith(layout.BLOB_PREFIX)
        record = None if is_blob else course.files.pop(removal.key, None)
        if record is not None:
            removed[record.table] += record.rows
        elif not is_blob or course.blobs.pop(removal.key.rpartition("/")[2], None) is None:
            yield f"removes {removal.key}, which was not there"
        course.gone[removal.key] = entry.sequence
    added: Counter[str] = Counter()
    for record in entry.added:
        if record.key in course.files or record.key in course.gone:
            yield f"adds {record.key}, which an earlier entry added"
        course.files[record.key] = record
        added[record.table] += record.rows
    for blob in entry.blobs:
        course.gone.pop(layout.blob_key(blob.sha256), None)  # the same content came again
        known = course.blobs.setdefault(blob.sha256, blob.bytes)
        if known != blob.bytes:
            yield f"says that blob {blob.sha256} has {blob.bytes} bytes; an earlier entry says {known}"
    yield from _account(entry, course, removed=removed, added=added)


def _account(entry: Entry, course: _Course, *, removed: Counter[str], added: Counter[str]) -> Iterator[str]:
    """Count what was written and disposed of, and yield where rows went that nothing accounts for."""
    if entry.disposal is not None:
        course.disposals[entry.sequence] = entry.disposal
        course.unerased.add(entry.sequence)
        told = Counter(entry.disposal.rows)
        course.disposed.update(told)
        lost = {table: removed[table] - added[table] for table in removed.keys() | added.keys()}
        if {table: rows for table, rows in lost.items() if rows} != {
            table: rows for table, rows in told.items() if rows
        }:
            yield f"says that it disposes of {dict(told)} rows, but its objects hold {lost} fewer"
    elif entry.kind == "compact":
        if removed != added:
            yield f"puts objects with {dict(added)} rows in the place of objects with {dict(removed)}"
    else:
        course.written.update(added)
        if entry.removed:
            yield f"removes {len(entry.removed)} objects with {dict(removed)} rows, and is no disposal"
    if entry.erased is not None:
        if entry.erased not in course.unerased:
            yield f"says that what entry {entry.erased} removed is erased, which is no disposal that awaits it"
        course.unerased.discard(entry.erased)


def _steps_back(entry: Entry, course: _Course) -> Iterator[str]:
    for spool, watermark in course.watermarks.items():
        if entry.watermarks.get(spool, -1) < watermark:
            yield f"takes back the watermark of spool {spool}, which stood at {watermark}"


def _table_of(key: str) -> str | None:
    try:
        return layout.partition_of(key)[0]
    except ValueError:
        return None
