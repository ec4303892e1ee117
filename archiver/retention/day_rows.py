"""Rows as retention judges them: read once, and no more of them than is asked about.

A *stretch* is a few days of the archive in a row: the objects of ``messages`` and ``files`` that lie under them. They are read together,
because several runs may have written what belongs together, and because a few thousand rows are judged as quickly as a hundred.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive import layout
from archiver.archive.ledger import FileRecord
from archiver.archive.reader import Head, files_of, read_columns
from archiver.archive.schema import TABLES
from archiver.retention.leaving import BYTES_COLUMN, dictionaries_of
from archiver.store import Store

Key = tuple[str, str]

STRETCH_ROWS: Final = 131_072


@dataclass(frozen=True, slots=True)
class Stretch:
    """Days in a row, with their objects of ``messages`` and of ``files``, each in key order."""

    days: frozenset[date]
    messages: tuple[FileRecord, ...]
    files: tuple[FileRecord, ...]

    @property
    def records(self) -> tuple[FileRecord, ...]:
        """All its objects."""
        return (*self.messages, *self.files)

    @property
    def rows(self) -> int:
        """How many rows it has, as the ledger says."""
        return sum(record.rows for record in self.records)

    @property
    def first_sent_at_ms(self) -> int:
        """The earliest instant that any of its rows has, as the ledger says."""
        return min(int(record.ranges["sent_at"][0]) for record in self.records)


def days_of(head: Head) -> list[Stretch]:
    """Return the days of an archive that have messages or files, each by itself, the earliest first."""
    by_table: dict[str, dict[date, list[FileRecord]]] = {}
    for table in ("messages", "files"):
        found = by_table.setdefault(table, {})
        for record in files_of(head, table):
            found.setdefault(layout.partition_of(record.key)[1], []).append(record)
    messages, files = by_table["messages"], by_table["files"]
    return [
        Stretch(frozenset({on}), tuple(messages.get(on, ())), tuple(files.get(on, ())))
        for on in sorted(messages.keys() | files.keys())
    ]


def grouped(days: Iterable[Stretch], stretch_rows: int) -> list[Stretch]:
    """Return days put together in their order, so that only a single day has more than so many rows."""
    groups: list[list[Stretch]] = []
    rows = 0
    for day in days:
        if not groups or rows + day.rows > stretch_rows:
            groups.append([])
            rows = 0
        groups[-1].append(day)
        rows += day.rows
    return [
        Stretch(
            frozenset().union(*(day.days for day in group)),
            tuple(record for day in group for record in day.messages),
            tuple(record for day in group for record in day.files),
        )
        for group in groups
    ]


def read_stretch(
    store: Store, records: Sequence[FileRecord], columns: Sequence[str], *, table: str, uids: pa.Array | None = None
) -> pa.Table:
    """Return columns of a table's objects as one table, and beside them each row's part of its object's bytes.

    Texts with few distinct values are dictionaries, the same one for all rows. With ``uids`` only rows of these messages are kept.
    """
    wanted = tuple(dict.fromkeys(("message_uid", *columns) if uids is not None else columns))
    encoded = dictionaries_of(wanted, table=table)
    parts = []
    for record in records:
        rows = read_columns(store, record, wanted, dictionaries=encoded)
        weight = pa.scalar(record.bytes // max(1, record.rows), pa.int64())
        rows = rows.append_column(BYTES_COLUMN, pa.repeat(weight, rows.num_rows))
        parts.append(rows if uids is None else rows.filter(pc.is_in(rows.column("message_uid"), value_set=uids)))
    if not parts:
        return empty(wanted, table=table)
    return pa.concat_tables(parts).unify_dictionaries()


def empty(columns: Sequence[str], *, table: str) -> pa.Table:
    """Return what `read_stretch` does where there are no rows."""
    schema = TABLES[table].schema
    encoded = dictionaries_of(tuple(columns), table=table)
    fields = [
        pa.field(name, pa.dictionary(pa.int32(), pa.string()) if name in encoded else schema.field(name).type)
        for name in columns
    ]
    return pa.schema([*fields, pa.field(BYTES_COLUMN, pa.int64())]).empty_table()


def only(rows: pa.Table, keys: frozenset[Key] | set[Key]) -> pa.Table:
    """Return the rows of these messages."""
    uids = pa.array(sorted({uid for _, uid in keys}), pa.string())
    some = rows.filter(pc.is_in(rows.column("message_uid"), value_set=uids))
    return some.filter(pa.array([key in keys for key in keys_of(some)], pa.bool_()))


def without(rows: pa.Table, keys: frozenset[Key] | set[Key]) -> pa.BooleanArray:
    """Return which rows are of none of these messages."""
    uids = pa.array(sorted({uid for _, uid in keys}), pa.string())
    suspect = pc.is_in(rows.column("message_uid"), value_set=uids)
    if not pc.any(suspect).as_py():
        return pc.invert(suspect).combine_chunks()
    suspects = dict(zip(_places(suspect), keys_of(rows.filter(suspect)), strict=True))
    gone = pa.array([index for index, key in suspects.items() if key in keys], pa.int64())
    return pc.invert(pc.is_in(pa.arange(0, rows.num_rows), value_set=gone))


def keys_of(rows: pa.Table) -> list[Key]:
    """Return the message that each row is about."""
    return list(zip(rows.column("chat_id").to_pylist(), rows.column("message_uid").to_pylist(), strict=True))


def days_of_rows(rows: pa.Table) -> pa.ChunkedArray:
    """Return the UTC day under which each row lies: that of its ``sent_at``."""
    return pc.cast(pc.floor_temporal(rows.column("sent_at"), unit="day"), pa.date32())


def in_days(rows: pa.Table, days: frozenset[date]) -> pa.Table:
    """Return the rows that lie under these days."""
    return rows.filter(pc.is_in(days_of_rows(rows), value_set=pa.array(sorted(days), pa.date32())))


def _places(mask: pa.Array | pa.ChunkedArray) -> list[int]:
    found: list[int] = pc.indices_nonzero(mask).to_pylist()
    return found
