"""Messages of which rows lie under several days: found before anything is taken, so that an export reads each of them whole.

There are three ways to come to lie so, and what can be told without reading is not read:

- A row lies elsewhere than its uid says: it is astray (`archiver.archive.home`), and the ledger counts these for each object.
- The uid states no time, as of imported records; then each row lies where it says itself. Such a message has rows under two days only
  where objects of two days have ranges of uids that meet. Flock's own uids begin with the time, so that the ranges of two days never do:
  of an archive of nothing else not one object is read for this, nor of one that was imported from Slack, whose uids are times too.
- A message that came without a uid turned out to be another one (`archiver.discovery.export.identities`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import date
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive import layout
from archiver.archive.home import days_at_home, days_stated
from archiver.archive.ledger import FileRecord
from archiver.archive.reader import Head, files_of, read_columns
from archiver.clock import day_of
from archiver.discovery.export.identities import Identities
from archiver.scope.reach import BETWEEN, item_keys
from archiver.store import Store

# So many messages are read at once at most, and of so many rows the uids are compared at once.
MESSAGES_MAX: Final = 16_384
UIDS_MAX: Final = 1_000_000

_READ_AT_ONCE: Final = 8
_UID_DIGITS: Final = 13
_PLACES: Final = pa.schema([("key", pa.string()), ("day", pa.date32())])
_UIDS: Final = pa.schema([("message_uid", pa.string()), *_PLACES])


@dataclass(frozen=True, slots=True)
class Scattered:
    """Some messages, as `item_keys` writes them, all of whose rows lie under these days."""

    keys: pa.StringArray
    days: frozenset[date]


def read_scattered(
    store: Store,
    head: Head,
    identities: Identities,
    *,
    executor: Executor | None = None,
    messages_max: int = MESSAGES_MAX,
    uids_max: int = UIDS_MAX,
) -> tuple[Scattered, ...]:
    """Return all messages of which rows lie under several days, some at a time; raises `DamageFoundError` if an object cannot be read.

    What turned out to be one message stands together, and so does what lies under the same days.
    """
    records = [record for record in files_of(head, "messages") if record.rows]
    apart = _apart(store, records, executor=executor, uids_max=uids_max)
    lies = pa.concat_tables([_PLACES.empty_table(), *_astray(store, records), *apart])
    linked = _linked(identities, set(lies.column("key").to_pylist()) if identities.rows else set())
    return tuple(_parts(pa.concat_tables([lies, linked]), pc.unique(linked.column("key")), messages_max=messages_max))


def _astray(store: Store, records: Iterable[FileRecord]) -> Iterator[pa.Table]:
    """Yield of the messages with rows astray where these lie and where they are at home, which is where the others lie."""
    for record in records:
        if not record.astray_rows:
            continue
        rows = read_columns(store, record, ("chat_id", "message_uid", "sent_at", "sent_at_basis"))
        lies, home = _day_of(record), days_at_home(rows)
        astray = pc.invert(pc.fill_null(pc.equal(home, pa.scalar(lies, pa.date32())), fill_value=False))
        keys, home = item_keys(rows.filter(astray)), home.filter(astray)
        yield _places(keys, pa.repeat(pa.scalar(lies, pa.date32()), len(keys)))
        yield _places(keys.filter(pc.is_valid(home).combine_chunks()), home.drop_null().combine_chunks())


def _apart(
    store: Store, records: Sequence[FileRecord], *, executor: Executor | None, uids_max: int
) -> Iterator[pa.Table]:
    """Yield where the messages lie whose uids state no time and that have rows under several days."""
    own = [record for record in records if _states_own_day(record)]
    others = _meeting([record for record in records if not _states_own_day(record)], records)
    after: str | None = "" if others else None
    while after is not None:
        uids, until = _window(store, others, after, executor=executor, uids_max=uids_max)
        wanted = pc.unique(uids.column("message_uid"))
        ordered = sorted(wanted.to_pylist())
        asked = _read_each(store, [record for record in own if _holds(record, ordered)], executor=executor)
        more = [some.filter(pc.is_in(some.column("message_uid"), value_set=wanted)) for some in asked]
        places = pa.concat_tables([uids, *more]).select(["key", "day"])
        counted = places.group_by("key").aggregate([("day", "count_distinct")])
        several = counted.filter(pc.greater(counted.column("day_count_distinct"), 1)).column("key")
        yield places.filter(pc.is_in(places.column("key"), value_set=several.combine_chunks()))
        after = until


def _window(
    store: Store, records: Sequence[FileRecord], after: str, *, executor: Executor | None, uids_max: int
) -> tuple[pa.Table, str | None]:
    """Return where rows lie whose uids state no time, from one uid on, included: of no more uids than may be compared at once.

    And the uid from which to go on, None if those are all.
    """
    found = _UIDS.empty_table()
    until: str | None = None
    for record in records:
        least, greatest = _range(record)
        if greatest < after or (until is not None and least >= until):
            continue
        for rows in _read_each(store, [record], executor=executor):
            uids = rows.column("message_uid")
            within = pc.greater_equal(uids, after)
            found = pa.concat_tables(
                [found, rows.filter(within if until is None else pc.and_(within, pc.less(uids, until)))]
            )
        if found.num_rows > uids_max:
            ordered = pc.unique(found.column("message_uid")).sort()
            if len(ordered) > 1:
                until = ordered[len(ordered) // 2].as_py()
                found = found.filter(pc.less(found.column("message_uid"), until)).combine_chunks()
    return found, until


def _read_each(store: Store, records: Sequence[FileRecord], *, executor: Executor | None) -> Iterator[pa.Table]:
    """Yield where the rows of objects lie whose uids state no time: ``message_uid``, ``key`` and ``day``."""

    def read(record: FileRecord) -> pa.Table:
        rows = read_columns(store, record, ("chat_id", "message_uid"))
        rows = rows.filter(pc.is_null(days_stated(rows.column("message_uid"))))
        lies = pa.repeat(pa.scalar(_day_of(record), pa.date32()), rows.num_rows)
        return pa.table([rows.column("message_uid"), item_keys(rows), lies], schema=_UIDS)

    for first in range(0, len(records), _READ_AT_ONCE):
        some = records[first : first + _READ_AT_ONCE]
        yield from map(read, some) if executor is None else executor.map(read, some)


def _meeting(asked: Iterable[FileRecord], records: Iterable[FileRecord]) -> list[FileRecord]:
    """Return those objects of which the range of uids meets that of an object of another day."""
    by_day: dict[date, tuple[str, str]] = {}
    for record in records:
        (least, greatest), known = _range(record), by_day.get(_day_of(record))
        by_day[_day_of(record)] = (
            (least, greatest) if known is None else (min(known[0], least), max(known[1], greatest))
        )
    days = sorted(by_day, key=lambda on: by_day[on][0])
    leasts = [by_day[on][0] for on in days]
    # Of the days that begin no later than a place the two that reach furthest: one of them is another day than any that is asked about.
    furthest: list[list[date]] = [[]]
    for on in days:
        furthest.append(sorted([*furthest[-1], on], key=lambda day: by_day[day][1])[-2:])
    return [
        record
        for record in asked
        for least, greatest in [_range(record)]
        if any(on != _day_of(record) and by_day[on][1] >= least for on in furthest[bisect_right(leasts, greatest)])
    ]


def _states_own_day(record: FileRecord) -> bool:
    """Tell whether both ends of an object's range of uids state the day that it lies under.

    Then so does all between them that states a time of as many digits, and the ranges of two such objects of different days do not meet.
    """
    ends = _range(record)
    is_usual = all(end[:_UID_DIGITS].isdecimal() and len(end[:_UID_DIGITS]) == _UID_DIGITS for end in ends)
    return is_usual and set(days_stated(pa.chunked_array([ends], pa.string())).to_pylist()) == {_day_of(record)}


def _linked(identities: Identities, scattered: Collection[str]) -> pa.Table:
    """Return where the rows lie of what turned out to be one message, if that lies under several days or any of it is scattered."""
    keys: list[str] = []
    days: list[date] = []
    for rows in identities.rows.values():
        places = {(f"{chat_id}{BETWEEN}{uid}", day_of(at_ms)) for chat_id, uid, at_ms in rows}
        if len({on for _, on in places}) > 1 or any(key in scattered for key, _ in places):
            keys += [key for key, _ in places]
            days += [on for _, on in places]
    return _places(pa.array(keys, pa.string()), pa.array(days, pa.date32()))


def _parts(lies: pa.Table, linked: pa.StringArray, *, messages_max: int) -> Iterator[Scattered]:
    by_key = lies.group_by("key").aggregate([("day", "min"), ("day", "max")])
    is_linked = pc.is_in(by_key.column("key"), value_set=linked)
    alone = by_key.filter(pc.invert(is_linked)).sort_by([(name, "ascending") for name in ("day_min", "day_max", "key")])
    parts = [by_key.filter(is_linked).column("key")]
    parts += [alone.column("key")[first : first + messages_max] for first in range(0, alone.num_rows, messages_max)]
    for keys in parts:
        if len(keys):
            days = lies.column("day").filter(pc.is_in(lies.column("key"), value_set=keys.combine_chunks()))
            yield Scattered(keys.combine_chunks(), frozenset(pc.unique(days).to_pylist()))


def _places(keys: pa.Array, days: pa.Array) -> pa.Table:
    return pa.table([keys, days], schema=_PLACES)


def _range(record: FileRecord) -> tuple[str, str]:
    least, greatest = map(str, record.ranges["message_uid"])
    return least, greatest


def _holds(record: FileRecord, uids: Sequence[str]) -> bool:
    """Tell whether an object may have a row of one of these uids, which are sorted, as far as its range tells."""
    least, greatest = _range(record)
    place = bisect_left(uids, least)
    return place < len(uids) and uids[place] <= greatest


def _day_of(record: FileRecord) -> date:
    return layout.partition_of(record.key)[1]
