"""Items whose rows lie in several stretches of days, which must be judged whole.

An edit may say another sending time than the message did, and so lie under another day. Such items are few, and to find them nothing is
read a second time that need not be:

- a row that lies elsewhere than its uid says is *astray* (`archiver.archive.home`), and the ledger counts these for each object;
- a message of which a stretch has no first version has that elsewhere;
- a uid that states no time, as of imported records, may lie anywhere: of those that would leave, now or in the months that a plan looks
  ahead to, the objects of other stretches are asked whose range of uids meets theirs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive import layout
from archiver.archive.home import days_stated
from archiver.archive.ledger import FileRecord
from archiver.archive.reader import read_columns
from archiver.retention.day_rows import Key, Stretch, days_of_rows, empty, keys_of, only, read_stretch
from archiver.retention.leaving import are_later, numbered_by_uid
from archiver.store import Store


@dataclass(frozen=True, slots=True)
class Straddling:
    """Items with rows in several stretches: their keys, and all their rows of ``messages`` and ``files``."""

    keys: frozenset[Key]
    messages: pa.Table
    files: pa.Table


def without_first(rows: pa.Table) -> set[Key]:
    """Return the items of which these rows have later versions and not the first."""
    later = are_later(rows)
    if not pc.any(later).as_py():
        return set()
    keys = set(keys_of(rows.filter(later)))
    return keys - set(keys_of(only(rows.filter(pc.invert(later)), keys)))


def astray(store: Store, stretch: Stretch) -> set[Key]:
    """Return the items of which a stretch's objects have rows that lie elsewhere than their uids say.

    Of ``messages`` the ledger counts such rows; of ``files`` an object without any has a range of uids that state its own day.
    """
    asked = [record for record in stretch.messages if record.astray_rows]
    asked += [record for record in stretch.files if not is_at_home(record)]
    return set[Key]().union(
        *(misplaced(read_columns(store, record, ("chat_id", "message_uid", "sent_at"))) for record in asked)
    )


def is_at_home(record: FileRecord) -> bool:
    """Tell whether an object's range of uids shows that all of them state the day that it lies under."""
    bounds = days_stated(pa.chunked_array([[str(bound) for bound in record.ranges["message_uid"]]], pa.string()))
    return set(bounds.to_pylist()) == {layout.partition_of(record.key)[1]}


def misplaced(rows: pa.Table) -> set[Key]:
    """Return the items of rows whose uids state another day than they lie under."""
    elsewhere = pc.not_equal(days_stated(rows.column("message_uid")), days_of_rows(rows))
    return set(keys_of(rows.filter(pc.fill_null(elsewhere, fill_value=False))))


def unplaced(items: pa.Table) -> pa.Table:
    """Return the key columns of those items whose uids state no time."""
    keys = items.select(["chat_id", "message_uid"])
    return keys.filter(pc.is_null(days_stated(keys.column("message_uid"))))


def found_elsewhere(
    store: Store, stretches: Sequence[Stretch], leaving: Mapping[int, pa.Table], *, executor: Executor
) -> set[Key]:
    """Return which items that leave, whose uids state no time, have rows in another stretch as well.

    ``leaving`` has the key columns of such items by their stretch's place among the stretches.
    """
    spans = {
        place: tuple(pc.min_max(keys.column("message_uid")).as_py().values())
        for place, keys in leaving.items()
        if keys.num_rows
    }
    asked: list[tuple[list[FileRecord], list[int]]] = []
    for place, stretch in enumerate(stretches):
        others = [other for other in spans if other != place]
        records = [record for record in stretch.records if any(_meets(record, spans[other]) for other in others)]
        if records:
            asked.append((records, others))

    def look(question: tuple[list[FileRecord], list[int]]) -> set[Key]:
        # A set of uids costs as much to build as many rows to look up in it, so the objects of a stretch are asked together.
        records, others = question
        wanted = pa.chunked_array([chunk for other in others for chunk in leaving[other].column("message_uid").chunks])
        parts = [read_columns(store, record, ("chat_id", "message_uid")) for record in records]
        rows = pa.concat_tables(parts).unify_dictionaries()
        here = rows.filter(pc.is_in(rows.column("message_uid"), value_set=wanted.combine_chunks()))
        if not here.num_rows:
            return set()
        uids = here.column("message_uid").combine_chunks()
        there: set[Key] = set()
        for other in others:
            keys = leaving[other]
            there |= set(keys_of(keys.filter(pc.is_in(keys.column("message_uid"), value_set=uids))))
        return there & set(keys_of(here))

    return set[Key]().union(*executor.map(look, asked))


def read_straddling(
    store: Store,
    stretches: Sequence[Stretch],
    suspects: Iterable[Key],
    *,
    message_columns: Sequence[str],
    file_columns: Sequence[str],
    executor: Executor,
) -> Straddling:
    """Return those of some suspected items that do have rows in several stretches, with all of these rows."""
    suspected = frozenset(suspects)
    uids = sorted({uid for _, uid in suspected})

    def read(question: tuple[int, FileRecord]) -> tuple[int, str, pa.Table]:
        place, record = question
        columns = message_columns if record.table == "messages" else file_columns
        rows = read_stretch(store, [record], columns, table=record.table, uids=pa.array(uids, pa.string()))
        return place, record.table, only(rows, suspected)

    asked = [
        (place, record) for place, stretch in enumerate(stretches) for record in stretch.records if _holds(record, uids)
    ]
    parts: dict[str, list[pa.Table]] = {"messages": [], "files": []}
    seen: dict[Key, set[int]] = defaultdict(set)
    for place, table, rows in executor.map(read, asked):
        if rows.num_rows:
            parts[table].append(rows)
        for key in set(keys_of(rows)):
            seen[key].add(place)
    keys = frozenset(key for key, places in seen.items() if len(places) > 1)
    return Straddling(
        keys,
        numbered_by_uid(_joined(parts["messages"], keys, message_columns, table="messages")),
        _joined(parts["files"], keys, file_columns, table="files"),
    )


def _joined(parts: Sequence[pa.Table], keys: frozenset[Key], columns: Sequence[str], *, table: str) -> pa.Table:
    if not parts or not keys:
        return empty(columns, table=table)
    return only(pa.concat_tables(parts).unify_dictionaries(), keys)


def _meets(record: FileRecord, span: tuple[str, ...]) -> bool:
    least, greatest = map(str, record.ranges["message_uid"])
    return least <= span[1] and span[0] <= greatest


def _holds(record: FileRecord, uids: Sequence[str]) -> bool:
    """Tell whether an object may have a row of one of these uids, which are sorted, as far as its range tells."""
    least, greatest = map(str, record.ranges["message_uid"])
    place = bisect_left(uids, least)
    return place < len(uids) and uids[place] <= greatest
