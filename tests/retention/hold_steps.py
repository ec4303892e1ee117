"""Histories of a workspace, the holds on it, and the plainest reading of what a hold covers: one row at a time, nothing shared with ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from archiver.archive.ledger import HoldScope
from archiver.archive.reader import PlacedHold
from archiver.archive.schema import TABLES
from archiver.archive.tables import rows_to_table
from archiver.scope.membership import Membership

Row = dict[str, Any]

NO_ONE = {"first_name": None, "captured_by": "u:admin", "raw": "{}", "state_digest": "00"}


def member(channel_id: str, user_id: str, at_ms: int, state: str = "member") -> Row:
    return {
        "channel_id": channel_id,
        "user_id": user_id,
        "valid_from": at_ms,
        "state": state,
        "captured_by": "u:admin",
        "state_digest": f"{state}{at_ms}",
    }


def groups(rows: Sequence[Row]) -> pa.Table:
    return rows_to_table(TABLES["groups"], rows).select(["channel_id", "user_id", "valid_from", "state"])


def knowing(rows: Sequence[Row] = (), **further: Any) -> Membership:
    """Return what a directory with these rows of groups told; everybody in them is known."""
    users = frozenset(row["user_id"] for row in rows) | further.pop("users", frozenset())
    chats = frozenset(row["channel_id"] for row in rows) | further.pop("chats", frozenset())
    return Membership(groups=groups(rows), users=users, chats=chats, **further)


def message(uid: str, at_ms: int, chat_id: str = "g:general", sender_id: str = "u:zoe", **further: Any) -> Row:
    return {
        "chat_id": chat_id,
        "chat_kind": "direct" if "," in chat_id else "channel",
        "message_uid": uid,
        "version": 1,
        "sent_at": at_ms,
        "sent_at_basis": "timestampInMillis",
        "observed_at": at_ms,
        "source": "webhook",
        "captured_by": "general",
        "sender_id": sender_id,
        "text": uid,
        "plain_text": uid,
        "raw": "{}",
        "raw_digest": "00",
        "content_digest": "00",
        **further,
    }


def messages(rows: Sequence[Row]) -> pa.Table:
    return rows_to_table(TABLES["messages"], rows)


def file(uid: str, at_ms: int, chat_id: str = "g:general", ordinal: int = 0) -> Row:
    return {
        "chat_id": chat_id,
        "message_uid": uid,
        "version": 1,
        "ordinal": ordinal,
        "sent_at": at_ms,
        "observed_at": at_ms,
        "kind": "download",
        "url": "https://files.example/1",
        "status": "stored",
        "attempts": 1,
    }


def files(rows: Sequence[Row]) -> pa.Table:
    return rows_to_table(TABLES["files"], rows)


def placed(**scope: Any) -> PlacedHold:
    return PlacedHold(
        scope=HoldScope(**scope), reason="a lawsuit", actor="ann", placed_at="2026-11-20T00:00:00.000Z", sequence=1
    )


def covers(scope: HoldScope, row: Mapping[str, Any], history: Iterable[Row], addresses: Mapping[str, set[str]]) -> bool:
    """Tell whether a hold covers a message by the words of the law, for scopes whose chats are ids."""
    history = sorted(history, key=lambda change: (change["valid_from"], change["state"] == "member"))
    people = {person for said in scope.custodians for person in ({said} | addresses.get(said, set()))}
    return (
        (scope.from_at_ms is None or row["sent_at"] >= scope.from_at_ms)
        and (scope.until_ms is None or row["sent_at"] < scope.until_ms)
        and (not scope.chats or row["chat_id"] in scope.chats)
        and (not scope.custodians or any(_concerns(person, row, history) for person in people))
    )


def _concerns(person: str, row: Mapping[str, Any], history: Sequence[Row]) -> bool:
    sent = person in (row["sender_id"], row.get("on_behalf_of"))
    received = person in (row.get("visible_to") or ()) or (
        "," in row["chat_id"] and person in row["chat_id"].split(",")
    )
    return sent or received or _may_have_been_in(person, row["chat_id"], row["sent_at"], history)


def _may_have_been_in(person: str, channel_id: str, at_ms: int, history: Sequence[Row]) -> bool:
    """Tell whether anything that was seen leaves it open that a person was in a channel at an instant."""
    of_channel = [change for change in history if change["channel_id"] == channel_id]
    own = [change for change in of_channel if change["user_id"] == person]
    if not own:
        return False
    before = [change for change in own if change["valid_from"] <= at_ms]
    if before and before[-1]["state"] == "member":
        return True
    later = [change for change in own if change["valid_from"] > at_ms]
    if not later:
        return False
    if later[0]["state"] == "left":
        # Who is seen to have left was there before, unless he was seen to have left already.
        return not before
    # He came between two looks; whoever looked in between did not see him.
    return not any(at_ms < change["valid_from"] < later[0]["valid_from"] for change in of_channel)
