"""Rows sorted by conversation, instant and uid: in memory or in a file, read by conversation from the first to the last, and merged.

A file is of batches, compressed, and of each is known in memory from which chat to which it reaches. The batch that was read last is kept:
who reads the chats in their order meets each batch once, however few rows of it belong to one of them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.errors import StoreFullError

BATCH_ROWS: Final = 2_048
_ORDER: Final = [("chat_id", "ascending"), ("sent_at", "ascending"), ("message_uid", "ascending")]

# Chat, instant in milliseconds since 1970 UTC, uid.
Key = tuple[str, int, str]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that are written and read at once: from where to where among those that came together, and from which chat to which."""

    start: int
    end: int
    first: str
    last: str


class SortedRows:
    """Sorted rows, in memory or in a file of batches with so many rows at most."""

    def __init__(self, rows: pa.Table | Path, schema: pa.Schema, batches: Sequence[Batch], *, batch_rows: int) -> None:
        self.rows = rows
        self.schema = schema
        self.batch_rows = batch_rows
        self._batches = batches
        self._kept: tuple[int, pa.Table] | None = None

    def of_chats(self, first: str, last: str) -> pa.Table:
        """Return the rows of the chats from one to another."""
        parts = [_between(self._batch(place), first, last) for place in self._places(first, last)]
        return pa.concat_tables(parts) if parts else self.schema.empty_table()

    def by_batch(self, first: str | None = None, last: str | None = None) -> Iterator[pa.Table]:
        """Yield the same batch by batch, and keep none; by default all rows."""
        for place in range(len(self._batches)) if first is None or last is None else self._places(first, last):
            batch = self._batch(place)
            self._kept = None
            yield batch if first is None or last is None else _between(batch, first, last)

    def written(self, path: Path) -> SortedRows:
        """Return these rows as those of a file, which is written; raises `StoreFullError` if the folder is full."""
        assert isinstance(self.rows, pa.Table)
        return _written([self.rows], self.schema, path, batch_rows=self.batch_rows)

    def remove(self) -> None:
        """Remove the file, after which nothing can be read any more."""
        self._kept = None
        self.__dict__.pop("_reader", None)
        if isinstance(self.rows, Path):
            self.rows.unlink()

    def _places(self, first: str, last: str) -> list[int]:
        return [place for place, batch in enumerate(self._batches) if batch.first <= last and batch.last >= first]

    def _batch(self, place: int) -> pa.Table:
        if isinstance(self.rows, pa.Table):
            batch = self._batches[place]
            return self.rows.slice(batch.start, batch.end - batch.start)
        if self._kept is None or self._kept[0] != place:
            self._kept = place, pa.Table.from_batches([self._reader.get_batch(place)], self.schema)
        return self._kept[1]

    @cached_property
    def _reader(self) -> pa.ipc.RecordBatchFileReader:
        return pa.ipc.open_file(pa.OSFile(str(self.rows), "rb"))


@dataclass(slots=True)
class Front:
    """The rows of a source that were not taken yet, as far as one batch of them.

    ``last_key`` is the key of the last row that can be told, None at the end.
    """

    source: Iterator[pa.Table]
    last_key: Key | None = field(init=False, default=None)
    _rows: pa.Table | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._go_on()

    def take(self, until: Key | None) -> list[pa.Table]:
        """Return the rows up to a key, included; all that are left if none is given."""
        taken = []
        while self._rows is not None:
            if until is None or (self.last_key is not None and self.last_key <= until):
                taken.append(self._rows)
                self._go_on()
                continue
            if count := _count_until(self._rows, until):
                taken.append(self._rows.slice(0, count))
                self._rows = self._rows.slice(count)
            break
        return taken

    def _go_on(self) -> None:
        self._rows = next((rows for rows in self.source if rows.num_rows), None)
        self.last_key = None if self._rows is None else key_of(self._rows, self._rows.num_rows - 1)


