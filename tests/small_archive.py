"""A small archive made by real commits: three days, a file with its blob, an edited message, a bot's post, the directory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from archiver.archive import ledger
from archiver.archive.commit import Author, Draft, commit
from archiver.archive.ledger import BlobRecord
from archiver.archive.reader import Archive, Head
from archiver.archive.schema import TABLES
from archiver.archive.tables import rows_to_table
from archiver.clock import to_ms
from archiver.store import Store

AUTHOR = Author(run="night-1", actor="test", software="test", writer="here")
FILE_BYTES = b"the minutes of the meeting\n"
FILE_DIGEST = sha256(FILE_BYTES).hexdigest()

# What the archive holds, for tests that count.
MESSAGE_ROWS = 7
MESSAGES = 6
COMMITS = 2


def at_ms(day: int, hour: int = 12) -> int:
    return to_ms(datetime(2026, 11, day, hour, tzinfo=UTC))


def message(uid: str, day: int, text: str, **further: Any) -> dict[str, Any]:
    raw = f'{{"uid":"{uid}","text":"{text}"}}'
    return {
        "chat_id": "g:general",
        "chat_kind": "channel",
        "message_uid": uid,
        "version": 1,
        "sent_at": at_ms(day),
        "sent_at_basis": "timestampInMillis",
        "observed_at": at_ms(day) + 5,
        "source": "webhook",
        "captured_by": "general",
        "sender_id": "u:ann",
        "text": text,
        "plain_text": text,
        "raw": raw,
        "raw_digest": sha256(raw.encode()).hexdigest(),
        "content_digest": sha256(text.encode()).hexdigest(),
        **further,
    }


def found(store: Store) -> Archive:
    ledger.found(
        store,
        ledger.ArchiveFacts(format=1, archive_id="0f0f", workspace="acme", created_at="2026-11-19T00:00:00.000Z"),
    )
    return Archive.open(store)


def add(archive: Archive, head: Head, tables: dict[str, list[dict[str, Any]]], *, attempt: str, **further: Any) -> Head:
    draft = Draft(
        at_ms=at_ms(22, 23),
        tables={name: rows_to_table(TABLES[name], rows) for name, rows in tables.items()},
        **further,
    )
    with ThreadPoolExecutor(2) as executor:
        return commit(archive, head, draft, author=AUTHOR, attempt=attempt, executor=executor)


def build(store: Store, folder: Path) -> tuple[Archive, Head]:
    archive = found(store)
    blob = folder / "minutes.txt"
    blob.write_bytes(FILE_BYTES)
    head = add(
        archive,
        archive.founding_head(),
        {
            "messages": [
                message("m-1", 20, "good morning"),
                message("m-2", 20, "naïve 日本 \U0001f600 'quoted'"),
                message("m-3", 21, "the minutes", mentions=["u:bob"], blob_digests=[FILE_DIGEST]),
                message("m-4", 21, "a reminder", app_id="app-1", send_as_name="Reminders"),
                message("m-5", 22, "privately", chat_id="u:ann,u:bob", chat_kind="direct"),
                message("m-6", 22, "bleep", sender_id="u:Bot00000000000"),
            ],
            "files": [
                {
                    "chat_id": "g:general",
                    "message_uid": "m-3",
                    "version": 1,
                    "ordinal": 0,
                    "sent_at": at_ms(21),
                    "observed_at": at_ms(21) + 5,
                    "kind": "download",
                    "name": "minutes.txt",
                    "url": "https://f.flockusercontent.com/minutes.txt",
                    "status": "stored",
                    "attempts": 1,
                    "blob_digest": FILE_DIGEST,
                    "blob_bytes": len(FILE_BYTES),
                }
            ],
            "channels": [
                {
                    "channel_id": "g:general",
                    "valid_from": at_ms(22),
                    "state": "listed",
                    "name": "general",
                    "captured_by": "u:ann",
                    "raw": "{}",
                    "state_digest": "00",
                }
            ],
        },
        attempt="aaaaaaaa",
        blobs={BlobRecord(sha256=FILE_DIGEST, bytes=len(FILE_BYTES)): blob},
        watermarks={"spool-1": 6},
    )
    head = add(
        archive,
        head,
        {"messages": [message("m-1", 20, "good evening", version=2, supersedes="", observed_at=at_ms(22))]},
        attempt="bbbbbbbb",
        watermarks={"spool-1": 7},
    )
    return archive, head


def at_day(day: int) -> date:
    return date(2026, 11, day)
