"""Rows of conversations by local day, out of pieces that come by time: every part of a day knows which of how many it is.

Days are given whole. Only of a *long* day, one of so many messages that it has parts, these are given as they come: its messages are
counted before, which reads its conversation once more, so that however long it is, little of it is in memory at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from archiver.discovery.export.given import Piece
from archiver.discovery.export.order import DAY, FIRST, LongDay, days_of, first_day_from, in_order, starts_of


@dataclass(frozen=True, slots=True)
class Days:
    """Rows in order, with those of their files. Of the ``long_days``, which are of one conversation, these are some parts."""

    messages: pa.Table
    files: pa.Table
    long_days: Mapping[date, LongDay] = field(default_factory=dict)


def by_local_day(
    pieces: Iterable[Piece], again: Callable[[], Iterable[Piece]], zone: ZoneInfo, *, messages_max: int
) -> Iterator[Days]:
    """Yield the rows of a group of conversations; ``again`` returns its pieces once more, to count in.

    A part of a day has ``messages_max`` messages, the last one as many as are left.
    """
    rest: Piece | None = None
    messages_on: Mapping[date, int] | None = None
    # The last day of which parts were given before it ended, and how many.
    begun: tuple[date, int] | None = None
    for piece in pieces:
        found = piece if rest is None else _together(rest, piece)
        ordered = in_order(found.messages, zone)
        long_days: dict[date, LongDay] = {}
        if begun is not None and messages_on is not None:
            long_days[begun[0]] = _long_day(messages_on[begun[0]], messages_max, before=begun[1])
        if piece.nothing_before_ms is None:
            yield Days(ordered, found.files, long_days)
            return
        # They are of one conversation, and so the later days are the last rows.
        open_on = first_day_from(piece.nothing_before_ms, zone)
        closed = pc.sum(pc.less(ordered.column(DAY), pa.scalar(open_on, pa.date32()))).as_py() or 0
        rows, parts = _whole_parts(ordered.slice(closed), open_on, piece.nothing_before_ms, messages_max)
        if parts:
            before = begun[1] if begun is not None and begun[0] == open_on else 0
            messages_on = messages_on or _messages_by_day(again(), zone)
            long_days[open_on] = _long_day(messages_on[open_on], messages_max, before=before)
            begun = open_on, before + parts
        given = closed + rows
        left = ordered.slice(given).drop_columns([DAY])
        waits = pc.is_in(found.files.column("message_uid"), value_set=pc.unique(left.column("message_uid")))
        yield Days(ordered.slice(0, given), found.files.filter(pc.invert(waits)), long_days)
        rest = Piece(left, found.files.filter(waits), None)


def _together(rest: Piece, piece: Piece) -> Piece:
    return Piece(
        pa.concat_tables([rest.messages, piece.messages]),
        pa.concat_tables([rest.files, piece.files]),
        piece.nothing_before_ms,
    )


def _long_day(messages: int, messages_max: int, *, before: int) -> LongDay:
    return LongDay(before, -(-messages // messages_max))


def _whole_parts(rows: pa.Table, on: date, nothing_before_ms: int, messages_max: int) -> tuple[int, int]:
    """Return how many rows are whole parts of a day, and how many parts these are: of ordered rows, none of a day before."""
    is_whole = pc.and_(
        pc.equal(rows.column(DAY), pa.scalar(on, pa.date32())), pc.less(rows.column(FIRST), nothing_before_ms)
    )
    whole = rows.slice(0, pc.sum(is_whole).as_py() or 0)
    if whole.num_rows < messages_max:
        return 0, 0
    starts = starts_of(whole)
    parts = len(starts) // messages_max
    return [*starts, whole.num_rows][parts * messages_max], parts


def _messages_by_day(pieces: Iterable[Piece], zone: ZoneInfo) -> Counter[date]:
    """Return how many messages one conversation has on each day."""
    messages: Counter[date] = Counter()
    rest: pa.Table | None = None
    for piece in pieces:
        keys = piece.messages.select(["message_uid", FIRST])
        keys = keys if rest is None else pa.concat_tables([rest, keys])
        if piece.nothing_before_ms is not None:
            is_open = pc.greater_equal(keys.column(FIRST), piece.nothing_before_ms)
            rest, keys = keys.filter(is_open), keys.filter(pc.invert(is_open))
        on = keys.append_column(DAY, days_of(keys.column(FIRST), zone))
        counted = on.group_by(DAY).aggregate([("message_uid", "count_distinct")])
        for row in counted.to_pylist():
            messages[row[DAY]] += row["message_uid_count_distinct"]
    return messages
