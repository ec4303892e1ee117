"""The ledger from its first entry to its head: what it says must be there, and where it breaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from archiver.archive import layout
from archiver.archive.ledger import Entry
from archiver.archive.reader import Archive, Head, advance
from archiver.custody.findings import Damage
from archiver.errors import LedgerBrokenError


@dataclass(frozen=True, slots=True)
class Chain:
    """Where the chain leads: its head, the size of each blob that must be there by digest, and what is wrong with it.

    After a break nothing can be trusted, so ``head`` is then the last one before it.
    """

    head: Head
    blobs: dict[str, int]
    damages: tuple[Damage, ...]


def follow(archive: Archive) -> Chain:
    """Read every entry; raises `StorageError` if the store does not give one, `NewerFormatError` for one beyond this version."""
    head = archive.founding_head()
    blobs: dict[str, int] = {}
    damages: list[Damage] = []
    try:
        for entry, digest in archive.entries():
            damages += [
                Damage("ledger", layout.entry_key(entry.sequence), what) for what in _faults(archive, head, entry)
            ]
            for removal in entry.removed:
                if removal.key.startswith(layout.BLOB_PREFIX):
                    blobs.pop(removal.key.rpartition("/")[2], None)
            for blob in entry.blobs:
                known = blobs.setdefault(blob.sha256, blob.bytes)
                if known != blob.bytes:
                    what = f"says that blob {blob.sha256} has {blob.bytes} bytes; an earlier entry says {known}"
                    damages.append(Damage("ledger", layout.entry_key(entry.sequence), what))
            head = advance(head, entry, digest)
    except LedgerBrokenError as error:
        damages.append(Damage("ledger", layout.entry_key(head.sequence + 1), error.what))
    return Chain(head=head, blobs=blobs, damages=tuple(damages))


def _faults(archive: Archive, head: Head, entry: Entry) -> Iterator[str]:
    """Yield what in an entry contradicts the archive, the entries before, or itself."""
    if entry.archive_id != archive.facts.archive_id:
        yield f"belongs to archive {entry.archive_id}, not to {archive.facts.archive_id}"
    held: Counter[str] = Counter()
    for record in entry.added:
        held[record.table] += record.rows
        if record.key in head.files:
            yield f"adds {record.key}, which an earlier entry added"
        if _table_of(record.key) != record.table:
            yield f"names {record.key} as a part of table {record.table}"
    counted = {name: rows for name, rows in entry.counts.items() if rows}
    if entry.kind == "capture" and held != counted:
        yield f"counts {counted} rows, but the objects it adds hold {dict(held)}"
    for removal in entry.removed:
        if not removal.key.startswith(layout.BLOB_PREFIX) and removal.key not in head.files:
            yield f"removes {removal.key}, which was not there"
    for spool, watermark in head.watermarks.items():
        if entry.watermarks.get(spool, -1) < watermark:
            yield f"takes back the watermark of spool {spool}, which stood at {watermark}"


def _table_of(key: str) -> str | None:
    try:
        return layout.partition_of(key)[0]
    except ValueError:
        return None
