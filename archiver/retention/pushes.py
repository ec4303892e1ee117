"""Pushes that no message reaches: rows of ``events`` that keep a body which could not be read, or which names no message.

Each is an item of its own, of the kind ``event``. It is known by the day that it lies under and by a key of its spool, its place there and
the digest of what came: what was fetched has neither spool nor place. Rows that say the same of one day are one item.
"""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.ledger import FileRecord
from archiver.archive.reader import Head, read_columns
from archiver.retention.leaving import BYTES_COLUMN
from archiver.retention.matching import uids_carried, whole
from archiver.store import Store

UNREAD: Final = "unparsed"
ASKED_FOR: Final = "wanted"
# What tells whether a row is an item of its own, and which one.
COLUMNS: Final = ("spool_id", "sequence", "body_digest", "outcome", "message_uid", "body")
# The columns of `read_pushes`: of each row its chat if it tells one, the key of its item, and when it was received.
PUSHES: Final = pa.schema(
    [
        ("chat_id", pa.string()),
        ("message_uid", pa.string()),
        ("sent_at", pa.timestamp("ms", tz="UTC")),
        (BYTES_COLUMN, pa.int64()),
    ]
)


def own_keys(rows: pa.Table) -> pa.StringArray:
    """Return for each row of ``events``, given with `COLUMNS`, the key of its item; null where it is none of its own."""
    bodies = whole(rows.column("body"))
    is_unread = pc.equal(_text(rows, "outcome"), UNREAD)
    names_one = pc.is_valid(_text(rows, "message_uid"))
    # Only of what could be read and names no message the body is looked into.
    asked = pc.and_(pc.is_valid(bodies), pc.invert(pc.or_(is_unread, names_one)))
    _, carrying = uids_carried(pc.if_else(asked, bodies, pa.scalar(None, bodies.type)))
    carries_none = pc.invert(pc.is_in(pa.arange(0, rows.num_rows), value_set=pc.unique(carrying)))
    is_own = pc.or_(pc.and_(pc.is_valid(bodies), is_unread), pc.and_(asked, carries_none))
    parts = (_text(rows, "spool_id"), pc.cast(whole(rows.column("sequence")), pa.string()), _text(rows, "body_digest"))
    return pc.if_else(is_own, pc.binary_join_element_wise(*parts, ":"), pa.scalar(None, pa.string()))


def read_pushes(store: Store, head: Head, record: FileRecord) -> pa.Table:
    """Return the rows of an object of ``events`` that are items of their own, with the columns of `PUSHES`.

    A push that names messages which are still to be asked for is none yet. Raises `DamageFoundError`.
    """
    bodies = read_columns(store, record, ("body",)).column("body")
    if bodies.null_count == record.rows:
        return PUSHES.empty_table()
    rows = read_columns(store, record, (*COLUMNS, "chat_id", "received_at"))
    keys = own_keys(rows)
    if record.open_rows and record.key not in head.settled:
        keys = pc.if_else(pc.equal(_text(rows, "outcome"), ASKED_FOR), pa.scalar(None, pa.string()), keys)
    weight = pa.scalar(record.bytes // max(1, record.rows), pa.int64())
    columns = [_text(rows, "chat_id"), keys, whole(rows.column("received_at")), pa.repeat(weight, rows.num_rows)]
    found = pa.table(columns, names=PUSHES.names).cast(PUSHES)
    return found.filter(pc.is_valid(found.column("message_uid")))


def _text(rows: pa.Table, name: str) -> Any:
    return pc.cast(whole(rows.column(name)), pa.string())
