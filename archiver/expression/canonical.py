"""Write a search expression down in its one form: what it says again, whoever wrote it and however. Parsed, it is the same tree."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from archiver.expression import fold
from archiver.expression.nodes import (
    And,
    Chat,
    Days,
    HasFile,
    Kind,
    Label,
    Mime,
    Near,
    Node,
    Not,
    Or,
    Person,
    State,
    Words,
)

_READ_AS_SOMETHING_ELSE: Final = frozenset({"and", "or", "not"})
_ESCAPED: Final = re.compile(r'(["“”„＂\\])')  # noqa: RUF001 - those that the lexer reads as quotes
_BARE_VALUE: Final = re.compile(r"[\w.@*/+,:#%-]+\Z")


def canonical_text(node: Node) -> str:
    """Return a tree as text: folded words, all operators, and parentheses around whatever stands inside another operator."""
    match node:
        case And(nodes):
            return " AND ".join(map(_inner, nodes))
        case Or(nodes):
            return " OR ".join(map(_inner, nodes))
        case Not(inner):
            return f"NOT {_inner(inner)}"
        case Words(words, is_prefix):
            text = _phrase(words)
            return (f'"{text}"' if len(words) > 1 or text in _READ_AS_SOMETHING_ELSE else text) + "*" * is_prefix
        case Near(parts, others_max):
            # White space tells the parts apart, so there can be none inside one.
            return f'"{" ".join(map(_part, parts))}"~{others_max}'
        case _:
            return _filter(node)


def _inner(node: Node) -> str:
    text = canonical_text(node)
    return f"({text})" if isinstance(node, (And, Or)) else text


def _phrase(words: Sequence[str]) -> str:
    """Return words as they are written; those of a script without spaces stand together."""
    text = fold.shown(words[0])
    for before, word in pairwise(words):
        together = fold.stands_alone(before) and fold.stands_alone(word)
        text += ("" if together else " ") + fold.shown(word)
    return text


def _part(words: Sequence[str]) -> str:
    """Return the words of one part of a distance; a hyphen separates words and is no white space."""
    return _phrase(words).replace(" ", "-")


def _filter(node: Node) -> str:  # noqa: PLR0911 - one line for each filter
    match node:
        case Person(role, pattern):
            return f"{role}:{_value(pattern)}"
        case Chat(pattern):
            return f"in:{_value(pattern)}"
        case Days(relation=relation, written=written):
            return f"{relation}:{written}"
        case HasFile():
            return "has:file"
        case Mime(pattern):
            return f"mime:{_value(pattern)}"
        case State(state):
            return f"is:{state}"
        case Kind(kind):
            return f"type:{kind}"
        case Label(pattern):
            return f"label:{_value(pattern)}"
        case _:
            raise TypeError(f"{type(node).__name__} is no filter")


def _value(pattern: str) -> str:
    if _BARE_VALUE.match(pattern):
        return pattern
    return '"' + _ESCAPED.sub(r"\\\1", pattern) + '"'
