"""An archive with everything that makes disposing hard, what a plan of any of its items is, and how to look for what should be gone."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Executor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from archiver.archive.reader import Archive, Head, files_of, read_rows
from archiver.archive.schema import TABLES
from archiver.archive.tables import rows_of
from archiver.clock import DAY_MS, day_of
from archiver.retention.dispose import Disposed, dispose
from archiver.retention.plan_document import Plan, PlanLimits
from archiver.store import Store
from tests.archive.archive_steps import AT_MS, AUTHOR, InlineExecutor, add, blob, event, found, message
from tests.retention.plans import plan_of

Key = tuple[str, str]

# A text that stands in everything of one item and in nothing else: what must not be found when the item has gone.
SECRETS = {
    "edited": "tulip",
    "astray": "orchid",
    "untimed": "dahlia",
    "alone": "lupin",
    "filed": "peony",
    "shared": "yarrow",
}
EDITED = ("g:1", f"{AT_MS}-edited")
ASTRAY = ("g:1", f"{AT_MS}-astray")
UNTIMED = ("u:1,u:2", "imported 17")
ALONE = ("g:2", f"{AT_MS + 5 * DAY_MS}-alone")
FILED = ("g:1", f"{AT_MS}-filed")
SHARED = ("g:2", f"{AT_MS}-shared")
EVERY_SECRET: tuple[Key, ...] = (EDITED, ASTRAY, UNTIMED, ALONE, FILED, SHARED)

PENDING = {"status": "pending", "attempts": 0, "blob_digest": None, "blob_bytes": None}


class NoHolds:
    """The coverage of no hold at all."""

    message_columns = ("chat_id", "message_uid", "sent_at")
    file_columns = ("chat_id", "message_uid", "sent_at")
    needs_files = False

    def of_messages(self, rows: pa.Table, files: pa.Table | None = None) -> Mapping[str, pa.BooleanArray]:
        return {}

    def of_files(
        self, rows: pa.Table, messages: pa.Table, *, files: pa.Table | None = None
    ) -> Mapping[str, pa.BooleanArray]:
        return {}

    def of_pushes(self, rows: pa.Table) -> Mapping[str, pa.BooleanArray]:
        return {}


def secret_of(key: Key) -> str:
    return SECRETS.get(key[1].rpartition("-")[2], SECRETS["untimed"])


def said(key: Key, version: int = 1, **further: Any) -> dict[str, Any]:
    """A row of messages whose every text holds the item's own word, and no other row's."""
    word = f"{secret_of(key)} {version}"
    texts = {
        "text": word,
        "plain_text": word,
        "flockml": f"<b>{word}</b>",
        "notification": word,
        "raw": json.dumps({"uid": key[1], "text": word}),
    }
    return message(key[1], chat_id=key[0], version=version, **{**texts, **further})


def file_row(key: Key, ordinal: int, content: bytes | None, **further: Any) -> dict[str, Any]:
    digest = sha256(content).hexdigest() if content is not None else None
    return {
        "chat_id": key[0], "message_uid": key[1], "version": 1, "ordinal": ordinal, "sent_at": AT_MS, "observed_at": AT_MS,
        "kind": "download", "name": f"{secret_of(key)}.txt", "url": f"https://f.example/{secret_of(key)}", "status": "stored",
        "attempts": 1, "blob_digest": digest, "blob_bytes": len(content) if content is not None else None, **further,
    }  # fmt: skip


def build(store: Store, folder: Path) -> tuple[Archive, Head]:
    """Commit it in four steps; every item with a word has neighbours that stay in all of its objects but one."""
    archive = found(store)
    own, shared = b"the peony's own file", b"a file of two messages"
    pushed = {
        "chat_id": "g:1",
        "message_uid": EDITED[1],
        "outcome": "duplicate",
        "body": b'{"uid":"%s","text":"tulip again"}' % EDITED[1].encode(),
    }
    head = add(
        archive,
        archive.founding_head(),
        {
            "messages": [
                said(EDITED),
                said(FILED, blob_digests=[sha256(own).hexdigest(), sha256(shared).hexdigest()]),
                said(SHARED, blob_digests=[sha256(shared).hexdigest()]),
                said(UNTIMED, sent_at=AT_MS + 2 * DAY_MS),
                *(
                    message(f"{AT_MS + number}-kept", text=f"kept {number}", chat_id=f"g:{number % 2}")
                    for number in range(6)
                ),
                message(EDITED[1], chat_id="g:9", text="the same uid in another chat"),
                message("other import", day=2, text="kept beside the import"),
            ],
            "files": [
                file_row(FILED, 0, own),
                file_row(FILED, 1, shared),
                file_row(SHARED, 0, shared),
                file_row(
                    ("g:1", f"{AT_MS + 1}-kept"), 0, None, **PENDING, name="kept.txt", url="https://f.example/kept"
                ),
                file_row(FILED, 2, None, **PENDING),
            ],
            "events": [
                {**event(1), "chat_id": "g:1", "message_uid": EDITED[1], "attributes": '{"of":"tulip"}'},
                {**event(2), "chat_id": "g:1", "message_uid": f"{AT_MS}-kept"},
                {**event(3), "outcome": "wanted", "chat_id": "g:1", "wanted_uids": ["m-77"]},
            ],
        },
        blobs={**blob(folder, own), **blob(folder, shared)},
        watermarks={"s": 3},
    )
    head = add(
        archive,
        head,
        {
            "messages": [
                said(EDITED, 2, observed_at=AT_MS + DAY_MS),
                said(ASTRAY, sent_at=AT_MS + 3 * DAY_MS),
                message(f"{AT_MS + 3 * DAY_MS}-kept", day=3, text="kept on the third day"),
                said(UNTIMED, 2, sent_at=AT_MS + 4 * DAY_MS),
                message("z import", day=4, text="kept beside the second version"),
                said(ALONE, sent_at=AT_MS + 5 * DAY_MS),
            ],
            "events": [
                {**event(4), **pushed, "received_at": AT_MS + DAY_MS},
                {**event(5), "received_at": AT_MS + DAY_MS},
            ],
        },
        settled=tuple(record.key for table in ("files", "events") for record in files_of(head, table)),
        watermarks={"s": 5},
    )
    return archive, head


def plan_for(
    archive: Archive,
    head: Head,
    messages: Iterable[Key] = (),
    files: Iterable[tuple[str, str, int]] = (),
    *,
    limits: PlanLimits | None = None,
) -> Plan:
    """Return a plan of these items as they lie in the archive."""
    items = [
        _item(archive, head, "messages", dict(zip(("chat_id", "message_uid"), key, strict=True))) for key in messages
    ]
    items += [
        _item(archive, head, "files", dict(zip(("chat_id", "message_uid", "ordinal"), key, strict=True)))
        for key in files
    ]
    totals = {table: head.rows.get(table, 0) for table in ("messages", "files")}
    return plan_of(archive, head, items, limits=limits, totals=totals)


def _item(archive: Archive, head: Head, table: str, key: Mapping[str, Any]) -> dict[str, Any]:
    rows = [
        row for row in rows_in(archive.store, head, table) if all(row[name] == value for name, value in key.items())
    ]
    latest = max(row["sent_at"] for row in rows)
    return {
        **key, "kind": table.removesuffix("s"), "day": day_of(latest), "sent_at": latest, "due_at": latest, "rule": f"old {table}",
        "principle": "shortest deletion", "rows": len(rows), "bytes": 10 * len(rows),
    }  # fmt: skip


def apply(
    archive: Archive,
    head: Head,
    plan: Plan,
    *,
    coverage: Any = None,
    executor: Executor | None = None,
    attempt: str = "d15905ed",
    author: Any = AUTHOR,
    now_ms: int = AT_MS,
) -> Disposed:
    return dispose(
        archive,
        head,
        plan,
        coverage=coverage or NoHolds(),
        approved_by="The Records Manager",
        author=author,
        attempt=attempt,
        now_ms=now_ms,
        executor=executor or InlineExecutor(),
    )


def rows_in(store: Store, head: Head, table: str) -> list[dict[str, Any]]:
    return [
        row for batch in read_rows(store, files_of(head, table), TABLES[table].schema.names) for row in rows_of(batch)
    ]


def every_row(store: Store, head: Head) -> Counter[str]:
    """Every live row of every table, whole, as text that can be counted."""
    return Counter(f"{table} {row!r}" for table in TABLES for row in rows_in(store, head, table))


def rows_but(store: Store, head: Head, goes: Callable[[str, Mapping[str, Any]], bool]) -> Counter[str]:
    return Counter(
        f"{table} {row!r}" for table in TABLES for row in rows_in(store, head, table) if not goes(table, row)
    )


def of_messages(*keys: Key) -> Callable[[str, Mapping[str, Any]], bool]:
    """Tell of rows whether they go when these messages go."""
    return lambda table, row: table in ("messages", "events") and (row["chat_id"], row["message_uid"]) in keys


def places_of(word: str, objects: Mapping[str, bytes]) -> set[str]:
    """Return the keys of the objects in which a word is found, in their bytes or in what Parquet holds compressed."""
    places = set()
    for key, data in objects.items():
        texts = [data]
        if data.startswith(b"PAR1"):
            table = pq.read_table(io.BytesIO(data))
            texts += [repr(column.to_pylist()).encode() for column in table.columns]
            with pq.ParquetFile(io.BytesIO(data)) as file:
                texts.append(repr(file.metadata.to_dict()).encode())
        if any(word.encode() in text for text in texts):
            places.add(key)
    return places


def objects_of(store: Store, *, but: Collection[str] = ()) -> dict[str, bytes]:
    return {info.key: store.read(info.key) for info in store.list("") if info.key not in but}
