"""Which data objects a question can concern, told before any is opened: by its text as DuckDB parses it, and by the ledger.

A head may have thousands of objects, and each that is handed to DuckDB costs, whether it is read or not. Most questions name one table,
and many one day or one message. Only what cannot change an answer is left out: objects of tables that are not named, and those of a
table that stands alone in its FROM under a WHERE that no row of theirs meets. Whatever is not understood leaves everything in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any

import duckdb
import msgspec

from archiver.archive import layout
from archiver.archive.ledger import FileRecord
from archiver.archive.reader import Head, files_of
from archiver.archive.schema import TABLES
from archiver.query import views

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
# Columns whose ranges the ledger knows, and which are text, so that they compare as Python compares.
_TEXT_COLUMNS = frozenset({"message_uid", "chat_id"})
_FLIPPED = {
    "COMPARE_EQUAL": "COMPARE_EQUAL",
    "COMPARE_LESSTHAN": "COMPARE_GREATERTHAN",
    "COMPARE_GREATERTHAN": "COMPARE_LESSTHAN",
    "COMPARE_LESSTHANOREQUALTO": "COMPARE_GREATERTHANOREQUALTO",
    "COMPARE_GREATERTHANOREQUALTO": "COMPARE_LESSTHANOREQUALTO",
}

_Node = Mapping[str, Any]
# Tells whether an object whose least and greatest value these are may have a row that is meant.
_May = Callable[[Any, Any], bool]
_COMPARISONS: dict[str, Callable[[Any], _May]] = {
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
    names = _names(nodes)
    if tree.get("error", True) or names is None:
        return head
    alone = _alone(nodes)
    keys: set[str] = set()
    for name in views.with_needed(names):
        if name in TABLES:
            # What a view is made of is asked for whole, and so is a table as often as it stands among others.
            conditions = alone.get(name, []) if _is_only_alone(name, names, nodes, alone) else [None]
            for record in files_of(head, name):
                if any(where is None or _may_match(record, where) for where in conditions):
                    keys.add(record.key)
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


def _names(nodes: list[_Node]) -> list[str] | None:
    """Return the views and macros that a question reads, None if it reads anything else."""
    defined = {str(entry.get("key")).lower() for node in nodes for entry in _entries(node)}
    if defined & set(views.NAMES):
        return None
    names = []
    for node in nodes:
        if node.get("type") == "BASE_TABLE":
            name = str(node.get("table_name")).lower()
        elif node.get("type") == "TABLE_FUNCTION":
            name = str(node["function"].get("function_name")).lower()
        elif node.get("type") in ("SHOW_REF", "PIVOT"):
            return None
        else:
            continue
        if name in views.NAMES:
            names.append(name)
        elif name not in defined:
            return None
    return names


def _entries(node: _Node) -> list[_Node]:
    found = node.get("cte_map")
    return found.get("map", []) if isinstance(found, dict) else []


def _alone(nodes: list[_Node]) -> dict[str, list[dict[str, list[_May]]]]:
    """Return, for each table that stands alone in a FROM, what the WHERE there asks of its columns."""
    found: dict[str, list[dict[str, list[_May]]]] = {}
    for node in nodes:
        source = node.get("from_table")
        if not isinstance(source, dict) or source.get("type") != "BASE_TABLE":
            continue
        if node.get("sample") or source.get("sample") or source.get("column_name_alias") or source.get("at_clause"):
            continue
        name = str(source.get("table_name")).lower()
        called = str(source.get("alias") or name).lower()
        aliases = {str(item.get("alias")).lower() for item in node.get("select_list", ())}
        conditions: dict[str, list[_May]] = {}
        for conjunct in _conjuncts(node.get("where_clause")):
            for column, may in _asked(conjunct, called):
                if column not in aliases:
                    conditions.setdefault(column, []).append(may)
        found.setdefault(name, []).append(conditions)
    return found


def _is_only_alone(name: str, names: list[str], nodes: list[_Node], alone: Mapping[str, list[Any]]) -> bool:
    """Tell whether a table is named directly alone, each time, and no view that is named is made of it."""
    times = sum(node.get("type") == "BASE_TABLE" and str(node["table_name"]).lower() == name for node in nodes)
    others = [other for other in names if other != name]
    return times == len(alone.get(name, ())) and name not in views.with_needed(others)


def _conjuncts(where: _Node | None) -> Iterator[_Node]:
    if where is None:
        return
    if where.get("type") == "CONJUNCTION_AND":
        for child in where["children"]:
            yield from _conjuncts(child)
    else:
        yield where


def _asked(node: _Node, called: str) -> Iterator[tuple[str, _May]]:
    """Yield the column of which a condition asks something that the ledger can answer, and what."""
    kind = str(node.get("type"))
    if kind in _FLIPPED:
        for column, value, comparison in (
            (node["left"], node["right"], kind),
            (node["right"], node["left"], _FLIPPED[kind]),
        ):
            name = _column(column, called)
            given = _value(name, value)
            if name is not None and given is not None:
                yield name, _COMPARISONS[comparison](given)
    elif kind == "COMPARE_BETWEEN":
        name = _column(node["input"], called)
        for bound, comparison in (
            (node["lower"], "COMPARE_GREATERTHANOREQUALTO"),
            (node["upper"], "COMPARE_LESSTHANOREQUALTO"),
        ):
            given = _value(name, bound)
            if name is not None and given is not None:
                yield name, _COMPARISONS[comparison](given)
    elif kind == "COMPARE_IN":
        name = _column(node["children"][0], called)
        values = [_value(name, child) for child in node["children"][1:]]
        if name is not None and None not in values:
            yield name, lambda least, greatest: any(least <= value <= greatest for value in values)


def _column(node: _Node, called: str) -> str | None:
    if node.get("type") != "COLUMN_REF":
        return None
    *qualifier, name = (str(part).lower() for part in node["column_names"])
    return name if name in _TEXT_COLUMNS | {"dt"} and qualifier in ([], [called]) else None


def _value(column: str | None, node: _Node) -> date | str | None:
    """Return a constant that a column is held against as Python has it, None if it is not plainly one."""
    if column == "dt" and node.get("type") == "OPERATOR_CAST" and node["cast_type"]["id"] == "DATE":
        node = node["child"]
    if node.get("type") != "VALUE_CONSTANT" or node["value"]["type"]["id"] != "VARCHAR" or node["value"]["is_null"]:
        return None
    text = node["value"]["value"]
    if not isinstance(text, str):
        return None
    if column != "dt":
        return text
    try:
        return date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:
        return None


def _may_match(record: FileRecord, conditions: Mapping[str, list[_May]]) -> bool:
    for column, asked in conditions.items():
        if column == "dt":
            day = layout.partition_of(record.key)[1]
            least, greatest = day, day
        else:
            bounds = record.ranges.get(column)
            if bounds is None or not all(isinstance(bound, str) for bound in bounds):
                continue
            least, greatest = bounds  # type: ignore[assignment]
        if not all(may(least, greatest) for may in asked):
            return False
    return True
