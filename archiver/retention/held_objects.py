"""Which objects of an archive hold anything that legal holds cover: data objects, and the blobs of held files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive import layout
from archiver.archive.ledger import FileRecord
from archiver.archive.reader import Head, files_of, read_rows
from archiver.archive.schema import TABLES
from archiver.retention.coverage import Coverage, any_of
from archiver.retention.pushes import own_pushes, read_pushes
from archiver.scope.reach import item_keys
from archiver.store import Store

Progress = Callable[[int, int], None]

# The objects of messages and of files that lie under one day.
DayObjects = Mapping[str, Sequence[FileRecord]]

_BLOB_COLUMNS: Final = ("chat_id", "message_uid", "blob_digest")


def days_of(head: Head) -> list[DayObjects]:
    """Return the objects of each day of messages and files, the earliest day first."""
    days: dict[date, dict[str, list[FileRecord]]] = {}
    for table in ("messages", "files"):
        for record in files_of(head, table):
            day = days.setdefault(layout.partition_of(record.key)[1], {"messages": [], "files": []})
            day[table].append(record)
    return [days[on] for on in sorted(days)]


def may_cover(coverage: Coverage, day: DayObjects) -> bool:
    """Tell by the ledger alone whether any hold may cover something of a day."""
    ranges = [record.ranges["sent_at"] for records in day.values() for record in records]
    return coverage.may_cover(min(int(low) for low, _ in ranges), max(int(high) for _, high in ranges))


def read_table(store: Store, records: Sequence[FileRecord], columns: Sequence[str], *, table: str) -> pa.Table:
    """Return columns of all rows of data objects of one table; raises `DamageFoundError`."""
    schema = pa.schema([TABLES[table].schema.field(name) for name in columns])
    batches = [batch.cast(schema) for batch in read_rows(store, records, columns)]
    return pa.Table.from_batches(batches, schema)


def held_objects(
    store: Store, head: Head, coverage: Coverage, *, since: int = 0, progress: Progress | None = None
) -> frozenset[str]:
    """Return the keys of the data objects and blobs that hold anything that is covered; raises `DamageFoundError`.

    With ``since`` only days are looked at to which a commit after that one added something. Of ``events`` an object counts if the
    body of a push about a held message lies in it, or a push that no message reaches and that may be covered; ``progress`` is told
    how many days are done, and of how many.
    """
    if not coverage.holds:
        return frozenset()
    days = [day for day in days_of(head) if may_cover(coverage, day) and _is_newer(day, since)]
    events = _events_with_bodies(store, head)
    found = _held_pushes(store, head, coverage, since=since)
    for done, day in enumerate(days, 1):
        held = _held_of(store, day, coverage, found)
        found |= {key for key, uids in events.items() if pc.any(pc.is_in(uids, value_set=held)).as_py()}
        if progress is not None:
            progress(done, len(days))
    return frozenset(found)


def _held_pushes(store: Store, head: Head, coverage: Coverage, *, since: int) -> set[str]:
    """Return the objects of ``events`` with pushes that are items of their own and covered."""
    found = set()
    for record in files_of(head, "events"):
        if layout.sequence_of_data(record.key) > since:
            (rows,) = own_pushes(store, head, [read_pushes(store, head, record)])
            if pc.any(any_of(coverage.of_pushes(rows), rows=rows.num_rows), min_count=0).as_py():
                found.add(record.key)
    return found


def _held_of(store: Store, day: DayObjects, coverage: Coverage, found: set[str]) -> pa.Array:
    """Add the objects and blobs of a day that hold anything covered, and return the uids of its held messages."""
    parts = {
        table: [read_table(store, [record], _columns(coverage, table), table=table) for record in records]
        for table, records in day.items()
    }
    messages, files = (
        pa.concat_tables(parts[table])
        if parts[table]
        else read_table(store, [], _columns(coverage, table), table=table)
        for table in ("messages", "files")
    )
    keys, file_keys = item_keys(messages), item_keys(files)
    is_held = any_of(coverage.of_messages(messages, files), rows=messages.num_rows)
    is_file_held = any_of(coverage.of_files(files, messages, files=files), rows=files.num_rows)
    # An item goes whole or not at all: one row that is covered holds all the others, in whichever object they lie.
    held = pa.concat_arrays([keys.filter(is_held), file_keys.filter(is_file_held)])
    for table, records in day.items():
        for record, rows in zip(records, parts[table], strict=True):
            mask = pc.is_in(item_keys(rows), value_set=held)
            if not pc.any(mask).as_py():
                continue
            found.add(record.key)
            if table == "files":
                digests = pc.unique(rows.column("blob_digest").filter(mask)).drop_null().to_pylist()
                found.update(map(layout.blob_key, digests))
    uids = [
        table.column("message_uid").filter(pc.is_in(item_keys(table), value_set=held)) for table in (messages, files)
    ]
    return pc.unique(pa.chunked_array([chunk for column in uids for chunk in column.chunks], pa.string()))


def _columns(coverage: Coverage, table: str) -> tuple[str, ...]:
    wanted = coverage.message_columns if table == "messages" else (*coverage.file_columns, *_BLOB_COLUMNS)
    return tuple(dict.fromkeys(wanted))


def _is_newer(day: DayObjects, since: int) -> bool:
    return any(layout.sequence_of_data(record.key) > since for records in day.values() for record in records)


def _events_with_bodies(store: Store, head: Head) -> dict[str, pa.ChunkedArray]:
    """Return by object of ``events`` the uids of the messages about which it keeps a body; most keep none."""
    found: dict[str, pa.ChunkedArray] = {}
    for record in files_of(head, "events"):
        rows = read_table(store, [record], ("message_uid", "body"), table="events")
        uids = rows.column("message_uid").filter(pc.is_valid(rows.column("body"))).drop_null()
        if len(uids):
            found[record.key] = uids
    return found
