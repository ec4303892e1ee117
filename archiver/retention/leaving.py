"""From rows to items: which messages, files and pushes leave, when, and which holds keep them.

An item goes whole or not at all, so its rows are seen together: its clock is the latest `sent_at`, it is held if any of its rows is.
Whoever calls brings all rows of the items that it brings; items whose rows lie in several days are brought together by
`archiver.retention.straddling`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.schema import FILES, MESSAGES
from archiver.retention.plan_document import ITEMS

# What a row is taken to weigh: its part of the object that it lies in, so that nothing must be read to tell.
BYTES_COLUMN: Final = "__bytes"
FILE_COLUMNS: Final = ("chat_id", "message_uid", "ordinal", "sent_at", "blob_digest", "blob_bytes")
MESSAGE_COLUMNS: Final = ("chat_id", "message_uid", "sent_at", "version", "supersedes")
_KEYS: Final = {
    "message": ["chat_id", "message_uid"],
    "file": ["chat_id", "message_uid", "ordinal"],
    "event": ["chat_id", "message_uid"],
}
_HOLD: Final = "__hold:"
REFERENCES: Final = pa.schema(
    [
        ("chat_id", pa.string()),
        ("message_uid", pa.string()),
        ("ordinal", pa.int32()),
        ("blob_digest", pa.string()),
        ("bytes", pa.int64()),
        ("rows", pa.int64()),
    ]
)


class RowVerdicts(Protocol):
    """What a rule of judging says of rows: arrays beside them, equal for all rows of one item. Instants are milliseconds, null: never."""

    @property
    def delete_at_ms(self) -> pa.Array:
        """When the item goes."""
        ...

    @property
    def rule(self) -> pa.Array:
        """Which rule decided."""
        ...

    @property
    def principle(self) -> pa.Array:
        """Which principle decided."""
        ...


@dataclass(frozen=True, slots=True)
class Leaving:
    """Items that leave by some instant, one row each with the columns of `ITEMS`, and by hold which of them it covers.

    ``references`` says which blobs the rows of file items name, and in how many rows.
    """

    items: pa.Table
    holds: Mapping[str, pa.BooleanArray]
    references: pa.Table

    def held(self) -> pa.BooleanArray:
        """Return which items any hold covers."""
        found = pa.repeat(pa.scalar(value=False), self.items.num_rows)
        for mask in self.holds.values():
            found = pc.or_(found, mask)
        return found


def nothing(holds: Mapping[str, object]) -> Leaving:
    """Return no items."""
    return Leaving(ITEMS.empty_table(), dict.fromkeys(holds, pa.array([], pa.bool_())), REFERENCES.empty_table())


def joined(parts: list[Leaving], *, holds: Mapping[str, object]) -> Leaving:
    """Return the items of all parts."""
    if not parts:
        return nothing(holds)
    return Leaving(
        pa.concat_tables([part.items for part in parts]),
        {name: _whole([part.holds[name] for part in parts]) for name in holds},
        pa.concat_tables([part.references for part in parts]),
    )


def leaving_by(instant_ms: int, verdicts: RowVerdicts) -> pa.BooleanArray:
    """Return which rows' items go by an instant."""
    return pc.fill_null(pc.less_equal(verdicts.delete_at_ms, pa.scalar(instant_ms, pa.int64())), fill_value=False)


def to_items(kind: str, rows: pa.Table, verdicts: RowVerdicts, holds: Mapping[str, pa.BooleanArray]) -> Leaving:
    """Return the items that rows make up, each row with its verdict and the holds that cover it beside it."""
    count = rows.num_rows
    table = pa.table(
        {
            "chat_id": _plain(rows.column("chat_id")),
            "message_uid": rows.column("message_uid"),
            "ordinal": rows.column("ordinal") if kind == "file" else pa.nulls(count, pa.int32()),
            "sent_at": pc.cast(rows.column("sent_at"), pa.int64()),
            "due_at": verdicts.delete_at_ms,
            "rule": _plain(verdicts.rule),
            "principle": _plain(verdicts.principle),
            "rows": pa.repeat(pa.scalar(1, pa.int64()), count),
            "bytes": rows.column(BYTES_COLUMN),
            **{_HOLD + name: mask for name, mask in holds.items()},
        }
    )
    references = _references(rows) if kind == "file" else REFERENCES.empty_table()
    if kind == "file":
        table = _with_bytes_of_blobs(table, references)
    elif kind == "event":
        table = _unified(table, _KEYS[kind], holds)
    else:
        table = _messages_unified(table, rows, holds)
    return Leaving(
        _as_items(kind, table),
        {name: _one(table.column(_HOLD + name)) for name in holds},
        references,
    )


def are_later(messages: pa.Table) -> pa.Array | pa.ChunkedArray:
    """Return which rows of ``messages`` are not the first of their message: a later version, or one that completes another."""
    later = pc.greater(messages.column("version"), 1)
    supersedes = messages.column("supersedes")
    return later if supersedes.null_count == messages.num_rows else pc.or_(later, pc.is_valid(supersedes))


