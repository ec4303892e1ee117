"""Messages that Flock returned when asked for, on their way into one commit: they become columns some thousands at a time."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from archiver.capture.drain import Batch
from archiver.capture.fetch import UidOutcome
from archiver.capture.reading import ShownPage, read_shown

FEED: Final = "chat.fetchMessages"
# Arrow's parser is quickest with many at once; few enough that they are read while the next ones are still on their way.
MESSAGES_PER_BLOCK: Final = 2_048


class FetchedRows:
    """Returned messages as a `Batch` of columns; ``bytes`` are those of all that were added."""

    def __init__(self) -> None:
        self.bytes = 0
        self._batch = Batch()
        self._unread: list[Mapping[str, Any]] = []
        self._shown: list[ShownPage] = []
        self._uids: list[str] = []

    def add(self, outcome: UidOutcome, raw: bytes, *, at_ms: int) -> None:
        """Take the message that came for a uid."""
        self._shown.append(ShownPage((raw,), at_ms, outcome.asked_as))
        self._uids.append(outcome.uid)
        self.bytes += len(raw)
        if len(self._shown) >= MESSAGES_PER_BLOCK:
            self._flush()

    def batch(self) -> Batch:
        """Return everything that was added and could be read."""
        self._flush()
        return self._batch

    def unread(self) -> list[Mapping[str, Any]]:
        """Return the rows of ``events`` that keep the messages which nobody can read."""
        self._flush()
        return self._unread

    def _flush(self) -> None:
        shown, uids = self._shown, self._uids
        self._shown, self._uids = [], []
        if not shown:
            return
        read = read_shown(shown, source="fetch")
        self._batch.add_shown(read)
        self._unread += [_unread_event(shown[number], uids[number], error) for number, error in read.unread.items()]


def _unread_event(shown: ShownPage, uid: str, error: str) -> Mapping[str, Any]:
    (raw,) = shown.raws
    return {
        "received_at": shown.at_ms,
        "spool_id": "",
        "sequence": 0,
        "feed": FEED,
        "feed_kind": "fetch",
        "verified": "api-answer",
        "user_id": shown.asked_as,
        "message_uid": uid,
        "outcome": "unparsed",
        "error": error,
        "body_digest": sha256(raw).hexdigest(),
        "body": raw,
    }
