"""Holds as `archiver hold` shows them, to people and to programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from archiver.clock import to_text

if TYPE_CHECKING:
    from archiver.archive.ledger import HoldScope
    from archiver.archive.reader import PlacedHold
    from archiver.cli.output import Output
    from archiver.retention.coverage import Doubt
    from archiver.retention.survey import Survey

# A table is for eyes; --json has all of them.
CHATS_SHOWN_MAX = 20


def in_words(scope: HoldScope) -> str:
    """Return a scope as people read it."""
    parts = []
    if scope.custodians:
        parts.append(f"of {' or '.join(scope.custodians)}")
    if scope.chats:
        parts.append(f"in {' or '.join(scope.chats)}")
    if scope.from_at_ms is not None:
        parts.append(f"sent at or after {to_text(scope.from_at_ms)}")
    if scope.until_ms is not None:
        parts.append(f"sent before {to_text(scope.until_ms)}")
    if scope.expression is not None:
        parts.append(f"found by {scope.expression} (days in {scope.zone})")
    return ", ".join(parts) or "everything"


def scope_document(scope: HoldScope) -> dict[str, object]:
    """Return a scope for programs; instants are ISO 8601 in UTC, ``until`` is not included."""
    return {
        "custodians": list(scope.custodians),
        "chats": list(scope.chats),
        "from": None if scope.from_at_ms is None else to_text(scope.from_at_ms),
        "until": None if scope.until_ms is None else to_text(scope.until_ms),
        "search": scope.expression,
        "zone": scope.zone,
    }


def hold_document(name: str, hold: PlacedHold) -> dict[str, object]:
    """Return a hold in force for programs."""
    return {
        "name": name,
        "scope": scope_document(hold.scope),
        "reason": hold.reason,
        "actor": hold.actor,
        "placed_at": hold.placed_at,
        "sequence": hold.sequence,
    }


def show_survey(output: Output, name: str, hold: PlacedHold, found: Survey) -> None:
    """Print what a hold covers for people."""
    facts: Mapping[str, object] = {
        "hold": name,
        "covers": in_words(hold.scope),
        "reason": hold.reason,
        "placed": f"{hold.placed_at} by {hold.actor}, in entry {hold.sequence}",
        "messages": f"{found.messages} ({found.versions} versions)",
        "files": f"{found.files} ({found.stored_files} stored, {found.file_bytes} bytes)",
        "days": f"{found.first_on} to {found.last_on}"
        if found.first_on
        else "none: it covers nothing that is here now",
    }
    output.facts(facts)
    if found.chats:
        output.table(
            ["chat", "name", "messages", "versions", "files", "first day", "last day"],
            [tuple(asdict(chat).values()) for chat in found.chats[:CHATS_SHOWN_MAX]],
        )
    for chat_id in found.unlisted:
        output.line(
            f"in {chat_id} custodians wrote when no list of members showed them there: of what others wrote then nothing is covered; "
            f"`archiver hold place … --channel {chat_id}` covers it"
        )
    if len(found.chats) > CHATS_SHOWN_MAX:
        output.line(f"and {len(found.chats) - CHATS_SHOWN_MAX} more chats; --json has all of them")


def warn(output: Output, doubts: Sequence[Doubt]) -> None:
    """Tell what holds may not cover though their words look as if."""
    for doubt in doubts:
        output.warn(f"archiver: warning: hold {doubt.hold}: {doubt.what}\n  Next: {doubt.next_step}")
