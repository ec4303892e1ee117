"""What an export is asked for: a scope as a hold has it, what stands around the hits, which versions, and files or not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal
from zoneinfo import ZoneInfo

from archiver.archive.ledger import HoldScope
from archiver.errors import UsageError
from archiver.expression import Expression, parse_expression
from archiver.scope.membership import Membership
from archiver.scope.named import NAMES_SUGGESTED_MAX, nearest, unknown_chat
from archiver.scope.reach import Reach, reach_of

CONTEXT_HOURS_MAX: Final = 24 * 366
CONTEXT_MESSAGES_MAX: Final = 10_000
_HOUR_MS: Final = 3_600_000

_CONTEXT: Final = re.compile(r"(?P<number>[0-9]{1,6}) *(?P<unit>h|hours?|msgs?|messages?)", re.IGNORECASE)

Versions = Literal["all", "last"]


@dataclass(frozen=True, slots=True)
class Context:
    """What stands around each hit in its conversation: so much time before and after it, or so many messages."""

    span_ms: int = 0
    messages: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asks for on behalf of a matter. ``scope`` without any part asks for everything that the archive has."""

    matter: str
    scope: HoldScope
    zone: ZoneInfo
    context: Context | None = None
    versions: Versions = "all"
    with_files: bool = True


@dataclass(frozen=True, slots=True)
class Question:
    """What it comes to at one head: which rows it reaches, what it searches for in them, and who its custodians are."""

    asked: Asked
    reach: Reach
    expression: Expression | None
    custodians: tuple[str, ...]


def parse_context(text: str) -> Context:
    """Return what ``12h`` or ``20msgs`` asks for; raises `UsageError`."""
    found = _CONTEXT.fullmatch(text.strip())
    number = int(found["number"]) if found else 0
    if found and found["unit"].lower().startswith("h") and 0 < number <= CONTEXT_HOURS_MAX:
        return Context(span_ms=number * _HOUR_MS)
    if found and found["unit"].lower().startswith("m") and 0 < number <= CONTEXT_MESSAGES_MAX:
        return Context(messages=number)
    raise UsageError(
        f"{text!r} is no context",
        next_step=f"write 12h for hours, at most {CONTEXT_HOURS_MAX}, or 20msgs for messages, at most {CONTEXT_MESSAGES_MAX}, "
        "before and after each hit",
    )


def question_of(asked: Asked, membership: Membership) -> Question:
    """Return what an export comes to; raises `UsageError` for whom and what nobody knows, with the nearest known."""
    custodians: set[str] = set()
    for text in asked.scope.custodians:
        found = membership.people(text)
        if not found:
            raise _unknown_custodian(text, membership)
        custodians |= found
    for text in asked.scope.chats:
        if not membership.chats_called(text):
            raise unknown_chat(text, membership)
    expression = None
    if asked.scope.expression is not None:
        expression = parse_expression(asked.scope.expression, zone=asked.zone)
        if expression.needs_labels:
            raise UsageError(
                "an export cannot ask for label:, which a policy gives and no message has by itself",
                next_step="say by whom, where, when and of what the messages are",
            )
    return Question(asked, reach_of(asked.scope, membership, expression), expression, tuple(sorted(custodians)))


def _unknown_custodian(text: str, membership: Membership) -> UsageError:
    called = sorted(membership.directory.people_like(text)) if text.strip() else []
    near = called[:NAMES_SUGGESTED_MAX] or nearest(text, membership.users | membership.addresses.keys())
    return UsageError(
        f"the directory knows nobody by the id or address {text!r}",
        next_step=f"did you mean {' or '.join(near)}?"
        if near
        else 'name a user by the id, or by the e-mail address of one who installed the app: `archiver query "SELECT user_id, '
        'first_name, last_name, email FROM users"` lists them; what an unknown id wrote is found by --search from:ID',
    )
