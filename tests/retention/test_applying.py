"""What must hold before a plan is applied, what a rehearsal tells, and that both come to the same."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest

from archiver.archive import layout
from archiver.archive.reader import Archive, Head
from archiver.clock import DAY_MS, from_text, to_text
from archiver.errors import DamageFoundError, RefusedError
from archiver.retention.applying import Rehearsal, applied_in, apply_plan, rehearse, require_timely
from archiver.retention.dispose import Disposed
from archiver.retention.erasing import Erasure
from archiver.retention.locked import Locked
from archiver.retention.plan_document import Plan
from archiver.store import ObjectLock
from tests.archive.archive_steps import AUTHOR, InlineExecutor
from tests.retention.disposing import objects_of
from tests.retention.lived import added, attached, held, lived, planned, sent
from tests.retention.locking import LockingStore
from tests.retention.plans import plan_of
from tests.retention.policies import policy

OLD, AS_OF = date(2020, 3, 15), date(2021, 6, 1)
POLICY = policy({"name": "old", "delete": "1y"}, zone="Europe/Berlin")
NOW_MS = from_text("2021-05-31T22:00:00.000Z")  # when the plan's day begins in Berlin
BLOB = layout.blob_key("ab" * 32)
STORED = {"status": "stored", "blob_digest": "ab" * 32, "blob_bytes": 7}


@pytest.fixture
def built() -> tuple[Archive, Head, Plan, LockingStore]:
    store = LockingStore()
    archive, head = lived(
        [
            {
                "messages": [sent("m-1", OLD), sent("m-2", OLD, chat_id="g:random")],
                "files": [attached("m-1", OLD, **STORED)],
            },
            {"messages": [sent("m-3", AS_OF)]},
        ],
        store=store,
    )
    store.create(BLOB, b"minutes")
    return archive, head, planned(archive, head, POLICY, AS_OF), store


def rehearsed(built: tuple[Archive, Head, Plan, LockingStore], head: Head, **further: Any) -> Rehearsal:
    archive, _, plan, _ = built
    given: dict[str, Any] = {"now_ms": NOW_MS, "progress": lambda *_: None, **further}
    return rehearse(archive, head, plan, POLICY, executor=InlineExecutor(), **given)


def applied(
    built: tuple[Archive, Head, Plan, LockingStore], head: Head, *, plan: Plan | None = None, **further: Any
) -> Disposed:
    given: dict[str, Any] = {"now_ms": NOW_MS, "progress": lambda *_: None, "attempt": "d15905ed", **further}
    return apply_plan(
        built[0], head, plan or built[2], POLICY, approved_by="The Records Manager", author=AUTHOR, executor=InlineExecutor(), **given
    )  # fmt: skip


class TestItsTime:
    def test_has_come_when_its_day_begins_and_not_a_millisecond_sooner(
        self, built: tuple[Archive, Head, Plan, LockingStore]
    ) -> None:
        _, _, plan, _ = built
        require_timely(plan, POLICY, now_ms=NOW_MS)
        with pytest.raises(RefusedError) as caught:
            require_timely(plan, POLICY, now_ms=NOW_MS - 1)
        assert (caught.value.what, caught.value.next_step, caught.value.exit_code) == (
            f"plan {plan.digest} is as of 2021-05-31T22:00:00.000Z, and it is 2021-05-31T21:59:59.999Z: what it lists is not due yet",
            "apply it when that day has begun, if nothing has changed by then",
            5,
        )

    def test_never_comes_by_another_policy(self, built: tuple[Archive, Head, Plan, LockingStore]) -> None:
        archive, head, plan, store = built
        other = policy({"name": "old", "delete": "2y"}, zone="Europe/Berlin")
        before = objects_of(store)
        for attempt in (
            lambda: require_timely(plan, other, now_ms=NOW_MS),
            lambda: rehearse(
                archive, head, plan, other, now_ms=NOW_MS, executor=InlineExecutor(), progress=lambda *_: None
            ),
            lambda: apply_plan(
                archive, head, plan, other, approved_by="a", author=AUTHOR, attempt="d15905ed", now_ms=NOW_MS,
                executor=InlineExecutor(), progress=lambda *_: None,
            ),
        ):  # fmt: skip
            with pytest.raises(RefusedError) as caught:
                attempt()
            assert (caught.value.what, caught.value.next_step) == (
                f"plan {plan.digest} was made by the policy test with digest {POLICY.digest}, and the policy now is test with digest "
                f"{other.digest}",
                "make a new plan with `archiver retention plan`, and have that approved",
            )
        for early in (
            lambda: rehearsed(built, head, now_ms=NOW_MS - 1),
            lambda: applied(built, head, now_ms=NOW_MS - 1),
        ):
            with pytest.raises(RefusedError, match="is not due yet"):
                early()
        assert objects_of(store) == before


class TestARehearsal:
    def test_tells_what_would_go_and_changes_nothing(self, built: tuple[Archive, Head, Plan, LockingStore]) -> None:
        _, head, _, store = built
        before = objects_of(store)
        told: list[tuple[str, int, int]] = []
        assert rehearsed(built, head, progress=lambda *step: told.append(step)) == Rehearsal(
            items={"message": 2, "file": 1},
            items_held=0,
            held={},
            locked=Locked(looked_at=3, objects=0, until_ms=None, legal_holds=0),
        )
        assert told == [("finding messages", 1, 2), ("finding messages", 2, 2), ("finding files", 1, 1)]
        assert objects_of(store) == before

    def test_tells_what_holds_keep_and_what_is_locked(self, built: tuple[Archive, Head, Plan, LockingStore]) -> None:
        archive, head, _, store = built
        head = held(archive, head, "case", chats=("g:random",))
        head = held(archive, head, "more", from_at_ms=0, chats=("g:random",))
        head = held(archive, head, "nothing", chats=("g:nowhere",))
        (files,) = [key for key in head.files if key.startswith("files/")]
        store.locks = {
            files: ObjectLock(NOW_MS, legal_hold=False),
            BLOB: ObjectLock(None, legal_hold=True),
        }
        assert rehearsed(built, head) == Rehearsal(
            items={"message": 1, "file": 1},
            items_held=1,
            held={"case": 1, "more": 1},
            locked=Locked(looked_at=3, objects=2, until_ms=NOW_MS, legal_holds=1),
        )


class TestAPlanThatWasApplied:
    """Whoever applies it again, after a crash or by mistake, is told what was done, whatever the policy says by now."""

    def test_is_told_with_its_certificate_and_nothing_is_changed(
        self, built: tuple[Archive, Head, Plan, LockingStore]
    ) -> None:
        archive, head, plan, store = built
        others = policy({"name": "random", "delete": "1y", "match": {"channel": "g:random"}}, zone="Europe/Berlin")
        other = planned(archive, head, others, AS_OF)
        assert applied_in(archive, plan) is None
        first = applied(built, head)
        assert (applied_in(archive, plan), applied_in(archive, other)) == (first.sequence, None)

        before = objects_of(store)
        again = apply_plan(
            archive, first.head, plan, others, approved_by="Somebody Else", author=AUTHOR, attempt="00000002", now_ms=NOW_MS - 1,
            executor=InlineExecutor(), progress=lambda *_: None,
        )  # fmt: skip
        assert again == replace(first, erasure=Erasure(first.sequence, 0, ()), was_applied_before=True)
        assert rehearse(
            archive, first.head, plan, others, now_ms=NOW_MS - 1, executor=InlineExecutor(), progress=lambda *_: None
        ) == Rehearsal({}, 0, {}, Locked(0, 0, None, 0), applied_in=first.sequence)
        assert objects_of(store) == before

    def test_is_told_with_what_could_be_erased_of_it_now(self, built: tuple[Archive, Head, Plan, LockingStore]) -> None:
        archive, head, _, store = built
        (files,) = [key for key in head.files if key.startswith("files/")]
        (recent,) = [key for key in head.files if key.startswith("messages/dt=2021")]
        store.locks = {files: ObjectLock(None, legal_hold=True), recent: ObjectLock(None, legal_hold=True)}
        first = applied(built, head)
        later = planned(archive, first.head, POLICY, date(2022, 7, 1))
        in_2022: dict[str, Any] = {"plan": later, "now_ms": from_text("2022-08-01T00:00:00.000Z")}
        second = applied(built, first.head, **in_2022, attempt="00000002")
        assert second.head.unerased == (first.sequence, second.sequence)

        store.locks = {}
        again = applied(built, second.head, **in_2022, attempt="00000003")
        assert (again.sequence, again.certificate, again.head.unerased) == (second.sequence, second.certificate, ())
        assert (again.erasure, again.was_applied_before) == (Erasure(second.sequence, 1, ()), True)
        assert store.hidden == set()


class TestApplying:
    def test_stores_what_stays_side_by_side(self) -> None:
        """A store far away answers late; what is written does not wait for what was written before it."""

        class Distant(LockingStore):
            together: threading.Barrier | None = None

            def create(self, key: str, data: bytes | Path) -> None:
                if self.together is not None and key.startswith("messages/"):
                    self.together.wait()
                super().create(key, data)

        store = Distant()
        rows = [sent(f"m-{number}", OLD, chat_id=f"g:{number % 2}") for number in range(2)]
        astray = [
            {**row, "message_uid": f"{row['message_uid']}-later", "sent_at": row["sent_at"] + DAY_MS} for row in rows
        ]
        archive, head = lived([{"messages": rows + astray}], store=store)
        rules = policy({"name": "old", "delete": "1y", "match": {"channel": "g:0"}}, zone="Europe/Berlin")
        plan = planned(archive, head, rules, AS_OF)
        store.together = threading.Barrier(2, timeout=20)
        done = apply_plan(
            archive, head, plan, rules, approved_by="ann", author=AUTHOR, attempt="d15905ed", now_ms=NOW_MS,
            executor=InlineExecutor(), progress=lambda *_: None,
        )  # fmt: skip
        assert (done.certificate.items, done.head.rows["messages"]) == ({"message": 2}, 2)

    def test_does_what_was_rehearsed(self, built: tuple[Archive, Head, Plan, LockingStore]) -> None:
        archive, head, plan, _ = built
        head = held(archive, head, "case", chats=("g:random",))
        told: list[str] = []
        done = applied(built, head, progress=lambda *step: told.append(step[0]))
        certificate = done.certificate
        assert (certificate.plan, certificate.approved_by, certificate.at) == (
            plan.digest,
            "The Records Manager",
            to_text(NOW_MS),
        )
        assert (certificate.items, certificate.items_held, certificate.attempt) == (
            {"message": 1, "file": 1},
            1,
            "d15905ed",
        )
        assert [(share.hold, share.items) for share in certificate.held] == [("case", 1)]
        assert done.erasure == Erasure(done.sequence, 3, ())
        assert list(dict.fromkeys(told)) == ["finding messages", "finding files", "rewriting", "erasing"]
        assert {table: done.head.rows.get(table, 0) for table in ("messages", "files")} == {"messages": 2, "files": 0}

    def test_finishes_what_earlier_disposals_left_first(self, built: tuple[Archive, Head, Plan, LockingStore]) -> None:
        archive, head, _, store = built
        (files,) = [key for key in head.files if key.startswith("files/")]
        store.locks = {files: ObjectLock(None, legal_hold=True)}
        first = applied(built, head)
        assert first.head.unerased == (first.sequence,)
        store.locks = {}
        later = planned(archive, first.head, POLICY, date(2022, 7, 1))
        told: list[str] = []
        done = applied(
            built,
            first.head,
            plan=later,
            now_ms=from_text("2022-08-01T00:00:00.000Z"),
            attempt="00000002",
            progress=lambda *step: told.append(step[0]),
        )
        assert list(dict.fromkeys(told)) == ["erasing", "finding messages"]
        assert told[-1] == "erasing"
        assert (done.head.unerased, done.head.rows["messages"], store.hidden) == ((), 0, set())

    def test_a_blob_that_is_missing_is_damage_and_nothing_is_changed(
        self, built: tuple[Archive, Head, Plan, LockingStore]
    ) -> None:
        _, head, _, store = built
        store.delete(BLOB)
        before = objects_of(store)
        with pytest.raises(DamageFoundError) as caught:
            applied(built, head)
        assert (caught.value.what, caught.value.next_step) == (
            f"{BLOB} in memory: is missing, the ledger names it",
            "run `archiver verify` for a full list, then restore the object from a copy; nothing was changed",
        )
        assert objects_of(store) == before


def test_the_directory_entry_of_somebody_who_is_a_custodian_since_is_not_removed(
    built: tuple[Archive, Head, Plan, LockingStore],
) -> None:
    archive, head, _, store = built
    items = [
        {"kind": "user", "day": OLD, "user_id": user_id, "sent_at": 0, "due_at": 0, "rule": "erasure", "principle": "x", "rows": 1, "bytes": 1}
        for user_id in ("u:ann", "u:bob")
    ]  # fmt: skip
    entry = {"user_id": "u:ann", "email": "ann@example.com", "valid_from": 0, "state": "listed", "captured_by": "u:0", "raw": "{}",
             "state_digest": "00"}  # fmt: skip
    head = added(archive, head, {"users": [entry]})
    bare = plan_of(archive, head, items)
    plan = Plan(
        msgspec.structs.replace(bare.header, policy_digest=POLICY.digest, as_of=built[2].header.as_of), bare.items
    )
    head = held(archive, head, "theirs", custodians=("ann@example.com",))
    head = held(archive, head, "too", custodians=("u:ann", "u:eve"))
    head = held(archive, head, "others", custodians=("u:eve",))
    before = objects_of(store)
    for attempt in (
        lambda: rehearse(
            archive, head, plan, POLICY, now_ms=NOW_MS, executor=InlineExecutor(), progress=lambda *_: None
        ),
        lambda: applied(built, head, plan=plan),
    ):
        with pytest.raises(RefusedError) as caught:
            attempt()
        assert (caught.value.what, caught.value.next_step) == (
            f"plan {plan.digest} would remove the directory entry of somebody whom theirs, too holds",
            "plan the erasure again with `archiver retention erase`; the new plan leaves what is held",
        )
    assert objects_of(store) == before
