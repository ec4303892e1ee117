"""Rows on their way out of an archive: held against the ledger, chosen, and written as Parquet or as JSON lines."""

from __future__ import annotations

import base64
import io
from datetime import date
from typing import Any, Literal

import msgspec
import pyarrow as pa

from archiver.archive.schema import TABLES
from archiver.archive.tables import encode, read_object, rows_of
from archiver.clock import to_text
from archiver.discovery.clone_copying import read_verified
from archiver.discovery.restore_selection import Part, Wanted, wanted_rows
from archiver.errors import DamageFoundError
from archiver.store import Store

RowFormat = Literal["parquet", "jsonl"]

_encode_json = msgspec.json.Encoder().encode


def verified_object(store: Store, part: Part) -> bytes:
    """Return a data object whose bytes are those that the ledger names; raises `DamageFoundError`."""
    return read_verified(store, part.record.key, part.record.sha256)


def rows_in(data: bytes, part: Part, wanted: Wanted) -> pa.Table:
    """Return those rows of a verified object that are wanted, with every column of its table.

    A column that an older version of the software did not write is null. Raises `DamageFoundError` if it is no Parquet file.
    """
    schema = TABLES[part.record.table].schema
    try:
        found = read_object(io.BytesIO(data), schema.names)
    except (pa.ArrowException, OSError) as error:
        raise DamageFoundError(
            f"{part.record.key} cannot be read as Parquet: {error}",
            next_step="run `archiver verify` for a full list, then restore the object from a copy",
        ) from None
    arrays = [
        found.column(field.name) if field.name in found.column_names else pa.nulls(found.num_rows, field.type)
        for field in schema
    ]
    rows = pa.table(arrays, schema=schema)
    return rows if part.is_whole else wanted_rows(wanted, part.record.table, rows)


def as_parquet(part: Part, rows: pa.Table) -> bytes:
    """Return chosen rows as a Parquet file of the archive's own layout: the same rows give the same bytes."""
    return encode(TABLES[part.record.table], part.day, rows).data


def as_json_lines(part: Part, rows: pa.Table) -> bytes:
    """Return rows as JSON lines: instants as ISO 8601 in UTC, bytes as base64, what is null as null."""
    instants = [field.name for field in TABLES[part.record.table].schema if pa.types.is_timestamp(field.type)]
    lines = []
    for row in rows_of(rows):
        for name in instants:
            row[name] = None if row[name] is None else to_text(row[name])
        lines.append(_encode_json({name: _plain(value) for name, value in row.items()}) + b"\n")
    return b"".join(lines)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if isinstance(value, date) else value
