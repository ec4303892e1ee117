"""What a lock of the store keeps of a plan is told before it is approved."""

from __future__ import annotations

from datetime import date

import pytest

from archiver.archive.reader import Archive, Head, files_of
from archiver.retention.dispose import check
from archiver.retention.located import blobs_going
from archiver.retention.locked import Locked, locks_of_located, locks_of_plan
from archiver.retention.plan_document import Plan
from archiver.store import ObjectLock
from tests.archive.archive_steps import InlineExecutor
from tests.retention.disposing import NoHolds
from tests.retention.lived import attached, lived, planned, sent, stated_uid
from tests.retention.locking import LockingStore
from tests.retention.plans import plan_of
from tests.retention.policies import policy

DAYS = [date(2015, 3, 1), date(2015, 3, 2), date(2150, 1, 1)]
ENDS_MS = 1_900_000_000_000


@pytest.fixture
def made() -> tuple[LockingStore, Archive, Head, Plan]:
    store = LockingStore()
    rows = [sent(stated_uid(day), day) for day in DAYS]
    archive, head = lived([{"messages": rows, "files": [attached(stated_uid(DAYS[0]), DAYS[0])]}], store=store)
    return store, archive, head, planned(archive, head, policy({"delete": "1y"}), date(2026, 11, 27))


def looked(archive: Archive, head: Head, plan: Plan) -> list[Locked]:
    """By the ledger alone, and exactly."""
    executor = InlineExecutor()
    located = check(archive, head, plan, coverage=NoHolds(), executor=executor)
    blobs = blobs_going(archive.store, head, located, executor=executor)
    return [
        locks_of_plan(archive.store, head, plan, executor=executor),
        locks_of_located(archive.store, located, blobs, executor=executor),
    ]


def test_only_what_the_plan_is_about_is_looked_at(made: tuple[LockingStore, Archive, Head, Plan]) -> None:
    store, archive, head, plan = made
    [_, _, young] = sorted(record.key for record in files_of(head, "messages"))
    store.locks[young] = ObjectLock(ENDS_MS, legal_hold=True)
    assert looked(archive, head, plan) == [Locked(3, 0, None, 0)] * 2
    assert looked(archive, head, plan)[0].sentence is None


def test_the_last_end_counts_and_a_legal_hold_has_none(made: tuple[LockingStore, Archive, Head, Plan]) -> None:
    store, archive, head, plan = made
    [first, second, _] = sorted(record.key for record in files_of(head, "messages"))
    [file] = (record.key for record in files_of(head, "files"))
    store.locks = {
        first: ObjectLock(ENDS_MS - 1, legal_hold=False),
        second: ObjectLock(ENDS_MS, legal_hold=True),
        file: ObjectLock(None, legal_hold=True),
    }
    assert looked(archive, head, plan) == [Locked(3, 3, ENDS_MS, 2)] * 2
    assert looked(archive, head, plan)[0].sentence == (
        "3 of the 3 objects that hold what would go are locked in the store: the last lock ends at 2030-03-17T17:46:40.000Z; "
        "2 have a legal hold, which ends when it is lifted. Until then what is removed stays there, hidden."
    )


def test_the_directory_is_looked_at_where_an_entry_of_it_goes_and_no_message() -> None:
    store = LockingStore()
    entry = {
        "user_id": "u:ann",
        "valid_from": 0,
        "state": "listed",
        "captured_by": "u:0",
        "raw": "{}",
        "state_digest": "00",
    }
    archive, head = lived([{"users": [entry], "messages": [sent(stated_uid(DAYS[0]), DAYS[0])]}], store=store)
    (directory,) = (record.key for record in files_of(head, "users"))
    store.locks = {key: ObjectLock(ENDS_MS, legal_hold=False) for key in head.files}
    gone = {"kind": "user", "day": DAYS[0], "user_id": "u:ann", "sent_at": 0, "due_at": 0, "rule": "erasure", "principle": "x", "rows": 1,
            "bytes": 1}  # fmt: skip
    plan = plan_of(archive, head, [gone])
    assert looked(archive, head, plan) == [Locked(1, 1, ENDS_MS, 0)] * 2
    del store.locks[directory]
    assert looked(archive, head, plan) == [Locked(1, 0, None, 0)] * 2


def test_what_went_while_it_was_looked_for_is_not_locked(made: tuple[LockingStore, Archive, Head, Plan]) -> None:
    store, archive, head, plan = made
    for record in files_of(head, "messages"):
        store.delete(record.key)
    assert locks_of_plan(archive.store, head, plan, executor=InlineExecutor()) == Locked(3, 0, None, 0)
