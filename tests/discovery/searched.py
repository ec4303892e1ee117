"""An archive to search, made by real commits out of drawn messages, and what a plain reading finds in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from archiver.archive.reader import Archive, Head
from archiver.clock import to_ms
from archiver.discovery.index import Index, OpenIndex, build_from, without_index
from archiver.discovery.search import Found, Position, search
from archiver.discovery.search_facts import LabelMeaning, read_knowledge
from archiver.discovery.search_places import Order, Places
from archiver.expression import Expression
from archiver.scope.membership import read_membership
from archiver.store import Store
from tests.expression.expressions import CHATS, GLUE, PEOPLE, WORDS, is_true
from tests.small_archive import add, found, message

EXECUTOR = ThreadPoolExecutor(2)

# Around midnights in Berlin, the turns of the clocks among them.
INSTANTS = [
    datetime(2026, 2, 28, 22, 59, 59, 999_000, UTC),
    datetime(2026, 2, 28, 23, 0, tzinfo=UTC),
    datetime(2026, 3, 31, 21, 59, tzinfo=UTC),
    datetime(2026, 3, 31, 22, 0, tzinfo=UTC),
    datetime(2025, 12, 31, 23, 0, tzinfo=UTC),
    datetime(2026, 10, 24, 22, 0, tzinfo=UTC),
    datetime(2026, 10, 25, 22, 30, tzinfo=UTC),
]


def drawn_rows(seed: int, count: int) -> list[dict[str, Any]]:
    """Rows of messages, some of several versions, with the facts beside them that the plain reading asks for."""
    random = Random(seed)

    def text() -> str:
        return "".join(random.choice(WORDS) + random.choice(GLUE) for _ in range(random.randrange(7)))

    rows = []
    for number in range(count):
        chat, kind = random.choice(
            [("g:1", "channel"), ("g:2", "channel"), ("u:ann,u:bob", "direct"), ("u:ann,u:ann", "direct")]
        )
        sent_at = random.choice(INSTANTS)
        facts = {
            "chat_id": chat,
            "chat_kind": kind,
            "message_uid": f"m{number}",
            "sender_id": random.choice(["u:ann", "u:bob", "u:Bot"]),
            "app_id": random.choice([None, None, "app"]),
            "visible_to": random.choice([None, None, ["u:bob"], []]),
            "mimes": random.choice([[], [], ["image/png"], ["application/pdf", "image/png"]]),
            "is_missing": random.random() < 0.3,
            "is_contract": random.random() < 0.3,
        }
        versions = random.choice([1, 1, 1, 2, 3])
        for version in range(1, versions + 1):
            # An edit may carry the time of the edit.
            sent_at += random.choice([timedelta(), timedelta(), timedelta(days=1, minutes=1)]) * (version > 1)
            plain = text()
            said, notification, attached = (
                random.choice([plain, text()]),
                random.choice([None, text()]),
                random.choice([None, text()]),
            )
            rows.append(
                facts
                | {
                    "version": version,
                    "sent_at": sent_at,
                    "is_edited": versions > 1,
                    "plain_text": plain,
                    "text": said,
                    "notification": notification,
                    "attachments": attached and json.dumps([{"title": attached, "url": "merger"}]),
                    "texts": [each for each in (plain, said, notification, attached) if each],
                }
            )
    return rows


def archive_of(store: Store, rows: Sequence[dict[str, Any]], *, commits: int) -> tuple[Archive, Head]:
    """An archive of these rows, committed in as many parts, a message's versions in their order."""
    archive = found(store)
    head = add(archive, archive.founding_head(), directory(), attempt="dddddddd")
    return archive, add_rows(archive, head, rows, commits=commits)


