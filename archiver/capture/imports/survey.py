"""What is in a source: one reading from end to end that counts, and keeps the first of what cannot be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from archiver.capture.imports.records import Directory, Noted, Person, Said, Source, Tally, Unreadable, Wanted
from archiver.clock import DAY_MS
from archiver.normalise.content import canonical_json

ERRORS_KEPT_MAX: Final = 100
_TELL_EVERY: Final = 1_000


@dataclass(slots=True)
class Survey:
    """What a source holds.

    ``by_day`` counts messages by days since 1970 UTC, ``newest_at_ms`` is when the last was sent; ``errors`` are the first of ``bad``.
    """

    tally: Tally = field(default_factory=Tally)
    records: int = 0
    messages: int = 0
    wanted: int = 0
    noted: int = 0
    bad: int = 0
    without_text: int = 0
    files: int = 0
    newest_at_ms: int | None = None
    by_day: Counter[int] = field(default_factory=Counter)
    chat_ids: set[str] = field(default_factory=set)
    sender_ids: set[str] = field(default_factory=set)
    errors: list[Unreadable] = field(default_factory=list)
    directory: Directory = field(default_factory=Directory)

    @property
    def as_of_ms(self) -> int | None:
        """The newest instant that the file tells of, which is as of when it is; None if it tells of none."""
        dated = [person.changed_at_ms for person in self.directory.people]
        dated += [since_ms for room in self.directory.rooms for since_ms, _ in room.names]
        return max(filter(None, [self.newest_at_ms, *dated]), default=None)

    @property
    def chats(self) -> int:
        """How many chats it has."""
        return len(self.chat_ids)

    @property
    def people(self) -> int:
        """How many people wrote or are told of."""
        return len(self.sender_ids | {person.user_id for person in self.directory.people})


def survey(source: Source, *, progress: Callable[[int], None]) -> Survey:
    """Read a source from end to end; ``progress`` is told how many items were read."""
    found = Survey()
    names: dict[str, str] = {}
    for item in source.items(found.tally):
        found.records += 1
        if isinstance(item, Said):
            message = item.message
            found.messages += 1
            found.newest_at_ms = max(found.newest_at_ms or message.sent_at_ms, message.sent_at_ms)
            found.by_day[message.sent_at_ms // DAY_MS] += 1
            found.chat_ids.add(message.chat_id)
            found.sender_ids.add(message.sender_id)
            found.without_text += not (message.text or message.flockml)
            found.files += sum(
                "src" in entry for part in message.attachments or () for entry in part.get("downloads", ())
            )
            if message.sender_name:
                names[message.sender_id] = message.sender_name
        elif isinstance(item, Wanted):
            found.wanted += 1
            found.chat_ids.add(item.chat_id)
        elif isinstance(item, Noted):
            found.noted += 1
        else:
            found.bad += 1
            if len(found.errors) < ERRORS_KEPT_MAX:
                found.errors.append(item)
        if found.records % _TELL_EVERY == 0:
            progress(found.records)
    source.check_unchanged()
    progress(found.records)
    told = source.directory(found.tally)
    found.directory = Directory((*told.people, *map(_person, names, names.values())), told.rooms)
    return found


def _person(user_id: str, name: str) -> Person:
    return Person(user_id, {"first_name": name}, canonical_json({"import": {"name": name}}).decode())
