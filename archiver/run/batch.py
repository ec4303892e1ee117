"""A batch on its way into a commit: versions decided on the current head, files fetched, rows completed.

Files are fetched before the commit that holds their message, so that a message and its files arrive together and the
links are still young. What could not be fetched is a row with its status, and later runs come back to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.ledger import BlobRecord
from archiver.archive.reader import Head
from archiver.archive.schema import CONVERSATIONS, FILES
from archiver.archive.tables import decided_messages, rows_to_table
from archiver.capture.conversations import new_conversations
from archiver.capture.drain import Batch, message_at, repeated_keys
from archiver.capture.file_rows import FileFetches, blobs_of, digests_by_owner, rows_of_versions, wanted_of
from archiver.capture.versions import NewVersion, decide, find_known, find_repeats, repetitions
from archiver.model.message import Message
from archiver.run.session import Session


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a batch adds on one head: tables to commit, blobs they name, and counts for the report."""

    tables: Mapping[str, pa.Table]
    blobs: Mapping[BlobRecord, Path]
    counts: Mapping[str, int]


def prepare(session: Session, head: Head, batch: Batch, fetches: FileFetches, *, at_ms: int) -> Prepared:
    """Decide what of a batch is new on this head, fetch the files of that, and return the rows to commit.

    Calling it again for another head costs no second download: ``fetches`` remembers.
    """
    rows = batch.messages()
    versions, supersedes = _decide(session, head, batch, rows)
    added = [version > 0 for version in versions]
    new = {
        row: NewVersion(_message_at(rows, row), versions[row], supersedes.get(row))
        for row in batch.with_files
        if added[row]
    }
    fetches.fetch(wanted_of(new.values()))
    files = rows_of_versions(new, fetches, at_ms=at_ms)
    messages = decided_messages(
        rows,
        versions=versions,
        supersedes=supersedes,
        sender_names=session.sender_names(),
        blob_digests=digests_by_owner(files),
    )
    known_chats = session.states("conversations")
    tables = {
        "messages": messages,
        "events": batch.events(added=added, rows=rows),
        "files": rows_to_table(FILES, [file.row for file in files]),
        "conversations": rows_to_table(CONVERSATIONS, new_conversations(messages, known_chats)),
    }
    counts = {
        "captures": batch.capture_count,
        "messages": messages.num_rows,
        "repeated": len(added) - messages.num_rows,
        "unparsed": batch.unread,
        "files_stored": sum(file.row["status"] == "stored" for file in files),
        "files_not_stored": sum(file.row["status"] != "stored" for file in files),
    }
    return Prepared(tables, blobs_of(files), counts)


def _decide(session: Session, head: Head, batch: Batch, rows: pa.Table) -> tuple[list[int], dict[int, str]]:
    """Return each row's version, 0 if it repeats what is known, and what some rows follow or complete, by row.

    Only keys that the archive or the batch itself holds already need a look at what they say; all others are new.
    """
    versions = [1] * rows.num_rows
    store = session.ports.archive.store
    repeated = repeated_keys(rows)
    doubtful = find_repeats(store, head, rows) | repeated
    if not doubtful:
        return versions, {}
    known = find_known(store, head, rows, doubtful)
    suspects = batch.in_order(_rows_with(doubtful, rows))
    # What is read again every night says nearly always what it said: that is told by its digest, without a second look.
    alike = repetitions(rows, suspects, known) - set(_rows_with(repeated, rows) if repeated else ())
    for row in alike:
        versions[row] = 0
    suspects = [row for row in suspects if row not in alike]
    supersedes: dict[int, str] = {}
    decisions = decide([_message_at(rows, row) for row in suspects], known)
    for row, decision in zip(suspects, decisions, strict=True):
        versions[row] = decision.version if decision else 0
        if decision and decision.supersedes:
            supersedes[row] = decision.supersedes
    return versions, supersedes


def _rows_with(keys: set[tuple[str, str]], rows: pa.Table) -> Sequence[int]:
    uids = pa.array({uid for _, uid in keys}, type=pa.string())
    indices = pc.indices_nonzero(pc.is_in(rows.column("message_uid"), value_set=uids))
    some = rows.select(["chat_id", "message_uid"]).take(indices)
    chats, found = some.column("chat_id").to_pylist(), some.column("message_uid").to_pylist()
    return [row for row, chat_id, uid in zip(indices.to_pylist(), chats, found, strict=True) if (chat_id, uid) in keys]


def _message_at(rows: pa.Table, row: int) -> Message:
    """Return the message that a row was made of, under its row's uid: a declared source may name it elsewhere than Flock does."""
    message = message_at(rows, row)
    uid = rows.column("message_uid")[row].as_py()
    if message.message_uid == uid:
        return message
    return msgspec.structs.replace(message, message_uid=uid, uid_provisional=False)
