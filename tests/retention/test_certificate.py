"""What a certificate says, field by field, how a person reads it, and what becomes of one that is there already or is not there."""

from __future__ import annotations

from hashlib import sha256

import msgspec
import pytest

from archiver.archive import layout
from archiver.archive.ledger import BlobRecord, canonical_json
from archiver.archive.reader import Head
from archiver.clock import DAY_MS, to_text
from archiver.errors import DamageFoundError, RefusedError, UsageError
from archiver.retention.certificate import (
    Certificate,
    HeldShare,
    LockedObject,
    ObjectChange,
    RuleShare,
    lines_of,
    load_certificate,
    store_certificate,
)
from archiver.retention.coverage import read_coverage
from archiver.retention.dispose import Disposed
from archiver.retention.plan_document import Plan
from archiver.store import ObjectLock
from archiver.store.memory import MemoryStore
from tests.archive.archive_steps import AT_MS
from tests.retention.disposing import ALONE, EDITED, FILED, SHARED, UNTIMED, apply, build, plan_for
from tests.retention.lived import held
from tests.retention.locking import LockingStore

OWN_FILE = b"the peony's own file"
LOCK_ENDS_AT_MS = AT_MS + 7 * DAY_MS


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Head, Disposed]:
    """Of six items two are held; two of the objects that go are locked; an object of which all goes and objects of which some does."""
    store = LockingStore()
    archive, head = build(store, tmp_path_factory.mktemp("blobs"))
    plan = plan_for(archive, head, [EDITED, ALONE, UNTIMED, SHARED], [(*FILED, 0), (*SHARED, 0)])
    head = held(archive, head, "direct", chats=("u:1,u:2",))
    head = held(archive, head, "shared", chats=("g:2",), until_ms=AT_MS + DAY_MS)
    store.locks = {
        _only(head, "messages", rows=1): ObjectLock(LOCK_ENDS_AT_MS, legal_hold=False),
        layout.blob_key(sha256(OWN_FILE).hexdigest()): ObjectLock(None, legal_hold=True),
        _only(head, "files", rows=5): ObjectLock(None, legal_hold=False),
    }
    return plan, head, apply(archive, head, plan, coverage=read_coverage(store, head), now_ms=AT_MS + 2 * DAY_MS)


def _only(head: Head, table: str, *, rows: int) -> str:
    found = [key for key, record in head.files.items() if (record.table, record.rows) == (table, rows)]
    return found[0]


def test_every_field_says_what_was_done(done: tuple[Plan, Head, Disposed]) -> None:
    plan, head, disposed = done
    after = disposed.head
    gone = {key: record for key, record in head.files.items() if key not in after.files}
    assert sorted(record.table for record in gone.values()) == [
        "events",
        "events",
        "files",
        "messages",
        "messages",
        "messages",
    ]
    changes = disposed.certificate.objects
    assert {change.key for change in changes} == set(gone)
    for change in changes:
        old = gone[change.key]
        assert (change.sha256, change.rows) == (old.sha256, old.rows)
        assert (change.new_key is None) == (change.new_sha256 is None) == (change.new_rows == 0)
        if change.new_key is not None:
            assert (change.new_sha256, change.new_rows) == (
                after.files[change.new_key].sha256,
                after.files[change.new_key].rows,
            )
    assert {change.new_key for change in changes if change.new_key} == after.files.keys() - head.files.keys()
    locked = sorted(disposed.certificate.locked, key=lambda one: one.key)
    assert msgspec.structs.replace(disposed.certificate, objects=(), locked=()) == Certificate(
        format=1,
        archive_id="0f0f",
        plan=plan.digest,
        plan_kind="policy",
        policy="acme",
        policy_digest="ab" * 32,
        zone="Europe/Berlin",
        as_of="2026-11-27T00:00:00.000Z",
        approved_by="The Records Manager",
        at=to_text(AT_MS + 2 * DAY_MS),
        run="night-1",
        attempt="d15905ed",
        actor="test",
        software="test",
        head_sequence=4,
        head_digest=head.digest,
        items_planned={"message": 4, "file": 2},
        items={"message": 2, "file": 1},
        rows={"messages": 3, "events": 2, "files": 1},
        rules=(
            RuleShare(rule="old files", items={"file": 1}, rows={"files": 1}),
            RuleShare(rule="old messages", items={"message": 2}, rows={"messages": 3, "events": 2}),
        ),
        objects=(),
        blobs=(BlobRecord(sha256(OWN_FILE).hexdigest(), len(OWN_FILE)),),
        held=(HeldShare(hold="direct", items=1), HeldShare(hold="shared", items=2)),
        items_held=3,
        locked=(),
    )
    assert locked == sorted(
        [
            LockedObject(key=_only(head, "messages", rows=1), until=to_text(LOCK_ENDS_AT_MS), legal_hold=False),
            LockedObject(key=_only(head, "files", rows=5), until=None, legal_hold=False),
            LockedObject(key=layout.blob_key(sha256(OWN_FILE).hexdigest()), until=None, legal_hold=True),
        ],
        key=lambda one: one.key,
    )


