"""Which archived messages a replay is of, and what the archive knows of earlier replays.

Of each message the last version is replayed. What is left out is counted by why: what was itself replayed, what only some people could
see, what came without a uid and again with one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.reader import Archive, Head, files_of, latest_states, read_columns
from archiver.archive.schema import TABLES
from archiver.archive.tables import rows_of
from archiver.discovery.replay_message import AttachedFile, Source, marks_in
from archiver.discovery.restore_selection import Wanted, parts_of, wanted_rows
from archiver.errors import UsageError
from archiver.expression import Expression, Facts, matching_rows
from archiver.normalise.message import PROVISIONAL_PREFIX
from archiver.scope.membership import Membership

_MESSAGE: Final = (
    "chat_id",
    "message_uid",
    "version",
    "sent_at",
    "observed_at",
    "sender_id",
    "sender_name",
    "send_as_name",
)
_SAID: Final = ("plain_text", "visible_to", "client_id")
_FILE: Final = (
    "chat_id",
    "message_uid",
    "version",
    "ordinal",
    "observed_at",
    "name",
    "mime",
    "mime_received",
    "url",
    "size",
    "blob_bytes",
)
_FILE_DIGEST: Final = ("blob_digest", "sent_at", "kind")

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Selection:
    """The messages in order of time, and how many were left out by why."""

    sources: tuple[Source, ...]
    left_out: Mapping[str, int]


def select(
    archive: Archive, head: Head, wanted: Wanted, expression: Expression | None, membership: Membership
) -> Selection:
    """Return the messages that are replayed; raises `UsageError` for an expression that asks what is not known here."""
    if expression is not None and (expression.needs_missing or expression.needs_labels):
        raise UsageError(
            "a replay cannot ask for labels or for what Flock did not return",
            next_step="leave `is:missing` and `label:` out",
        )
    columns = tuple(dict.fromkeys((*_MESSAGE, *_SAID, *(expression.columns if expression else ()))))
    rows = _rows(archive, head, wanted, "messages", columns)
    files = _rows(archive, head, wanted, "files", (*_FILE, *_FILE_DIGEST))
    chosen: set[Key] | None = None
    if expression is not None:
        told = files.select(["chat_id", "message_uid", "mime", "mime_received"])
        keep = matching_rows(expression, rows, Facts(directory=membership.directory, files=told))
        found = rows.filter(keep).select(["chat_id", "message_uid"]).to_pylist()
        chosen = {(row["chat_id"], row["message_uid"]) for row in found}
    left_out: Counter[str] = Counter()
    latest = _latest(rows_of(rows), chosen, left_out)
    images = {
        key[0]: state["profile_image"]
        for key, state in latest_states(archive.store, head, "users", ("user_id",)).items()
    }
    attached = _attached(rows_of(files))
    sources = [
        Source(
            chat_id=row["chat_id"],
            message_uid=row["message_uid"],
            sent_at_ms=row["sent_at"],
            sender=row["send_as_name"] or row["sender_name"] or row["sender_id"],
            image=None if row["send_as_name"] else images.get(row["sender_id"]),
            text=row["plain_text"],
            files=attached.get((row["chat_id"], row["message_uid"], row["version"]), ()),
        )
        for row in latest
    ]
    sources.sort(key=lambda source: (source.sent_at_ms, source.chat_id, source.message_uid))
    return Selection(tuple(sources), dict(left_out))


def captured_marks(archive: Archive, head: Head, channel: str, poster: str) -> dict[str, str]:
    """Return the marks that the archive captured in a channel, each with the uid of the message that carries it.

    Only what the poster of the replay sent counts: anybody can write a mark.
    """
    found: dict[str, str] = {}
    for record in files_of(head, "messages"):
        first, last = record.ranges.get("chat_id", ("", "\U0010ffff"))
        if not str(first) <= channel <= str(last):
            continue
        rows = read_columns(archive.store, record, ("chat_id", "sender_id", "message_uid", "text"))
        own = rows.filter(
            pc.and_(pc.equal(rows.column("chat_id"), channel), pc.equal(rows.column("sender_id"), poster))
        )
        for row in own.select(["message_uid", "text"]).to_pylist():
            found.update((mark, row["message_uid"]) for mark in marks_in(row["text"]))
    return found


def _rows(archive: Archive, head: Head, wanted: Wanted, table: str, columns: tuple[str, ...]) -> pa.Table:
    parts = [part for part in parts_of(head, wanted) if part.record.table == table]
    tables = [wanted_rows(wanted, table, read_columns(archive.store, part.record, columns)) for part in parts]
    return pa.concat_tables(tables) if tables else _empty(table, columns)


def _empty(table: str, columns: tuple[str, ...]) -> pa.Table:
    return pa.schema([TABLES[table].schema.field(name) for name in columns]).empty_table()


def _latest(rows: list[dict[str, Any]], chosen: set[Key] | None, left_out: Counter[str]) -> list[dict[str, Any]]:
    newest: dict[Key, dict[str, Any]] = {}
    for row in rows:
        key = (row["chat_id"], row["message_uid"])
        if chosen is not None and key not in chosen:
            continue
        known = newest.get(key)
        if known is None or (known["version"], known["observed_at"]) < (row["version"], row["observed_at"]):
            newest[key] = row
    named = {_said(row) for row in newest.values() if not row["message_uid"].startswith(PROVISIONAL_PREFIX)}
    kept = []
    for row in newest.values():
        if marks_in(row["plain_text"]):
            left_out["replayed already, or says so"] += 1
        elif row["visible_to"]:
            left_out["only some people could see it"] += 1
        elif row["message_uid"].startswith(PROVISIONAL_PREFIX) and row["client_id"] and _said(row) in named:
            left_out["came again with its uid"] += 1
        else:
            kept.append(row)
    return kept


def _said(row: dict[str, Any]) -> tuple[object, ...]:
    return row["chat_id"], row["sender_id"], row["client_id"], row["plain_text"]


def _attached(rows: list[dict[str, Any]]) -> dict[tuple[str, str, int], tuple[AttachedFile, ...]]:
    """Return the files by message version, each as it was last seen; pictures of a picture are left out."""
    newest: dict[tuple[str, str, int], dict[int, dict[str, Any]]] = {}
    for row in rows:
        if row["kind"] == "thumbnail":
            continue
        of_version = newest.setdefault((row["chat_id"], row["message_uid"], row["version"]), {})
        known = of_version.get(row["ordinal"])
        if known is None or known["observed_at"] <= row["observed_at"]:
            of_version[row["ordinal"]] = row
    return {
        key: tuple(
            AttachedFile(
                name=row["name"] or "file",
                url=row["url"],
                mime=row["mime_received"] or row["mime"],
                bytes=row["size"] if row["blob_bytes"] is None else row["blob_bytes"],
                digest=row["blob_digest"],
            )
            for _, row in sorted(of_version.items())
        )
        for key, of_version in newest.items()
    }
