"""The views that a query sees, as SQL text: one per table of the format, those of `derived` and the macros of `macros`.

A view lists the data objects of one head by name, so that a query sees a commit whole or not at all. Columns are named one by one: a
folder above the archive that happens to be called ``year=2024`` adds none. ``dt`` is the partition's day, a DATE.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

import pyarrow as pa

from archiver.archive.ledger import FileRecord
from archiver.archive.reader import Head, files_of
from archiver.archive.schema import MESSAGES, TABLES, Table
from archiver.query.derived import DERIVED, PROVISIONAL_FROM, PROVISIONAL_MESSAGES, PROVISIONAL_UNTIL
from archiver.query.literals import text_list
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

_WORD = re.compile(r"[^\W\d]\w*")
_VIEW_SQL = {view.name: view.sql for view in DERIVED}
_MACROS = {macro.name: macro for macro in MACROS}

# Every view and macro; each may name only those before it.
NAMES = (*TABLES, *_VIEW_SQL, *_MACROS)


def named_in(sql: str) -> frozenset[str]:
    """Return the views and macros whose names are words of an SQL text: at least all that it reads, if it spells them out."""
    return frozenset(NAMES) & {word.lower() for word in _WORD.findall(sql)}


def with_needed(names: Iterable[str]) -> list[str]:
    """Return views and macros with all that they are made of, in the order in which they can be made."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _needs()[name]
    return [name for name in NAMES if name in found]


@cache
def _needs() -> dict[str, frozenset[str]]:
    texts = dict.fromkeys(TABLES, "") | _VIEW_SQL | {name: macro.sql for name, macro in _MACROS.items()}
    return {name: named_in(text) & set(NAMES[: NAMES.index(name)]) for name, text in texts.items()}


def derived_sql(name: str) -> str:
    """Return the statement that makes a view of `derived` or a macro of `macros`."""
    if macro := _MACROS.get(name):
        return f"CREATE OR REPLACE MACRO {name}({macro.parameter}) AS TABLE {macro.sql}"
    return f"CREATE OR REPLACE VIEW {name} AS {_VIEW_SQL[name]}"


def table_sql(head: Head, name: str, *, root: str) -> str:
    """Return the statement that makes the view of a table; ``root`` is what stands before a key, with its slash."""
    return f"CREATE OR REPLACE VIEW {name} AS {_select(TABLES[name], files_of(head, name), root=root)}"


def provisional_sql(head: Head, *, root: str | None) -> str:
    """Return the statement that makes ``provisional_messages`` from those objects alone that can hold any, by what the ledger says.

    Without a root it reads ``messages``, unless there is no such object.
    """
    name = PROVISIONAL_MESSAGES.name
    records = [record for record in files_of(head, MESSAGES.name) if may_be_provisional(record)]
    if records and root is None:
        return derived_sql(name)
    objects = _select(MESSAGES, records, root=root or "")
    sql = PROVISIONAL_MESSAGES.sql.replace("FROM messages ", f"FROM ({objects}) AS objects ")
    return f"CREATE OR REPLACE VIEW {name} AS {sql}"


def statements(head: Head, *, root: str) -> Iterator[str]:
    """Yield the statements that make every view and macro, in order."""
    for name in NAMES:
        if name in TABLES:
            yield table_sql(head, name, root=root)
        elif name == PROVISIONAL_MESSAGES.name:
            yield provisional_sql(head, root=root)
        else:
            yield derived_sql(name)


def may_be_provisional(record: FileRecord) -> bool:
    """Tell whether an object of ``messages`` can hold one under a provisional uid, by what the ledger says."""
    least, greatest = record.ranges.get("message_uid", ("", "\uffff"))
    return str(least) < PROVISIONAL_UNTIL and str(greatest) >= PROVISIONAL_FROM


def _select(table: Table, records: Sequence[FileRecord], *, root: str) -> str:
    if not records:
        return empty_sql(table)
    columns = ", ".join(column.name for column in table.schema)
    paths = text_list([root + record.key for record in records])
    if "/dt=" in root.lower():
        # DuckDB would take the day from that folder above the archive; the column that the day comes from says it too.
        day = f"CAST({table.day_column} AS DATE) AS dt"
        return f"SELECT {columns}, {day} FROM {_source(table, paths, 'hive_partitioning = false')}"  # noqa: S608 - quoted
    options = "hive_partitioning = true, hive_types = {'dt': DATE}"
    return f"SELECT {columns}, dt FROM {_source(table, paths, options)}"  # noqa: S608 - quoted


def empty_sql(table: Table) -> str:
    """Return a table that nobody has written to yet: it still has its columns."""
    columns = [f"NULL::{_SQL_TYPES[column.type]} AS {column.name}" for column in table.schema]
    return f"SELECT {', '.join(columns)}, NULL::DATE AS dt WHERE false"


def _source(table: Table, paths: str, options: str) -> str:
    """Return what a view selects from; a column that no file has, because all are older than it, is null."""
    if not table.added:
        return f"read_parquet({paths}, {options})"
    added = ", ".join(f"NULL::{_SQL_TYPES[table.schema.field(name).type]} AS {name}" for name in table.added)
    files = f"SELECT * FROM read_parquet({paths}, {options}, union_by_name = true)"  # noqa: S608 - quoted
    return f"({files} UNION ALL BY NAME SELECT {added} WHERE false)"
