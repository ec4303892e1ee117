"""Which objects of an archive hold anything that legal holds cover: data objects, and the blobs of held files.

Each day is looked at by itself, and then the messages whose rows lie under several, as those of an edit that says another sending time
may: one row that is covered holds all the others, under whichever day they lie.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from datetime import date
from functools import partial
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive import layout
from archiver.archive.ledger import FileRecord
from archiver.archive.reader import Head, files_of, read_rows
from archiver.archive.schema import TABLES
from archiver.retention import day_rows
from archiver.retention.coverage import Coverage, any_of
from archiver.retention.matching import Targets
from archiver.retention.pushes import own_pushes, read_pushes
from archiver.retention.rewrite import find_messages, read_going
from archiver.retention.straddling import Straddling, astray, found_elsewhere, read_straddling, unplaced
from archiver.scope.reach import item_keys
from archiver.store import Store

Progress = Callable[[int, int], None]

# The objects of messages and of files that lie under one day.
DayObjects = Mapping[str, Sequence[FileRecord]]

_KEY: Final = ["chat_id", "message_uid"]
_BLOB_COLUMNS: Final = (*_KEY, "blob_digest")


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
    store: Store,
    head: Head,
    coverage: Coverage,
    *,
    executor: Executor,
    since: int = 0,
    progress: Progress | None = None,
) -> frozenset[str]:
    """Return the keys of the data objects and blobs that hold anything that is covered; raises `DamageFoundError`.

    With ``since`` only days are looked at to which a commit after that one added something, and other days only for the rest of a
    message that has rows under several. Of ``events`` an object counts if the
    body of a push about a held message lies in it, or a push that no message reaches and that may be covered; ``progress`` is told
    how many days are done, and of how many.
    """
    if not coverage.holds:
        return frozenset()
    days = [day for day in days_of(head) if may_cover(coverage, day) and _is_newer(day, since)]
    events = _events_with_bodies(store, head)
    found = _held_pushes(store, head, coverage, since=since)
    may_straddle: dict[date, pa.Table] = {}
    held_uids = []
    for done, day in enumerate(days, 1):
        held = _held_of(store, day, coverage, found)
        may_straddle[date_of(day)] = unplaced(held)
        held_uids.append(pc.unique(held.column("message_uid")))
        if progress is not None:
            progress(done, len(days))
    if any(_is_newer(day, since) for day in days_of(head)):
        held_uids.append(_held_elsewhere(store, head, coverage, found, may_straddle, executor=executor))
    for uids in held_uids:
        found |= {key for key, carried in events.items() if pc.any(pc.is_in(carried, value_set=uids)).as_py()}
    return frozenset(found)


def _held_pushes(store: Store, head: Head, coverage: Coverage, *, since: int) -> set[str]:
    """Return the objects of ``events`` with pushes that are items of their own and covered."""
    found = set()
    for record in files_of(head, "events"):
        if layout.sequence_of_data(record.key) > since:
            (rows,) = own_pushes(store, head, [read_pushes(store, head, record)])
            if pc.any(any_of(coverage.of_pushes(rows), rows=rows.num_rows)).as_py():
                found.add(record.key)
    return found


def _held_of(store: Store, day: DayObjects, coverage: Coverage, found: set[str]) -> pa.Table:
    """Add the objects and blobs of a day that hold anything covered, and return the key columns of what is held there."""
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
    held = _held_items(coverage, messages, files)
    for table, records in day.items():
        for record, rows in zip(records, parts[table], strict=True):
            mask = pc.is_in(item_keys(rows), value_set=held)
            if not pc.any(mask).as_py():
                continue
            found.add(record.key)
            if table == "files":
                found.update(_blob_keys(rows.filter(mask)))
    return pa.concat_tables(
        [rows.filter(pc.is_in(item_keys(rows), value_set=held)).select(_KEY) for rows in (messages, files)]
    )


def _held_items(coverage: Coverage, messages: pa.Table, files: pa.Table) -> pa.Array:
    """Return the keys of the items that are covered: one row that is holds all the others, in whichever object they lie."""
    is_held = any_of(coverage.of_messages(messages, files), rows=messages.num_rows)
    is_file_held = any_of(coverage.of_files(files, messages, files=files), rows=files.num_rows)
    return pa.concat_arrays([item_keys(messages).filter(is_held), item_keys(files).filter(is_file_held)])


def _held_elsewhere(
    store: Store,
    head: Head,
    coverage: Coverage,
    found: set[str],
    may_straddle: Mapping[date, pa.Table],
    *,
    executor: Executor,
) -> pa.Array:
    """Add what holds rows of held messages that have some under several days, and return the uids of these."""
    straddling = items_of_several_days(
        store,
        head,
        may_straddle,
        message_columns=(*coverage.message_columns, "version"),
        file_columns=coverage.file_columns,
        executor=executor,
    )
    held = _held_items(coverage, straddling.messages, straddling.files)
    items = pa.Table.from_pylist(
        [dict(zip(_KEY, key, strict=True)) for key in sorted(straddling.keys)],
        schema=pa.schema([(name, pa.string()) for name in _KEY]),
    )
    items = items.filter(pc.is_in(item_keys(items), value_set=held)).combine_chunks()
    uids = items.column("message_uid").combine_chunks()
    targets = Targets(uids, chats=items.column("chat_id").combine_chunks())
    for table in ("messages", "files"):
        for record in files_of(head, table):
            touched = find_messages(store, record, targets)
            if touched is None:
                continue
            found.add(record.key)
            if table == "files":
                for rows in read_going(store, touched, ("blob_digest",)):
                    found.update(_blob_keys(rows))
    return uids


def items_of_several_days(
    store: Store,
    head: Head,
    may_straddle: Mapping[date, pa.Table],
    *,
    message_columns: Sequence[str],
    file_columns: Sequence[str],
    executor: Executor,
) -> Straddling:
    """Return the items with rows under several days, as far as they may be held, with all their rows.

    ``may_straddle`` has by day the key columns of what is held there and whose uids do not tell where the rest lies. The columns of
    messages have their ``version`` among them.
    """
    stretches = day_rows.days_of(head)
    suspects = set[day_rows.Key]().union(*executor.map(partial(astray, store), stretches))
    held_there = {
        place: may_straddle[on] for place, stretch in enumerate(stretches) for on in stretch.days if on in may_straddle
    }
    suspects |= found_elsewhere(store, stretches, held_there, executor=executor)
    return read_straddling(
        store, stretches, suspects, message_columns=message_columns, file_columns=file_columns, executor=executor
    )


def _blob_keys(files: pa.Table) -> set[str]:
    return set(map(layout.blob_key, pc.unique(files.column("blob_digest")).drop_null().to_pylist()))


def date_of(day: DayObjects) -> date:
    """Return the day that objects lie under."""
    return next(layout.partition_of(record.key)[1] for records in day.values() for record in records)


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
