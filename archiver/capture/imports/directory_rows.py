"""People and chats that a file tells of, as rows for what the archive does not know yet.

What a file dates itself, such as a channel's former name, has that date as its ``valid_from``, so that a question about a past day
finds the name of that day; everything else holds as of the newest instant in the file. What is older than what is known adds nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from archiver.capture.directory_changes import (
    CHANNEL_STATE,
    GROUP_STATE,
    LEFT,
    MEMBER,
    USER_STATE,
    conversation_row,
    state_digest,
)
from archiver.capture.imports.records import Person, Room

IMPORTED: Final = "imported"

Row = dict[str, Any]
States = Mapping[tuple[str, ...], Mapping[str, Any]]


def people_rows(people: Iterable[Person], known: States, *, as_of_ms: int, captured_by: str) -> Iterator[Row]:
    """Yield a row of ``users`` for everybody who is new or newer than known."""
    for person in people:
        row: Row = {column: person.state.get(column) for column in USER_STATE}
        row |= {"user_id": person.user_id, "captured_by": captured_by, "raw": person.raw}
        row |= {"state_digest": state_digest(row, USER_STATE), "valid_from": _since(person.changed_at_ms, as_of_ms)}
        yield from _newer([row], known.get((person.user_id,)), as_of_ms=as_of_ms)


def channel_rows(rooms: Iterable[Room], known: States, *, as_of_ms: int, captured_by: str) -> Iterator[Row]:
    """Yield rows of ``channels``, one for each name that a channel had."""
    for room in rooms:
        if room.chat_kind == "direct":
            continue
        facts: Row = {
            "channel_id": room.chat_id,
            "state": IMPORTED,
            "purpose": room.purpose,
            "profile_image": None,
            "member_count": None if room.members is None else len(room.members),
        }
        rows = []
        for since_ms, name in room.names:
            row = {**facts, "name": name}
            digest = state_digest(row, CHANNEL_STATE)
            row |= {"captured_by": captured_by, "raw": room.raw, "state_digest": digest}
            rows.append({**row, "valid_from": _since(since_ms, as_of_ms)})
        yield from _newer(rows, known.get((room.chat_id,)), as_of_ms=as_of_ms)


def conversation_rows(rooms: Iterable[Room], known: States, *, as_of_ms: int, captured_by: str) -> Iterator[Row]:
    """Yield rows of ``conversations``, one for each name that a chat had."""
    for room in rooms:
        rows = [
            conversation_row(
                chat_id=room.chat_id,
                chat_kind=room.chat_kind,
                name=name,
                participants=room.participants,
                captured_by=captured_by,
                seen_at_ms=_since(since_ms, as_of_ms),
            )
            for since_ms, name in room.names
        ]
        yield from _newer(rows, known.get((room.chat_id,)), as_of_ms=as_of_ms)


def group_rows(rooms: Iterable[Room], known: States, *, as_of_ms: int, captured_by: str) -> Iterator[Row]:
    """Yield rows of ``groups`` for who is in a channel that was not, and who is in it no more."""
    before: dict[str, set[str]] = {}
    for (channel_id, user_id), row in known.items():
        if row["state"] == MEMBER:
            before.setdefault(channel_id, set()).add(user_id)
    for room in rooms:
        if room.members is None:
            continue
        was, now = before.get(room.chat_id, set()), set(room.members)
        for user_id in sorted(was ^ now):
            row = {
                "channel_id": room.chat_id,
                "user_id": user_id,
                "valid_from": as_of_ms,
                "state": MEMBER if user_id in now else LEFT,
                "affiliation": None,
                "captured_by": captured_by,
            }
            row |= {"state_digest": state_digest(row, GROUP_STATE)}
            yield from _newer([row], known.get((room.chat_id, user_id)), as_of_ms=as_of_ms)


def _since(since_ms: int | None, as_of_ms: int) -> int:
    return as_of_ms if since_ms is None else min(since_ms, as_of_ms)


def _newer(rows: Sequence[Row], last: Mapping[str, Any] | None, *, as_of_ms: int) -> Iterator[Row]:
    """Yield rows that differ from the one before and are newer than what is known; the last of them holds as of the file."""
    digest = None if last is None else last["state_digest"]
    for number, row in enumerate(rows, 1):
        if row["state_digest"] == digest:
            continue
        if last is None or row["valid_from"] > last["valid_from"]:
            yield row
        elif number == len(rows) and as_of_ms >= last["valid_from"]:
            yield {**row, "valid_from": as_of_ms}
        else:
            continue
        digest = row["state_digest"]
