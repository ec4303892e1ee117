"""Reads Parquet back: the columns and their types, every page that has a checksum by it, and what it adds up to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from archiver.discovery.checks.findings import Finding, PackageFacts
from archiver.discovery.checks.remembered import Remembered
from archiver.discovery.checks.table_rows import MessageRow, MessageRows
from archiver.discovery.checks.tally import Tally, files_in, zone_of

BATCH_ROWS: Final = 1024
# No more than that may a file say that it becomes when it is read, for each byte that it has.
GROWTH_MAX: Final = 2_000
_PERSON: Final = "struct<user_id: string, name: string, email: string, is_bot: bool>"
_AT: Final = "timestamp[ms, tz=UTC]"
_COLUMNS: Final[dict[str, dict[str, str]]] = {
    "messages": {
        **dict.fromkeys(("control_number", "chat_id", "conversation", "conversation_kind", "message_uid"), "string"),
        **dict.fromkeys(("version", "versions"), "int32"),
        "is_newest": "bool",
        "day": "string",
        "sent_at": _AT,
        "sent_at_basis": "string",
        "observed_at": _AT,
        "sender": _PERSON,
        "send_as_name": "string",
        "on_behalf_of": _PERSON,
        "app_id": "string",
        "visible_to": f"list<element: {_PERSON}>",
        **dict.fromkeys(("text", "flockml", "notification", "attachments"), "string"),
        "mentions": "list<element: string>",
        "reply_to": "string",
        "not_returned_since": _AT,
        "is_context": "bool",
        **dict.fromkeys(("redactions", "files"), "int32"),
        **dict.fromkeys(("source", "captured_by", "content_digest", "raw", "raw_digest", "object_key"), "string"),
        "commit": "int64",
    },
    "files": {
        **dict.fromkeys(("control_number", "message_control_number", "chat_id", "message_uid"), "string"),
        "ordinal": "int32",
        **dict.fromkeys(("name", "kind", "mime"), "string"),
        "size": "int64",
        **dict.fromkeys(("sha256", "md5", "path", "status", "reason"), "string"),
    },
    "conversations": {
        **dict.fromkeys(("chat_id", "kind", "name", "path_name"), "string"),
        **dict.fromkeys(("participants", "custodians"), f"list<element: {_PERSON}>"),
    },
    "gaps": {
        **dict.fromkeys(("told_in", "day", "gap_id", "kind", "evidence"), "string"),
        "count": "int64",
        "from_at": _AT,
        "to_at": _AT,
        "subject": "string",
        "chat_id": "string",
    },
}


def check(folder: Path, facts: PackageFacts) -> Iterator[Finding]:
    """Yield whatever is wrong with the Parquet of a package."""
    with Remembered() as remembered:
        yield from _check(folder, facts, remembered)


def _check(folder: Path, facts: PackageFacts, remembered: Remembered) -> Iterator[Finding]:
    paths, findings = files_in(folder, "parquet", facts)
    yield from findings
    tally = Tally("parquet", facts)
    rows = MessageRows(tally, remembered)
    listed: set[str] = set()
    for path in sorted(paths, key=lambda one: (not one.startswith("data/parquet/messages-"), one)):
        table = path.rpartition("/")[2].partition("-")[0]
        if table not in _COLUMNS or not path.endswith(".parquet"):
            yield Finding(path, None, "stray", "this is no file of this format")
            continue
        for number, row in enumerate(_rows(folder / path, _COLUMNS[table]), 1):
            place = f"row {number}"
            if isinstance(row, Finding):
                yield Finding(path, row.place, row.code, row.what)
            elif table == "messages":
                yield from _message(row, path, place, facts, rows)
            elif table == "files":
                rows.file(str(row["message_control_number"]))
                native = None if row["path"] is None else f"data/{row['path']}"
                yield from tally.file(path, place, native=native, sha256=row["sha256"])
            elif table == "conversations":
                if row["chat_id"] in listed:
                    yield Finding(path, place, "duplicate", f"conversation {row['chat_id']!r} is listed twice")
                listed.add(str(row["chat_id"]))
        if table == "messages":
            yield from rows.end()
    yield from (
        Finding("data/parquet", None, "reference", f"conversation {chat_id!r} is not listed")
        for chat_id in sorted(facts.conversations.keys() - listed)
    )
    yield from tally.differences("data/parquet")
    yield from rows.differences("data/parquet")


def _rows(path: Path, columns: dict[str, str]) -> Iterator[dict[str, Any] | Finding]:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            found = {field.name: str(field.type) for field in file.schema_arrow}
            if found != columns or list(found) != list(columns):
                wrong = sorted(dict(found.items() ^ columns.items()))
                yield Finding(
                    "",
                    None,
                    "columns",
                    f"columns are missing, strange or of another type: {', '.join(wrong) or 'their order'}",
                )
                return
            grown = sum(file.metadata.row_group(at).total_byte_size for at in range(file.metadata.num_row_groups))
            if grown > GROWTH_MAX * max(path.stat().st_size, 1):
                yield Finding("", None, "bomb", f"{path.stat().st_size} bytes that would become {grown}")
                return
            for batch in file.iter_batches(BATCH_ROWS):
                times = [at for at, field in enumerate(batch.schema) if pa.types.is_timestamp(field.type)]
                arrays = [column.cast(pa.int64()) if at in times else column for at, column in enumerate(batch.columns)]
                yield from pa.RecordBatch.from_arrays(arrays, names=batch.schema.names).to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        yield Finding("", None, "parse", f"it cannot be read: {error}")


def _message(row: dict[str, Any], path: str, place: str, facts: PackageFacts, rows: MessageRows) -> Iterator[Finding]:
    required = (
        "chat_id",
        "message_uid",
        "control_number",
        "version",
        "versions",
        "is_newest",
        "sent_at",
        "files",
        "sender",
        "text",
    )
    if lacking := [name for name in required if row[name] is None]:
        yield Finding(path, place, "field", f"nothing in {', '.join(lacking)}")
        return
    day = _day(row["sent_at"], facts)
    if row["day"] != day:
        yield Finding(path, place, "time", f"day is {row['day']!r}; it was sent on {day} in {facts.zone}")
    if row["raw"] is not None and sha256(row["raw"].encode()).hexdigest() != row["raw_digest"]:
        yield Finding(path, place, "digest", "the SHA-256 of raw is not raw_digest")
    names = ("chat_id", "message_uid", "control_number", "version", "versions", "is_newest", "files")
    message = MessageRow(**{name: row[name] for name in names}, sent_at_ms=row["sent_at"])
    yield from rows.add(path, place, message)


def _day(at_ms: int, facts: PackageFacts) -> str:
    try:
        instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)
        return instant.astimezone(zone_of(facts)).date().isoformat()
    except OverflowError:
        return "no day"
