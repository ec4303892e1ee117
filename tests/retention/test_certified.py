"""A certificate is borne out by the ledger and the store, or it is said where it is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from archiver.archive import layout, ledger
from archiver.archive.ledger import canonical_json
from archiver.archive.reader import Archive
from archiver.errors import DamageFoundError, UsageError
from archiver.retention.certificate import Certificate
from archiver.retention.certified import Checked, check_certificate, find_certificate
from archiver.retention.plan_document import store_plan
from archiver.store import ObjectLock
from archiver.store.memory import MemoryStore
from tests.archive.archive_steps import InlineExecutor, add, blob, message
from tests.retention.disposing import EVERY_SECRET, FILED, SHARED, apply, build, objects_of, plan_for
from tests.retention.locking import LockingStore


@pytest.fixture(scope="module")
def disposed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, bytes]]:
    """A plan that was applied, and the objects of its archive after it."""
    store = MemoryStore()
    archive, head = build(store, tmp_path_factory.mktemp("blobs"))
    plan = plan_for(archive, head, EVERY_SECRET, [(*FILED, 0), (*FILED, 1), (*FILED, 2), (*SHARED, 0)])
    store_plan(store, plan)
    apply(archive, head, plan)
    return plan.digest, objects_of(store)


@pytest.fixture
def store(disposed: tuple[str, dict[str, bytes]]) -> LockingStore:
    copy = LockingStore()
    for key, data in disposed[1].items():
        copy.create(key, data)
    return copy


@pytest.fixture
def plan(disposed: tuple[str, dict[str, bytes]]) -> str:
    return disposed[0]


def check(store: MemoryStore, plan: str) -> Checked:
    return check_certificate(Archive.open(store), plan, executor=InlineExecutor())


def rewritten(store: MemoryStore, plan: str, change: Callable[[Certificate], Certificate]) -> None:
    key = layout.certificate_key(plan)
    store.replace(key, canonical_json(change(msgspec.json.decode(store.read(key), type=Certificate))))


def test_what_was_done_as_it_says_is_borne_out(store: LockingStore, plan: str) -> None:
    checked = check(store, plan)
    entry, _ = ledger.read_entry(store, 3)
    assert (checked.differs, checked.still_there, checked.used_again) == ((), (), 0)
    assert (checked.sequence, checked.erased, checked.looked_for) == (3, 4, len(entry.removed))
    assert (checked.key, checked.certificate.plan) == (f"certificates/{plan}.json", plan)
    assert checked.looked_for > 8
    assert entry.disposal is not None
    assert checked.sha256 == entry.disposal.certificate_sha256


replace = msgspec.structs.replace


def first_object(**changes: Any) -> Callable[[Certificate], Certificate]:
    return lambda of: replace(of, objects=(replace(of.objects[0], **changes), *of.objects[1:]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda of: replace(of, approved_by="nobody"), "who approved is nobody by the certificate and The Records Manager by"),
        (lambda of: replace(of, rows=of.rows | {"messages": 1}),
         "the rows is 2 events, 4 files, 1 messages by the certificate and 2 events, 4 files, 8 messages by commit 3"),
        (lambda of: replace(of, rows=of.rows | {"messages": 1}),
         "the objects that it names lost 2 events, 4 files, 8 messages rows, and it says 2 events, 4 files, 1 messages"),
        (lambda of: replace(of, head_digest="0" * 64), "the digest of the head before"),
        (lambda of: replace(of, head_sequence=1), "the head before is 1 by the certificate and 2 by commit 3"),
        (lambda of: replace(of, at="2020-01-01T00:00:00.000Z"), "when is 2020"),
        (lambda of: replace(of, archive_id="another"), "the archive is another"),
        (lambda of: replace(of, actor="somebody"), "the actor is somebody"),
        (lambda of: replace(of, plan="0" * 64), "it is of plan 0000"),
        (lambda of: replace(of, objects=of.objects[1:]), "is named by the commit alone"),
        (lambda of: replace(of, blobs=of.blobs[1:]), "is named by the commit alone"),
        (first_object(key="messages/../../etc"), "messages/../../etc is named by the certificate alone"),
        (first_object(sha256="0" * 64), "is not the object that the ledger told of before"),
        (first_object(rows=17), "is not the object that the ledger told of before"),
        (first_object(new_sha256="0" * 64), "is not the object that the commit put in the place of"),
        (first_object(new_key="messages/other"), "messages/other is not the object that the commit put in the place of messages/"),
        (first_object(new_key=None, new_sha256=None, new_rows=0), "was put in the place of none of the objects"),
        (lambda of: replace(of, blobs=(replace(of.blobs[0], bytes=1), *of.blobs[1:])), "is not the blob that the ledger told of"),
        (lambda of: replace(of, rules=()), "its rules came to none items, and it says 4 file, 6 message"),
        (lambda of: replace(of, rules=()), "its rules came to none rows, and it says 2 events, 4 files, 8 messages"),
        (lambda of: replace(of, items_held=2), "of 10 items of the plan 10 went and 2 were held, which is not all of them"),
    ],
)  # fmt: skip
def test_one_that_says_something_else_is_found_out(
    change: Callable[[Certificate], Certificate], said: str, store: LockingStore, plan: str
) -> None:
    rewritten(store, plan, change)
    checked = check(store, plan)
    assert any(said in what for what in checked.differs), checked.differs
    if "it is of plan" not in said:
        assert checked.differs[0].startswith("its SHA-256 is ")


def test_without_an_entry_it_is_of_something_that_never_happened(store: LockingStore, plan: str) -> None:
    for sequence in (4, 3):
        store.delete(layout.entry_key(sequence))
    checked = check(store, plan)
    assert (checked.sequence, checked.looked_for) == (None, 0)
    assert checked.differs == ("no entry of the ledger names it: what was begun broke off, and nothing of it happened",)


def test_what_is_in_the_store_although_it_was_erased_is_named(store: LockingStore, plan: str) -> None:
    entry, _ = ledger.read_entry(store, 3)
    back, hidden = entry.removed[0].key, entry.removed[-1].key
    store.create(back, b"it is back")
    store.hidden.add(hidden)
    checked = check(store, plan)
    assert {(one.key, one.why) for one in checked.still_there} == {(back, "not erased yet"), (hidden, "old version")}
    assert all("and commit 4 says that it was erased" in what for what in checked.differs)
    assert len(checked.differs) == 2


def test_what_a_lock_keeps_is_told_and_no_contradiction(store: LockingStore, plan: str) -> None:
    """As long as nobody said that all of it has gone."""
    store.delete(layout.entry_key(4))
    entry, _ = ledger.read_entry(store, 3)
    held, locked, left = (removal.key for removal in entry.removed[:3])
    for key in (held, locked, left):
        store.create(key, b"it is there still")
    store.locks = {held: ObjectLock(None, legal_hold=True), locked: ObjectLock(1_900_000_000_000, legal_hold=False)}
    checked = check(store, plan)
    assert (checked.erased, checked.differs) == (None, ())
    assert [(one.key, one.why, one.until_ms) for one in checked.still_there] == [
        (held, "legal hold", None),
        (locked, "lock", 1_900_000_000_000),
        (left, "not erased yet", None),
    ]


def test_a_file_that_came_again_later_is_there_by_right(store: LockingStore, plan: str, tmp_path: Any) -> None:
    archive = Archive.open(store)
    add(archive, archive.head(), {"messages": [message("later")]}, blobs=blob(tmp_path, b"the peony's own file"))
    checked = check(store, plan)
    assert (checked.used_again, checked.still_there, checked.differs) == (1, (), ())


def test_one_that_cannot_be_read_is_damage(store: LockingStore, plan: str) -> None:
    store.replace(layout.certificate_key(plan), b"{")
    with pytest.raises(DamageFoundError):
        check(store, plan)


def test_it_is_found_by_the_beginning_of_its_plans_digest(store: LockingStore, plan: str) -> None:
    assert find_certificate(store, plan) == find_certificate(store, plan[:12]) == plan
    for beginning in (plan[:11], "g" * 12, "../" + plan, "x" * 99):
        with pytest.raises(UsageError) as caught:
            find_certificate(store, beginning)
        assert (caught.value.what, caught.value.next_step) == (
            f"not the digest of a plan: {beginning[:80]!r}",
            "give the plan's digest, or its first 12 digits or more; `archiver retention explain` names it for a message that is gone",
        )
    store.create(layout.certificate_key(plan[:12] + "f" * 52), b"{}")
    for beginning, what in (
        (plan[:12], f"2 certificates begin with {plan[:12]}"),
        ("0" * 64, f"memory: has no certificate {'0' * 64}"),
    ):
        with pytest.raises(UsageError) as caught:
            find_certificate(store, beginning)
        assert (caught.value.what, caught.value.next_step) == (what, "give the whole digest of a plan that was applied")
