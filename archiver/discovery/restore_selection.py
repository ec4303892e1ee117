"""What a restore brings back: which rows of which objects, and which files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive import layout
from archiver.archive.ledger import FileRecord
from archiver.archive.reader import Head
from archiver.archive.schema import TABLES
from archiver.clock import DAY_MS

# By which column a table says which chat a row is about; people belong to no chat.
CHAT_COLUMNS: Final = {
    "messages": "chat_id",
    "files": "chat_id",
    "events": "chat_id",
    "observations": "chat_id",
    "conversations": "chat_id",
    "gaps": "chat_id",
    "channels": "channel_id",
    "groups": "channel_id",
}
# A state holds until the next, so of a chat's own states the earlier ones are needed too.
STATES: Final = frozenset({"conversations", "channels", "groups"})

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for: whatever meets every part that is given.

    ``chats`` are chat ids; instants are milliseconds since 1970 UTC, the first included and the last not; ``names`` are SHA-256 of files
    or uids of messages, and with any of them only messages and files are looked at. Without any part it is everything.
    """

    chats: frozenset[str] | None = None
    from_at_ms: int | None = None
    until_ms: int | None = None
    names: frozenset[str] = frozenset()

    @property
    def digests(self) -> frozenset[str]:
        """Those of the names that are digests of files."""
        return frozenset(name for name in self.names if _DIGEST.fullmatch(name))

    @property
    def uids(self) -> frozenset[str]:
        """Those of the names that are uids of messages."""
        return self.names - self.digests


@dataclass(frozen=True, slots=True)
class Part:
    """A data object of which rows are wanted: all of them, so that it can be brought back byte by byte, or some."""

    record: FileRecord
    is_whole: bool

    @property
    def day(self) -> date:
        """The UTC day of the rows."""
        return layout.partition_of(self.record.key)[1]


def parts_of(head: Head, wanted: Wanted) -> list[Part]:
    """Return the live data objects that can hold what is wanted, in key order."""
    return sorted(_parts(head, wanted), key=lambda part: part.record.key)


def wanted_rows(wanted: Wanted, table: str, rows: pa.Table) -> pa.Table:
    """Return those of an object's rows that are wanted."""
    keep = pa.repeat(pa.scalar(value=True), rows.num_rows)
    if wanted.names:
        keep = pc.is_in(rows.column("message_uid"), value_set=_texts(wanted.uids))
        if table == "files":
            keep = pc.or_(keep, pc.is_in(rows.column("blob_digest"), value_set=_texts(wanted.digests)))
    if wanted.chats is not None:
        keep = pc.and_(keep, pc.is_in(rows.column(CHAT_COLUMNS[table]), value_set=_texts(wanted.chats)))
    at = pc.cast(rows.column(TABLES[table].day_column), pa.int64())
    if wanted.from_at_ms is not None and not _is_state(wanted, table):
        keep = pc.and_(keep, pc.greater_equal(at, wanted.from_at_ms))
    if wanted.until_ms is not None:
        keep = pc.and_(keep, pc.less(at, wanted.until_ms))
    return rows.filter(keep)


def names_in(rows: pa.Table) -> frozenset[str]:
    """Return the uids of the messages and the digests of the files that rows are about."""
    columns = [name for name in ("message_uid", "blob_digest") if name in rows.column_names]
    return frozenset(value for name in columns for value in pc.unique(rows.column(name)).to_pylist() if value)


def _parts(head: Head, wanted: Wanted) -> Iterator[Part]:
    for record in head.files.values():
        if wanted.names and record.table not in ("messages", "files"):
            continue
        if wanted.chats is not None and record.table not in CHAT_COLUMNS:
            continue
        starts_at = (layout.partition_of(record.key)[1].toordinal() - _EPOCH_ORDINAL) * DAY_MS
        ends_at = starts_at + DAY_MS
        if wanted.until_ms is not None and starts_at >= wanted.until_ms:
            continue
        if wanted.from_at_ms is not None and ends_at <= wanted.from_at_ms and not _is_state(wanted, record.table):
            continue
        if not (_within(record, "chat_id", wanted.chats) and _may_name(record, wanted)):
            continue
        is_whole = (
            wanted.chats is None
            and not wanted.names
            and (wanted.from_at_ms is None or wanted.from_at_ms <= starts_at)
            and (wanted.until_ms is None or ends_at <= wanted.until_ms)
        )
        yield Part(record, is_whole)


def _is_state(wanted: Wanted, table: str) -> bool:
    return wanted.chats is not None and table in STATES


def _may_name(record: FileRecord, wanted: Wanted) -> bool:
    if not wanted.names or (record.table == "files" and wanted.digests):
        return True
    return _within(record, "message_uid", wanted.uids)


def _within(record: FileRecord, column: str, values: frozenset[str] | None) -> bool:
    """Tell whether one of some values can be in an object, by the range that the ledger keeps of a column."""
    bounds = record.ranges.get(column)
    if values is None or bounds is None:
        return True
    return any(str(bounds[0]) <= value <= str(bounds[1]) for value in values)


def _texts(values: frozenset[str]) -> pa.Array:
    return pa.array(sorted(values), pa.string())
