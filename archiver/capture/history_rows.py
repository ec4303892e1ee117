"""Items of a page of history as messages: read one by one, so that one that cannot be read costs nobody else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import msgspec

from archiver.capture.drain import Batch
from archiver.capture.history_source import Path, text_at
from archiver.errors import UnparseableError
from archiver.model.message import Message
from archiver.normalise.message import IDENTIFIER_LENGTH_MAX_CHARACTERS, Observed, read_message

FLOCKS_OWN_UID: Final = ("uid",)
# So many messages become columns at a time.
MESSAGES_PER_BLOCK: Final = 2_000


@dataclass(frozen=True, slots=True)
class UnreadItem:
    """An item that could not be read as a message, exactly as received, and why."""

    raw: bytes
    error: str


@dataclass(frozen=True, slots=True)
class ReadItems:
    """What the items of a page are, in their order: messages, and those that could not be read."""

    messages: Sequence[Message]
    unread: Sequence[UnreadItem]

    def times_ms(self) -> list[int] | None:
        """Return the sending times of the messages, None if one of them tells no time."""
        if any(message.sent_at_basis == "observed" for message in self.messages):
            return None
        return [message.sent_at_ms for message in self.messages]


def read_items(raws: Sequence[bytes], observed: Observed, *, uid: Path) -> ReadItems:
    """Read items, whose uid stands at a path.

    An item without a uid is not read as a message: it would be another one each time that its page is read.
    """
    messages: list[Message] = []
    unread: list[UnreadItem] = []
    for raw in raws:
        try:
            message = read_message(raw, observed)
        except UnparseableError as error:
            unread.append(UnreadItem(raw, error.what))
            continue
        if uid != FLOCKS_OWN_UID:
            declared = text_at(raw, uid)
            if declared is not None and len(declared) > IDENTIFIER_LENGTH_MAX_CHARACTERS:
                declared = None
            message = msgspec.structs.replace(
                message, message_uid=declared or message.message_uid, uid_provisional=declared is None
            )
        if message.uid_provisional:
            unread.append(UnreadItem(raw, f"the item has no {'.'.join(uid)}"))
        else:
            messages.append(message)
    return ReadItems(messages, unread)


class HistoryRows:
    """Messages of pages on their way into one commit, as a `Batch` of columns."""

    def __init__(self) -> None:
        self.batch = Batch()
        self.unread: dict[str, Mapping[str, Any]] = {}
        self.bytes = 0
        self._waiting: list[Message] = []

    @property
    def count(self) -> int:
        """The number of messages and unread items, repetitions included."""
        return self.batch.message_count + len(self._waiting) + len(self.unread)

    def add(self, items: ReadItems, *, feed: str, chat_id: str, asked_as: str, at_ms: int) -> None:
        """Take the items of a page of a chat."""
        self._waiting += items.messages
        self.bytes += sum(len(message.raw) for message in items.messages)
        for item in items.unread:
            digest = sha256(item.raw).hexdigest()
            self.unread[digest] = _event_of(item, digest, feed=feed, chat_id=chat_id, asked_as=asked_as, at_ms=at_ms)
            self.bytes += len(item.raw)
        if len(self._waiting) >= MESSAGES_PER_BLOCK:
            self._flush()

    def finished(self) -> Batch:
        """Return the batch of everything that was added."""
        self._flush()
        return self.batch

    def _flush(self) -> None:
        if self._waiting:
            self.batch.add_messages(self._waiting)
            self._waiting = []


def _event_of(
    item: UnreadItem, digest: str, *, feed: str, chat_id: str, asked_as: str, at_ms: int
) -> Mapping[str, Any]:
    return {
        "received_at": at_ms,
        "spool_id": "",
        "sequence": 0,
        "feed": feed,
        "feed_kind": "fetch",
        "verified": "api-answer",
        "user_id": asked_as,
        "chat_id": chat_id,
        "outcome": "unparsed",
        "error": item.error,
        "body_digest": digest,
        "body": item.raw,
    }
