"""The views that a query sees, as SQL text: one per table of the format, and those that people ask for most.

A view lists the data objects of one head by name, so that a query sees a commit whole or not at all. Columns are named one by one: a
folder above the archive that happens to be called ``year=2024`` adds none. ``dt`` is the partition's day, a DATE.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from archiver.archive.reader import Head, files_of
from archiver.archive.schema import TABLES, Table

_SQL_TYPES: dict[pa.DataType, str] = {
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.date32(): "DATE",
    pa.timestamp("ms", tz="UTC"): "TIMESTAMP WITH TIME ZONE",
    pa.list_(pa.field("element", pa.string(), nullable=False)): "VARCHAR[]",
}

# By name, what it is for, and its SQL. Bots have ids that start with u:B (observed) or b: (documented once): flock-api.md 7.
_FURTHER_VIEWS: dict[str, tuple[str, str]] = {
    "current_messages": (
        "the newest version of every message",
        """SELECT * FROM messages
        QUALIFY row_number() OVER (PARTITION BY chat_id, message_uid ORDER BY version DESC, observed_at DESC) = 1""",
    ),
    "notifications": (
        "what apps and bots posted",
        """SELECT * FROM messages
        WHERE app_id IS NOT NULL OR send_as_name IS NOT NULL OR on_behalf_of IS NOT NULL
        OR starts_with(sender_id, 'u:B') OR starts_with(sender_id, 'b:')""",
    ),
    "open_gaps": (
        "what may be missing and why, as far as its cause goes on",
        """SELECT * FROM (SELECT * FROM gaps
        QUALIFY row_number() OVER (PARTITION BY gap_id ORDER BY valid_from DESC) = 1)
        WHERE state = 'open'""",
    ),
}

VIEWS: dict[str, str] = {
    **{name: f"table {name} of the archive" for name in TABLES},
    **{name: meaning for name, (meaning, _) in _FURTHER_VIEWS.items()},
}


def literal(text: str) -> str:
    """Return text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def text_list(texts: Sequence[str]) -> str:
    """Return texts as an SQL list."""
    return f"[{', '.join(map(literal, texts))}]"


def statements(head: Head, *, root: str) -> list[str]:
    """Return the statements that make every view; ``root`` is what stands before a key, with its slash."""
    made = []
    for name, table in TABLES.items():
        keys = [record.key for record in files_of(head, name)]
        made.append(f"CREATE VIEW {name} AS {_table_sql(table, keys, root=root) if keys else _empty_sql(table)}")
    made += [f"CREATE VIEW {name} AS {sql}" for name, (_, sql) in _FURTHER_VIEWS.items()]
    return made


def _empty_sql(table: Table) -> str:
    """Return a table that nobody has written to yet: it still has its columns."""
    columns = [f"NULL::{_SQL_TYPES[column.type]} AS {column.name}" for column in table.schema]
    return f"SELECT {', '.join(columns)}, NULL::DATE AS dt WHERE false"


def _table_sql(table: Table, keys: Sequence[str], *, root: str) -> str:
    columns = ", ".join(column.name for column in table.schema)
    paths = text_list([root + key for key in keys])
    if "/dt=" in root.lower():
        # DuckDB would take the day from that folder above the archive; the column that the day comes from says it too.
        day = f"CAST({table.day_column} AS DATE) AS dt"
        return f"SELECT {columns}, {day} FROM {_source(table, paths, 'hive_partitioning = false')}"  # noqa: S608 - quoted
    options = "hive_partitioning = true, hive_types = {'dt': DATE}"
    return f"SELECT {columns}, dt FROM {_source(table, paths, options)}"  # noqa: S608 - quoted


def _source(table: Table, paths: str, options: str) -> str:
    """Return what a view selects from; a column that no file has, because all are older than it, is null."""
    if not table.added:
        return f"read_parquet({paths}, {options})"
    added = ", ".join(f"NULL::{_SQL_TYPES[table.schema.field(name).type]} AS {name}" for name in table.added)
    files = f"SELECT * FROM read_parquet({paths}, {options}, union_by_name = true)"  # noqa: S608 - quoted
    return f"({files} UNION ALL BY NAME SELECT {added} WHERE false)"