def add_rows(archive: Archive, head: Head, rows: Sequence[dict[str, Any]], *, commits: int) -> Head:
    size = -(-len(rows) // commits)
    for first in range(0, len(rows), size):
        part = rows[first : first + size]
        head = add(
            archive,
            head,
            {
                "messages": [as_message(row) for row in part],
                "files": [as_file(row, mime, number) for row in part for number, mime in enumerate(row["mimes"])],
                "observations": [as_observation(row) for row in part if row["is_missing"]],
            },
            attempt=f"{head.sequence:08x}",
        )
    return head


def directory() -> dict[str, list[dict[str, Any]]]:
    state = {"valid_from": 1_700_000_000_000, "captured_by": "u:ann", "raw": "{}", "state_digest": "00"}
    users = [
        state | {"user_id": user, "first_name": name, "email": email, "valid_from": 1_700_000_000_000 + number}
        for user, (names, emails) in PEOPLE.items()
        for number, name in enumerate(names)
        for email in emails or [None]
    ]
    channels = [
        state | {"channel_id": chat, "name": name, "state": "listed", "valid_from": 1_700_000_000_000 + number}
        for chat, names in CHATS.items()
        for number, name in enumerate(names)
    ]
    return {"users": users, "channels": channels}


def as_message(row: dict[str, Any]) -> dict[str, Any]:
    sent_ms = to_ms(row["sent_at"])
    known = {
        name: row[name]
        for name in ("chat_id", "chat_kind", "sender_id", "app_id", "visible_to", "notification", "attachments")
    }
    return message(
        row["message_uid"],
        1,
        row["text"],
        **known,
        version=row["version"],
        supersedes="00" if row["version"] > 1 else None,
        sent_at=sent_ms,
        observed_at=sent_ms + 1_000 * row["version"],
        plain_text=row["plain_text"],
        sender_name=PEOPLE[row["sender_id"]][0][-1],
    )


def as_file(row: dict[str, Any], mime: str, ordinal: int) -> dict[str, Any]:
    return {
        "chat_id": row["chat_id"],
        "message_uid": row["message_uid"],
        "version": row["version"],
        "ordinal": ordinal,
        "sent_at": to_ms(row["sent_at"]),
        "observed_at": to_ms(row["sent_at"]),
        "kind": "download",
        "mime": mime,
        "url": "https://f.flockusercontent.com/x",
        "status": "stored",
        "attempts": 1,
    }


def as_observation(row: dict[str, Any], outcome: str = "not_returned", seconds: int = 60) -> dict[str, Any]:
    return {
        "chat_id": row["chat_id"],
        "message_uid": row["message_uid"],
        "observed_at": to_ms(row["sent_at"]) + seconds * 1_000,
        "asked_as": "u:ann",
        "outcome": outcome,
    }


def labels_of(rows: Sequence[dict[str, Any]]) -> dict[str, LabelMeaning]:
    carrying = frozenset(row["message_uid"] for row in rows if row["is_contract"])
    return {"Contract": LabelMeaning(carrying, frozenset()), "other": LabelMeaning(frozenset(), frozenset({"g:none"}))}


def refreshed(archive: Archive, head: Head, folder: Path, **options: Any) -> Index:
    """The index of an archive in a folder, brought up to a head."""
    index = Index(folder, archive_id=archive.facts.archive_id)
    assert index.refresh(
        head, lambda at, records: build_from(lambda: archive.store, at, records), executor=EXECUTOR, **options
    )
    return index


def places_of(
    archive: Archive,
    head: Head,
    index: OpenIndex | None,
    expression: Expression,
    labels: dict[str, LabelMeaning] | None = None,
) -> Places:
    members = read_membership(archive.store, head).directory
    knowledge = read_knowledge(archive.store, head, expression, directory=members, labels=labels)
    return Places(archive.store, head, index or without_index(head), knowledge, EXECUTOR)


def all_pages(places: Places, expression: Expression, *, order: Order = "newest", limit: int = 1_000) -> list[Found]:
    hits: list[Found] = []
    after: Position | None = None
    while True:
        page = search(places, expression, order=order, limit=limit, after=after)
        assert len(page.hits) <= limit
        hits += page.hits
        if page.after is None:
            return hits
        after = page.after


def expected(
    expression: Expression, rows: Sequence[dict[str, Any]], *, order: Order = "newest"
) -> list[tuple[int, str, str]]:
    """Where the hits stand that a plain reading finds: when the deciding version was sent, chat and uid."""
    sign = -1 if order == "newest" else 1
    best: dict[tuple[str, str], int] = {}
    for row in rows:
        if is_true(expression.root, row):
            key = (row["chat_id"], row["message_uid"])
            at = sign * to_ms(row["sent_at"])
            best[key] = min(at, best.get(key, at))
    return [(sign * at, *key) for at, key in sorted((at, key) for key, at in best.items())]
