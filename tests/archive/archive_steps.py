"""What tests of the archive do to one: found it, commit to it, and look behind its store."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

from archiver.archive import ledger
from archiver.archive.commit import Author, Draft, commit
from archiver.archive.ledger import BlobRecord
from archiver.archive.reader import Archive, Head, files_of, read_rows
from archiver.archive.schema import TABLES
from archiver.archive.tables import rows_to_table
from archiver.clock import DAY_MS
from archiver.store import Store

AUTHOR = Author(run="night-1", actor="test", software="test", writer="here")
STRANGER = Author(run="night-1", actor="test", software="test", writer="there")
AT_MS = 1_795_000_000_000

_attempts = count(1)


class InlineExecutor(Executor):
    """Runs each task at once, in order, so that the calls of a commit can be counted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def found(store: Store) -> Archive:
    ledger.found(
        store,
        ledger.ArchiveFacts(format=1, archive_id="0f0f", workspace="acme", created_at="2026-11-19T00:00:00.000Z"),
    )
    return Archive.open(store)


def message(uid: str, *, day: int = 0, text: str = "hello", **further: Any) -> dict[str, Any]:
    """Return a row of messages, sent so many days before or after `AT_MS`."""
    raw = json.dumps({"uid": uid, "text": text})
    return {
        "chat_id": "g:1",
        "chat_kind": "channel",
        "message_uid": uid,
        "version": 1,
        "sent_at": AT_MS + day * DAY_MS,
        "sent_at_basis": "timestampInMillis",
        "observed_at": AT_MS,
        "source": "webhook",
        "captured_by": "general",
        "sender_id": "u:1",
        "text": text,
        "plain_text": text,
        "raw": raw,
        "raw_digest": sha256(raw.encode()).hexdigest(),
        "content_digest": sha256(text.encode()).hexdigest(),
        **further,
    }


def event(sequence: int, *, outcome: str = "archived") -> dict[str, Any]:
    return {
        "received_at": AT_MS,
        "spool_id": "s",
        "sequence": sequence,
        "feed": "general",
        "feed_kind": "webhook",
        "verified": "webhook-token",
        "outcome": outcome,
        "body_digest": "00",
    }


def blob(folder: Path, content: bytes) -> dict[BlobRecord, Path]:
    digest = sha256(content).hexdigest()
    path = folder / digest
    path.write_bytes(content)
    return {BlobRecord(digest, len(content)): path}


def draft_of(tables: Mapping[str, list[dict[str, Any]]], **further: Any) -> Draft:
    data = {name: rows_to_table(TABLES[name], rows) for name, rows in tables.items()}
    return Draft(**{"at_ms": AT_MS, "tables": data, **further})


def add(
    archive: Archive,
    head: Head,
    tables: Mapping[str, list[dict[str, Any]]],
    *,
    author: Author = AUTHOR,
    executor: Executor | None = None,
    **further: Any,
) -> Head:
    """Commit rows given as mappings and return the new head."""
    attempt = f"{next(_attempts):08x}"
    return commit(
        archive,
        head,
        draft_of(tables, **further),
        author=author,
        attempt=attempt,
        executor=executor or InlineExecutor(),
    )


def keys(store: Store, prefix: str = "") -> set[str]:
    return {info.key for info in store.list(prefix)}


def objects(store: Store) -> dict[str, bytes]:
    return {key: store.read(key) for key in keys(store)}


def unnamed(store: Store) -> set[str]:
    """Return every key that neither the ledger accounts for nor is the ledger itself."""
    archive = Archive.open(store)
    accounted = {"archive.json"}
    for entry, _ in archive.entries():
        accounted.add(f"ledger/{entry.sequence:012d}.json")
        accounted.add(f"ledger/checkpoints/{entry.sequence:012d}.json")
        accounted.update(record.key for record in entry.added)
        accounted.update(f"blobs/sha256/{item.sha256[:2]}/{item.sha256}" for item in entry.blobs)
    return keys(store) - accounted


def missing(store: Store) -> set[str]:
    """Return every key that the ledger names and that is not there."""
    named = set(Archive.open(store).head().files)
    for entry, _ in Archive.open(store).entries():
        named.update(f"blobs/sha256/{item.sha256[:2]}/{item.sha256}" for item in entry.blobs)
    return named - keys(store)


def values(store: Store, head: Head, table: str, column: str) -> list[Any]:
    """Return a column of everything that is live, sorted."""
    found: list[Any] = []
    for batch in read_rows(store, files_of(head, table), [column]):
        found += batch.column(column).to_pylist()
    return sorted(found)
