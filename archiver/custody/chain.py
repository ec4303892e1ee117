"""The ledger from its first entry to its head: what it says must be there, and where it breaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain as joined

from archiver.archive import layout
from archiver.archive.ledger import Entry, FileRecord
from archiver.archive.reader import Archive
from archiver.custody.findings import Damage
from archiver.errors import LedgerBrokenError


@dataclass(frozen=True, slots=True)
class Chain:
    """Where the chain leads: its head, what is live there, and what is wrong with it.

    ``files`` maps the key of each data object that must be there to its record, ``blobs`` the SHA-256 of each blob that must be there to
    its size in bytes. After a break nothing can be trusted, so all of it then stands as of the last entry before.
    """

    sequence: int
    digest: str
    files: dict[str, FileRecord]
    blobs: dict[str, int]
    damages: tuple[Damage, ...]


def follow(archive: Archive) -> Chain:
    """Read every entry; raises `StorageError` if the store does not give one, `NewerFormatError` for one beyond this version."""
    sequence, digest = 0, archive.facts_digest
    files: dict[str, FileRecord] = {}
    blobs: dict[str, int] = {}
    watermarks: dict[str, int] = {}
    damages: list[Damage] = []
    try:
        for entry, entry_digest in archive.entries():
            faults = joined(_faults(archive, entry), _changes(entry, files, blobs), _steps_back(entry, watermarks))
            damages += [Damage("ledger", layout.entry_key(entry.sequence), what) for what in faults]
            sequence, digest, watermarks = entry.sequence, entry_digest, entry.watermarks
    except LedgerBrokenError as error:
        damages.append(Damage("ledger", layout.entry_key(sequence + 1), error.what))
    return Chain(sequence=sequence, digest=digest, files=files, blobs=blobs, damages=tuple(damages))


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


def _changes(entry: Entry, files: dict[str, FileRecord], blobs: dict[str, int]) -> Iterator[str]:
    """Apply what an entry removes and adds, and yield what contradicts the entries before."""
    for removal in entry.removed:
        is_blob = removal.key.startswith(layout.BLOB_PREFIX)
        gone = blobs.pop(removal.key.rpartition("/")[2], None) if is_blob else files.pop(removal.key, None)
        if gone is None:
            yield f"removes {removal.key}, which was not there"
    for record in entry.added:
        if record.key in files:
            yield f"adds {record.key}, which an earlier entry added"
        files[record.key] = record
    for blob in entry.blobs:
        known = blobs.setdefault(blob.sha256, blob.bytes)
        if known != blob.bytes:
            yield f"says that blob {blob.sha256} has {blob.bytes} bytes; an earlier entry says {known}"


def _steps_back(entry: Entry, watermarks: dict[str, int]) -> Iterator[str]:
    for spool, watermark in watermarks.items():
        if entry.watermarks.get(spool, -1) < watermark:
            yield f"takes back the watermark of spool {spool}, which stood at {watermark}"


def _table_of(key: str) -> str | None:
    try:
        return layout.partition_of(key)[0]
    except ValueError:
        return None
