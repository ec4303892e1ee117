"""Erasure for one person (GDPR 17): a plan of its own of everything that they sent, its files, and their rows in the directory.

What a bot posted on their behalf is theirs as what they sent themselves, as it is a custodian's for a hold. What a hold covers stays, and
so does what a retain period of the policy still keeps (GDPR 17(3)); the plan says how much of it and until when. What others wrote that
names the person is not theirs to have removed: it is counted, so that an answer to them can say so.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.ledger import FileRecord
from archiver.archive.reader import Archive, Head, files_of, read_columns
from archiver.archive.schema import USERS
from archiver.clock import LATEST_MS
from archiver.errors import UsageError
from archiver.ids import parties_of
from archiver.retention.context import read_context
from archiver.retention.coverage import Coverage, read_coverage
from archiver.retention.evaluate import Evaluator
from archiver.retention.finding import Progress, find
from archiver.retention.items import message_keys
from archiver.retention.judging import ERASED_ON_REQUEST, ERASURE, SENDER_COLUMNS, Judge, sent_by
from archiver.retention.matching import joined
from archiver.retention.plan import Subject, header_of, start_of
from archiver.retention.plan_document import ITEMS, Plan, sorted_items
from archiver.retention.policy import Policy
from archiver.store import Store

_SUBJECT_CHARACTERS_MAX: Final = 320
_REASON_CHARACTERS_MAX: Final = 2_000


@dataclass(frozen=True, slots=True)
class Remains:
    """What names the person and stays, because it is not what they sent: counts of rows by what they are.

    ``mentions`` are messages of others that mention them, ``direct`` messages of others in their one-to-one chats, ``memberships``
    rows of channels that they were in, ``conversations`` rows of their one-to-one chats.
    """

    mentions: int
    direct: int
    memberships: int
    conversations: int


@dataclass(frozen=True, slots=True)
class ErasurePlan:
    """A plan of an erasure, whom it is for, and what remains that names them. ``directory_held_by`` are holds on their own entry."""

    plan: Plan
    subject: Subject
    remains: Remains
    directory_held_by: tuple[str, ...]


def find_subject(archive: Archive, head: Head, named: str, *, reason: str) -> Subject:
    """Return whom a request names: a user id, or whoever ever had an e-mail address.

    Raises `UsageError` where nobody is, or what is given cannot be a name or a reason.
    """
    named, reason = (
        _checked(named, _SUBJECT_CHARACTERS_MAX, "--subject"),
        _checked(reason, _REASON_CHARACTERS_MAX, "--reason"),
    )
    wanted = named.casefold()
    found: set[str] = set()
    for record in files_of(head, "users"):
        found |= {
            row["user_id"]
            for row in read_columns(archive.store, record, ("user_id", "email")).to_pylist()
            if row["user_id"] == named or (row["email"] is not None and row["email"].casefold() == wanted)
        }
    # Somebody of another system may have an address in their id, so that no name is too much like one to be looked for.
    if not found and _has_sent(archive.store, head, named):
        found = {named}
    if not found:
        raise UsageError(
            f"the archive knows nobody called {named!r}",
            next_step="name the user by id: Flock tells addresses only of users who installed the app; "
            '`archiver query "SELECT user_id, first_name, last_name, email FROM users"` lists who is known',
        )
    return Subject(named, frozenset(found), reason)


def plan_erasure(
    archive: Archive,
    head: Head,
    policy: Policy,
    subject: Subject,
    *,
    as_of: date,
    executor: Executor,
    progress: Progress | None = None,
) -> ErasurePlan:
    """Return the plan of an erasure on a head of the archive, as of a day of the policy's zone.

    Raises `DamageFoundError` if an object cannot be read.
    """
    coverage = read_coverage(archive.store, head)
    judge = Judge(
        Evaluator(policy, read_context(archive.store, head, policy)),
        coverage,
        as_of_ms=start_of(as_of, zone=policy.zone),
        horizon_ms=LATEST_MS,
        senders=subject.user_ids,
    )
    found = find(archive.store, head, judge, chosen=lambda _: True, executor=executor, progress=progress)
    held_by = holds_on(coverage, subject.user_ids)
    if not held_by:
        own = _directory_items(archive.store, head, subject.user_ids, as_of_ms=judge.as_of_ms)
        found = replace(found, items=sorted_items(pa.concat_tables([found.items, own])))
    plan = Plan(header_of(archive, head, policy, found, as_of_ms=judge.as_of_ms, subject=subject), found.items)
    return ErasurePlan(plan, subject, _remains(archive.store, head, subject.user_ids, executor=executor), held_by)


def holds_on(coverage: Coverage, user_ids: frozenset[str]) -> tuple[str, ...]:
    """Return the holds that have one of these people as a custodian: their entry says who that is, and stays."""
    return tuple(name for name, reach in coverage.reaches.items() if reach.people and reach.people & user_ids)


def _checked(text: str, characters_max: int, option: str) -> str:
    text = text.strip()
    if not text or not text.isprintable() or len(text) > characters_max:
        raise UsageError(
            f"{option} must be 1 to {characters_max} printable characters",
            next_step="say whom it is for and why; both stand in the plan and in the certificate",
        )
    return text


def _has_sent(store: Store, head: Head, user_id: str) -> bool:
    wanted = pa.array([user_id])
    return any(
        pc.any(sent_by(read_columns(store, record, SENDER_COLUMNS), wanted)).as_py()
        for record in files_of(head, "messages")
    )


def _directory_items(store: Store, head: Head, user_ids: frozenset[str], *, as_of_ms: int) -> pa.Table:
    """Return an item for each user whose rows in ``users`` go; what they weigh is their part of the objects that they lie in."""
    wanted = pa.array(sorted(user_ids))
    rows: dict[str, list[tuple[datetime, int]]] = {}
    for record in files_of(head, USERS.name):
        table = read_columns(store, record, ("user_id", "valid_from"))
        weight = record.bytes // max(1, record.rows)
        for row in table.filter(pc.is_in(table.column("user_id"), value_set=wanted)).to_pylist():
            rows.setdefault(row["user_id"], []).append((row["valid_from"], weight))
    return pa.Table.from_pylist(
        [
            {
                "kind": "user",
                "day": max(found)[0].date(),
                "user_id": user_id,
                "sent_at": max(found)[0],
                "due_at": as_of_ms,
                "rule": ERASURE,
                "principle": ERASED_ON_REQUEST,
                "rows": len(found),
                "bytes": sum(weight for _, weight in found),
            }
            for user_id, found in rows.items()
        ],
        schema=ITEMS,
    )


def _remains(store: Store, head: Head, user_ids: frozenset[str], *, executor: Executor) -> Remains:
    wanted = pa.array(sorted(user_ids))
    records = files_of(head, "messages")

    def theirs_in(record: FileRecord) -> pa.Array:
        rows = read_columns(store, record, ("chat_id", "message_uid", *SENDER_COLUMNS))
        return message_keys(rows.filter(sent_by(rows, wanted)))

    theirs = joined([pa.array([], pa.string()), *executor.map(theirs_in, records)])

    def in_messages(record: FileRecord) -> tuple[int, int]:
        rows = read_columns(store, record, ("chat_id", "message_uid", "mentions"))
        others = rows.filter(pc.invert(pc.is_in(message_keys(rows), value_set=theirs)))
        mentions = others.column("mentions").combine_chunks()
        hits = pc.is_in(pc.list_flatten(mentions), value_set=wanted)
        mentioning = pc.count_distinct(pc.list_parent_indices(mentions).filter(hits)).as_py()
        return mentioning, _in_chats_of(others, user_ids)

    counts = list(executor.map(in_messages, records))
    memberships = sum(
        pc.sum(pc.is_in(read_columns(store, record, ("user_id",)).column("user_id"), value_set=wanted)).as_py() or 0
        for record in files_of(head, "groups")
    )
    conversations = sum(
        _in_chats_of(read_columns(store, record, ("chat_id",)), user_ids) for record in files_of(head, "conversations")
    )
    return Remains(
        mentions=sum(mentioning for mentioning, _ in counts),
        direct=sum(direct for _, direct in counts),
        memberships=memberships,
        conversations=conversations,
    )


def _in_chats_of(rows: pa.Table, user_ids: frozenset[str]) -> int:
    counted = pc.value_counts(rows.column("chat_id")).to_pylist()
    return sum(item["counts"] for item in counted if user_ids & set(parties_of(item["values"]) or ()))
