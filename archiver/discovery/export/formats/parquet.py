"""Parquet: the facts of an export in typed columns, for DuckDB, pandas and their like.

The file tells nothing of when or where it was written: rows come in the order of the export, row groups are cut by rows alone, and the
only mark is the name and version of the library, which its lock file pins.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import pyarrow as pa
import pyarrow.parquet as pq

from archiver.discovery.export.formats.parts import GapPlaces, Held, stem_of
from archiver.discovery.export.record import Conversation, GapNote, Message, Person, Slice, Terms, Version
from archiver.discovery.export.sink import Sink, Written

ROW_GROUP_ROWS: Final = 16_384
# Long texts end a row group before its rows do, so that memory stays bounded whatever was written.
ROW_GROUP_CHARACTERS_MAX: Final = 32 * 1024 * 1024
FILE_ROWS_MAX: Final = 1_048_576
_ZSTD_LEVEL: Final = 3

_AT: Final = pa.timestamp("ms", tz="UTC")
_TEXTS: Final = pa.list_(pa.string())
_PERSON: Final = pa.struct(
    [("user_id", pa.string()), ("name", pa.string()), ("email", pa.string()), ("is_bot", pa.bool_())]
)
_PEOPLE: Final = pa.list_(_PERSON)

MESSAGES: Final = pa.schema(
    [
        ("control_number", pa.string()),
        ("chat_id", pa.string()),
        ("conversation", pa.string()),
        ("conversation_kind", pa.string()),
        ("message_uid", pa.string()),
        ("version", pa.int32()),
        ("versions", pa.int32()),
        ("is_newest", pa.bool_()),
        ("day", pa.string()),
        ("sent_at", _AT),
        ("sent_at_basis", pa.string()),
        ("observed_at", _AT),
        ("sender", _PERSON),
        ("send_as_name", pa.string()),
        ("on_behalf_of", _PERSON),
        ("app_id", pa.string()),
        ("visible_to", _PEOPLE),
        ("text", pa.string()),
        ("flockml", pa.string()),
        ("notification", pa.string()),
        ("attachments", pa.string()),
        ("mentions", _TEXTS),
        ("reply_to", pa.string()),
        ("not_returned_since", _AT),
        ("is_context", pa.bool_()),
        ("redactions", pa.int32()),
        ("files", pa.int32()),
        ("source", pa.string()),
        ("captured_by", pa.string()),
        ("content_digest", pa.string()),
        ("raw", pa.string()),
        ("raw_digest", pa.string()),
        ("object_key", pa.string()),
        ("commit", pa.int64()),
    ]
)
FILES: Final = pa.schema(
    [
        *((name, pa.string()) for name in ("control_number", "message_control_number", "chat_id", "message_uid")),
        ("ordinal", pa.int32()),
        *((name, pa.string()) for name in ("name", "kind", "mime")),
        ("size", pa.int64()),
        *((name, pa.string()) for name in ("sha256", "md5", "path", "status", "reason")),
    ]
)
CONVERSATIONS: Final = pa.schema(
    [
        *((name, pa.string()) for name in ("chat_id", "kind", "name", "path_name")),
        ("participants", _PEOPLE),
        ("custodians", _PEOPLE),
    ]
)
GAPS: Final = pa.schema(
    [
        *((name, pa.string()) for name in ("told_in", "day", "gap_id", "kind", "evidence")),
        ("count", pa.int64()),
        ("from_at", _AT),
        ("to_at", _AT),
        ("subject", pa.string()),
        ("chat_id", pa.string()),
    ]
)


class ParquetWriter:
    """Writes ``messages-*.parquet`` (a row for each version), ``files-*``, ``conversations-*`` and ``gaps-*``."""

    format: ClassVar[str] = "parquet"
    by_half: ClassVar[bool] = True

    def __init__(self, terms: Terms, sink: Sink) -> None:
        self._terms = terms
        self._messages = _Table(sink, stem_of(terms, "parquet/messages"), MESSAGES)
        self._files = _Table(sink, stem_of(terms, "parquet/files"), FILES)
        self._conversations = _Table(sink, stem_of(terms, "parquet/conversations"), CONVERSATIONS)
        self._gaps = _Table(sink, stem_of(terms, "parquet/gaps"), GAPS)
        self._places = GapPlaces()
        self._current: str | None = None
        self._count = 0
        self._file_count = 0

    def add(self, part: Slice) -> None:
        """Take the next slice."""
        conversation = part.conversation
        if conversation.chat_id != self._current:
            self._conversations.add([_conversation_row(conversation)])
            self._current = conversation.chat_id
        self._gaps.add([_gap_row(gap, conversation.chat_id, part.day) for gap in self._places.new_in(part)])
        self._messages.add([_row(message, version, part) for message in part.messages for version in message.versions])
        files = [
            (
                *(file.control_number, message.control_number, message.chat_id, message.message_uid, file.ordinal),
                *(
                    file.name,
                    file.kind,
                    file.mime,
                    file.size,
                    file.sha256,
                    file.md5,
                    file.path,
                    file.status,
                    file.reason,
                ),
            )
            for message in part.messages
            for file in message.files
        ]
        self._files.add(files)
        self._count += len(part.messages)
        self._file_count += len(files)

    def finish(self, _: Written | None = None, /) -> Written:
        """Write the gaps that belong to no conversation's day, and close."""
        self._gaps.add([_gap_row(gap, None, None) for gap in self._terms.gaps_at_end])
        tables = (self._messages, self._files, self._conversations, self._gaps)
        for table in tables:
            table.finish()
        return Written(sum(len(table.paths) for table in tables), self._count, self._file_count)

    def close(self) -> None:
        """Let go of open files."""
        for table in (self._messages, self._files, self._conversations, self._gaps):
            table.abandon()


