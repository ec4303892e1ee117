"""Rows as an export reads them: a few days of the archive at a time, each message whole.

A *stretch* is a few days in a row: the objects of ``messages`` and ``files`` that lie under them. Of a single day of very many messages it
is some conversations, or some messages for who can do with that (`archiver.discovery.export.dense_days`). A message of which rows lie under
several days is *scattered* (`archiver.discovery.export.scattered`): its rows are kept out of these stretches, and make up stretches of
their own (`Source.scattered_stretches`).
"""

from __future__ import annotations

from collections.abc import Container, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive import layout
from archiver.archive.ledger import FileRecord
from archiver.archive.memory import trim_above
from archiver.archive.reader import Head, files_of, read_column_pieces, read_columns
from archiver.archive.schema import TABLES
from archiver.clock import DAY_MS
from archiver.discovery.export.dense_days import Found, by_conversation, by_instant, spread
from archiver.discovery.export.identities import Identities
from archiver.discovery.export.scattered import Scattered, read_scattered
from archiver.scope.reach import BETWEEN, item_keys
from archiver.store import Store

STRETCH_ROWS: Final = 16_384
# A day of more rows is read by conversation or instant, and so many rows of it at once, of all its objects together.
DAY_ROWS_MAX: Final = 32_768
# The place of a row's data object among the objects of `Source.keys`.
OBJECT: Final = "object"
# Rows that take more bytes in their object are of long messages, and each counts as several; of a small object most is not rows.
ROW_BYTES_MAX: Final = 512
_BESIDE_ROWS_BYTES: Final = 64 * 1024
# A process that is larger gives back what lies free in its memory: where days are read of which little is kept, and between parts of one.
SCATTERED_RESIDENT_BYTES: Final = 160_000_000
DENSE_RESIDENT_BYTES: Final = 360_000_000
# Fewer rows of an object at once cost more than they do.
_ROWS_AT_ONCE_MIN: Final = 1_024
_PLACE_COLUMNS: Final = ("chat_id", "message_uid", "sent_at")
FILE_COLUMNS: Final = (
    "chat_id",
    "message_uid",
    "version",
    "ordinal",
    "sent_at",
    "observed_at",
    "kind",
    "name",
    "mime",
    "size",
    "url",
    "status",
    "reason",
    "http_status",
    "blob_digest",
    "blob_bytes",
    "mime_received",
)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows of ``messages`` and of ``files`` that belong together: no message has rows in two stretches.

    They lie under the days from ``first_on`` to ``last_on``; of the scattered ones these say nothing.
    """

    messages: pa.Table
    files: pa.Table
    first_on: date = date.min
    last_on: date = date.max


@dataclass(frozen=True, slots=True)
class _Group:
    messages: list[FileRecord]
    files: list[FileRecord]

    @property
    def days(self) -> list[date]:
        return [layout.partition_of(record.key)[1] for record in (*self.messages, *self.files)]


@dataclass(slots=True)
class Source:
    """An archive at one head as an export reads it.

    ``scattered`` are the messages whose rows lie under several days; what may be asked together stands together in them. ``linked`` are the
    items, as `item_keys` writes them, that turned out to be one with another item.
    ``keys`` are the data objects of ``messages``, which the column `OBJECT` counts. ``executor`` reads ahead where one is given.
    """

    store: Store
    head: Head
    executor: Executor | None = None
    scattered: tuple[Scattered, ...] = ()
    linked: pa.StringArray = field(default_factory=lambda: pa.array([], pa.string()))
    stretch_rows: int = STRETCH_ROWS
    day_rows_max: int = DAY_ROWS_MAX
    keys: list[str] = field(init=False)
    _places: dict[str, int] = field(init=False)
    _days: dict[date, tuple[list[FileRecord], list[FileRecord]]] = field(init=False)

    def __post_init__(self) -> None:
        self.keys = [record.key for record in files_of(self.head, "messages")]
        self._places = {key: place for place, key in enumerate(self.keys)}
        days: dict[date, tuple[list[FileRecord], list[FileRecord]]] = {}
        for table in (0, 1):
            for record in files_of(self.head, ("messages", "files")[table]):
                days.setdefault(layout.partition_of(record.key)[1], ([], []))[table].append(record)
        self._days = dict(sorted(days.items()))

    def stretches(
        self,
        columns: Sequence[str],
        *,
        from_ms: int | None = None,
        until_ms: int | None = None,
        among: Container[date] | None = None,
        backwards: bool = False,
        cuts_conversations: bool = False,
    ) -> Generator[Stretch, None, None]:
        """Yield the stretches of what was sent between two instants (the second not included), the earliest or the latest first.

        Whole days are read, so that rows of a little before and after are among them; with ``among`` only those. A conversation of a day
        is in one stretch, unless this ``cuts_conversations``: then at least each message is.
        """
        inside = self.days_between(from_ms, until_ms, among=among)
        groups = self._grouped(inside[::-1] if backwards else inside)
        for found in self._ahead(groups, columns, cuts_conversations=cuts_conversations):
            keys = [
                some.keys for some in self.scattered if any(found.first_on <= on <= found.last_on for on in some.days)
            ]
            if not keys:
                yield found
                continue
            scattered = pa.concat_arrays(keys)
            apart = pc.is_in(item_keys(found.messages), value_set=scattered)
            files_apart = pc.is_in(item_keys(found.files), value_set=scattered)
            yield replace(
                found,
                messages=found.messages.filter(pc.invert(apart)) if apart.true_count else found.messages,
                files=found.files.filter(pc.invert(files_apart)) if files_apart.true_count else found.files,
            )

    def scattered_stretches(self, columns: Sequence[str]) -> Iterator[Stretch]:
        """Yield all rows of the scattered messages, whenever they were sent, those of one message in one stretch."""
        for some in self.scattered:
            parts = []
            for found in self._ahead(self._grouped(sorted(some.days & self._days.keys())), columns):
                parts.append((_only(found.messages, some.keys), _only(found.files, some.keys)))
                # What is kept of each day is little, and leaves holes as large as the day.
                trim_above(SCATTERED_RESIDENT_BYTES)
            yield Stretch(pa.concat_tables([part for part, _ in parts]), pa.concat_tables([part for _, part in parts]))

    def days_between(
        self, from_ms: int | None, until_ms: int | None, *, among: Container[date] | None = None
    ) -> list[date]:
        """Return the days that `stretches` reads, in their order."""
        return [on for on in self._days if is_day_within(on, from_ms, until_ms) and (among is None or on in among)]

    def rows_between(self, from_ms: int | None, until_ms: int | None, *, among: Container[date] | None = None) -> int:
        """Return how many rows of messages `stretches` looks at, as the ledger says."""
        return sum(map(self.rows_of_day, self.days_between(from_ms, until_ms, among=among)))

    def rows_of_day(self, on: date) -> int:
        """Return how many rows of messages lie under a day, as the ledger says."""
        return sum(record.rows for record in self._days[on][0])

    def _grouped(self, days: Sequence[date]) -> list[_Group]:
        """Return days put together in their order, so that only a single day has more rows than a stretch."""
        groups: list[_Group] = []
        rows = 0
        for on in days:
            messages, files = self._days[on]
            of_day = weight_of(messages)
            if not groups or rows + of_day > self.stretch_rows:
                groups.append(_Group([], []))
                rows = 0
            groups[-1].messages.extend(messages)
            groups[-1].files.extend(files)
            rows += of_day
        return groups

    def _ahead(
        self, groups: Sequence[_Group], columns: Sequence[str], *, cuts_conversations: bool = False
    ) -> Iterator[Stretch]:
        """Read groups in their order, the next one while this one is worked on."""
        waiting: list[Future[Stretch]] = []
        for group in groups:
            if weight_of(group.messages) > self.day_rows_max:
                yield from (found.result() for found in waiting)
                waiting = []
                yield from self._parts(group, columns, cuts_conversations=cuts_conversations)
            elif self.executor is None:
                yield self._read(group, columns)
            else:
                waiting.append(self.executor.submit(self._read, group, columns))
                if len(waiting) > 1:
                    yield waiting.pop(0).result()
        yield from (found.result() for found in waiting)

    def _read(self, group: _Group, columns: Sequence[str]) -> Stretch:
        return self._stretch(
            group,
            [self._placed(record, read_columns(self.store, record, columns)) for record in group.messages],
            [read_columns(self.store, record, FILE_COLUMNS) for record in group.files],
            columns,
        )

    def _parts(self, group: _Group, columns: Sequence[str], *, cuts_conversations: bool) -> Iterator[Stretch]:
        """Read a group by conversation or by instant, the next part while this one is worked on."""
        found = self._by_instant(group, columns) if cuts_conversations else self._by_conversation(group, columns)
        if self.executor is None:
            yield from (self._stretch(group, *part, columns) for part in found)
            return
        waiting = self.executor.submit(next, found, None)
        try:
            while (part := waiting.result()) is not None:
                waiting = self.executor.submit(next, found, None)
                yield self._stretch(group, *part, columns)
                del part
                trim_above(DENSE_RESIDENT_BYTES)
        finally:
            # Who wants no more leaves a part that is being read: its objects are closed after that.
            wait([waiting])
            found.close()

    def _by_conversation(self, group: _Group, columns: Sequence[str]) -> Generator[Found, None, None]:
        pieces = self._pieces_of(group, columns, FILE_COLUMNS)
        return by_conversation(*pieces, rows_min=_rows_of_weight(group, self.stretch_rows))

    def _by_instant(self, group: _Group, columns: Sequence[str]) -> Generator[Found, None, None]:
        keys = by_conversation(*self._pieces_of(group, _PLACE_COLUMNS, _PLACE_COLUMNS), rows_min=self.stretch_rows)
        together = pa.concat_arrays([self.linked, *(spread([*messages, *files]) for messages, files in keys)])
        # Comparing the uids of a large conversation took what reading its messages need not have beside it.
        trim_above(0)
        of_all = self._pieces_of(group, columns, FILE_COLUMNS)
        yield from by_instant(*of_all, rows_min=_rows_of_weight(group, self.stretch_rows), together=together)

    def _pieces_of(
        self, group: _Group, columns: Sequence[str], file_columns: Sequence[str]
    ) -> tuple[list[Iterator[pa.Table]], list[Iterator[pa.Table]]]:
        """Return the objects of a group as they are read, those of messages and those of files, so many rows of all together at once."""
        each = self.day_rows_max // len((*group.messages, *group.files))
        rows = _rows_of_weight(group, min(max(each, _ROWS_AT_ONCE_MIN), self.stretch_rows))
        return (
            [self._pieces(record, columns, rows) for record in group.messages],
            [read_column_pieces(self.store, record, file_columns, rows=rows) for record in group.files],
        )

    def _pieces(self, record: FileRecord, columns: Sequence[str], rows: int) -> Iterator[pa.Table]:
        for piece in read_column_pieces(self.store, record, columns, rows=rows):
            yield self._placed(record, piece)

    def _placed(self, record: FileRecord, rows: pa.Table) -> pa.Table:
        place = pa.scalar(self._places[record.key], pa.int32())
        return rows.append_column(OBJECT, pa.repeat(place, rows.num_rows))

    def _stretch(
        self, group: _Group, messages: list[pa.Table], files: list[pa.Table], columns: Sequence[str]
    ) -> Stretch:
        days = group.days
        return Stretch(
            pa.concat_tables(messages) if messages else self._empty(columns),
            pa.concat_tables(files) if files else _empty_files(),
            min(days),
            max(days),
        )

    def _empty(self, columns: Sequence[str]) -> pa.Table:
        return pa.schema([*_fields("messages", columns), pa.field(OBJECT, pa.int32())]).empty_table()


def open_source(store: Store, head: Head, identities: Identities, *, executor: Executor | None = None) -> Source:
    """Return an archive as an export reads it; raises `DamageFoundError` if an object cannot be read.

    Read are the few rows that lie astray, and uids where they do not state a time.
    """
    linked = {f"{chat_id}{BETWEEN}{uid}" for rows in identities.rows.values() for chat_id, uid, _ in rows}
    scattered = read_scattered(store, head, identities, executor=executor)
    return Source(store, head, executor, scattered, pa.array(sorted(linked), pa.string()))


def weight_of(records: Iterable[FileRecord]) -> int:
    """Return as how many rows of messages of a usual length those of some objects count, as far as their sizes tell."""
    return sum(max(record.rows, (record.bytes - _BESIDE_ROWS_BYTES) // ROW_BYTES_MAX) for record in records)


def _rows_of_weight(group: _Group, weight: int) -> int:
    """Return how many rows of a group count as so many, one at least."""
    rows = sum(record.rows for record in group.messages)
    return max(1, weight * rows // max(1, weight_of(group.messages)))


def is_day_within(on: date, from_ms: int | None, until_ms: int | None) -> bool:
    """Tell whether a UTC day has any instant between two, the second not included."""
    start = (on - date(1970, 1, 1)).days * DAY_MS
    return (from_ms is None or start + DAY_MS > from_ms) and (until_ms is None or start < until_ms)


def _only(rows: pa.Table, keys: pa.Array) -> pa.Table:
    return rows.filter(pc.is_in(item_keys(rows), value_set=keys))


def _empty_files() -> pa.Table:
    return pa.schema(_fields("files", FILE_COLUMNS)).empty_table()


def _fields(table: str, columns: Sequence[str]) -> list[pa.Field]:
    return [pa.field(name, TABLES[table].schema.field(name).type) for name in columns]
