"""The search expression: one grammar for searches, legal holds, retention policies and exports.

    expression = parse_expression('merger OR "price list" from:alice before:2026-03', zone=ZoneInfo("Europe/Berlin"))
    matching_rows(expression, rows_of_messages, Facts(directory=directory))

``docs/search-expression.md`` is the grammar and what each part means. Everything here is exact: `matching` looks quickly for rows that
could match, and then reads each of those. An expression is true of a *version* of a message; a message matches if one of its versions
does. No I/O happens here, and nothing reads a clock.

`fold` says what a word is, `parser` and `canonical` read and write expressions, `matching` finds rows, `hits` the places to highlight.
"""

from __future__ import annotations

from archiver.expression.errors import ExpressionError
from archiver.expression.facts import Directory, Facts, Known
from archiver.expression.hits import Hit, hits_in
from archiver.expression.matching import matching_rows
from archiver.expression.nodes import Expression
from archiver.expression.parser import parse_expression

__all__ = [
    "Directory",
    "Expression",
    "ExpressionError",
    "Facts",
    "Hit",
    "Known",
    "hits_in",
    "matching_rows",
    "parse_expression",
]
