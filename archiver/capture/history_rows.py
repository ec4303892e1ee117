"""Items of pages of history: where each stands, told while pages are read, and many of them as columns, once they are committed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any, Final

from archiver.capture.drain import Batch
from archiver.capture.history_source import Path, text_at
from archiver.capture.reading import ShownPage, read_shown
from archiver.errors import UnparseableError
from archiver.normalise.message import IDENTIFIER_LENGTH_MAX_CHARACTERS, Observed, read_message, read_places

FLOCKS_OWN_UID: Final = ("uid",)
# So many items become columns at a time.
ITEMS_PER_BLOCK: Final = 8_192


@dataclass(frozen=True, slots=True)
class PageItems:
    """The items of a page in order, exactly as received, with the uid of each and the time when it was sent.

    The uid is None where an item has none or shows no message; the time also where it tells none.
    """

    raws: Sequence[bytes]
    uids: Sequence[str | None]
    times_ms: Sequence[int | None]

    def told_ms(self) -> list[int]:
        """Return the sending times that are told."""
        return [at_ms for at_ms in self.times_ms if at_ms is not None]

    def all_times_ms(self) -> list[int] | None:
        """Return the sending times of the messages, None if one of them tells no time."""
        times_ms = [at_ms for uid, at_ms in zip(self.uids, self.times_ms, strict=True) if uid is not None]
        told = [at_ms for at_ms in times_ms if at_ms is not None]
        return told if len(told) == len(times_ms) else None


def place_items(raws: Sequence[bytes], *, at_ms: int, uid: Path) -> PageItems:
    """Find out where the items of a page stand; their uid stands at a path."""
    own = uid == FLOCKS_OWN_UID
    places = read_places(raws, at_ms) if own else [_declared_place(raw, uid, at_ms) for raw in raws]
    return PageItems(
        raws, [place[0] if place else None for place in places], [place[1] if place else None for place in places]
    )


class HistoryRows:
    """Items of pages on their way into one commit, as a `Batch` of columns; ``uid`` is where their source has it."""

    def __init__(self, uid: Path = FLOCKS_OWN_UID) -> None:
        self.batch = Batch()
        self.unread: dict[str, Mapping[str, Any]] = {}
        self.bytes = 0
        self._uid = uid
        self._waiting: list[ShownPage] = []
        self._chats: list[tuple[str, str]] = []
        self._items_waiting = 0

    @property
    def count(self) -> int:
        """The number of items, repetitions included."""
        return self.batch.message_count + self._items_waiting + len(self.unread)

    def add(self, items: PageItems, *, feed: str, chat_id: str, asked_as: str, at_ms: int) -> None:
        """Take the items of a page of a chat."""
        self._waiting.append(ShownPage(items.raws, at_ms, asked_as))
        self._chats.append((feed, chat_id))
        self._items_waiting += len(items.raws)
        self.bytes += sum(map(len, items.raws))
        if self._items_waiting >= ITEMS_PER_BLOCK:
            self._flush()

    def finished(self) -> Batch:
        """Return the batch of everything that was added."""
        self._flush()
        return self.batch

    def _flush(self) -> None:
        """Read what waits as columns."""
        waiting, chats = self._waiting, self._chats
        self._waiting, self._chats, self._items_waiting = [], [], 0
        if not waiting:
            return
        uid_of = None if self._uid == FLOCKS_OWN_UID else partial(_declared_uid, self._uid)
        read = read_shown(waiting, uid_of, without_uid=f"the item has no {'.'.join(self._uid)}")
        self.batch.add_shown(read)
        if not read.unread:
            return
        items = [(raw, number) for number, page in enumerate(waiting) for raw in page.raws]
        for place, error in read.unread.items():
            raw, number = items[place]
            digest = sha256(raw).hexdigest()
            feed, chat_id = chats[number]
            self.unread[digest] = _event_of(raw, digest, shown=waiting[number], error=error, feed=feed, chat_id=chat_id)


def _declared_place(raw: bytes, uid: Path, at_ms: int) -> tuple[str, int | None] | None:
    try:
        message = read_message(raw, Observed(at_ms, "history", ""))
    except UnparseableError:
        return None
    declared = _declared_uid(uid, raw)
    if declared is None:
        return None
    return declared, None if message.sent_at_basis == "observed" else message.sent_at_ms


def _declared_uid(uid: Path, raw: bytes) -> str | None:
    declared = text_at(raw, uid)
    return declared if declared is not None and len(declared) <= IDENTIFIER_LENGTH_MAX_CHARACTERS else None


def _event_of(raw: bytes, digest: str, *, shown: ShownPage, error: str, feed: str, chat_id: str) -> Mapping[str, Any]:
    return {
        "received_at": shown.at_ms,
        "spool_id": "",
        "sequence": 0,
        "feed": feed,
        "feed_kind": "fetch",
        "verified": "api-answer",
        "user_id": shown.asked_as,
        "chat_id": chat_id,
        "outcome": "unparsed",
        "error": error,
        "body_digest": digest,
        "body": raw,
    }
