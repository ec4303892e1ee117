"""A small archive in which everything happened that an export must tell: for tests, by real commits over a memory store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from archiver.archive.ledger import HoldScope
from archiver.archive.reader import Archive, Head
from archiver.clock import to_ms
from archiver.discovery.export.asked import Asked, parse_context
from archiver.discovery.export.assembly import MESSAGE_COLUMNS
from archiver.discovery.export.opened import Opened, Wanted, assembly_of, open_export
from archiver.discovery.export.record import Message, Slice
from archiver.discovery.export.runs import Runs
from archiver.store import Store
from archiver.store.local import LocalStore
from tests.small_archive import FILE_BYTES, FILE_DIGEST, add, build, message

SOFTWARE = "flock-archiver test"


def at_ms(day: int, hour: int = 12, minute: int = 0) -> int:
    return to_ms(datetime(2026, 11, day, hour, minute, tzinfo=UTC))


def uid(day: int, hour: int, minute: int, name: str) -> str:
    """A uid as Flock makes them: it begins with the milliseconds of the sending."""
    return f"{at_ms(day, hour, minute)}-{name}"


def said(day: int, hour: int, minute: int, name: str, text: str, **further: Any) -> dict[str, Any]:
    return message(uid(day, hour, minute, name), day, text, sent_at=at_ms(day, hour, minute), **further)


def user(user_id: str, first: str, last: str = "", email: str | None = None) -> dict[str, Any]:
    return {
        "user_id": user_id,
        "valid_from": 0,
        "first_name": first,
        "last_name": last,
        "email": email,
        "captured_by": "x",
        "raw": "{}",
        "state_digest": user_id,
    }


def member(channel_id: str, user_id: str, at: int = 0, state: str = "member") -> dict[str, Any]:
    return {
        "channel_id": channel_id,
        "user_id": user_id,
        "valid_from": at,
        "state": state,
        "captured_by": "x",
        "state_digest": f"{user_id}{at}",
    }


def channel(channel_id: str, name: str) -> dict[str, Any]:
    return {
        "channel_id": channel_id,
        "valid_from": 0,
        "state": "listed",
        "name": name,
        "captured_by": "x",
        "raw": "{}",
        "state_digest": channel_id,
    }


def file_row(row: dict[str, Any], ordinal: int, name: str, **further: Any) -> dict[str, Any]:
    return {
        "chat_id": row["chat_id"],
        "message_uid": row["message_uid"],
        "version": row["version"],
        "ordinal": ordinal,
        "sent_at": row["sent_at"],
        "observed_at": row["sent_at"] + 10,
        "kind": "download",
        "name": name,
        "url": f"https://f.flockusercontent.com/{ordinal}",
        "status": "stored",
        "attempts": 1,
        "blob_digest": FILE_DIGEST,
        "blob_bytes": len(FILE_BYTES),
        **further,
    }


def observed(row: dict[str, Any], at: int, outcome: str) -> dict[str, Any]:
    return {
        "observed_at": at,
        "chat_id": row["chat_id"],
        "message_uid": row["message_uid"],
        "asked_as": "u:ann",
        "outcome": outcome,
    }


def gap(name: str, kind: str, *, state: str = "open", **further: Any) -> dict[str, Any]:
    return {
        "gap_id": name,
        "valid_from": at_ms(22),
        "state": state,
        "kind": kind,
        "count": 1,
        "evidence": f"evidence of {name}",
        "state_digest": name,
        **further,
    }


EDITED = said(20, 9, 0, "edited", "the price is 10", chat_id="g:deal", sender_id="u:bob")
EDITED_LATER = {
    **EDITED,
    **message(EDITED["message_uid"], 20, "the price is 12", version=2),
    "chat_id": "g:deal",
    "sender_id": "u:bob",
    "sent_at": EDITED["sent_at"],
    "observed_at": at_ms(20, 18),
}
TWICE = {**EDITED, "source": "fetch", "captured_by": "u:bob", "observed_at": EDITED["observed_at"] + 1_000}
GONE = said(20, 23, 30, "gone", "forget the merger", chat_id="g:deal", sender_id="u:ann")
WITH_FILES = said(21, 9, 0, "files", "the contract", chat_id="g:deal", sender_id="u:kenji")
# An edit that bears the time of the edit: its row lies under another day than the message.
ASTRAY = said(20, 10, 0, "astray", "agreed", chat_id="g:deal", sender_id="u:ann")
ASTRAY_EDIT = {
    **ASTRAY,
    **message(ASTRAY["message_uid"], 22, "not agreed", version=2),
    "chat_id": "g:deal",
    "sender_id": "u:ann",
}
NAMELESS = {
    **said(21, 10, 0, "", "who am I", chat_id="g:deal", sender_id="u:bob", client_id="c-1"),
    "message_uid": "provisional:1",
}
NAMED = said(21, 10, 0, "named", "who am I", chat_id="g:deal", sender_id="u:bob", client_id="c-1", source="fetch")
PRIVATE = said(
    21, 11, 0, "private", "merger, but tell nobody", chat_id="u:ann,u:kenji", chat_kind="direct", sender_id="u:kenji"
)
LUNCH = [
    said(20 + number // 12, 8 + number % 12, 0, f"lunch-{number}", f"lunch {number}", chat_id="g:lunch")
    for number in range(24)
]


def live(store: Store, folder: Path) -> tuple[Archive, Head]:
    """Build it: the small archive, and on top of it a deal, a lunch, a private talk."""
    archive, head = build(store, folder)
    messages = [EDITED, EDITED_LATER, TWICE, GONE, WITH_FILES, ASTRAY, NAMELESS, NAMED, PRIVATE, *LUNCH]
    head = add(
        archive,
        head,
        {
            "messages": messages,
            "files": [
                file_row(WITH_FILES, 0, "contract.PDF"),
                file_row(
                    WITH_FILES,
                    1,
                    "../../annex.doc",
                    status="failed",
                    reason="http_status",
                    http_status=403,
                    blob_digest=None,
                ),
                file_row(
                    WITH_FILES,
                    1,
                    "../../annex.doc",
                    observed_at=WITH_FILES["sent_at"] + 5,
                    status="pending",
                    blob_digest=None,
                ),
            ],
            "users": [
                user("u:ann", "Ann", "Áslaug", "ann@acme.com"),
                user("u:bob", "Bob"),
                user("u:kenji", "健二", "田中", "kenji@acme.com"),
            ],
            "channels": [channel("g:deal", "deal room"), channel("g:lunch", "lunch")],
            "groups": [member("g:deal", name) for name in ("u:ann", "u:bob", "u:kenji")],
            "observations": [
                observed(GONE, at_ms(21), "not_returned"),
                observed(EDITED, at_ms(21), "not_returned"),
                observed(EDITED, at_ms(22), "returned"),
            ],
            "gaps": [
                gap("outage", "listener-down", state="closed", from_at=at_ms(20, 8), to_at=at_ms(20, 9)),
                gap("feed", "channel-without-feed", chat_id="g:deal"),
                gap("elsewhere", "channel-without-feed", chat_id="g:lunch"),
                gap("token", "user-without-token", user_id="u:bob"),
                gap("over", "channel-silent", state="closed", chat_id="g:deal"),
            ],
        },
        attempt="cccccccc",
    )
    head = add(archive, head, {"messages": [ASTRAY_EDIT]}, attempt="dddddddd")
    return archive, head


def scope(**parts: Any) -> HoldScope:
    return HoldScope(**parts)


def wanted(context: str | None = None, *, zone: str = "UTC", **parts: Any) -> Wanted:
    of_asked = {name: parts.pop(name) for name in ("versions", "with_files") if name in parts}
    of_wanted = {name: parts.pop(name) for name in ("formats", "redaction", "volume_bytes") if name in parts}
    if "expression" in parts:
        parts["zone"] = zone
    asked = Asked(
        "smith-v-acme",
        scope(**parts),
        ZoneInfo(zone),
        None if context is None else parse_context(context),
        **of_asked,
    )
    return Wanted(asked, **of_wanted)


def opened(lived: tuple[Archive, Head], wish: Wanted) -> Opened:
    archive, head = lived
    return open_export(archive, head, wish)


def slices(lived: tuple[Archive, Head], wish: Wanted, folder: Path, **limits: int) -> list[Slice]:
    """What an export hands to its writers, before files are enclosed."""
    found = opened(lived, wish)
    folder.mkdir(exist_ok=True)
    runs = Runs(folder, **limits)
    for stretch, _ in found.selection.chosen(MESSAGE_COLUMNS):
        runs.add(found.redaction.chats(stretch.messages), found.redaction.chats(stretch.files))
    return list(assembly_of(found).slices(runs.given()))


def messages(parts: Sequence[Slice]) -> dict[str, Message]:
    return {each.message_uid.rpartition("-")[2]: each for part in parts for each in part.messages}


def fresh(folder: Path) -> tuple[Archive, Head]:
    return live(LocalStore(folder / "archive"), folder)
