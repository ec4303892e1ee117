"""Reads CSV back with the standard library: encoding, columns, cells that a spreadsheet would run, and what it adds up to."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from archiver.discovery.checks.findings import Finding, PackageFacts
from archiver.discovery.checks.remembered import Remembered
from archiver.discovery.checks.table_rows import MessageRow, MessageRows
from archiver.discovery.checks.tally import Tally, files_in

FIELD_CHARACTERS_MAX: Final = 256 * 1024 * 1024
_RUNS: Final = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_GUARDED: Final = re.compile("'+[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_ANSWERS: Final = {"yes": True, "no": False}
_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "messages": (
        *("control_number", "chat_id", "conversation", "conversation_kind", "message_uid", "version", "versions"),
        *("is_newest", "sent_at", "sent_at_ms", "sent_at_basis", "observed_at", "sender_id", "sender_name"),
        *("sender_email", "sender_is_bot", "send_as_name", "on_behalf_of", "app_id", "visible_to", "text", "flockml"),
        *("notification", "mentions", "reply_to", "not_returned_since", "is_context", "redactions", "files", "source"),
        *("captured_by", "content_digest", "raw_digest", "object_key", "commit"),
    ),
    "files": (
        *("control_number", "message_control_number", "chat_id", "message_uid", "ordinal", "name", "kind", "mime"),
        *("size", "sha256", "md5", "path", "status", "reason"),
    ),
    "conversations": ("chat_id", "kind", "name", "path_name", "participants", "custodians"),
    "gaps": ("told_in", "day", "gap_id", "kind", "evidence", "count", "from_at", "to_at", "subject", "chat_id"),
}


def check(folder: Path, facts: PackageFacts) -> Iterator[Finding]:
    """Yield whatever is wrong with the CSV of a package."""
    with Remembered() as remembered:
        yield from _check(folder, facts, remembered)


def _check(folder: Path, facts: PackageFacts, remembered: Remembered) -> Iterator[Finding]:
    paths, findings = files_in(folder, "csv", facts)
    yield from findings
    tally = Tally("csv", facts)
    rows = MessageRows(tally, remembered)
    listed: set[str] = set()
    # Messages before files, whatever the names of the files are, so that a file finds its message.
    for path in sorted(paths, key=lambda one: (not one.startswith("data/csv/messages-"), one)):
        table = path.rpartition("/")[2].partition("-")[0]
        if table not in _COLUMNS or not path.endswith(".csv"):
            yield Finding(path, None, "stray", "this is no file of this format")
            continue
        for place, row in _rows(folder / path, _COLUMNS[table]):
            if isinstance(row, Finding):
                yield Finding(path, row.place, row.code, row.what)
            elif table == "messages":
                yield from _message(row, path, place, tally, rows)
            elif table == "files":
                rows.file(row["message_control_number"])
                native = f"data/{row['path']}" if row["path"] else None
                yield from tally.file(path, place, native=native, sha256=row["sha256"])
            elif table == "conversations":
                if row["chat_id"] in listed:
                    yield Finding(path, place, "duplicate", f"conversation {row['chat_id']!r} is listed twice")
                listed.add(row["chat_id"])
        if table == "messages":
            yield from rows.end()
    yield from (
        Finding("data/csv", None, "reference", f"conversation {chat_id!r} is not listed")
        for chat_id in sorted(facts.conversations.keys() - listed)
    )
    yield from tally.differences("data/csv")
    yield from rows.differences("data/csv")


def unguarded(cell: str) -> str:
    """Return what a cell was before it was made harmless for spreadsheets."""
    return cell[1:] if _GUARDED.match(cell) else cell


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str] | Finding]]:
    """Yield the rows by column, cells as they were, and what is wrong with the file."""
    before = csv.field_size_limit(FIELD_CHARACTERS_MAX)
    try:
        with path.open("rb") as raw:
            if raw.read(3) != b"\xef\xbb\xbf":
                yield "", Finding("", None, "encoding", "it does not begin with the mark of UTF-8")
                raw.seek(0)
            yield from _read(io.TextIOWrapper(raw, "utf-8", newline=""), columns)
    except UnicodeDecodeError as error:
        yield "", Finding("", None, "encoding", f"this is no UTF-8: {error.reason}")
    except csv.Error as error:
        yield "", Finding("", None, "parse", f"this is no CSV: {error}")
    finally:
        csv.field_size_limit(before)


def _read(stream: io.TextIOWrapper, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str] | Finding]]:
    reader = csv.reader(stream, strict=True)
    heading = next(reader, [])
    if tuple(heading) != columns:
        yield "", Finding("", "row 1", "columns", f"the columns are {', '.join(heading)[:500]}")
        return
    for number, cells in enumerate(reader, 2):
        place = f"row {number}"
        if len(cells) != len(columns):
            yield place, Finding("", place, "columns", f"{len(cells)} cells in {len(columns)} columns")
            continue
        for name, cell in zip(columns, cells, strict=True):
            if _RUNS.match(cell):
                yield place, Finding("", place, "formula", f"a spreadsheet would run {name}: {cell[:80]!r}")
        yield place, dict(zip(columns, map(unguarded, cells), strict=True))


def _message(row: dict[str, str], path: str, place: str, tally: Tally, rows: MessageRows) -> Iterator[Finding]:
    try:
        message = MessageRow(
            chat_id=row["chat_id"],
            message_uid=row["message_uid"],
            control_number=row["control_number"],
            version=int(row["version"]),
            versions=int(row["versions"]),
            is_newest=_ANSWERS[row["is_newest"]],
            sent_at_ms=int(row["sent_at_ms"]),
            files=int(row["files"]),
        )
    except (ValueError, KeyError) as error:
        yield Finding(path, place, "field", f"a cell is of another type: {error}")
        return
    yield from tally.time(path, place, text=row["sent_at"], at_ms=message.sent_at_ms)
    yield from tally.time(path, place, text=row["observed_at"], at_ms=None)
    yield from rows.add(path, place, message)
