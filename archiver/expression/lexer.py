"""Cut a search expression into parentheses, quoted texts and bare words, each with its place.

What keyboards and word processors put in the place of a quote, a parenthesis, a colon or a star is read as that: “ ” and „ for the
quotes, and the full width forms of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from archiver.expression.errors import ExpressionError

_PLAIN_FORMS: Final = str.maketrans("“”„＂（）：＊", '""""():*')  # noqa: RUF001 - that they look alike is the reason
_PARENTHESES: Final[dict[str, Literal["(", ")"]]] = {"(": "(", ")": ")"}
_QUOTE: Final = '"'
_ESCAPE: Final = "\\"


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of an expression and the half-open range of characters where it stands.

    ``value`` is what a quoted piece says between its quotes, and what a bare one says in plain forms. ``touches`` is True if the next piece
    follows without white space.
    """

    kind: Literal["(", ")", "quoted", "bare"]
    value: str
    start: int
    end: int
    touches: bool


def pieces_of(text: str) -> list[Piece]:
    """Return the pieces of an expression; raises `ExpressionError` for a quote that nothing ends and for characters that are none."""
    plain = text.translate(_PLAIN_FORMS)
    pieces: list[Piece] = []
    kind: Literal["(", ")", "quoted", "bare"]
    place = 0
    while place < len(plain):
        character = plain[place]
        if character.isspace():
            place += 1
            continue
        if character in _PARENTHESES:
            kind, value, end = _PARENTHESES[character], character, place + 1
        elif character == _QUOTE:
            kind = "quoted"
            value, end = _quoted(text, plain, start=place)
        else:
            kind = "bare"
            end = _bare_end(text, plain, start=place)
            value = plain[place:end]
        touches = end < len(plain) and not plain[end].isspace()
        pieces.append(Piece(kind, value, place, end, touches))
        place = end
    return pieces


def _quoted(text: str, plain: str, *, start: int) -> tuple[str, int]:
    """Return what stands between two quotes, as it was written, and the place behind the second one."""
    said: list[str] = []
    place = start + 1
    while place < len(plain):
        character = plain[place]
        if character == _QUOTE:
            return "".join(said), place + 1
        if character == _ESCAPE and plain[place + 1 : place + 2] in (_QUOTE, _ESCAPE):
            place += 1
        _refuse_surrogate(text, place)
        said.append(text[place])
        place += 1
    raise ExpressionError(
        "nothing ends this quote", code="E-SYNTAX", text=text, position=start, next_step='end the phrase with another "'
    )


def _bare_end(text: str, plain: str, *, start: int) -> int:
    place = start
    while place < len(plain) and not plain[place].isspace() and plain[place] not in '()"':
        _refuse_surrogate(text, place)
        place += 1
    return place


def _refuse_surrogate(text: str, place: int) -> None:
    if "\ud800" <= text[place] <= "\udfff":
        raise ExpressionError("this is half a character", code="E-SYNTAX", text=text, position=place)
