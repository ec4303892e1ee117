"""Which data objects a question can concern, told before any is opened: by its text as DuckDB parses it, and by the ledger.

A head may have thousands of objects, and each that is handed to DuckDB costs, whether it is read or not. Most questions name one table,
and many one day or one message. Only what cannot change an answer is left out: objects of tables that are not named, and what `concerned`
says of a view that stands alone in its FROM, under what its WHERE asks. Whatever is not understood leaves everything in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import msgspec

from archiver.archive.reader import Head
from archiver.query import concerned, views
from archiver.query.concerned import DAY, Conditions, May

_DAY_TEXT = re.compile(r"\d{4}-\d{2}-\d{2}")
# What DuckDB and Python read alike; an hour of 24, a name of a zone and fractions beyond microseconds are DuckDB's alone.
_INSTANT_TEXT = re.compile(r"\d{4}-\d{2}-\d{2}(?:[ T]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?)?(Z|[+-]\d{2}(?::\d{2})?)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FLIPPED = {
    "COMPARE_EQUAL": "COMPARE_EQUAL",
    "COMPARE_LESSTHAN": "COMPARE_GREATERTHAN",
    "COMPARE_GREATERTHAN": "COMPARE_LESSTHAN",
    "COMPARE_LESSTHANOREQUALTO": "COMPARE_GREATERTHANOREQUALTO",
    "COMPARE_GREATERTHANOREQUALTO": "COMPARE_LESSTHANOREQUALTO",
}

_NOTHING: Conditions = {}

_Node = Mapping[str, Any]
_COMPARISONS: dict[str, Callable[[Any], May]] = {
    "COMPARE_EQUAL": lambda value: lambda least, greatest: least <= value <= greatest,
    "COMPARE_LESSTHAN": lambda value: lambda least, _: least < value,
    "COMPARE_LESSTHANOREQUALTO": lambda value: lambda least, _: least <= value,
    "COMPARE_GREATERTHAN": lambda value: lambda _, greatest: greatest > value,
    "COMPARE_GREATERTHANOREQUALTO": lambda value: lambda _, greatest: greatest >= value,
}


def narrowed(connection: duckdb.DuckDBPyConnection, sql: str, head: Head) -> Head:
    """Return a head with those objects alone that a question can concern; all of them where that cannot be told."""
    try:
        (text,) = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchone() or ("{}",)
        tree = json.loads(text)
    except (duckdb.Error, ValueError, RecursionError):
        return head
    nodes = list(_nodes(tree))
    sources = _sources(nodes)
    if tree.get("error", True) or sources is None:
        return head
    asked = _asked_alone(nodes)
    # Each time that a view is named it is made of its own objects; that it then sees those of other times too changes no answer.
    keys = {
        record.key for name, place in sources for record in concerned.needed(head, name, asked.get(place, _NOTHING))
    }
    return msgspec.structs.replace(head, files={key: record for key, record in head.files.items() if key in keys})


def _nodes(tree: Any) -> Iterator[_Node]:
    waiting = [tree]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield found
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found


def _sources(nodes: list[_Node]) -> list[tuple[str, int]] | None:
    """Return the views and macros that a question reads, each time with the identity of its node; None if it reads anything else."""
    defined = {str(entry.get("key")).lower() for node in nodes for entry in _entries(node)}
    if defined & set(views.NAMES):
        return None
    found = []
    for node in nodes:
        if node.get("type") in ("SHOW_REF", "PIVOT"):
            return None
        if (name := _source(node)) is None:
            continue
        if name in views.NAMES:
            found.append((name, id(node)))
        elif name not in defined:
            return None
    return found


def _source(node: _Node) -> str | None:
    if node.get("type") == "BASE_TABLE":
        return str(node.get("table_name")).lower()
    if node.get("type") == "TABLE_FUNCTION":
        return str(node["function"].get("function_name")).lower()
    return None


def _entries(node: _Node) -> list[_Node]:
    found = node.get("cte_map")
    return found.get("map", []) if isinstance(found, dict) else []


def _asked_alone(nodes: list[_Node]) -> dict[int, Conditions]:
    """Return what the WHERE asks of the columns of each view that stands alone in its FROM, by the identity of the view's node."""
    found: dict[int, Conditions] = {}
    for node in nodes:
        source = node.get("from_table")
        if not isinstance(source, dict) or (name := _source(source)) is None:
            continue
        if node.get("sample") or source.get("sample") or source.get("column_name_alias") or source.get("at_clause"):
            continue
        called = str(source.get("alias") or name).lower()
        aliases = {str(item.get("alias")).lower() for item in node.get("select_list", ())}
        columns = {shown: column for shown, column in concerned.columns_of(name).items() if shown not in aliases}
        conditions: dict[str, list[May]] = {}
        for conjunct in _conjuncts(node.get("where_clause")):
            for column, may in _asked(conjunct, called, columns):
                conditions.setdefault(column, []).append(may)
        found[id(source)] = conditions
    return found


