"""The archive for Athena: tables over exactly the objects of one head, and the views, as text that Athena runs.

A table over the prefix ``messages/`` would show every object that lies there: those of a commit under way, which no ledger entry names as
yet, and those that an entry took out and that are not erased as yet. So a table lies over *manifests*: text files that list the
objects of one head, one for each day, below ``catalog/athena/<head>/``, which Athena follows (SymlinkTextInputFormat). Days are
computed from the table's properties (partition projection), so that no crawler runs and a day that is not asked for costs nothing. An
object that a manifest names and that is missing fails the query: nothing is left out silently.

A head's manifests never change. They are written before any table points to them, and those of the head before stay until the next one
is published, for the queries that still read them. Tables change to a new head one after the other; who cannot have a query
fall into that second gives each head a database of its own name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import date

import pyarrow as pa

from archiver.archive import layout
from archiver.archive.reader import Head, files_of
from archiver.archive.schema import TABLES, Table
from archiver.query.derived import DERIVED
from archiver.query.dialects import rendered
from archiver.query.published import ATHENA_FOLDER
from archiver.query.view import View

SEQUENCE_PROPERTY = "archiver.sequence"
DIGEST_PROPERTY = "archiver.digest"

SERDE = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
INPUT_FORMAT = "org.apache.hadoop.hive.ql.io.SymlinkTextInputFormat"
OUTPUT_FORMAT = "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat"

# Athena refuses an empty range; a day on which nobody sent anything.
_NO_DAY = date(1970, 1, 1)
_COMMENT_CHARACTERS_MAX = 255

_HIVE_TYPES: dict[pa.DataType, str] = {
    pa.string(): "string",
    pa.binary(): "binary",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.date32(): "date",
    pa.timestamp("ms", tz="UTC"): "timestamp",
    pa.list_(pa.field("element", pa.string(), nullable=False)): "array<string>",
}


def folder_of(head: Head) -> str:
    """Return the key prefix of a head's manifests."""
    return f"{ATHENA_FOLDER}{head.sequence:012d}-{head.digest[:8]}/"


def manifests(head: Head, *, root: str) -> Iterator[tuple[str, bytes]]:
    """Yield key and content of each manifest of a head; ``root`` is what stands before a key in addresses, with its slash."""
    for name in TABLES:
        days: dict[date, list[str]] = defaultdict(list)
        for record in files_of(head, name):
            days[layout.partition_of(record.key)[1]].append(root + record.key)
        for day, paths in sorted(days.items()):
            yield (
                f"{folder_of(head)}{name}/dt={day.isoformat()}/manifest",
                "".join(f"{path}\n" for path in paths).encode(),
            )


def columns(table: Table) -> list[tuple[str, str, str]]:
    """Return name, type and meaning of a table's columns, without the day."""
    return [
        (field.name, _HIVE_TYPES[field.type], field.metadata[b"meaning"].decode()[:_COMMENT_CHARACTERS_MAX])
        for field in table.schema
    ]


def location(head: Head, name: str, *, root: str) -> str:
    """Return where a table of a head lies."""
    return f"{root}{folder_of(head)}{name}/"


def properties(head: Head, name: str, *, root: str) -> dict[str, str]:
    """Return the properties of a table: how its days are computed, and of which head it is."""
    days = [layout.partition_of(record.key)[1] for record in files_of(head, name)] or [_NO_DAY]
    return {
        "EXTERNAL": "TRUE",
        "projection.enabled": "true",
        "projection.dt.type": "date",
        "projection.dt.format": "yyyy-MM-dd",
        "projection.dt.range": f"{min(days).isoformat()},{max(days).isoformat()}",
        "projection.dt.interval": "1",
        "projection.dt.interval.unit": "DAYS",
        "storage.location.template": f"{location(head, name, root=root)}dt=${{dt}}/",
        SEQUENCE_PROPERTY: str(head.sequence),
        DIGEST_PROPERTY: head.digest,
    }


def table_ddl(head: Head, name: str, *, root: str, database: str) -> list[str]:
    """Return the statements that make a table anew; dropping an external table removes no object."""
    lines = ",\n".join(
        f"  `{column}` {kind} COMMENT {_text(meaning)}" for column, kind, meaning in columns(TABLES[name])
    )
    facts = ",\n".join(
        f"  {_text(key)} = {_text(value)}"
        for key, value in properties(head, name, root=root).items()
        if key != "EXTERNAL"
    )
    made = f"""CREATE EXTERNAL TABLE `{database}`.`{name}` (
{lines}
)
PARTITIONED BY (`dt` date)
ROW FORMAT SERDE '{SERDE}'
STORED AS INPUTFORMAT '{INPUT_FORMAT}'
OUTPUTFORMAT '{OUTPUT_FORMAT}'
LOCATION {_text(location(head, name, root=root))}
TBLPROPERTIES (
{facts}
)"""
    return [f"DROP TABLE IF EXISTS `{database}`.`{name}`", made]


def view_ddl(view: View, *, database: str) -> str:
    """Return the statement that makes a view, or puts it in the place of the one before."""
    return f'CREATE OR REPLACE VIEW "{database}"."{view.name}" AS\n{rendered(view.sql, "athena", database=database)}'


def ddl(head: Head, *, root: str, database: str) -> Iterator[str]:
    """Yield every statement, in the order in which they are run; one at a time, as Athena takes them."""
    yield f"CREATE DATABASE IF NOT EXISTS `{database}`"
    for name in TABLES:
        yield from table_ddl(head, name, root=root, database=database)
    for view in DERIVED:
        yield view_ddl(view, database=database)


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
