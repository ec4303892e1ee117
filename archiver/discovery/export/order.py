"""Rows in the order of an export: by conversation, by day in its zone, by when their message was first sent.

When a message was first sent tells its oldest row. That is found out while all of its rows are together (`with_first`), and stands beside
each of them from then on. Sorting moves rows of a thousand bytes each, so the keys are sorted alone, and the rows are moved once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from archiver.clock import DAY_MS, EARLIEST_MS, LATEST_MS, from_ms, to_ms
from archiver.scope.reach import item_keys

# Beside the rows: when their message was first sent, in milliseconds since 1970 UTC, and on which local day.
FIRST: Final = "first_sent"
DAY: Final = "day_on"

_MESSAGE: Final = ("chat_id", "message_uid")
_WITHIN: Final = ("version", "observed_at", "content_digest")
_BETWEEN: Final = ("chat_id", DAY, FIRST, "message_uid")
_SPAN_MS: Final = 2 * DAY_MS


@dataclass(frozen=True, slots=True)
class Part:
    """A day of a conversation, or a part of one: the ``part``-th of ``parts``, from 1, as messages from one to before another."""

    chat_id: str
    day: date
    part: int
    parts: int
    first: int
    end: int


def with_first(messages: pa.Table, files: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return rows of whole messages and of their files, in the order that they have, with `FIRST` beside each."""
    first = pc.cast(messages.column("sent_at"), pa.int64()).combine_chunks()
    uids = messages.column("message_uid")
    are_several = repeated(uids)
    if are_several is not None:
        several = messages.select([*_MESSAGE, *_WITHIN]).append_column(FIRST, first).filter(are_several)
        first = pc.replace_with_mask(first, are_several, _first_of_each(several.combine_chunks()))
    messages = messages.append_column(FIRST, first)
    of_files = pc.cast(files.column("sent_at"), pa.int64()).combine_chunks()
    if files.num_rows:
        theirs = messages.filter(pc.is_in(uids, value_set=pc.unique(files.column("message_uid"))))
        places = pc.index_in(item_keys(files), value_set=item_keys(theirs))
        of_files = pc.coalesce(theirs.column(FIRST).combine_chunks().take(places), of_files)
    return messages, files.append_column(FIRST, of_files)


def repeated(values: pa.ChunkedArray) -> pa.BooleanArray | None:
    """Return which values stand there several times; None if each stands there once."""
    # Texts are compared once, and from then on the numbers that they have.
    encoded = values.combine_chunks().dictionary_encode()
    if len(encoded.dictionary) == len(encoded):
        return None
    counted = pc.value_counts(encoded.indices)
    return pc.is_in(encoded.indices, value_set=counted.field("values").filter(pc.greater(counted.field("counts"), 1)))


def in_order(rows: pa.Table, zone: ZoneInfo) -> pa.Table:
    """Return rows that have `FIRST` with `DAY`, sorted by conversation, day and instant, each message's rows together and oldest first."""
    day = days_of(pa.chunked_array([rows.column(FIRST).combine_chunks()]), zone)
    keys = rows.select([*_MESSAGE, *_WITHIN, FIRST]).append_column(DAY, day)
    if ascends(keys, (*_BETWEEN, *_WITHIN), strictly=True):
        # Days that were read one after another are in order already, and moving nothing is a good part of the time.
        return rows.append_column(DAY, day)
    # What is compared row by row is so several times as quickly in one piece.
    order = pc.sort_indices(keys.combine_chunks(), sort_keys=_ascending(*_BETWEEN, *_WITHIN))
    return rows.take(order).append_column(DAY, day.take(order))


def ascends(rows: pa.Table, names: Sequence[str], *, strictly: bool = False) -> bool:
    """Tell whether each row comes after the one above it, or is its equal, by columns of which the first counts most.

    A row of which something unknown counts does neither.
    """
    tied: pa.Array | None = None
    for name in names:
        column = rows.column(name)
        if tied is not None:
            here, before = (side.filter(tied).combine_chunks() for side in (column[1:], column[:-1]))
        else:
            column = column.combine_chunks()
            if len(column) > 1 and column[0] == column[-1] and pc.equal(column, column[0]).true_count == len(column):
                # All are alike, as those of one conversation, and to compare each with the next would take longer.
                continue
            here, before = column[1:], column[:-1]
        # Mostly the first question answers it, and each asked of a few rows costs more than they do.
        behind = pc.greater(here, before).true_count
        if behind == len(here):
            return True
        equal = pc.equal(here, before)
        if behind + equal.true_count < len(here):
            return False
        tied = equal if tied is None else pc.replace_with_mask(tied, tied, equal)
    return not strictly


def numbers_of(column: pa.Int64Array) -> memoryview:
    """Return the numbers of a column that has no null, without copying them: asking it for each takes many times as long."""
    return memoryview(column.buffers()[1] or b"").cast("q")[column.offset : column.offset + len(column)]


