"""The views that a query sees, as SQL text: one per table of the format, those of `derived` and the macros of `macros`.

A view lists the data objects of one head by name, so that a query sees a commit whole or not at all. Columns are named one by one: a
folder above the archive that happens to be called ``year=2024`` adds none. ``dt`` is the partition's day, a DATE.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from archiver.archive.reader import Head, files_of
from archiver.archive.schema import TABLES, Table
from archiver.query.derived import DERIVED
from archiver.query.macros import MACROS

_SQL_TYPES: dict[pa.DataType, str] = {
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.date32(): "DATE",
    pa.timestamp("ms", tz="UTC"): "TIMESTAMP WITH TIME ZONE",
    pa.list_(pa.field("element", pa.string(), nullable=False)): "VARCHAR[]",
}

VIEWS: dict[str, str] = {
    **{name: f"table {name} of the archive" for name in TABLES},
    **{view.name: view.meaning for view in DERIVED},
}


def literal(text: str) -> str:
    """Return text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def text_list(texts: Sequence[str]) -> str:
    """Return texts as an SQL list."""
    return f"[{', '.join(map(literal, texts))}]"


def statements(head: Head, *, root: str) -> list[str]:
    """Return the statements that make every view and macro; ``root`` is what stands before a key, with its slash."""
    # What is derived is made upon empty tables, for DuckDB looks into a table's objects for each view that it makes upon it.
    made = [f"CREATE VIEW {name} AS {_empty_sql(table)}" for name, table in TABLES.items()]
    made += [f"CREATE VIEW {view.name} AS {view.sql}" for view in DERIVED]
    made += [f"CREATE MACRO {macro.name}({macro.parameter}) AS TABLE {macro.sql}" for macro in MACROS]
    for name, table in TABLES.items():
        if keys := [record.key for record in files_of(head, name)]:
            made.append(f"CREATE OR REPLACE VIEW {name} AS {_table_sql(table, keys, root=root)}")
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
