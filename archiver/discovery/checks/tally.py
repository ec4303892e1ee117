"""What the messages and files of every open format add up to: order and counts of the report, its zone, natives that are here.

The checkers of tables, pages and zips read in their own way and tell a `Tally` what they find. Only facts of the package's report are held
against it, nothing of a writer. Memory grows with conversations alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from archiver.discovery.checks.findings import Finding, PackageFacts
from archiver.discovery.checks.tree import files_below


class Tally:
    """Counts what a format has, in the order in which it stands there."""

    def __init__(self, name: str, facts: PackageFacts) -> None:
        self._name = name
        self._facts = facts
        self._zone = zone_of(facts)
        self._chats: Counter[str] = Counter()
        self._versions: int | None = None
        self._files = 0
        self._missing = 0
        self._last: tuple[str, int, str] | None = None

    def message(
        self, path: str, place: str | None, *, chat_id: str, uid: str, sent_at_ms: int | None = None
    ) -> Iterator[Finding]:
        """Count a message, and find one that stands in the wrong place, twice, or in a conversation that is not in the report."""
        is_known = chat_id in self._chats
        self._chats[chat_id] += 1
        if chat_id not in self._facts.conversations and not is_known:
            yield Finding(path, place, "reference", f"the report has no conversation {chat_id!r}")
        if self._last is not None and self._last[0] != chat_id and is_known:
            yield Finding(path, place, "order", f"the messages of conversation {chat_id!r} do not stand together")
        if sent_at_ms is None:
            return
        this = (chat_id, sent_at_ms, uid)
        if self._last is not None and self._last[0] == chat_id:
            if this == self._last:
                yield Finding(path, place, "duplicate", f"message {uid!r} stands here twice")
            elif this < self._last:
                yield Finding(path, place, "order", f"message {uid!r} was sent before the one that it follows")
        self._last = this

    def versions(self, count: int) -> None:
        """Count the versions of a message, in formats that have all of them."""
        self._versions = (self._versions or 0) + count

    def time(
        self, path: str, place: str | None, *, text: object, at_ms: int | None, day: str | None = None
    ) -> Iterator[Finding]:
        """Find a time that is none, is not the same as its milliseconds, is not in the report's zone, or is of another day."""
        try:
            instant = datetime.fromisoformat(text if isinstance(text, str) else "")
        except ValueError:
            yield Finding(path, place, "time", f"{text!r} is no time")
            return
        if instant.tzinfo is None:
            yield Finding(path, place, "time", f"{text!r} has no offset")
            return
        try:
            there = instant.astimezone(self._zone)
        except OverflowError:
            there = instant.astimezone(UTC)
        if there.utcoffset() != instant.utcoffset():
            yield Finding(path, place, "time", f"{text!r} is not in the zone of the report, {self._facts.zone}")
        if at_ms is not None and _ms(instant) != at_ms:
            yield Finding(path, place, "time", f"{text!r} is not {at_ms} milliseconds since 1970")
        if day is not None and instant.date().isoformat() != day:
            yield Finding(path, place, "time", f"{text!r} is not on {day}")

    def file(self, path: str, place: str | None, *, native: str | None, sha256: str | None) -> Iterator[Finding]:
        """Count a file of a message. ``native`` is its place in the package, relative to it; None for a placeholder."""
        self._files += 1
        if native is None:
            self._missing += 1
            return
        known = self._facts.natives.get(native)
        if known is None:
            yield Finding(path, place, "native", f"there is no {native!r} among the files of the package")
        elif known != sha256:
            yield Finding(path, place, "digest", f"the SHA-256 of {native!r} is {known}, not {sha256}")

    def differences(self, path: str) -> Iterator[Finding]:
        """Yield what does not add up, at the end."""
        facts = self._facts
        told = facts.formats.get(self._name)
        messages = sum(self._chats.values())
        expected = [("messages", messages, facts.messages), ("files", self._files, facts.files)]
        expected.append(("files that are missing", self._missing, facts.missing_files))
        if self._versions is not None:
            expected.append(("versions", self._versions, facts.message_versions))
        if told is not None:
            expected += [
                ("messages, as it was written", messages, told.messages),
                ("files, as it was written", self._files, told.files),
            ]
        for what, found, wanted in expected:
            if found != wanted:
                yield Finding(path, None, "count", f"{found} {what}; the report says {wanted}")
        for chat_id in sorted(self._chats.keys() | facts.conversations.keys()):
            found, wanted = self._chats[chat_id], facts.conversations.get(chat_id, 0)
            if found != wanted:
                yield Finding(
                    path, None, "count", f"{found} messages of conversation {chat_id!r}; the report says {wanted}"
                )


def zone_of(facts: PackageFacts) -> ZoneInfo:
    """Return the zone of a package, UTC if its report names none that is known."""
    try:
        return ZoneInfo(facts.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def files_in(folder: Path, name: str, facts: PackageFacts) -> tuple[list[str], list[Finding]]:
    """Return the files of a format, relative to the package and sorted, and what is missing or too many by its report.

    What is no plain file is a finding and is not returned, so that nothing outside the package is read.
    """
    found: list[str] = []
    findings: list[Finding] = []
    for file in files_below(folder, f"data/{name}"):
        if file.is_plain:
            found.append(file.path)
        else:
            findings.append(Finding(file.path, None, "stray", "this is no plain file"))
    told = facts.formats.get(name)
    if told is not None:
        there = set(found)
        findings += [
            Finding(path, None, "missing", "the report names it, and it is not here")
            for path in told.paths
            if path not in there
        ]
        findings += [
            Finding(path, None, "stray", "the report does not name it") for path in found if path not in told.paths
        ]
    if not found:
        findings.append(Finding(f"data/{name}", None, "missing", "there is nothing of this format"))
    return found, findings


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _ms(instant: datetime) -> int:
    since = instant - _EPOCH
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
