"""JSON lines: one object a message with all that the export has of it, for programs; ``docs/export-jsonl.schema.json`` describes it.

The object is the message of `archiver.discovery.export.record`, field by field, behind what a line must tell without its neighbours:
the conversation's name and kind, the day and the instant in the export's zone. Conversations with their participants, and gaps, are lines
of files of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Final
from zoneinfo import ZoneInfo

import msgspec

from archiver.discovery.export.formats.instants import zoned, zoned_each
from archiver.discovery.export.formats.jsonl_lines import PlainLines, opening
from archiver.discovery.export.formats.parts import GapPlaces, PartFiles
from archiver.discovery.export.plain import Messages, made_of
from archiver.discovery.export.record import Conversation, GapNote, Message, Slice, Terms
from archiver.discovery.export.sink import Sink, Written

_encoder = msgspec.json.Encoder()
_encode = _encoder.encode
_encode_into = _encoder.encode_into
_COMMA = ord(",")
# Where more messages of a slice are out of the ordinary, making all of them costs less than what their rows would.
ODD_SHARE_MAX: Final = 0.5


class JsonlWriter:
    """Writes ``messages-*.jsonl``, ``conversations-*.jsonl`` and ``gaps-*.jsonl``."""

    format: ClassVar[str] = "jsonl"

    def __init__(self, terms: Terms, sink: Sink) -> None:
        self._terms = terms
        self._messages = PartFiles(sink, "jsonl/messages", "jsonl")
        self._conversations = PartFiles(sink, "jsonl/conversations", "jsonl")
        self._gaps = PartFiles(sink, "jsonl/gaps", "jsonl")
        self._plain: PlainLines | None = None
        self._places = GapPlaces()
        # Slices of the newest block, each with how its lines begin.
        self._waiting: list[tuple[Messages, str]] = []
        self._current: Conversation | None = None
        self._count = 0
        self._files = 0

    def add(self, part: Slice) -> None:
        """Take the next slice."""
        conversation = part.conversation
        if self._current is None or conversation.chat_id != self._current.chat_id:
            self._conversations.write(_line(conversation))
            self._current = conversation
        for gap in self._places.new_in(part):
            self._gaps.write(self._gap_line(gap, {"told_in": conversation.chat_id, "day": part.day}))
        if not part.messages:
            return
        begins = opening(part.conversation, part.day)
        if isinstance(part.messages, Messages):
            if self._plain is None or self._plain.block is not part.messages.block:
                # The lines of a block are made while what comes before it is written and what comes after it is got ready.
                plain = PlainLines(part.messages.block, self._terms.zone, self._terms.executor)
                self._write_waiting()
                self._plain = plain
            self._waiting.append((part.messages, begins))
        else:
            self._write_waiting()
            self._messages.write(_lines_of(part.messages, begins, self._terms.zone))
        self._count += len(part.messages)
        self._files += sum(len(message.files) for message in made_of(part.messages) if message.files)

    def finish(self) -> Written:
        """Write the gaps that belong to no conversation's day, and close."""
        self._write_waiting()
        for gap in self._terms.gaps:
            self._gaps.write(self._gap_line(gap, {"told_in": None, "day": None}))
        tables = (self._messages, self._conversations, self._gaps)
        for table in tables:
            table.finish()
        return Written(sum(len(table.paths) for table in tables), self._count, self._files)

    def close(self) -> None:
        """Let go of open files."""
        for table in (self._messages, self._conversations, self._gaps):
            table.abandon()

    def _write_waiting(self) -> None:
        """Write the slices of the newest block."""
        if self._plain is not None:
            for messages, begins in self._waiting:
                self._messages.write(*self._lines(self._plain, messages, begins))
        self._plain, self._waiting = None, []

    def _lines(self, plain: PlainLines, messages: Messages, begins: str) -> Iterator[bytes | memoryview]:
        """Yield the lines of a slice in order, those of plain messages out of their rows."""
        if len(messages.odd) > len(messages) * ODD_SHARE_MAX:
            yield _lines_of(messages, begins, self._terms.zone)
            return
        place = 0
        for odd, message in messages.odd.items():
            yield from plain.between(messages, place, odd)
            yield _lines_of([message], begins, self._terms.zone)
            place = odd + 1
        yield from plain.between(messages, place, len(messages))

    def _gap_line(self, gap: GapNote, where: dict[str, str | None]) -> bytes:
        zone = self._terms.zone
        times = {
            name: None if at_ms is None else zoned(at_ms, zone)
            for name, at_ms in (("from_at", gap.from_at_ms), ("to_at", gap.to_at_ms))
        }
        return _encode({**where, **times})[:-1] + b"," + _line(gap)[1:]


def _lines_of(messages: Sequence[Message], begins: str, zone: ZoneInfo) -> bytes:
    # Each line begins with the end of the one before it: the fewer pieces, the quicker.
    begins = f"\n{begins}"
    instants = zoned_each([message.sent_at_ms for message in messages], zone)
    lines = bytearray()
    for message, instant in zip(messages, instants, strict=True):
        lines += f'{begins}{instant}"'.encode()
        # The object of a message is never empty, so its brace becomes the comma after what stands before it.
        place = len(lines)
        _encode_into(message, lines, place)
        lines[place] = _COMMA
    lines += b"\n"
    return bytes(memoryview(lines)[1:])


def _line(fact: Any) -> bytes:
    return _encode(fact) + b"\n"
