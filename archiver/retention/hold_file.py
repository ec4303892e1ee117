"""Holds as a YAML file says them: several at once, each with its name, its scope and its reason.

holds:
  smith-v-acme:
    reason: Smith v. Acme, matter 2026-17
    custodians: [ann@acme.com, "u:bob"]
    channels: [deal-*]
    from: 2026-01-01
    until: 2026-06-30
    zone: Europe/Berlin
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Final

from archiver.archive.ledger import HoldScope
from archiver.document import Document, Location, data_of, parse, unknown_key
from archiver.errors import DocumentError, UsageError
from archiver.retention.holds import Placement, checked
from archiver.scope.days import days_in_zone

HOLD_KEYS: Final = (
    "reason",
    "custodians",
    "channels",
    "conversations",
    "from",
    "until",
    "zone",
    "search",
    "everything",
)


def read_holds(path: Path) -> list[Placement]:
    """Return the holds of a file, in its order; raises `UsageError` with file and line for whatever in it cannot be used."""
    missing = DocumentError(f"there is no file of holds at {path}", code="missing")
    document = parse(path, data_of(path, missing=missing), error=DocumentError, example="holds:")
    for key in document.values:
        if key != "holds":
            raise _mistake(document, (key,), unknown_key(key, ["holds"]))
    holds = document.values.get("holds")
    if not isinstance(holds, Mapping) or not holds:
        raise _mistake(document, ("holds",), "must be a group of holds by their names, at least one")
    return [_placement(document, str(name), facts) for name, facts in holds.items()]


def _placement(document: Document, name: str, facts: object) -> Placement:
    at: Location = ("holds", name)
    if not isinstance(facts, Mapping):
        raise _mistake(document, at, "must be a group of keys, such as custodians and reason")
    for key in facts:
        if key not in HOLD_KEYS:
            raise _mistake(document, (*at, key), unknown_key(str(key), HOLD_KEYS))
    for key in ("reason", "zone", "search"):
        if key in facts and not isinstance(facts[key], str):
            raise _mistake(document, (*at, key), "must be text; put it in quotes")
    if not isinstance(facts.get("everything", False), bool):
        raise _mistake(document, (*at, "everything"), "must be true or false")
    zone = facts.get("zone", "UTC")
    first, last = (_day(document, (*at, key), facts.get(key)) for key in ("from", "until"))
    try:
        from_at_ms, until_ms = days_in_zone(first, last, zone=zone)
    except UsageError as error:
        raise _mistake(document, (*at, "zone"), error.what, next_step=error.next_step) from None
    custodians, channels, conversations = (
        _words(document, (*at, key), facts.get(key, ())) for key in ("custodians", "channels", "conversations")
    )
    scope = HoldScope(
        custodians=custodians,
        chats=channels + conversations,
        from_at_ms=from_at_ms,
        until_ms=until_ms,
        expression=facts.get("search"),
        zone=zone,
    )
    asked = Placement(name, scope, facts.get("reason", ""), facts.get("everything", False), place=document.place(at))
    return checked(asked)


def _words(document: Document, at: Location, value: object) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise _mistake(document, at, "must be a list")
    for position, word in enumerate(value):
        if not isinstance(word, str):
            raise _mistake(document, (*at, position), "must be text; put it in quotes")
    return tuple(value)


def _day(document: Document, at: Location, value: object) -> date | None:
    if value is None and not document.holds(at):
        return None
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            value = None
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise _mistake(document, at, "must be a day, such as 2026-11-22")


def _mistake(document: Document, at: Location, reason: str, *, next_step: str = "") -> DocumentError:
    dotted = ".".join(map(str, at))
    return DocumentError(
        f"{document.place(at)}: {dotted}: {reason}", code="hold", line=document.line(at), next_step=next_step
    )
