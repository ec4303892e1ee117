"""Rows in the order of an export: by conversation, by day in its zone, by when their message was first sent.

Sorting moves rows of a thousand bytes each, so the keys are sorted alone, and the rows are moved once, to their last place.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from archiver.clock import EARLIEST_MS, LATEST_MS, to_ms

# Beside the rows: when their message was first sent, in milliseconds since 1970 UTC, and on which local day.
FIRST: Final = "first_sent"
DAY: Final = "day_on"

_MESSAGE: Final = ("chat_id", "message_uid")
_WITHIN: Final = ("version", "observed_at", "content_digest")


@dataclass(frozen=True, slots=True)
class Part:
    """A day of a conversation, or a part of one: the ``part``-th of ``parts``, from 1, as messages from one to before another."""

    chat_id: str
    day: date
    part: int
    parts: int
    first: int
    end: int


def in_order(rows: pa.Table, zone: ZoneInfo) -> pa.Table:
    """Return rows with `FIRST` and `DAY`, sorted by conversation, day and instant, each message's rows together and oldest first."""
    keys = rows.select([*_MESSAGE, *_WITHIN]).append_column(FIRST, pc.cast(rows.column("sent_at"), pa.int64()))
    # What is compared row by row is so several times as quickly in one piece.
    keys = keys.combine_chunks()
    order: pa.Array | None = None
    if not _is_each_together(keys):
        order = pc.sort_indices(keys, sort_keys=_ascending(*_MESSAGE, *_WITHIN))
        keys = keys.take(order).combine_chunks()
    starts = starts_of(keys)
    if len(starts) < keys.num_rows:
        keys = _with(keys, FIRST, _of_first_rows(keys, starts))
    local = pc.local_timestamp(pc.cast(keys.column(FIRST), pa.timestamp("ms", tz=zone.key)))
    keys = keys.append_column(DAY, pc.cast(pc.floor_temporal(local, unit="day"), pa.date32()))
    if order is None and _is_ascending(keys):
        # Days that were read one after another are in order already, and moving nothing is a good part of the time.
        return rows.append_column(FIRST, keys.column(FIRST)).append_column(DAY, keys.column(DAY))
    last = pc.sort_indices(keys, sort_keys=_ascending("chat_id", DAY, FIRST, "message_uid", *_WITHIN))
    found = rows.take(last if order is None else order.take(last))
    for name in (FIRST, DAY):
        found = found.append_column(name, keys.column(name).take(last))
    return found


def starts_of(rows: pa.Table) -> list[int]:
    """Return where each message begins among rows of which those of one message stand together."""
    return _changes(rows, "message_uid", "chat_id")


def parts_of(rows: pa.Table, starts: list[int], *, messages_max: int) -> Iterator[Part]:
    """Yield the days of conversations of rows that are in order, those of many messages in parts; ``starts`` are of their messages."""
    if not rows.num_rows:
        return
    chats, days = (rows.column(name).combine_chunks() for name in ("chat_id", DAY))
    for row, end_row in pairwise([*_changes(rows, "chat_id", DAY), rows.num_rows]):
        first, end = bisect_left(starts, row), bisect_left(starts, end_row)
        parts = -(-(end - first) // messages_max)
        for part in range(parts):
            start = first + part * messages_max
            yield Part(chats[row].as_py(), days[row].as_py(), part + 1, parts, start, min(start + messages_max, end))


def bounds_ms(day: date, zone: ZoneInfo) -> tuple[int, int]:
    """Return the first instant of a local day and the first after it."""
    try:
        starts = [datetime.combine(on, time(), tzinfo=zone) for on in (day, day + timedelta(days=1))]
        return to_ms(starts[0]), to_ms(starts[1])
    except OverflowError:  # the first or the last day that there is
        return EARLIEST_MS, LATEST_MS


def _is_each_together(keys: pa.Table) -> bool:
    """Tell whether each message's rows stand together, oldest first; one uid in two chats may say no too, which only costs time."""
    uids = keys.column("message_uid")
    starts = starts_of(keys)
    if pc.count_distinct(uids, mode="all").as_py() != len(starts):
        return False
    if len(starts) == keys.num_rows:
        return True
    is_first = pc.is_in(pa.arange(1, keys.num_rows), value_set=pa.array(starts, pa.int64()))
    return bool(pc.all(pc.or_kleene(is_first, _is_in_place(keys, _WITHIN)), skip_nulls=False).as_py())


def _is_ascending(keys: pa.Table) -> bool:
    """Tell whether each of the rows, of which those of one message stand together, comes after the one before it or is of its message."""
    is_in_place = _is_in_place(keys, ("chat_id", DAY, FIRST, "message_uid"))
    return bool(pc.all(is_in_place, min_count=0, skip_nulls=False).as_py())


def _is_in_place(keys: pa.Table, names: Sequence[str]) -> pa.BooleanArray:
    """Return of each row but the first whether it does not come before the one above it, by columns of which the first counts most."""
    is_in_place = pa.repeat(pa.scalar(value=True), max(0, keys.num_rows - 1))
    for name in reversed(names):
        column = keys.column(name).combine_chunks()
        here, before = column[1:], column[:-1]
        is_in_place = pc.or_(pc.greater(here, before), pc.and_(pc.equal(here, before), is_in_place))
    return is_in_place


def _of_first_rows(keys: pa.Table, starts: list[int]) -> pa.Array:
    """Return for each row when the first row of its message was sent, of keys of which those of one message stand together."""
    first_rows = pa.array(starts, pa.int64())
    marks = pc.is_in(pa.arange(0, keys.num_rows), value_set=first_rows)
    group = pc.subtract(pc.cumulative_sum(pc.cast(marks, pa.int64())), 1)
    return pc.take(pc.take(keys.column(FIRST).combine_chunks(), first_rows), group)


def _changes(rows: pa.Table, *names: str) -> list[int]:
    """Return the rows that differ from the one before them in one of two columns, and the first row."""
    if not rows.num_rows:
        return []
    one, other = (rows.column(name).combine_chunks() for name in names)
    changes = pc.or_(pc.not_equal(one[1:], one[:-1]), pc.not_equal(other[1:], other[:-1]))
    return [0, *pc.add(pc.indices_nonzero(changes), 1).to_pylist()]


def _ascending(*names: str) -> list[tuple[str, str]]:
    return [(name, "ascending") for name in names]


def _with(rows: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index(name), name, column)
