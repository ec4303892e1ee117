"""What was said around a hit: the messages before and after it in its conversation, each as its newest version says it, and replies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final
from zoneinfo import ZoneInfo

from archiver.archive.tables import rows_of
from archiver.discovery.search_places import Order, Places
from archiver.expression import Expression
from archiver.expression.columns import columns_of
from archiver.expression.nodes import Chat

CONTEXT_MESSAGES_MAX: Final = 50

_COLUMNS: Final = (
    *("chat_id", "message_uid", "version", "sent_at", "observed_at", "sender_id", "sender_name", "send_as_name"),
    "plain_text",
)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A message near a hit; ``version`` is the newest of those sent at that instant."""

    message_uid: str
    sent_at_ms: int
    sender_id: str
    sender_name: str | None
    send_as_name: str | None
    version: int
    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """A message that looks like a reply, and the one that it quotes; inferred, no fact of Flock's. ``matched_by`` says how it is known."""

    chat_id: str
    message_uid: str
    sent_at_ms: int
    sender_id: str
    sender_name: str | None
    text: str
    original_uid: str
    original_sent_at_ms: int
    original_sender_id: str
    original_sender_name: str | None
    original_text: str
    matched_by: str


def around(
    places: Places, *, chat_id: str, message_uid: str, at_ms: int, count: int
) -> tuple[list[Neighbour], list[Neighbour]]:
    """Return so many messages before and after one that was sent at an instant, in the order of their sending."""
    before, after = (
        list(islice(_others(places, chat_id, message_uid, at_ms, order=order), count)) for order in ("newest", "oldest")
    )
    return before[::-1], after


def _others(places: Places, chat_id: str, message_uid: str, at_ms: int, *, order: Order) -> Iterator[Neighbour]:
    """Yield the other messages of a chat going away from one; of those sent at one instant the uid decides which stand before it."""
    chat = Chat(chat_id)
    expression = Expression(
        root=chat,
        zone=ZoneInfo("UTC"),
        written="",
        canonical="",
        columns=columns_of([chat]),
        needs_files=False,
        needs_missing=False,
        needs_labels=False,
    )
    is_back = order == "newest"
    given = {message_uid}
    waiting: list[Any] = []
    batch_rows = 2 * CONTEXT_MESSAGES_MAX
    likely = places.in_order(expression, order=order, from_ms=at_ms)
    while batch := list(islice(likely, batch_rows)):
        rows = [*waiting, *rows_of(places.read(batch, _COLUMNS))]
        # The last instant may go on in the next batch.
        is_last = len(batch) < batch_rows
        waiting = [] if is_last else [row for row in rows if row["sent_at"] == batch[-1].at_ms]
        whole = rows if is_last else [row for row in rows if row["sent_at"] != batch[-1].at_ms]
        for neighbour in _newest_versions(whole, chat_id=chat_id, is_back=is_back):
            is_beyond = (neighbour.message_uid < message_uid) == is_back
            if neighbour.message_uid not in given and (neighbour.sent_at_ms != at_ms or is_beyond):
                given.add(neighbour.message_uid)
                yield neighbour


def _newest_versions(rows: list[Any], *, chat_id: str, is_back: bool) -> list[Neighbour]:
    newest: dict[tuple[int, str], Any] = {}
    for row in rows:
        key = (row["sent_at"], row["message_uid"])
        if row["chat_id"] == chat_id and (key not in newest or _age(newest[key]) < _age(row)):
            newest[key] = row
    return [
        Neighbour(
            message_uid=uid,
            sent_at_ms=sent_ms,
            sender_id=row["sender_id"],
            sender_name=row["sender_name"],
            send_as_name=row["send_as_name"],
            version=row["version"],
            text=row["plain_text"],
        )
        for (sent_ms, uid), row in sorted(newest.items(), key=lambda item: item[0], reverse=is_back)
    ]


def _age(row: Any) -> tuple[int, int]:
    return row["version"], row["observed_at"]
