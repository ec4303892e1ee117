"""Makes what `apply.py` compares: an archive, a stored plan over a scattered share of its messages, and the bare files.

    python benchmarks/sides/apply_archive.py FOLDER MESSAGES FILES

Messages of ten senders in as many chats, one commit for each day; those of one sender are a tenth, scattered over every file, and go.
``FOLDER/archive`` is the archive and ``FOLDER/facts.json`` tells what was made.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive import ledger
from archiver.archive.commit import Author, Draft, commit
from archiver.archive.reader import Archive, files_of, read_rows
from archiver.archive.schema import MESSAGES
from archiver.clock import DAY_MS, day_of
from archiver.retention.plan_document import ITEMS, Plan, PlanHeader, PlanLimits, items_digest, sorted_items, store_plan
from archiver.store.local import LocalStore

FIRST_MS = 1_700_006_400_000
SENDERS = [f"u:sender{number:08}" for number in range(10)]
GOES = SENDERS[7]
WORDS = [
    "the",
    "a",
    "report",
    "meeting",
    "tomorrow",
    "please",
    "see",
    "attached",
    "thanks",
    "server",
    "deploy",
    "failed",
    "again",
    "yes",
    "no",
    "maybe",
    "lunch",
    "ticket",
]
AUTHOR = Author(run="made", actor="benchmark", software="benchmark", writer="benchmark")


def main(folder: Path, *, messages: int, files: int) -> None:
    os.fsync = lambda _: None  # it is made once and copied; only what is measured waits for the disk
    store = LocalStore(folder / "archive")
    ledger.found(
        store, ledger.ArchiveFacts(format=1, archive_id="00ff", workspace="acme", created_at="2024-01-01T00:00:00.000Z")
    )
    archive = Archive.open(store)
    head = archive.head()
    with ThreadPoolExecutor(2) as executor:
        for number in range(files):
            rows = _day(number, messages // files)
            draft = Draft(at_ms=FIRST_MS + (number + 1) * DAY_MS, tables={"messages": rows})
            head = commit(archive, head, draft, author=AUTHOR, attempt=f"{number:08x}", executor=executor)
    items = _items(store, files_of(head, "messages"))
    header = PlanHeader(
        format=1,
        archive_id="00ff",
        kind="policy",
        head_sequence=head.sequence,
        head_digest=head.digest,
        policy="benchmark",
        policy_digest=None,
        zone="UTC",
        as_of="2026-01-01T00:00:00.000Z",
        items_sha256=items_digest(items),
        counts={"message": items.num_rows},
        totals={"messages": head.rows["messages"]},
        rows=items.num_rows,
        bytes=0,
        limits=PlanLimits(),
    )
    digest = store_plan(store, Plan(header, items))
    facts = {"plan": digest, "goes": GOES, "items": items.num_rows, "messages": head.rows["messages"]}
    (folder / "facts.json").write_text(json.dumps(facts))


def _day(number: int, count: int) -> pa.Table:
    chance = Random(number)
    start = FIRST_MS + number * DAY_MS
    step = DAY_MS // count
    at = [start + place * step for place in range(count)]
    uids = [f"{ms}-{chance.randrange(16**12):012x}" for ms in at]
    senders = [chance.choice(SENDERS) for _ in at]
    chats = [f"g:channel{chance.randrange(10):06}" for _ in at]
    texts = [" ".join(chance.choices(WORDS, k=chance.randint(3, 25))) for _ in at]
    raws = [
        json.dumps({"uid": uid, "from": sender, "to": chat, "text": text, "timestampInMillis": ms})
        for uid, sender, chat, text, ms in zip(uids, senders, chats, texts, at, strict=True)
    ]
    columns = {
        "chat_id": chats,
        "chat_kind": ["channel"] * count,
        "message_uid": uids,
        "version": [1] * count,
        "sent_at": at,
        "sent_at_basis": ["timestampInMillis"] * count,
        "observed_at": [ms + 300 for ms in at],
        "source": ["webhook"] * count,
        "captured_by": ["general"] * count,
        "sender_id": senders,
        "text": texts,
        "plain_text": texts,
        "raw": raws,
        "raw_digest": [sha256(raw.encode()).hexdigest() for raw in raws],
        "content_digest": [sha256(text.encode()).hexdigest() for text in texts],
    }
    return pa.table(
        [pa.array(columns.get(field.name, [None] * count), type=field.type) for field in MESSAGES.schema],
        schema=MESSAGES.schema,
    )


def _items(store: LocalStore, records: list[ledger.FileRecord]) -> pa.Table:
    columns = ["chat_id", "message_uid", "sent_at", "sender_id"]
    batches = read_rows(store, records, columns, keep=lambda batch: pc.equal(batch.column("sender_id"), GOES))
    rows = pa.Table.from_batches(batches)
    count = rows.num_rows
    days = [day_of(ms) for ms in pc.cast(rows.column("sent_at"), pa.int64()).to_pylist()]
    given = {
        "kind": pa.repeat("message", count),
        "day": pa.array(days, pa.date32()),
        "chat_id": rows.column("chat_id"),
        "message_uid": rows.column("message_uid"),
        "sent_at": rows.column("sent_at"),
        "due_at": rows.column("sent_at"),
        "rule": pa.repeat("one sender", count),
        "principle": pa.repeat("shortest deletion", count),
        "rows": pa.repeat(pa.scalar(1, pa.int64()), count),
        "bytes": pa.repeat(pa.scalar(0, pa.int64()), count),
    }
    columns_of_items = [given.get(field.name, pa.nulls(count, field.type)) for field in ITEMS]
    return sorted_items(pa.table(columns_of_items, schema=ITEMS))


if __name__ == "__main__":
    main(Path(sys.argv[1]), messages=int(sys.argv[2]), files=int(sys.argv[3]))
