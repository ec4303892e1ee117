"""What a query of Athena's can read at most, told before it runs: from its text and what the ledger says of the objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError

from archiver.archive.reader import Head
from archiver.archive.schema import TABLES
from archiver.errors import UsageError
from archiver.query.derived import DERIVED

# Amazon's price is for a terabyte; the smaller one, so that what we say is never too little.
TERABYTE = 10**12
# "10 MB minimum per query" (Amazon Athena pricing).
BILLED_BYTES_MIN = 10 * 1024 * 1024

_VIEW_SQL = {view.name: view.sql for view in DERIVED}
_ONE_SELECT = "write one SELECT, or WITH … SELECT, in Athena's SQL"


@dataclass(frozen=True, slots=True)
class Estimate:
    """The bytes that a query reads at most: all bytes of each table that it names, as often as it is scanned."""

    bytes: int
    tables: tuple[str, ...]


def parsed(sql: str) -> exp.Query:
    """Return the one reading statement that a text is; raises `UsageError`, with the place where it cannot be understood."""
    try:
        statements = [tree for tree in sqlglot.parse(sql, read="athena") if tree is not None]
    except ParseError as error:
        raise UsageError(_with_caret(sql, error), next_step=_ONE_SELECT) from None
    except TokenError as error:
        raise UsageError(f"the SQL cannot be read: {error}", next_step=_ONE_SELECT) from None
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise UsageError("a query is one statement that only reads", next_step=_ONE_SELECT)
    if any(statements[0].find_all(exp.Insert, exp.Update, exp.Delete, exp.Create, exp.Drop, exp.Into)):
        raise UsageError("a query is one statement that only reads", next_step=_ONE_SELECT)
    return statements[0]


def estimate(query: exp.Query, head: Head) -> Estimate:
    """Return what a query reads at most of a head. Columns and days that it leaves out are counted all the same."""
    sizes = dict.fromkeys(TABLES, 0)
    for record in head.files.values():
        sizes[record.table] += record.bytes
    scans = _scans(query)
    return Estimate(
        bytes=sum(sizes[name] * count for name, count in scans.items()),
        tables=tuple(name for name in TABLES if scans[name]),
    )


def price(bytes_read: int, *, per_terabyte: float) -> float:
    """Return what reading so many bytes costs, in the currency of the price."""
    return max(bytes_read, BILLED_BYTES_MIN) / TERABYTE * per_terabyte


def _scans(query: exp.Expr) -> Counter[str]:
    """Return how often each table is scanned: once for each time that it is named, through views and WITH too."""
    parts = {part.alias_or_name.lower(): part.this for part in query.find_all(exp.CTE)}

    def of(node: exp.Expr, within: frozenset[str]) -> Counter[str]:
        found: Counter[str] = Counter()
        for name in _named(node):
            if name in parts and name not in within:
                found += of(parts[name], within | {name})
            else:
                found += _scans_of(name)
        return found

    return of(query, frozenset())


@cache
def _scans_of(name: str) -> Counter[str]:
    if name in _VIEW_SQL:
        return _scans(sqlglot.parse_one(_VIEW_SQL[name], read="duckdb"))
    return Counter({name: 1} if name in TABLES else {})


def _named(node: exp.Expr) -> Iterator[str]:
    """Yield the tables that a part of a query names, without those in the parts that its WITH defines."""
    for child in node.walk(prune=lambda inner: isinstance(inner, exp.With)):
        if isinstance(child, exp.Table):
            yield child.name.lower()


def _with_caret(sql: str, error: ParseError) -> str:
    place = error.errors[0] if error.errors else {}
    line, column = place.get("line"), place.get("col")
    what = str(place.get("description") or "it cannot be understood").rstrip(".")
    if not isinstance(line, int) or not isinstance(column, int):
        return f"the SQL is wrong: {what}"
    # sqlglot tells where the word ends.
    return pointed(
        sql, f"the SQL is wrong: {what}", line=line, column=max(1, column - len(place.get("highlight") or "") + 1)
    )


def pointed(sql: str, what: str, *, line: int, column: int) -> str:
    """Return a sentence with the line of the SQL that it is about, and a caret under the place; both count from 1."""
    lines = sql.splitlines()
    if not 1 <= line <= len(lines):
        return what
    return f"{what}\n\nLINE {line}: {lines[line - 1]}\n{' ' * (len(f'LINE {line}: ') + column - 1)}^"
