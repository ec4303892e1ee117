"""What the rows of messages must be in every table, CSV or Parquet: versions that follow each other, and files, as many as they say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from archiver.discovery.checks.findings import Finding
from archiver.discovery.checks.remembered import Remembered
from archiver.discovery.checks.tally import Tally


@dataclass(frozen=True, slots=True)
class MessageRow:
    """One version of a message, as a table tells of it."""

    chat_id: str
    message_uid: str
    control_number: str
    version: int
    versions: int
    is_newest: bool
    sent_at_ms: int
    files: int


class MessageRows:
    """Follows the rows of messages: each message's versions stand together, in order, as many as they say, the last one the newest.

    Its files stand in a table of their own, so that how many it says to have is remembered until `differences`.
    """

    def __init__(self, tally: Tally, remembered: Remembered) -> None:
        self._tally = tally
        self._owed = remembered.counts()
        self._row: MessageRow | None = None
        self._seen = 0
        self._at: tuple[str, str | None] = ("", None)

    def add(self, path: str, place: str | None, row: MessageRow) -> Iterator[Finding]:
        """Take the next row."""
        before = self._row
        if before is None or (before.chat_id, before.message_uid) != (row.chat_id, row.message_uid):
            yield from self.end()
            self._seen = 0
            yield from self._tally.message(
                path, place, chat_id=row.chat_id, uid=row.message_uid, sent_at_ms=row.sent_at_ms
            )
            if row.files:
                self._owed.add(row.control_number, row.files)
        elif row.version <= before.version:
            yield Finding(
                path, place, "order", f"version {row.version} of {row.message_uid!r} follows version {before.version}"
            )
        self._seen += 1
        self._tally.versions(1)
        if row.is_newest != (self._seen == row.versions):
            yield Finding(path, place, "field", f"is_newest is {row.is_newest} of row {self._seen} of {row.versions}")
        self._row = row
        self._at = (path, place)

    def end(self) -> Iterator[Finding]:
        """Yield what the last message lacks."""
        if self._row is not None and self._seen != self._row.versions:
            what = f"{self._seen} versions of {self._row.message_uid!r}, which says that it has {self._row.versions}"
            yield Finding(*self._at, "count", what)

    def file(self, message: str) -> None:
        """Take the row of a file, which names its message."""
        self._owed.add(message, -1)

    def differences(self, path: str) -> Iterator[Finding]:
        """Yield at the end which messages have other files than they say."""
        for message, count in self._owed.unsettled():
            what = f"{count} files too few" if count > 0 else f"{-count} files too many"
            yield Finding(path, None, "reference", f"message {message!r} has {what}")
