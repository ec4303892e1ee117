"""CSV for spreadsheets (RFC 4180, UTF-8 with BOM): a row for each version of a message, and files, conversations and gaps beside it.

A spreadsheet takes a cell that begins with ``=`` and its like for a formula and runs it. Such a cell is given an apostrophe in front, and
so is one that has apostrophes before such a sign already, so that taking one away always gives back what was there: a cell that matches
``'+[=+-@…]`` has one apostrophe too many, every other cell is as it was. Every field is quoted.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from archiver.discovery.export.formats.instants import zoned
from archiver.discovery.export.formats.parts import GapPlaces, PartFiles, stem_of
from archiver.discovery.export.record import Conversation, File, GapNote, Message, Person, Slice, Terms, Version
from archiver.discovery.export.sink import Sink, Written

# The full-width signs are formulas too where a spreadsheet speaks Japanese or Chinese.
_FORMULA: Final = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_SUSPECT: Final = frozenset("'=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
# What a cell of Excel and LibreOffice holds; more is cut when the file is opened, not by us.
_CELL_CHARACTERS_MAX: Final = 32_767

MESSAGE_COLUMNS: Final = (
    *(
        "control_number",
        "chat_id",
        "conversation",
        "conversation_kind",
        "message_uid",
        "version",
        "versions",
        "is_newest",
    ),
    *(
        "sent_at",
        "sent_at_ms",
        "sent_at_basis",
        "observed_at",
        "sender_id",
        "sender_name",
        "sender_email",
        "sender_is_bot",
    ),
    *(
        "send_as_name",
        "on_behalf_of",
        "app_id",
        "visible_to",
        "text",
        "flockml",
        "notification",
        "mentions",
        "reply_to",
    ),
    *(
        "not_returned_since",
        "is_context",
        "redactions",
        "files",
        "source",
        "captured_by",
        "content_digest",
        "raw_digest",
    ),
    *("object_key", "commit"),
)
FILE_COLUMNS: Final = (
    *("control_number", "message_control_number", "chat_id", "message_uid", "ordinal", "name", "kind", "mime", "size"),
    *("sha256", "md5", "path", "status", "reason"),
)
CONVERSATION_COLUMNS: Final = ("chat_id", "kind", "name", "path_name", "participants", "custodians")
GAP_COLUMNS: Final = (
    *("told_in", "day", "gap_id", "kind", "evidence", "count", "from_at", "to_at", "subject", "chat_id"),
)
_Cell = str | int | None


class CsvWriter:
    """Writes ``messages-*.csv``, ``files-*.csv``, ``conversations-*.csv`` and ``gaps-*.csv``."""

    format: ClassVar[str] = "csv"
    by_half: ClassVar[bool] = True

    def __init__(self, terms: Terms, sink: Sink) -> None:
        self._terms = terms
        self._guarded = 0
        self._long = 0
        self._messages = _table(terms, sink, "messages", MESSAGE_COLUMNS)
        self._files = _table(terms, sink, "files", FILE_COLUMNS)
        self._conversations = _table(terms, sink, "conversations", CONVERSATION_COLUMNS)
        self._gaps = _table(terms, sink, "gaps", GAP_COLUMNS)
        self._places = GapPlaces()
        self._current: str | None = None
        self._count = 0
        self._file_count = 0

    def add(self, part: Slice) -> None:
        """Take the next slice."""
        conversation = part.conversation
        if conversation.chat_id != self._current:
            self._write(self._conversations, [_conversation_row(conversation)])
            self._current = conversation.chat_id
        self._write(self._gaps, [self._gap_row(gap, conversation, part) for gap in self._places.new_in(part)])
        self._write(
            self._messages,
            [row for message in part.messages for row in self._message_rows(message, conversation)],
        )
        files = [_file_row(message, file) for message in part.messages for file in message.files]
        self._write(self._files, files)
        self._count += len(part.messages)
        self._file_count += len(files)

    def finish(self, _: Written | None = None, /) -> Written:
        """Write the gaps that belong to no conversation's day, and close."""
        self._write(self._gaps, [self._gap_row(gap, None, None) for gap in self._terms.gaps_at_end])
        tables = (self._messages, self._files, self._conversations, self._gaps)
        for table in tables:
            table.finish()
        replaced = {"cells that a spreadsheet would run, behind an apostrophe": self._guarded} if self._guarded else {}
        return Written(
            path_count=sum(len(table.paths) for table in tables),
            messages=self._count,
            files=self._file_count,
            replaced=replaced,
            counted={
                "{count} cells are whole here, but longer than the "
                f"{_CELL_CHARACTERS_MAX:,} characters that spreadsheets show": self._long
            },
        )

    def close(self) -> None:
        """Let go of open files."""
        for table in (self._messages, self._files, self._conversations, self._gaps):
            table.abandon()

    def _write(self, table: PartFiles, rows: Iterable[Sequence[_Cell]]) -> None:
        block = io.StringIO(newline="")
        csv.writer(block, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerows(
            [self._harmless(cell) for cell in row] for row in rows
        )
        if text := block.getvalue():
            table.write(text.encode())

    def _harmless(self, cell: _Cell) -> _Cell:
        if not isinstance(cell, str):
            return cell
        if len(cell) > _CELL_CHARACTERS_MAX:
            self._long += 1
        if cell[:1] in _SUSPECT and _FORMULA.match(cell):
            self._guarded += 1
            return f"'{cell}"
        return cell

    def _at(self, at_ms: int | None) -> str | None:
        return None if at_ms is None else zoned(at_ms, self._terms.zone)

    def _message_rows(self, message: Message, conversation: Conversation) -> Iterable[tuple[_Cell, ...]]:
        sender, count = message.sender, len(message.versions)
        sent_at = zoned(message.sent_at_ms, self._terms.zone)
        missing_since = self._at(message.not_returned_since_ms)
        behalf = None if message.on_behalf_of is None else _person(message.on_behalf_of)
        for place, version in enumerate(message.versions, 1):
            yield (
                *(message.control_number, message.chat_id, conversation.shown, conversation.kind, message.message_uid),
                *(version.number, count, _truth(place == count)),
                *(sent_at, message.sent_at_ms, message.sent_at_basis, self._at(version.observed_at_ms)),
                *(sender.user_id, sender.name, sender.email, _truth(sender.is_bot)),
                *(message.send_as_name, behalf, message.app_id, _people(message.visible_to)),
                *(version.text, version.flockml, version.notification, "; ".join(version.mentions), message.reply_to),
                *(missing_since, _truth(message.is_context), message.redactions, len(message.files)),
                *_provenance(version),
            )

    def _gap_row(self, gap: GapNote, conversation: Conversation | None, part: Slice | None) -> tuple[_Cell, ...]:
        return (
            None if conversation is None else conversation.chat_id,
            None if part is None else part.day,
            *(
                gap.gap_id,
                gap.kind,
                gap.evidence,
                gap.count,
                self._at(gap.from_at_ms),
                self._at(gap.to_at_ms),
                gap.subject,
                gap.chat_id,
            ),
        )


def _table(terms: Terms, sink: Sink, name: str, columns: Sequence[str]) -> PartFiles:
    heading = ",".join(f'"{column}"' for column in columns)
    return PartFiles(sink, stem_of(terms, f"csv/{name}"), "csv", opening=f"\ufeff{heading}\r\n".encode())


def _provenance(version: Version) -> tuple[_Cell, ...]:
    return (
        *(version.source, version.captured_by, version.content_digest, version.raw_digest),
        *(version.object_key, version.commit),
    )


def _file_row(message: Message, file: File) -> tuple[_Cell, ...]:
    return (
        *(file.control_number, message.control_number, message.chat_id, message.message_uid, file.ordinal, file.name),
        *(file.kind, file.mime, file.size, file.sha256, file.md5, file.path, file.status, file.reason),
    )


def _conversation_row(conversation: Conversation) -> tuple[_Cell, ...]:
    return (
        *(conversation.chat_id, conversation.kind, conversation.name, conversation.path_name),
        *(_people(conversation.participants), _people(conversation.custodians)),
    )


def _people(people: Iterable[Person]) -> str:
    return "; ".join(map(_person, people))


def _person(person: Person) -> str:
    return person.user_id if person.name is None else f"{person.name} ({person.user_id})"


def _truth(value: bool) -> str:  # noqa: FBT001 - the value is all there is to say
    return "yes" if value else "no"
