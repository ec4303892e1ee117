"""Pushes that no message reaches: rows of ``events`` that keep a body which could not be read, or of whose messages none is there.

Each is an item of its own, of the kind ``event``. It is known by the day that it lies under and by a key of its spool, its place there and
the digest of what came: what was fetched has neither spool nor place. Rows that say the same of one day are one item, and it is one only
if each of them is. A body that could be read and names messages goes with these; if the archive has none of them, because they never
came or went before it did, nothing else would ever take it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.ledger import FileRecord
from archiver.archive.reader import Head, files_of, read_columns
from archiver.retention.leaving import BYTES_COLUMN
from archiver.retention.matching import uids_carried, whole
from archiver.store import Store

UNREAD: Final = "unparsed"
ASKED_FOR: Final = "wanted"
# What tells which item a row could be, and those which tell whether it is one.
KEY_COLUMNS: Final = ("spool_id", "sequence", "body_digest")
_COLUMNS: Final = (*KEY_COLUMNS, "outcome", "message_uid", "body", "chat_id", "received_at")
WAITS: Final = "__waits"
NAMES: Final = "__names"
# The columns of `read_pushes`: of each row its chat if it tells one, the key of its item, when it was received, whether messages that it
# names are still to be asked for, and the messages that it goes with.
PUSHES: Final = pa.schema(
    [
        ("chat_id", pa.string()),
        ("message_uid", pa.string()),
        ("sent_at", pa.timestamp("ms", tz="UTC")),
        (BYTES_COLUMN, pa.int64()),
        (WAITS, pa.bool_()),
        (NAMES, pa.list_(pa.string())),
    ]
)


def keys_of(rows: pa.Table) -> pa.StringArray:
    """Return for each row of ``events``, given with `KEY_COLUMNS` and its body, the key of the item that it is, or could be.

    It is null where no body is kept. A plan lists the items; two rows of one key and day are one or both none.
    """
    parts = (_text(rows, "spool_id"), pc.cast(whole(rows.column("sequence")), pa.string()), _text(rows, "body_digest"))
    has_body = pc.is_valid(whole(rows.column("body")))
    return pc.if_else(has_body, pc.binary_join_element_wise(*parts, ":"), None)


def read_pushes(store: Store, head: Head, record: FileRecord) -> pa.Table:
    """Return the rows of an object of ``events`` that keep a body, with the columns of `PUSHES`; raises `DamageFoundError`."""
    bodies = read_columns(store, record, ("body",)).column("body")
    if bodies.null_count == record.rows:
        return PUSHES.empty_table()
    rows = read_columns(store, record, _COLUMNS)
    rows = rows.filter(pc.is_valid(rows.column("body")))
    waits = pa.repeat(pa.scalar(value=False), rows.num_rows)
    if record.open_rows and record.key not in head.settled:
        waits = pc.equal(_text(rows, "outcome"), ASKED_FOR)
    weight = pa.repeat(pa.scalar(record.bytes // max(1, record.rows), pa.int64()), rows.num_rows)
    columns = [_text(rows, "chat_id"), keys_of(rows), whole(rows.column("received_at")), weight, waits, _names(rows)]
    return pa.table(columns, names=PUSHES.names).cast(PUSHES)


def own_pushes(
    store: Store, head: Head, days: Sequence[pa.Table], *, map_all: Callable[..., Iterable[Any]] = map
) -> list[pa.Table]:
    """Return of the rows of each day, given with the columns of `PUSHES`, those that are items of their own.

    A message that is named keeps its push if the archive has any row of it, in the push's chat if that is known. ``map_all`` does for
    the objects of ``messages`` that have to be asked what `map` does. Raises `DamageFoundError`.
    """
    named = [_named(rows) for rows in days]
    uids = pc.unique(pa.chunked_array([table.column("uid") for table in named], pa.string()).combine_chunks())
    present = _present(store, head, uids, map_all) if len(uids) else {}
    found = []
    for rows, names in zip(days, named, strict=True):
        going_with = [
            place
            for place, uid, chat_id in zip(
                *(names.column(name).to_pylist() for name in names.column_names), strict=True
            )
            if uid in present and (chat_id is None or chat_id in present[uid])
        ]
        keys = whole(rows.column("message_uid"))
        bound = pa.concat_arrays([keys.filter(whole(rows.column(WAITS))), keys.take(pa.array(going_with, pa.int64()))])
        found.append(rows.filter(pc.invert(pc.is_in(keys, value_set=bound))))
    return found


def _names(rows: pa.Table) -> pa.Array:
    """Return for each row the messages that it names, if it could be read."""
    is_unread = pc.equal(_text(rows, "outcome"), UNREAD)
    bodies = whole(rows.column("body"))
    uids, places = uids_carried(pc.if_else(is_unread, None, bodies))
    names: list[set[str]] = [
        set() if unread or uid is None else {uid}
        for unread, uid in zip(is_unread.to_pylist(), _text(rows, "message_uid").to_pylist(), strict=True)
    ]
    for uid, place in zip(uids.to_pylist(), places.to_pylist(), strict=True):
        names[place].add(uid)
    return pa.array([sorted(one) for one in names], pa.list_(pa.string()))


def _named(rows: pa.Table) -> pa.Table:
    """Return one row for each message that a row names: the place of the row, the message's uid, and the row's chat."""
    names = whole(rows.column(NAMES))
    places = pc.cast(pc.list_parent_indices(names), pa.int64())
    chats = pc.take(whole(rows.column("chat_id")), places)
    return pa.table({"place": places, "uid": pc.list_flatten(names), "chat_id": chats})


def _present(store: Store, head: Head, uids: pa.Array, map_all: Callable[..., Iterable[Any]]) -> dict[str, set[str]]:
    """Return the chats in which messages of these uids are, by uid."""
    ordered = sorted(uids.to_pylist())
    records = [
        record
        for record in files_of(head, "messages")
        if _any_between(ordered, *map(str, record.ranges["message_uid"]))
    ]

    def found_in(record: FileRecord) -> list[tuple[str, str]]:
        rows = read_columns(store, record, ("chat_id", "message_uid"))
        rows = rows.filter(pc.is_in(rows.column("message_uid"), value_set=uids))
        return list(zip(rows.column("message_uid").to_pylist(), _text(rows, "chat_id").to_pylist(), strict=True))

    present: dict[str, set[str]] = {}
    for pairs in map_all(found_in, records):
        for uid, chat_id in pairs:
            present.setdefault(uid, set()).add(chat_id)
    return present


def _any_between(ordered: Sequence[str], least: str, greatest: str) -> bool:
    place = bisect_left(ordered, least)
    return place < len(ordered) and ordered[place] <= greatest


def _text(rows: pa.Table, name: str) -> Any:
    return pc.cast(whole(rows.column(name)), pa.string())
