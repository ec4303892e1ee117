"""Which columns of the table ``messages`` a search expression looks at (docs/archive-format.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from archiver.expression.nodes import Chat, Days, HasFile, Kind, Label, Mime, Near, Person, State, Term, Words

# Where words are looked for, the likeliest first. What FlockML says stands in plain_text.
TEXT_COLUMNS: Final = ("plain_text", "text", "notification", "attachments")
_MESSAGE: Final = ("chat_id", "message_uid")


def columns_of(terms: Sequence[Term]) -> tuple[str, ...]:
    """Return the columns that terms look at, sorted; those that name a message are always among them."""
    return tuple(sorted({*_MESSAGE, *(column for term in terms for column in _columns(term))}))


def _columns(term: Term) -> tuple[str, ...]:  # noqa: C901, PLR0911 - one line for each kind of term
    match term:
        case Words() | Near():
            return TEXT_COLUMNS
        case Person("from"):
            return ("sender_id", "sender_name")
        case Person():
            return ("chat_id", "sender_id", "visible_to")
        case Chat():
            return ("chat_id",)
        case Days():
            return ("sent_at",)
        case State("edited"):
            return (*_MESSAGE, "version")
        case HasFile() | Mime() | State():
            return _MESSAGE
        case Kind("app" | "person"):
            return ("app_id", "sender_id")
        case Kind():
            return ("chat_kind",)
        case Label():
            return ()
