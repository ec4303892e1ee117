"""What an export comes to, counted as it is made: the numbers of the report, which must add up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Final

from archiver.discovery.export.assembly import WITHHELD
from archiver.discovery.export.plain import Plain, bounds_ms, made_of, plain_of
from archiver.discovery.export.record import Conversation, Slice


@dataclass(slots=True)
class Counted:
    """Messages and what belongs to them; of all, or of one conversation. ``context`` of ``messages`` were not asked for."""

    captures: int = 0
    messages: int = 0
    context: int = 0
    versions: int = 0
    edited: int = 0
    not_returned: int = 0
    files: int = 0
    files_stored: int = 0
    files_withheld: int = 0
    files_missing: int = 0
    redactions: int = 0
    first_sent_at_ms: int | None = None
    last_sent_at_ms: int | None = None

    def add(self, part: Slice, plain: Plain) -> None:
        """Count a slice in, of which ``plain`` are those messages that are not made."""
        self.captures += part.captures
        self.messages += len(part.messages)
        self.context += plain.context
        self.versions += plain.messages
        self.edited += plain.edited
        for message in made_of(part.messages):
            self.context += message.is_context
            self.versions += len(message.versions)
            self.edited += message.versions[-1].number > 1
            self.not_returned += message.not_returned_since_ms is not None
            self.redactions += message.redactions
            for file in message.files:
                self.files += 1
                self.files_stored += file.path is not None
                self.files_withheld += file.status == WITHHELD
                self.files_missing += file.path is None and file.status != WITHHELD
        if part.messages:
            self._widen(*bounds_ms(part.messages))

    def join(self, other: Counted) -> None:
        """Add what was counted elsewhere."""
        for name in _NUMBERS:
            if number := getattr(other, name):
                setattr(self, name, getattr(self, name) + number)
        if other.first_sent_at_ms is not None and other.last_sent_at_ms is not None:
            self._widen(other.first_sent_at_ms, other.last_sent_at_ms)

    def _widen(self, first_ms: int, last_ms: int) -> None:
        first, last = self.first_sent_at_ms, self.last_sent_at_ms
        self.first_sent_at_ms = first_ms if first is None else min(first, first_ms)
        self.last_sent_at_ms = last_ms if last is None else max(last, last_ms)


_NUMBERS: Final = tuple(each.name for each in fields(Counted) if not each.name.endswith("_ms"))


@dataclass(slots=True)
class Tally:
    """The counts of one bag: in all, by conversation, and of whatever else its report tells."""

    conversations: dict[str, tuple[Conversation, Counted]] = field(default_factory=dict)
    by_kind: Counter[str] = field(default_factory=Counter)
    missing_by_reason: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    slices: int = 0

    @property
    def total(self) -> Counted:
        """What all conversations come to together."""
        found = Counted()
        for _, counted in self.conversations.values():
            found.join(counted)
        return found

    def joined(self, other: Tally) -> Tally:
        """Return the counts of this and of other conversations together."""
        return Tally(
            {**self.conversations, **other.conversations},
            self.by_kind + other.by_kind,
            self.missing_by_reason + other.missing_by_reason,
            self.left_out + other.left_out,
            self.slices + other.slices,
        )

    def add(self, part: Slice) -> None:
        """Count a slice in."""
        self.slices += 1
        _, counted = self.conversations.setdefault(part.conversation.chat_id, (part.conversation, Counted()))
        missing, plain = counted.files_missing, plain_of(part.messages)
        counted.add(part, plain)
        if part.left_out:
            self.left_out.update(part.left_out)
        messages = made_of(part.messages)
        by_app = plain.by_app + sum(message.sender.is_bot or message.app_id is not None for message in messages)
        for by, count in (("an app", by_app), ("a person", len(part.messages) - by_app)):
            if count:
                self.by_kind[f"{part.conversation.kind}, by {by}"] += count
        if counted.files_missing == missing:
            return
        for message in messages:
            for file in message.files:
                if file.path is None and file.status != WITHHELD:
                    self.missing_by_reason[file.reason or file.status] += 1