def _conjuncts(where: _Node | None) -> Iterator[_Node]:
    if where is None:
        return
    if where.get("type") == "CONJUNCTION_AND":
        for child in where["children"]:
            yield from _conjuncts(child)
    else:
        yield where


def _asked(node: _Node, called: str, columns: Mapping[str, str]) -> Iterator[tuple[str, May]]:
    """Yield the column of which a condition asks something that the ledger can answer, and what."""
    kind = str(node.get("type"))
    if kind in _FLIPPED:
        for column, value, comparison in (
            (node["left"], node["right"], kind),
            (node["right"], node["left"], _FLIPPED[kind]),
        ):
            name = _column(column, called, columns)
            given = _value(name, value)
            if name is not None and given is not None:
                yield name, _COMPARISONS[comparison](given)
    elif kind == "COMPARE_BETWEEN":
        name = _column(node["input"], called, columns)
        for bound, comparison in (
            (node["lower"], "COMPARE_GREATERTHANOREQUALTO"),
            (node["upper"], "COMPARE_LESSTHANOREQUALTO"),
        ):
            given = _value(name, bound)
            if name is not None and given is not None:
                yield name, _COMPARISONS[comparison](given)
    elif kind == "COMPARE_IN":
        name = _column(node["children"][0], called, columns)
        values = [_value(name, child) for child in node["children"][1:]]
        if name is not None and None not in values:
            yield name, lambda least, greatest: any(least <= value <= greatest for value in values)


def _column(node: _Node, called: str, columns: Mapping[str, str]) -> str | None:
    if node.get("type") != "COLUMN_REF":
        return None
    *qualifier, name = (str(part).lower() for part in node["column_names"])
    return columns.get(name) if qualifier in ([], [called]) else None


def _value(column: str | None, node: _Node) -> date | int | str | None:
    """Return a constant that a column is held against, as `concerned.May` takes it; None if it is not plainly one."""
    cast = None
    if node.get("type") == "OPERATOR_CAST":
        cast, node = str(node["cast_type"]["id"]), node["child"]
    if node.get("type") != "VALUE_CONSTANT" or node["value"]["type"]["id"] != "VARCHAR" or node["value"]["is_null"]:
        return None
    text = node["value"]["value"]
    if not isinstance(text, str):
        return None
    try:
        if column == DAY:
            return date.fromisoformat(text) if cast in (None, "DATE") and _DAY_TEXT.fullmatch(text) else None
        if column in concerned.INSTANTS:
            return _instant(text, cast)
    except (ValueError, OverflowError):
        return None
    return text if cast is None else None


def _instant(text: str, cast: str | None) -> int | None:
    """Return an instant in microseconds since 1970, in UTC where it names no zone, as the engine's time zone is."""
    shape = _INSTANT_TEXT.fullmatch(text)
    # A TIMESTAMP passes over the zone, and a DATE over the time.
    if not shape or (cast == "TIMESTAMP" and shape[1]) or (cast == "DATE" and not _DAY_TEXT.fullmatch(text)):
        return None
    if cast not in (None, "TIMESTAMP WITH TIME ZONE", "TIMESTAMP", "DATE"):
        return None
    at = datetime.fromisoformat(text)
    return (at.replace(tzinfo=at.tzinfo or UTC) - _EPOCH) // timedelta(microseconds=1)
