"""Items of pages of history: where each stands, told while pages are read, and many of them as columns, once they are committed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any, Final

from archiver.capture.drain import Batch
from archiver.capture.history_source import Path, text_at
from archiver.capture.reading import ReadItems, ShownPage, read_shown
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
    """Items of pages on their way into one commit, as a `Batch` of columns; ``uid`` is where their source has it.

    ``executor`` reads some thousands of them while the next pages come. ``count`` is the number of items, repetitions included.
    """

    def __init__(self, uid: Path = FLOCKS_OWN_UID, *, executor: Executor) -> None:
        self.unread: dict[str, Mapping[str, Any]] = {}
        self.bytes = 0
        self.count = 0
        self._uid = uid
        self._executor = executor
        self._waiting: list[_Told] = []
        self._items_waiting = 0
        self._reading: list[tuple[Sequence[_Told], Future[ReadItems]]] = []

    def add(self, items: PageItems, *, feed: str, chat_id: str, asked_as: str, at_ms: int) -> None:
        """Take the items of a page of a chat."""
        self._waiting.append(_Told(ShownPage(items.raws, at_ms, asked_as), feed, chat_id))
        self.count += len(items.raws)
        self._items_waiting += len(items.raws)
        self.bytes += sum(map(len, items.raws))
        if self._items_waiting >= ITEMS_PER_BLOCK:
            self._read()

    def finished(self) -> Batch:
        """Return the batch of everything that was added; what of it cannot be read is in ``unread``."""
        self._read()
        batch = Batch()
        for told, reading in self._reading:
            read = reading.result()
            batch.add_shown(read)
            if read.unread:
                self._keep_unread(told, read.unread)
        self._reading = []
        return batch

    def _read(self) -> None:
        """Let what waits become columns."""
        waiting, self._waiting, self._items_waiting = self._waiting, [], 0
        if not waiting:
            return
        uid_of = None if self._uid == FLOCKS_OWN_UID else partial(_declared_uid, self._uid)
        without_uid = f"the item has no {'.'.join(self._uid)}"
        pages = [told.page for told in waiting]
        self._reading.append((waiting, self._executor.submit(read_shown, pages, uid_of, without_uid=without_uid)))

    def _keep_unread(self, told: Sequence[_Told], unread: Mapping[int, str]) -> None:
        items = [(raw, each) for each in told for raw in each.page.raws]
        for place, error in unread.items():
            raw, each = items[place]
            digest = sha256(raw).hexdigest()
            self.unread[digest] = _event_of(raw, digest, told=each, error=error)


@dataclass(frozen=True, slots=True)
class _Told:
    """A page with the feed and the chat that it is of."""

    page: ShownPage
    feed: str
    chat_id: str


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


def _event_of(raw: bytes, digest: str, *, told: _Told, error: str) -> Mapping[str, Any]:
    return {
        "received_at": told.page.at_ms,
        "spool_id": "",
        "sequence": 0,
        "feed": told.feed,
        "feed_kind": "fetch",
        "verified": "api-answer",
        "user_id": told.page.asked_as,
        "chat_id": told.chat_id,
        "outcome": "unparsed",
        "error": error,
        "body_digest": digest,
        "body": raw,
    }