def numbered_by_uid(messages: pa.Table) -> pa.Table:
    """Return rows of which all have a version above 1 whose uid others have too, whatever the archive numbered them.

    A capture whose uid tells no time and that says another sending time than the first is taken for a new message when it is archived.
    """
    counts = pc.value_counts(messages.column("message_uid"))
    often = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    if not len(often):
        return messages
    several = pc.is_in(messages.column("message_uid"), value_set=often)
    version = pc.if_else(several, pa.scalar(2, pa.int32()), messages.column("version"))
    return messages.set_column(messages.column_names.index("version"), "version", version)


def _messages_unified(table: pa.Table, rows: pa.Table, holds: Mapping[str, object]) -> pa.Table:
    """Return one row for each message. Nearly all have one row, and only the others cost anything."""
    later = table.column("message_uid").filter(are_later(rows))
    if not len(later):
        return table
    several = pc.is_in(table.column("message_uid"), value_set=_one(later))
    unified = _unified(table.filter(several), _KEYS["message"], holds)
    return pa.concat_tables([table.filter(pc.invert(several)), unified])


def _with_bytes_of_blobs(table: pa.Table, references: pa.Table) -> pa.Table:
    """Return file items: what one weighs is what its blobs weigh, each once, however many rows name it."""
    names = [name.removeprefix(_HOLD) for name in table.column_names if name.startswith(_HOLD)]
    unified = _unified(table, _KEYS["file"], dict.fromkeys(names)).drop_columns(["bytes"])
    weights = references.group_by(_KEYS["file"]).aggregate([("bytes", "sum")]).rename_columns([*_KEYS["file"], "bytes"])
    joined_up = unified.join(weights, keys=_KEYS["file"], join_type="left outer", use_threads=False)
    return joined_up.set_column(
        joined_up.column_names.index("bytes"), "bytes", pc.fill_null(joined_up.column("bytes"), 0)
    )


def _references(rows: pa.Table) -> pa.Table:
    """Return which blobs file items name: one row for each item and blob, with the blob's bytes and how many rows name it."""
    named = pa.table(
        {
            "chat_id": _plain(rows.column("chat_id")),
            "message_uid": rows.column("message_uid"),
            "ordinal": rows.column("ordinal"),
            "blob_digest": _plain(rows.column("blob_digest")),
            "bytes": pc.fill_null(rows.column("blob_bytes"), 0),
        }
    ).filter(pc.is_valid(rows.column("blob_digest")))
    counted = named.group_by([*_KEYS["file"], "blob_digest"], use_threads=False).aggregate(
        [("bytes", "max"), ("blob_digest", "count")]
    )
    return pa.table(
        [*(counted.column(name) for name in REFERENCES.names[:4]), counted.column("bytes_max"),
         counted.column("blob_digest_count")],
        names=REFERENCES.names,
    ).cast(REFERENCES)  # fmt: skip


def _unified(table: pa.Table, keys: list[str], holds: Mapping[str, object]) -> pa.Table:
    """Return one row for each item: the latest of its instants, whatever any of its rows says of a hold."""
    wanted = [
        ("sent_at", "max"),
        ("due_at", "max"),
        ("rule", "first"),
        ("principle", "first"),
        ("rows", "sum"),
        ("bytes", "sum"),
        *((_HOLD + name, "any") for name in holds),
    ]
    # Without threads, for "first" asks for an order.
    found = table.group_by(keys, use_threads=False).aggregate(wanted)
    columns = {name: found.column(name) for name in keys}
    columns |= {name: found.column(f"{name}_{how}") for name, how in wanted}
    columns.setdefault("ordinal", pa.nulls(found.num_rows, pa.int32()))
    return pa.table([columns[name] for name in table.column_names], names=table.column_names)


def _as_items(kind: str, table: pa.Table) -> pa.Table:
    count = table.num_rows
    instants = pc.cast(table.column("sent_at"), pa.timestamp("ms", tz="UTC"))
    columns = {
        "kind": pa.repeat(kind, count),
        "day": pc.cast(pc.floor_temporal(instants, unit="day"), pa.date32()),
        "user_id": pa.nulls(count, pa.string()),
    }
    return pa.table(
        [pc.cast(columns.get(field.name, _column(table, field.name)), field.type) for field in ITEMS], schema=ITEMS
    )


def _column(table: pa.Table, name: str) -> pa.ChunkedArray | None:
    return table.column(name) if name in table.column_names else None


def dictionaries_of(columns: tuple[str, ...], *, table: str) -> list[str]:
    """Return which of these columns of ``messages`` or ``files`` are read as dictionaries: texts with few distinct values."""
    described = MESSAGES if table == MESSAGES.name else FILES
    return [
        name for name in columns if name in described.dictionary and described.schema.field(name).type == pa.string()
    ]


def _plain(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    return pc.cast(values, pa.string())


def _one(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _whole(parts: list[pa.Array]) -> pa.Array:
    return pa.concat_arrays([_one(part) for part in parts])
