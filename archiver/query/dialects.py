"""The views, written once in DuckDB's SQL, in the SQL of other engines: Athena (which is Trino's) and Spark."""

from __future__ import annotations

from typing import Literal

import sqlglot
from sqlglot import exp

from archiver.archive.schema import TABLES
from archiver.query.derived import DERIVED

Dialect = Literal["athena", "duckdb", "spark"]

_NAMES = frozenset(TABLES) | {view.name for view in DERIVED}

# What sqlglot passes on as it is written, and other engines call otherwise. {0} is the argument.
_CALLS: dict[tuple[str, str], str] = {
    ("json_valid", "athena"): "TRY(JSON_PARSE({0})) IS NOT NULL",
    ("json_valid", "spark"): "TRY_PARSE_JSON({0}) IS NOT NULL",
}


def rendered(sql: str, dialect: Dialect, *, database: str | None = None) -> str:
    """Return SQL of DuckDB's in another dialect; tables and views of the archive are looked for in ``database`` if one is given."""
    tree = sqlglot.parse_one(sql, read="duckdb")
    for call in list(tree.find_all(exp.Anonymous)):
        if pattern := _CALLS.get((call.name.lower(), dialect)):
            written = pattern.format(call.expressions[0].sql(dialect))
            call.replace(exp.paren(sqlglot.parse_one(written, read=dialect)))
    if database is not None:
        for table in tree.find_all(exp.Table):
            if table.name in _NAMES and not table.db:
                table.set("db", exp.to_identifier(database, quoted=True))
    return tree.sql(dialect, unsupported_level=sqlglot.ErrorLevel.RAISE)
