"""What is wrong with a search expression, and where: a caret under the place."""

from __future__ import annotations

import unicodedata
from typing import Final, Literal

from archiver.errors import UsageError

Code = Literal[
    "E-EMPTY",  # nothing is asked for
    "E-LENGTH",  # too long, too deep or too many terms
    "E-SYNTAX",  # something stands where it cannot
    "E-WORD",  # a word, phrase or distance that means nothing, or not what it seems to
    "E-FILTER",  # no such filter
    "E-VALUE",  # a filter's value cannot be used
]

# So much of a long expression is shown around the place.
SHOWN_CHARACTERS_MAX: Final = 72

_WIDE: Final = frozenset("WF")


class ExpressionError(UsageError):
    """A search expression cannot be used. ``code`` is stable, ``position`` counts characters of the expression from 0."""

    def __init__(self, problem: str, *, code: Code, text: str, position: int, next_step: str = "") -> None:
        super().__init__(
            f"search expression, character {position + 1}: {problem}\n{pointed(text, position)}", next_step=next_step
        )
        self.problem = problem
        self.code = code
        self.position = position


def pointed(text: str, position: int) -> str:
    """Return the part of an expression around a position, and below it a caret; wide characters take two columns."""
    half = SHOWN_CHARACTERS_MAX // 2
    first = max(0, min(position - half, len(text) - SHOWN_CHARACTERS_MAX))
    part = text[first : first + SHOWN_CHARACTERS_MAX]
    # What has no width of its own, or moves a cursor, would put the caret under another place.
    line = "".join(character if _has_width(character) else "\N{REPLACEMENT CHARACTER}" for character in part)
    before = line[: position - first]
    columns = sum(2 if unicodedata.east_asian_width(character) in _WIDE else 1 for character in before)
    return f"  {line}\n  {' ' * columns}^"


def _has_width(character: str) -> bool:
    return character == " " or (character.isprintable() and not unicodedata.combining(character))
