"""Makes an archive of many years' messages, quickly: one commit a day, rows made as columns and committed by the archiver's own commit.

    python benchmarks/sides/aged.py FOLDER MESSAGES DAYS UNTIL_DAY [TEXTS] [--reply-every N]

TEXTS is a file with a JSON list of what people say; otherwise they say English words at random. With --reply-every each so manieth message
is an app's reply that quotes what was said fifty messages before; many others said the same.
Every thousandth message is edited. Every thirtieth day the first of these says with its edit that it was sent a day later, so
that its rows lie in two days. Every fiftieth message has a file, of which no byte is stored. Every thousandth did not come back when it was
asked for on the evening of its day.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import team

from archiver.archive import ledger
from archiver.archive.commit import Author, Draft, commit
from archiver.archive.reader import Archive
from archiver.archive.schema import FILES, MESSAGES, OBSERVATIONS
from archiver.archive.tables import rows_to_table
from archiver.clock import to_ms
from archiver.store.local import LocalStore

EDITED_EVERY, STRAYING_EVERY_DAYS, FILE_EVERY, MISSING_EVERY = 1_000, 30, 50, 1_000
QUOTED_BEFORE = 50
_POOL = 4_096


def main(
    folder: Path,
    *,
    messages: int,
    days: int,
    until: date,
    texts: list[str] | None = None,
    reply_every: int | None = None,
) -> None:
    # The archive goes with the benchmark: its making need not wait for the disk.
    os.fsync = lambda _: None
    store = LocalStore(folder)
    ledger.found(
        store,
        ledger.ArchiveFacts(format=1, archive_id="aa" * 16, workspace="aged", created_at="2026-01-01T00:00:00.000Z"),
    )
    archive = Archive.open(store)
    head = archive.founding_head()
    author = Author(run="aged", actor="benchmark", software="benchmark", writer="benchmark")
    pools = _pools(texts or _words_at_random())
    carried: list[dict[str, Any]] = []
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        for number in range(days):
            day = until - timedelta(days=days - number)
            count = messages * (number + 1) // days - messages * number // days
            rows, edited, astray, files = _day(day, count, pools, reply_every)
            further = edited + carried
            carried = astray
            if further:
                rows = pa.concat_tables([rows, rows_to_table(MESSAGES, further)])
            tables = {"messages": rows, "files": files, "observations": _not_returned(rows, day)}
            draft = Draft(at_ms=_at_ms(day) + team.DAY_MS, tables=tables)
            head = commit(archive, head, draft, author=author, attempt=secrets.token_hex(4), executor=executor)
    archive.write_checkpoint(head)


def _words_at_random() -> list[str]:
    chance = random.Random(7)
    return [" ".join(chance.choices(team._WORDS, k=2 + int(chance.expovariate(0.12)))) for _ in range(_POOL)]  # noqa: SLF001 - a part of the same benchmark


def _pools(texts: list[str]) -> dict[str, pa.Array]:
    """Return texts and what goes with them; reading digests would take longer than all the rest, so they come from here."""
    digests = [sha256(text.encode()).hexdigest() for text in texts]
    return {"text": pa.array(texts), "digest": pa.array(digests)}


def _day(
    day: date, count: int, pools: dict[str, pa.Array], reply_every: int | None
) -> tuple[pa.Table, list[dict[str, Any]], list[dict[str, Any]], pa.Table]:
    chance = random.Random(day.toordinal())
    first_ms = _at_ms(day)
    step = team.DAY_MS // max(1, count)
    instants = [first_ms + number * step for number in range(count)]
    uids = [f"{at_ms}-{number:x}-m201" for number, at_ms in enumerate(instants)]
    chats = [team.CHANNELS[int(team.CHANNELS_COUNT * chance.random() ** 2)] for _ in range(count)]
    senders = [team.PEOPLE[int(team.PEOPLE_COUNT * chance.random() ** 1.5)] for _ in range(count)]
    picks = pa.array([chance.randrange(len(pools["text"])) for _ in range(count)], pa.int32())
    texts, digests = pc.take(pools["text"], picks), pc.take(pools["digest"], picks)
    raw = pc.binary_join_element_wise('{"uid":"', pa.array(uids), '","text":"', texts, '"}', "")
    columns = {
        "chat_id": pa.array(chats),
        "chat_kind": pa.repeat("channel", count),
        "message_uid": pa.array(uids),
        "version": pa.repeat(pa.scalar(1, pa.int32()), count),
        "sent_at": pa.array(instants, pa.int64()),
        "sent_at_basis": pa.repeat("timestampInMillis", count),
        "observed_at": pa.array(instants, pa.int64()),
        "source": pa.repeat("webhook", count),
        "captured_by": pa.array(chats),
        "sender_id": pa.array(senders),
        "text": texts,
        "plain_text": texts,
        "raw": raw,
        "raw_digest": digests,
        "content_digest": digests,
    }
    if reply_every is not None:
        columns |= _replying(texts.to_pylist(), reply_every)
    table = pa.table(
        [
            columns[field.name].cast(field.type) if field.name in columns else pa.nulls(count, field.type)
            for field in MESSAGES.schema
        ],
        schema=MESSAGES.schema,
    )
    edited, astray = [], []
    for number in range(0, count, EDITED_EVERY):
        row = table.slice(number, 1).to_pylist()[0]
        row |= {"version": 2, "supersedes": row["content_digest"], "text": "edited", "plain_text": "edited"}
        row["sent_at"], row["observed_at"] = instants[number], instants[number] + 60_000
        if number == 0 and day.toordinal() % STRAYING_EVERY_DAYS == 0:
            row["sent_at"] += team.DAY_MS
            astray.append(row)
        else:
            edited.append(row)
    files = [
        {
            "chat_id": chats[number],
            "message_uid": uids[number],
            "version": 1,
            "ordinal": 0,
            "sent_at": instants[number],
            "observed_at": instants[number],
            "kind": "download",
            "name": "report.pdf",
            "mime": "application/pdf",
            "size": 65_536,
            "url": "https://f.flockusercontent.com/report.pdf",
            "status": "given_up",
            "attempts": 1,
        }
        for number in range(7, count, FILE_EVERY)
    ]
    return table, edited, astray, rows_to_table(FILES, files)


def _replying(said: list[str], every: int) -> dict[str, pa.Array]:
    attachments: list[str | None] = [None] * len(said)
    for number in range(every // 2, len(said), every):
        quoted = said[max(0, number - QUOTED_BEFORE)]
        attachments[number] = json.dumps([{"title": "In reply to Bob", "description": quoted}])
    app_ids = [None if each is None else "app-of-replies" for each in attachments]
    return {"attachments": pa.array(attachments, pa.string()), "app_id": pa.array(app_ids, pa.string())}


def _not_returned(rows: pa.Table, day: date) -> pa.Table:
    asked = rows.select(["chat_id", "message_uid"]).take(pa.array(range(13, rows.num_rows, MISSING_EVERY), pa.int64()))
    evening = {"observed_at": _at_ms(day) + team.DAY_MS - 1, "asked_as": team.PEOPLE[0], "outcome": "not_returned"}
    return rows_to_table(OBSERVATIONS, [row | evening for row in asked.to_pylist()])


def _at_ms(day: date) -> int:
    return to_ms(datetime(day.year, day.month, day.day, tzinfo=UTC))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("messages", type=int)
    parser.add_argument("days", type=int)
    parser.add_argument("until", type=date.fromisoformat)
    parser.add_argument("texts", type=lambda path: json.loads(Path(path).read_text("utf-8")), nargs="?")
    parser.add_argument("--reply-every", type=int)
    main(**vars(parser.parse_args()))