class _Table:
    """Rows of one schema, gathered to row groups and cut into files by rows."""

    def __init__(self, sink: Sink, stem: str, schema: pa.Schema) -> None:
        self.paths: list[str] = []
        self._sink = sink
        self._stem = stem
        self._schema = schema
        self._waiting: list[tuple[Any, ...]] = []
        self._characters = 0
        self._rows = 0
        self._held: Held | None = None
        self._writer: pq.ParquetWriter | None = None

    def add(self, rows: list[tuple[Any, ...]]) -> None:
        """Take rows, whose values stand in the order of the schema."""
        for row in rows:
            self._waiting.append(row)
            self._characters += sum(len(value) for value in row if type(value) is str)
            if len(self._waiting) >= ROW_GROUP_ROWS or self._characters >= ROW_GROUP_CHARACTERS_MAX:
                self._flush()

    def finish(self) -> None:
        """Write what waits and end the file; with no rows, a file that has only its columns."""
        if self._waiting or not self.paths:
            self._flush()
        self._end()

    def abandon(self) -> None:
        """Leave the open file as one that does not count."""
        if self._held is not None:
            self._held.abandon()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _flush(self) -> None:
        rows, self._waiting, self._characters = self._waiting, [], 0
        if self._writer is not None and self._rows + len(rows) > FILE_ROWS_MAX:
            self._end()
        if self._writer is None:
            path = f"{self._stem}-{len(self.paths) + 1:05d}.parquet"
            self._held = Held(self._sink, path)
            self.paths.append(path)
            self._rows = 0
            self._writer = pq.ParquetWriter(
                pa.PythonFile(self._held, mode="w"),
                self._schema,
                compression="zstd",
                compression_level=_ZSTD_LEVEL,
                version="2.6",
                write_statistics=True,
                store_schema=True,
            )
        self._rows += len(rows)
        columns = zip(*rows, strict=True) if rows else [()] * len(self._schema)
        arrays = [pa.array(values, type=field.type) for values, field in zip(columns, self._schema, strict=True)]
        self._writer.write_table(pa.table(arrays, schema=self._schema), row_group_size=ROW_GROUP_ROWS)

    def _end(self) -> None:
        if self._writer is not None and self._held is not None:
            self._writer.close()
            self._held.close()
            self._writer = None


def _row(message: Message, version: Version, part: Slice) -> tuple[Any, ...]:
    return (
        *(
            message.control_number,
            message.chat_id,
            part.conversation.shown,
            part.conversation.kind,
            message.message_uid,
        ),
        *(version.number, len(message.versions), version is message.versions[-1], part.day, message.sent_at_ms),
        *(message.sent_at_basis, version.observed_at_ms, _person(message.sender), message.send_as_name),
        *(message.on_behalf_of and _person(message.on_behalf_of), message.app_id, _people(message.visible_to)),
        *(version.text, version.flockml, version.notification, version.attachments, version.mentions),
        *(message.reply_to, message.not_returned_since_ms, message.is_context, message.redactions, len(message.files)),
        *(version.source, version.captured_by, version.content_digest, version.raw, version.raw_digest),
        *(version.object_key, version.commit),
    )


def _conversation_row(conversation: Conversation) -> tuple[Any, ...]:
    return (
        *(conversation.chat_id, conversation.kind, conversation.name, conversation.path_name),
        *(_people(conversation.participants), _people(conversation.custodians)),
    )


def _gap_row(gap: GapNote, chat_id: str | None, day: str | None) -> tuple[Any, ...]:
    return (
        *(chat_id, day, gap.gap_id, gap.kind, gap.evidence, gap.count, gap.from_at_ms, gap.to_at_ms),
        *(gap.subject, gap.chat_id),
    )


def _person(person: Person) -> dict[str, Any]:
    return {"user_id": person.user_id, "name": person.name, "email": person.email, "is_bot": person.is_bot}


def _people(people: tuple[Person, ...]) -> list[dict[str, Any]]:
    return [_person(person) for person in people]
