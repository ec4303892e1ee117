"""The tables of the documents that repeat what the code says; tests hold the two together."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import duckdb
import pyarrow as pa

from archiver.archive.reader import Head
from archiver.archive.schema import TABLES, Table
from archiver.query.derived import DERIVED
from archiver.query.macros import MACROS
from archiver.query.views import statements
from archiver.settings import schema_text

_KINDS = {pa.string(): "text", pa.binary(): "bytes", pa.int32(): "int32", pa.int64(): "int64", pa.date32(): "day"}

_EMPTY = Head(sequence=0, digest="", at=None, files={}, settled=frozenset(), watermarks={}, rows={})


def columns_of(table: Table) -> str:
    """A table of the archive format, as ``docs/archive-format.md`` shows it."""
    order = ", ".join(f"`{column}`" for column in table.sort)
    lines = [
        f"### {table.name}",
        "",
        f"Partitioned by the day of `{table.day_column}`; sorted by {order}.",
        "",
        "| Column | Type | Null | Meaning |",
        "| --- | --- | --- | --- |",
    ]
    for column in table.schema:
        kind = _KINDS.get(column.type) or ("instant" if pa.types.is_timestamp(column.type) else "list of text")
        meaning = column.metadata[b"meaning"].decode()
        lines.append(f"| `{column.name}` | {kind} | {'yes' if column.nullable else 'no'} | {meaning} |")
    return "\n".join(lines)


def all_columns() -> str:
    return "\n\n".join(map(columns_of, TABLES.values()))


def views_and_macros() -> tuple[str, str]:
    """The views and the macros of a query, as ``docs/querying.md`` shows them."""
    connection = duckdb.connect()
    for statement in statements(_EMPTY, root="/"):
        connection.execute(statement)
    views = ["| View | What it is | Columns |", "| --- | --- | --- |"]
    views += [f"| `{view.name}` | {view.meaning} | {_columns(connection, view.name)} |" for view in DERIVED]
    macros = ["| Macro | What it is | Columns |", "| --- | --- | --- |"]
    macros += [
        f"| `{macro.name}({macro.parameter})` | {macro.meaning} | {_columns(connection, f'{macro.name}({macro.example})')} |"
        for macro in MACROS
    ]
    return "\n".join(views), "\n".join(macros)


def _columns(connection: duckdb.DuckDBPyConnection, source: str) -> str:
    """The columns of a view or macro; those of `messages` are not listed again."""
    names = [row[0] for row in connection.execute(f"DESCRIBE FROM {source}").fetchall()]
    for table in ("messages", "gaps"):
        own = [*TABLES[table].schema.names, "dt"]
        if names[: len(own)] == own:
            return ", ".join([f"those of `{table}`", *(f"`{name}`" for name in names[len(own) :])])
    return ", ".join(f"`{name}`" for name in names)


def configuration_keys() -> str:
    """Every key of the configuration, as ``docs/configuration.md`` shows them."""
    schema = json.loads(schema_text())
    lines = ["| Key | Type | Default | Meaning |", "| --- | --- | --- | --- |"]
    lines += _key_lines(schema["properties"], schema["required"], prefix="")
    for name, property_ in schema["properties"].items():
        if "$ref" in property_:
            part = schema["$defs"][property_["$ref"].rpartition("/")[2]]
            lines += _key_lines(part["properties"], part.get("required", ()), prefix=f"{name}.")
            for key, inner in part["properties"].items():
                entry = inner.get("items", {}).get("$ref")
                if entry:
                    group = schema["$defs"][entry.rpartition("/")[2]]
                    lines += _key_lines(group["properties"], group.get("required", ()), prefix=f"{name}.{key}[].")
    return "\n".join(lines)


def _key_lines(properties: Mapping[str, Any], required: Collection[str], *, prefix: str) -> list[str]:
    return [
        f"| `{prefix}{key}` | {_kind(property_)} | {_default(property_, key in required)} | {property_['description']} |"
        for key, property_ in properties.items()
        if "$ref" not in property_
    ]


def _kind(property_: Mapping[str, Any]) -> str:
    if "enum" in property_:
        return ", ".join(property_["enum"])
    if "anyOf" in property_:
        return next(_kind(choice) for choice in property_["anyOf"] if choice.get("type") != "null")
    if property_.get("format") == "path":
        return "path"
    if "$ref" in property_.get("items", {}):
        return "list of groups"
    kind = {"string": "text", "array": "list of text"}.get(property_["type"], property_["type"])
    if "exclusiveMinimum" in property_:
        kind += f", above {property_['exclusiveMinimum']}"
    elif "minimum" in property_:
        kind += f", at least {property_['minimum']}"
    return f"{kind}, at most {property_['maximum']}" if "maximum" in property_ else kind


def _default(property_: Mapping[str, Any], is_required: bool) -> str:
    if is_required:
        return "required"
    default = property_.get("default")
    if isinstance(default, list):
        return ", ".join(f"`{entry}`" for entry in default) or "none"
    return "" if default in (None, "") else f"`{default}`"