def days_of(instants_ms: pa.ChunkedArray, zone: ZoneInfo) -> pa.ChunkedArray:
    """Return the local days of instants."""
    local = pc.local_timestamp(pc.cast(instants_ms, pa.timestamp("ms", tz=zone.key)))
    return pc.cast(pc.floor_temporal(local, unit="day"), pa.date32())


def starts_of(rows: pa.Table) -> list[int]:
    """Return where each message begins among rows of which those of one message stand together."""
    return _changes(rows, "message_uid", "chat_id")


@dataclass(frozen=True, slots=True)
class LongDay:
    """A day of a conversation of which rows come in several tables: how many of its ``parts`` were given before, and how many it has."""

    before: int
    parts: int


def parts_of(
    rows: pa.Table, starts: list[int], *, messages_max: int, long_days: Mapping[date, LongDay] | None = None
) -> Iterator[Part]:
    """Yield the days of conversations of rows that are in order, those of many messages in parts; ``starts`` are of their messages.

    Only where the rows are of one conversation may there be ``long_days``.
    """
    if not rows.num_rows:
        return
    chats, days = (rows.column(name).combine_chunks() for name in ("chat_id", DAY))
    changes = _changes(rows, "chat_id", DAY)
    changed = pa.array(changes, pa.int64())
    of_changes = zip(chats.take(changed).to_pylist(), days.take(changed).to_pylist(), strict=True)
    first = 0
    for (chat_id, day), end_row in zip(of_changes, [*changes[1:], rows.num_rows], strict=True):
        end = bisect_left(starts, end_row, lo=first)
        long = (long_days or {}).get(day) or LongDay(0, -(-(end - first) // messages_max))
        for part, start in enumerate(range(first, end, messages_max), long.before + 1):
            yield Part(chat_id, day, part, long.parts, start, min(start + messages_max, end))
        first = end


def first_day_from(at_ms: int, zone: ZoneInfo) -> date:
    """Return the earliest local day of all instants from one on: that of this instant, unless a clock goes back over midnight behind it.

    Of all zones of the IANA's data, none has two changes within two days.
    """
    # At both ends of the calendar, where there may be no local time, that is too early rather than too late.
    at_ms = min(at_ms, LATEST_MS - 2 * _SPAN_MS)
    if at_ms < EARLIEST_MS + _SPAN_MS:
        return from_ms(EARLIEST_MS).date()
    here, ahead = _local(at_ms, zone), _ahead(at_ms + _SPAN_MS, zone)
    if ahead >= _ahead(at_ms, zone):
        return here.date()
    changed_ms = at_ms + bisect_left(range(_SPAN_MS), -ahead, key=lambda ms: -_ahead(at_ms + ms, zone))
    return min(here.date(), _local(changed_ms, zone).date())


# Every conversation has the same days.
@lru_cache(maxsize=16_384)
def bounds_ms(day: date, zone: ZoneInfo) -> tuple[int, int]:
    """Return the first instant of a local day and the first after it."""
    try:
        starts = [datetime.combine(on, time(), tzinfo=zone) for on in (day, day + timedelta(days=1))]
        return to_ms(starts[0]), to_ms(starts[1])
    except OverflowError:  # the first or the last day that there is
        return EARLIEST_MS, LATEST_MS


def _first_of_each(rows: pa.Table) -> pa.Array:
    """Return for each row when the oldest row of its message was sent."""
    order = pc.sort_indices(rows, sort_keys=_ascending(*_MESSAGE, *_WITHIN))
    ordered = rows.take(order)
    first_rows = pa.array(starts_of(ordered), pa.int64())
    marks = pc.is_in(pa.arange(0, rows.num_rows), value_set=first_rows)
    group = pc.subtract(pc.cumulative_sum(pc.cast(marks, pa.int64())), 1)
    first = ordered.column(FIRST).combine_chunks().take(first_rows).take(group)
    return first.take(pc.sort_indices(order))


def _changes(rows: pa.Table, *names: str) -> list[int]:
    """Return the rows that differ from the one before them in one of two columns, and the first row."""
    if not rows.num_rows:
        return []
    one, other = (rows.column(name).combine_chunks() for name in names)
    changes = pc.not_equal(one[1:], one[:-1])
    # Mostly one column tells it, and texts that are equal take longest to compare.
    if changes.false_count:
        tied = pc.invert(changes)
        further = pc.not_equal(other[1:].filter(tied), other[:-1].filter(tied))
        if further.true_count:
            changes = pc.replace_with_mask(changes, tied, further)
    return [0, *pc.add(pc.indices_nonzero(changes), 1).to_pylist()]


def _local(at_ms: int, zone: ZoneInfo) -> datetime:
    return from_ms(at_ms).astimezone(zone)


def _ahead(at_ms: int, zone: ZoneInfo) -> timedelta:
    return _local(at_ms, zone).utcoffset() or timedelta()


def _ascending(*names: str) -> list[tuple[str, str]]:
    return [(name, "ascending") for name in names]