CERTIFICATE = Certificate(
    format=1,
    archive_id="0f0f",
    plan="ab" * 32,
    plan_kind="policy",
    policy="acme",
    policy_digest="cd" * 32,
    zone="Europe/Berlin",
    as_of="2026-11-26T23:00:00.000Z",
    approved_by="The Records Manager",
    at="2026-11-27T10:00:00.000Z",
    run="night-1",
    attempt="d15905ed",
    actor="ann",
    software="archiver 1",
    head_sequence=7,
    head_digest="ef" * 32,
    items_planned={"message": 1_500, "file": 2},
    items={"message": 1_234, "file": 1},
    rows={"messages": 1_240, "files": 1},
    rules=(
        RuleShare(rule="old", items={"message": 1_234}, rows={"messages": 1_240}),
        RuleShare(rule=None, items={"file": 1}, rows={"files": 1}),
    ),
    objects=(
        ObjectChange(key="a", sha256="00", rows=5, new_key="b", new_sha256="01", new_rows=4),
        ObjectChange(key="c", sha256="02", rows=3, new_key=None, new_sha256=None, new_rows=0),
        ObjectChange(key="d", sha256="03", rows=3, new_key="e", new_sha256="04", new_rows=1),
    ),
    blobs=(BlobRecord("11" * 32, 8),),
    held=(HeldShare(hold="smith", items=266),),
    items_held=267,
    locked=(
        LockedObject(key="a", until="2030-01-01T00:00:00.000Z", legal_hold=False),
        LockedObject(key="c", until=None, legal_hold=True),
    ),
)


def test_a_person_reads_it_line_by_line() -> None:
    assert lines_of(CERTIFICATE) == [
        f"Certificate of disposal, plan {'ab' * 32}",
        f"  archive      0f0f, head before: 7 {'ef' * 32}",
        f"  policy       acme ({'cd' * 32}), as of 2026-11-26T23:00:00.000Z in Europe/Berlin",
        "  approved by  The Records Manager",
        "  applied      2026-11-27T10:00:00.000Z by ann, archiver 1",
        "  items        1 file, 1,234 messages of 2 files, 1,500 messages planned",
        "  rows         1 file, 1,240 messages",
        "  by rule      old: 1,234 messages; rows: 1,240 messages",
        "  by rule      -: 1 file; rows: 1 file",
        "  objects      3 went, 2 came in their place; 1 blob went",
        "  held         266 items by smith",
        "  locked       a until 2030-01-01T00:00:00.000Z",
        "  locked       c until its legal hold is released",
    ]


def test_what_there_is_none_of_is_said_as_none() -> None:
    bare = msgspec.structs.replace(
        CERTIFICATE,
        policy=None,
        policy_digest=None,
        items={},
        rows={},
        rules=(),
        objects=(),
        blobs=(),
        held=(),
        locked=(),
    )
    assert lines_of(bare)[2:] == [
        "  policy       none (an erasure), as of 2026-11-26T23:00:00.000Z in Europe/Berlin",
        "  approved by  The Records Manager",
        "  applied      2026-11-27T10:00:00.000Z by ann, archiver 1",
        "  items        none of 2 files, 1,500 messages planned",
        "  rows         none",
        "  objects      0 went, 0 came in their place; 0 blobs went",
    ]


def test_storing_the_same_again_changes_nothing_and_another_is_refused() -> None:
    store = MemoryStore()
    data = canonical_json(CERTIFICATE)
    key = f"certificates/{'ab' * 32}.json"
    assert store_certificate(store, CERTIFICATE) == store_certificate(store, CERTIFICATE) == sha256(data).hexdigest()
    assert (store.read(key), load_certificate(store, "ab" * 32)) == (data, CERTIFICATE)

    with pytest.raises(RefusedError) as caught:
        store_certificate(store, msgspec.structs.replace(CERTIFICATE, attempt="00000002"))
    assert (caught.value.what, caught.value.next_step) == (
        f"memory: already has {key}: this plan is being applied, or that was begun elsewhere and broke off",
        "look whether it is under way; if not, `archiver run` clears what was left, of another machine after a day",
    )
    assert store.read(key) == data


def test_one_that_is_not_there_is_a_wrong_question_and_one_that_cannot_be_read_is_damage() -> None:
    store = MemoryStore()
    with pytest.raises(UsageError) as missing:
        load_certificate(store, "ab" * 60)
    assert missing.value.what == f"memory: has no certificate of plan {('ab' * 40)!r}"
    assert missing.value.next_step == (
        "certificates are of plans that were applied; `archiver query` on the ledger, or a listing, shows which"
    )
    for content in (b"{}", b"\xff\xfe", b'{"format":"one"}'):
        store.replace(layout.certificate_key("cd" * 32), content)
        with pytest.raises(DamageFoundError) as damaged:
            load_certificate(store, "cd" * 32)
        assert damaged.value.what.startswith(f"certificates/{'cd' * 32}.json in memory: cannot be read: ")
        assert damaged.value.next_step == "restore the object from a copy"
