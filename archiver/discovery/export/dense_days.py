"""Days of very many messages, read side by side out of their objects: so that memory does not follow the day.

Every object of the archive is sorted by conversation and instant (`archiver.archive.schema`). Whoever must see conversations whole reads
them `by_conversation`: one is whole as soon as all objects have come to one behind it. Whoever need only see messages whole reads them
`by_instant`, so that memory does not follow the largest conversation either: the rows of a message bear one instant nearly always, and
those of which that is not true (`spread`) are put together.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Iterator, Sequence
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from archiver.discovery.export.order import ascends
from archiver.scope.reach import item_keys

# Rows of messages and of files, in tables one behind another.
Found: TypeAlias = tuple[list[pa.Table], list[pa.Table]]
# The values of the columns by which objects are sorted, as far as they count.
_Key: TypeAlias = tuple[object, ...]

_CHAT = ("chat_id",)
_INSTANT = ("chat_id", "sent_at")
_ITEM = ("chat_id", "message_uid")


def by_conversation(
    messages: Sequence[Iterator[pa.Table]], files: Sequence[Iterator[pa.Table]], *, rows_min: int
) -> Generator[Found, None, None]:
    """Yield the rows of objects that are read in tables: all those of some conversations, so many of messages or, at the end, fewer.

    An object that turns out not to be sorted is read to its end, and sorted, before any more is yielded.
    """
    return _parts(messages, files, _CHAT, rows_min=rows_min)


def by_instant(
    messages: Sequence[Iterator[pa.Table]],
    files: Sequence[Iterator[pa.Table]],
    *,
    rows_min: int,
    together: pa.StringArray,
) -> Generator[Found, None, None]:
    """Do the same by conversation and instant; the rows of the items ``together`` come last, all at once."""
    aside: Found = ([], [])
    other_messages = [_without(source, together, aside[0]) for source in messages]
    other_files = [_without(source, together, aside[1]) for source in files]
    yield from _parts(other_messages, other_files, _INSTANT, rows_min=rows_min)
    if aside[0] or aside[1]:
        yield aside


def spread(rows: Sequence[pa.Table]) -> pa.StringArray:
    """Return the items, as `item_keys` writes them, of which rows of whole conversations bear several instants."""
    found = pa.concat_tables([each.select([*_ITEM, "sent_at"]) for each in rows])
    counted = pc.value_counts(found.column("message_uid").combine_chunks())
    repeated = counted.field("values").filter(pc.greater(counted.field("counts"), 1))
    several = found.filter(pc.is_in(found.column("message_uid"), value_set=repeated))
    bounds = several.group_by(list(_ITEM)).aggregate([("sent_at", "min"), ("sent_at", "max")])
    return item_keys(bounds.filter(pc.not_equal(bounds.column("sent_at_min"), bounds.column("sent_at_max"))))


def _parts(
    messages: Sequence[Iterator[pa.Table]],
    files: Sequence[Iterator[pa.Table]],
    names: Sequence[str],
    *,
    rows_min: int,
) -> Generator[Found, None, None]:
    found: Found = ([], [])
    fronts = [
        (_Front(source, names), of_kind)
        for sources, of_kind in ((messages, found[0]), (files, found[1]))
        for source in sources
    ]
    while open_fronts := [front for front, _ in fronts if not front.is_at_end]:
        until = min(front.last for front in open_fronts)
        for front, of_kind in fronts:
            of_kind.extend(front.take(until))
        if sum(rows.num_rows for rows in found[0]) >= rows_min:
            yield list(found[0]), list(found[1])
            found[0].clear()
            found[1].clear()
        for front in open_fronts:
            if front.last == until:
                front.read_on()
    for front, of_kind in fronts:
        of_kind.extend(front.take(None))
    if found[0] or found[1]:
        yield found


class _Front:
    """What was read of an object and not taken yet. ``last`` is the key of its last row, of which more may come."""

    def __init__(self, source: Iterator[pa.Table], names: Sequence[str]) -> None:
        self.is_at_end = False
        # Nothing comes before it, so that nothing is taken.
        self.last: _Key = ()
        self._source = source
        self._names = names
        self._is_sorted = True
        self._tables: list[pa.Table] = []
        self.read_on()

    def read_on(self) -> None:
        """Read the next rows."""
        table = next((rows for rows in self._source if rows.num_rows), None)
        if table is None:
            self.is_at_end = True
            if not self._is_sorted:
                order = [(name, "ascending") for name in self._names]
                self._tables = [pa.concat_tables(self._tables).combine_chunks().sort_by(order)]
            return
        self._is_sorted = self._is_sorted and ascends(table, self._names) and self.last <= self._key(table, 0)
        self.last = self._key(table, table.num_rows - 1) if self._is_sorted else ()
        self._tables.append(table)

    def take(self, until: _Key | None) -> list[pa.Table]:
        """Return the rows before a key, all rows if none is given."""
        taken = []
        while self._tables:
            rows = self._tables[0]
            if until is None or self._key(rows, rows.num_rows - 1) < until:
                taken.append(self._tables.pop(0))
                continue
            if self._key(rows, 0) < until:
                before = bisect_left(range(rows.num_rows), until, key=lambda place: self._key(rows, place))
                taken.append(rows.slice(0, before))
                self._tables[0] = rows.slice(before)
            break
        return taken

    def _key(self, rows: pa.Table, place: int) -> _Key:
        return tuple(rows.column(name)[place].as_py() for name in self._names)


def _without(source: Iterator[pa.Table], items: pa.StringArray, aside: list[pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows of an object without those of some items, which are put aside."""
    for rows in source:
        is_theirs = pc.is_in(item_keys(rows), value_set=items) if len(items) else None
        if is_theirs is None or not is_theirs.true_count:
            yield rows
        else:
            aside.append(rows.filter(is_theirs))
            yield rows.filter(pc.invert(is_theirs))