def _count_until(rows: pa.Table, until: Key) -> int:
    """Return how many of sorted rows have a key up to this one, included."""
    chat_id, at_ms, uid = until
    if key_of(rows, 0) > until:
        return 0
    chats, uids = rows.column("chat_id"), rows.column("message_uid")
    places = range(rows.num_rows)
    start = bisect_left(places, chat_id, key=lambda place: chats[place].as_py())
    end = bisect_right(places, chat_id, lo=start, key=lambda place: chats[place].as_py())
    # Instants are looked up where they lie in memory, which takes a fraction of asking for each.
    instants = _numbers(rows.column("sent_at"))
    first, last = bisect_left(instants, at_ms, start, end), bisect_right(instants, at_ms, start, end)
    return bisect_right(places, uid, first, last, key=lambda place: uids[place].as_py())


def _numbers(column: pa.ChunkedArray) -> memoryview:
    """Return the 64 bit numbers of a column that is in one piece and has no null, without copying them."""
    (piece,) = column.chunks
    return memoryview(piece.buffers()[1]).cast("q")[piece.offset : piece.offset + len(piece)]


def in_memory(rows: pa.Table, *, batch_rows: int = BATCH_ROWS) -> SortedRows:
    """Return rows in memory as sorted ones; in one piece, since such are sorted several times as quickly as rows in many."""
    ordered = rows.combine_chunks().sort_by(_ORDER)
    return SortedRows(ordered, ordered.schema, _batches(ordered, batch_rows), batch_rows=batch_rows)


def merged(parts: Sequence[SortedRows], path: Path) -> SortedRows:
    """Return the rows of several files as those of one, which is written; raises `StoreFullError` if the folder is full."""
    return _written(_merging(parts), parts[0].schema, path, batch_rows=parts[0].batch_rows)


def key_of(rows: pa.Table, place: int) -> Key:
    """Return by what a row is sorted."""
    chat_id, sent_at, uid = (rows.column(name)[place] for name in ("chat_id", "sent_at", "message_uid"))
    return chat_id.as_py(), sent_at.value, uid.as_py()


def _merging(parts: Sequence[SortedRows]) -> Iterator[pa.Table]:
    fronts = [Front(part.by_batch()) for part in parts]
    waiting: list[pa.Table] = []
    # Up to the least of the last keys that can be told, nothing comes any more but what can be told.
    while until := min((front.last_key for front in fronts if front.last_key is not None), default=None):
        waiting.append(pa.concat_tables([rows for front in fronts for rows in front.take(until)]))
        if sum(rows.num_rows for rows in waiting) >= 4 * parts[0].batch_rows:
            yield pa.concat_tables(waiting).combine_chunks().sort_by(_ORDER)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks().sort_by(_ORDER)


def _written(parts: Iterable[pa.Table], schema: pa.Schema, path: Path, *, batch_rows: int) -> SortedRows:
    batches: list[Batch] = []
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    try:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema, options=options) as writer:
            for rows in parts:
                found = _batches(rows, batch_rows)
                for batch in found:
                    writer.write_table(rows.slice(batch.start, batch.end - batch.start))
                batches += found
    except OSError as error:
        raise StoreFullError(
            f"the folder for temporary files, {path.parent.parent}, takes no more: {error.strerror or error}",
            next_step="make space there, or name another by TMPDIR; then give the same command again",
        ) from None
    return SortedRows(path, schema, batches, batch_rows=batch_rows)


def _batches(rows: pa.Table, batch_rows: int) -> list[Batch]:
    """Return sorted rows as batches: those of a chat that has many are by themselves, so that a chat is read without its neighbours."""
    found: list[Batch] = []
    start = 0
    for item in pc.value_counts(rows.column("chat_id")).to_pylist():
        chat_id, count = item["values"], item["counts"]
        if found and found[-1].end - found[-1].start + count <= batch_rows:
            found[-1] = replace(found[-1], end=start + count, last=chat_id)
        else:
            found.extend(
                Batch(place, min(place + batch_rows, start + count), chat_id, chat_id)
                for place in range(start, start + count, batch_rows)
            )
        start += count
    return found


def _between(rows: pa.Table, first: str, last: str) -> pa.Table:
    """Return those of sorted rows that are of the chats from one to another."""
    chats = rows.column("chat_id")
    if first <= chats[0].as_py() and chats[-1].as_py() <= last:
        return rows
    return rows.filter(pc.and_(pc.greater_equal(chats, first), pc.less_equal(chats, last)))
