"""Slices in portions that a viewer opens: of so many events at most, and of files that come to so many bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

from archiver.clock import to_ms
from archiver.discovery.export.formats.plain_transcript import (
    conversation_title,
    gap_text,
    is_embedded,
    message_lines,
    one_line,
    part_of_day,
)
from archiver.discovery.export.record import File, Message, Person, Slice, Terms

PIECE_BYTES_MAX = 180_000_000
"""Of files in one mail or RSMF: base64 makes 246 MB of it, and viewers stop near 250 MB (formats.md)."""
ARCHIVE = Person("archive", "Flock archive")
"""Who sends a file that has gaps to tell of and no message."""

_MESSAGE_BYTES = 1_000
"""What a message takes beside its texts, roughly: names, digests, times."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Messages of a slice that go into one file, the ``number``-th of ``of``, from 1."""

    messages: tuple[Message, ...]
    number: int
    of: int

    @property
    def files(self) -> Iterator[File]:
        """All files of the messages, in order."""
        return (file for message in self.messages for file in message.files)


@dataclass(frozen=True)
class Portion:
    """What goes into one file: a piece of a slice, with what is the same for all its messages."""

    terms: Terms
    part: Slice
    piece: Piece

    @cached_property
    def custodian(self) -> Person | None:
        """The custodian of the conversation, the first in order of ids where there are several."""
        return min(self.part.conversation.custodians, key=lambda person: person.user_id, default=None)

    @property
    def begins_ms(self) -> int:
        """The first instant of the day, in the export's zone."""
        return day_span_ms(self.part.day, self.terms.zone)[0]

    @property
    def label(self) -> str:
        """Which part of its day this is, or nothing."""
        return part_of_day(self.part.part, self.part.parts, piece=self.piece.number, pieces=self.piece.of)

    @property
    def stem(self) -> str:
        """The name of the file without its ending: the day, and which part of it."""
        stem = self.part.day
        if self.part.parts > 1:
            stem += f"_part-{self.part.part:04}-of-{self.part.parts:04}"
        if self.piece.of > 1:
            stem += f"_{'part' if self.part.parts == 1 else 'piece'}-{self.piece.number:04}-of-{self.piece.of:04}"
        return stem


def day_span_ms(day: str, zone: ZoneInfo) -> tuple[int, int]:
    """Return the first and the last millisecond of a day in a zone."""
    begins = datetime.fromisoformat(day).replace(tzinfo=zone)
    try:
        ends = (begins.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=zone)
        return to_ms(begins), to_ms(ends) - 1
    except OverflowError:  # the last day of the calendar
        return to_ms(begins), to_ms(begins) + 1


def pieces_of(part: Slice, *, messages_max: int, bytes_max: int = PIECE_BYTES_MAX) -> tuple[Piece, ...]:
    """Split a slice; a message stays whole, also where it alone passes the limit. A slice without messages is one empty piece."""
    groups: list[list[Message]] = [[]]
    weight = 0
    for message in part.messages:
        adds = weight_of(message)
        if groups[-1] and (len(groups[-1]) >= messages_max or weight + adds > bytes_max):
            groups.append([])
            weight = 0
        groups[-1].append(message)
        weight += adds
    return tuple(Piece(tuple(group), number, len(groups)) for number, group in enumerate(groups, 1))


def weight_of(message: Message) -> int:
    """Return about how many bytes a message and its embedded files take."""
    texts = sum([len(v.text) + len(v.flockml or "") + len(v.attachments or "") for v in message.versions])
    files = sum([file.size or 0 for file in message.files if is_embedded(file)]) if message.files else 0
    return _MESSAGE_BYTES + 4 * texts + files


def transcript(portion: Portion) -> Iterator[bytes]:
    """Yield a portion as plain text in UTF-8 with CRLF, a message at a time."""
    terms, part = portion.terms, portion.part
    label = f", {portion.label}" if portion.label else ""
    yield _joined(
        f"{conversation_title(part.conversation)}, {part.day} ({terms.zone.key}){label}",
        f"Matter {one_line(terms.matter)}, archive {terms.archive_id}, commit {terms.head_sequence} {terms.head_digest}",
        *(gap_text(gap, terms.zone) for gap in part.gaps),
    )
    for message in portion.piece.messages:
        yield _joined("", *message_lines(message, terms.zone))


def _joined(*lines: str) -> bytes:
    return "\r\n".join((*lines, "")).encode()
