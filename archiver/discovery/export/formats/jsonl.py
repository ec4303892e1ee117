"""JSON lines: one object a message with all that the export has of it, for programs; ``docs/export-jsonl.schema.json`` describes it.

The object is the message of `archiver.discovery.export.record`, field by field, behind what a line must tell without its neighbours:
the conversation's name and kind, the day and the instant in the export's zone. Conversations with their participants, and gaps, are lines
of files of their own.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Final
from zoneinfo import ZoneInfo

import msgspec
import pyarrow as pa

from archiver.discovery.export.formats.instants import zoned, zoned_each
from archiver.discovery.export.formats.jsonl_lines import Others, PlainLines, opening
from archiver.discovery.export.formats.parts import PART_BYTES_MAX, GapPlaces, PartFiles, stem_of
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
    """Writes ``messages-*.jsonl``, ``conversations-*.jsonl`` and ``gaps-*.jsonl``, cut after the slice that reaches ``part_bytes_max``."""

    format: ClassVar[str] = "jsonl"
    by_half: ClassVar[bool] = True

    def __init__(self, terms: Terms, sink: Sink, *, part_bytes_max: int = PART_BYTES_MAX) -> None:
        self._terms = terms
        self._messages = PartFiles(sink, stem_of(terms, "jsonl/messages"), "jsonl", bytes_max=part_bytes_max)
        self._conversations = PartFiles(sink, stem_of(terms, "jsonl/conversations"), "jsonl")
        self._gaps = PartFiles(sink, stem_of(terms, "jsonl/gaps"), "jsonl")
        self._plain: PlainLines | None = None
        self._places = GapPlaces()
        # Slices of the newest block, with their messages.
        self._waiting: list[tuple[Messages, Slice]] = []
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
        if isinstance(part.messages, Messages):
            if self._waiting and self._waiting[0][0].block is not part.messages.block:
                plain = self._plain_lines(part.messages)
                self._write_waiting()
                self._plain = plain
            elif self._plain is None:
                self._plain = self._plain_lines(part.messages)
            self._waiting.append((part.messages, part))
        else:
            self._write_waiting()
            self._messages.write(_lines_of(part, self._terms.zone))
        self._count += len(part.messages)
        self._files += sum(len(message.files) for message in made_of(part.messages) if message.files)

    def finish(self, _: Written | None = None, /) -> Written:
        """Write the gaps that belong to no conversation's day, and close."""
        self._write_waiting()
        for gap in self._terms.gaps_at_end:
            self._gaps.write(self._gap_line(gap, {"told_in": None, "day": None}))
        tables = (self._messages, self._conversations, self._gaps)
        for table in tables:
            table.finish()
        return Written(sum(len(table.paths) for table in tables), self._count, self._files)

    def close(self) -> None:
        """Let go of open files."""
        for table in (self._messages, self._conversations, self._gaps):
            table.abandon()

    def _plain_lines(self, messages: Messages) -> PlainLines | None:
        """Begin to make the lines of a block, while what comes before it is written and what comes after it is got ready.

        None is: of these messages, some of it, so many are out of the ordinary that all of them are better made.
        """
        if len(messages.odd) > len(messages) * ODD_SHARE_MAX:
            return None
        return PlainLines(messages.block, self._terms.zone, self._terms.executor)

    def _write_waiting(self) -> None:
        """Write the slices of the newest block."""
        plain, waiting = self._plain, self._waiting
        self._plain, self._waiting = None, []
        if plain is None:
            for _, part in waiting:
                self._messages.write(_lines_of(part, self._terms.zone))
            return
        starts = plain.block.starts
        first_rows = [starts[messages.first] for messages, _ in waiting]
        row = first_rows[0]
        for mixed in plain.between(waiting[0][0].first, waiting[-1][0].end, self._odd_lines(starts, waiting)):
            end_row = row + len(mixed.lines)
            begun = first_rows[bisect_left(first_rows, row) : bisect_left(first_rows, end_row)]
            self._messages.write_on(mixed.pieces(), partial(mixed.begins, begun))
            row = end_row

    def _odd_lines(self, starts: Sequence[int], waiting: Sequence[tuple[Messages, Slice]]) -> Others:
        """Return the lines of what is out of the ordinary; of several rows of a message the first has its line, the others none."""
        odd = [
            (messages.first + place, message, begins)
            for messages, part in waiting
            if messages.odd
            for begins in [opening(part.conversation, part.day)]
            for place, message in messages.odd.items()
        ]
        instants = zoned_each([message.sent_at_ms for _, message, _ in odd], self._terms.zone)
        rows: list[int] = []
        lines, ends = bytearray(), array("i", [0])
        for (place, message, begins), instant in zip(odd, instants, strict=True):
            _append_line(lines, message, begins, instant)
            of_message = range(starts[place], starts[place + 1])
            rows.extend(of_message)
            ends.extend([len(lines)] * len(of_message))
        texts = pa.StringArray.from_buffers(len(rows), pa.py_buffer(ends), pa.py_buffer(lines))
        return Others(rows, texts)

    def _gap_line(self, gap: GapNote, where: dict[str, str | None]) -> bytes:
        zone = self._terms.zone
        times = {
            name: None if at_ms is None else zoned(at_ms, zone)
            for name, at_ms in (("from_at", gap.from_at_ms), ("to_at", gap.to_at_ms))
        }
        return _encode({**where, **times})[:-1] + b"," + _line(gap)[1:]


def _lines_of(part: Slice, zone: ZoneInfo) -> bytearray:
    lines = bytearray()
    begins = opening(part.conversation, part.day)
    instants = zoned_each([message.sent_at_ms for message in part.messages], zone)
    for message, instant in zip(part.messages, instants, strict=True):
        _append_line(lines, message, begins, instant)
    return lines


def _append_line(lines: bytearray, message: Message, begins: str, instant: str) -> None:
    lines += f'{begins}{instant}"'.encode()
    # The object of a message is never empty, so its brace becomes the comma after what stands before it.
    place = len(lines)
    _encode_into(message, lines, place)
    lines[place] = _COMMA
    lines += b"\n"


def _line(fact: Any) -> bytes:
    return _encode(fact) + b"\n"
