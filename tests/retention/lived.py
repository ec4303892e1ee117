"""Archives as tests of plans want them: any rows, spread over any commits, made by real commits."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Any

from archiver.archive.commit import Author, Draft, commit
from archiver.archive.ledger import HoldChange, HoldScope
from archiver.archive.reader import Archive, Head
from archiver.archive.schema import TABLES
from archiver.archive.tables import rows_to_table
from archiver.clock import to_ms
from archiver.retention.plan import plan_policy
from archiver.retention.plan_document import Plan
from archiver.retention.policy import Policy
from archiver.store import Store
from archiver.store.memory import MemoryStore
from tests.archive.archive_steps import found

Row = dict[str, Any]
AUTHOR = Author(run="lived", actor="test", software="test", writer="here")
_attempts = itertools.count(1)


def lived(commits: Iterable[Mapping[str, Sequence[Row]]], *, store: Store | None = None) -> tuple[Archive, Head]:
    """An archive of these commits, each with rows by table."""
    archive = found(store or MemoryStore())
    head = archive.founding_head()
    for tables in commits:
        head = added(archive, head, tables)
    return archive, head


def at_ms(day: date, hour: int = 12) -> int:
    return to_ms(datetime(day.year, day.month, day.day, hour, tzinfo=UTC))


def sent(uid: str, day: date, **further: Any) -> Row:
    """A row of ``messages``; a ``version`` above 1 follows another."""
    said = further.get("text", "good morning")
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
        "text": said,
        "plain_text": said,
        "raw": f'{{"uid":"{uid}"}}',
        "raw_digest": sha256(uid.encode()).hexdigest(),
        "content_digest": sha256(said.encode()).hexdigest(),
        "supersedes": "0" * 64 if further.get("version", 1) > 1 else None,
        **further,
    }


def attached(uid: str, day: date, ordinal: int = 0, **further: Any) -> Row:
    """A row of ``files``."""
    return {
        "chat_id": "g:general",
        "message_uid": uid,
        "version": 1,
        "ordinal": ordinal,
        "sent_at": at_ms(day),
        "observed_at": at_ms(day) + 5,
        "kind": "download",
        "name": "minutes.txt",
        "mime": "text/plain",
        "url": "https://f.flockusercontent.com/minutes.txt",
        "status": "given_up",
        "attempts": 1,
        **further,
    }


def stated_uid(day: date, number: int = 0) -> str:
    """A uid as Flock gives them: it says when the message was sent."""
    return f"{at_ms(day)}-{number:x}-m201"


def added(archive: Archive, head: Head, tables: Mapping[str, Sequence[Row]]) -> Head:
    drafted = {name: rows_to_table(TABLES[name], rows) for name, rows in tables.items() if rows}
    return _committed(archive, head, Draft(at_ms=0, tables=drafted))


def held(archive: Archive, head: Head, name: str, **scope: Any) -> Head:
    hold = HoldChange(name=name, action="place", reason="a case", scope=HoldScope(**scope))
    return _committed(archive, head, Draft(at_ms=0, kind="hold", hold=hold))


def released(archive: Archive, head: Head, name: str) -> Head:
    return _committed(
        archive, head, Draft(at_ms=0, kind="hold", hold=HoldChange(name=name, action="release", reason="settled"))
    )


def _committed(archive: Archive, head: Head, draft: Draft) -> Head:
    with ThreadPoolExecutor(2) as executor:
        return commit(archive, head, draft, author=AUTHOR, attempt=f"{next(_attempts):08x}", executor=executor)


def planned(archive: Archive, head: Head, policy: Policy, as_of: date, **further: Any) -> Plan:
    with ThreadPoolExecutor(2) as executor:
        return plan_policy(archive, head, policy, as_of=as_of, executor=executor, **further)


def items_of(plan: Plan) -> set[tuple[Any, ...]]:
    """The items of a plan by what names them."""
    names = ("kind", "chat_id", "message_uid", "ordinal", "user_id")
    return set(zip(*(plan.items.column(name).to_pylist() for name in names), strict=True))
