"""Holds mirrored to the legal holds of a real S3 server: what is marked, what is lifted, and what a crash cannot leave."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from archiver.archive import layout, ledger
from archiver.archive.commit import Author
from archiver.archive.ledger import HoldScope, Removal
from archiver.archive.reader import Archive, Head
from archiver.archive.schema import TABLES
from archiver.clock import to_text
from archiver.custody.verify import verify
from archiver.errors import DamageFoundError, ObjectLockedError, StoreRefusedError
from archiver.retention.coverage import read_coverage
from archiver.retention.erasing import finish_disposals
from archiver.retention.held_objects import held_objects
from archiver.retention.holds import Placement, Registrar, place, release
from archiver.retention.mirror import Mirrored, mirror, read_marks
from archiver.retention.plan_document import store_plan
from archiver.simulator.s3server import S3Access
from archiver.store import Store
from archiver.store.memory import MemoryStore
from archiver.store.s3 import S3Store
from tests import small_archive
from tests.archive.archive_steps import AUTHOR, InlineExecutor
from tests.faulty_store import EFFECTS, Effect, FaultyStore, Stopped
from tests.retention import disposing
from tests.servers.plugin import s3_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_numbers = count(1)


class Bucket:
    """A bucket with Object Lock, in which each archive has a prefix of its own."""

    def __init__(self, access: S3Access) -> None:
        self.client: S3Client = s3_client(access)
        self.name = f"mirror-{uuid.uuid4().hex[:12]}"
        self.client.create_bucket(Bucket=self.name, ObjectLockEnabledForBucket=True)

    def archive(self, folder: Path) -> Archive:
        archive, _ = small_archive.build(S3Store(self.name, uuid.uuid4().hex, client=self.client), folder)
        return archive


@pytest.fixture(scope="module")
def bucket(seaweedfs: S3Access) -> Bucket:
    return Bucket(seaweedfs)


@pytest.fixture
def archive(bucket: Bucket, tmp_path: Path) -> Archive:
    return bucket.archive(tmp_path)


def registrar(archive: Archive) -> Registrar:
    number = next(_numbers)
    return Registrar(
        archive=archive,
        author=Author(run=f"hold-{number}", actor="lawyer", software="test", writer="desk"),
        now_ms=lambda: small_archive.at_ms(24),
        new_attempt=lambda: f"{number:08x}",
    )


def hold(archive: Archive, name: str, **scope: Any) -> None:
    place(registrar(archive), Placement(name, HoldScope(**scope), "a lawsuit", everything=not scope))


def mirrored(archive: Archive, store: Store | None = None, *, full: bool = False) -> Mirrored:
    opened = archive if store is None else Archive.open(store)
    return mirror(opened, executor=InlineExecutor(), full=full)


def marked(store: Store) -> set[str]:
    found = set()
    for info in store.list(""):
        lock = store.lock(info.key)
        if lock is not None and lock.legal_hold:
            found.add(info.key)
    return found


def wanted(archive: Archive) -> frozenset[str]:
    head = archive.head()
    return held_objects(archive.store, head, read_coverage(archive.store, head), executor=InlineExecutor())


def of_table(keys: set[str] | frozenset[str], table: str) -> list[str]:
    return sorted(key for key in keys if key.startswith(f"{table}/"))


def test_the_objects_and_blobs_that_hold_anything_covered_are_marked_and_no_others(archive: Archive) -> None:
    hold(archive, "day", from_at_ms=small_archive.at_ms(21, 0), until_ms=small_archive.at_ms(22, 0))
    assert mirrored(archive) == Mirrored(objects=3, marked=3, lifted=0, by_others=0)
    found = marked(archive.store)
    assert [key.split("/")[1] for key in of_table(found, "messages")] == ["dt=2026-11-21"]
    assert [key.split("/")[1] for key in of_table(found, "files")] == ["dt=2026-11-21"]
    assert of_table(found, "blobs") == [layout.blob_key(small_archive.FILE_DIGEST)]
    assert len(found) == 3


def test_what_is_marked_cannot_be_erased_by_whoever_reaches_the_bucket(archive: Archive) -> None:
    hold(archive, "all")
    mirrored(archive)
    for key in wanted(archive):
        with pytest.raises(ObjectLockedError):
            archive.store.erase(key)


def test_what_comes_later_is_marked_the_next_time_and_only_new_days_are_read(archive: Archive) -> None:
    hold(archive, "all")
    first = mirrored(archive)
    head = archive.head()
    small_archive.add(archive, head, {"messages": [small_archive.message("m-9", 23, "later")]}, attempt="eeeeeeee")
    counting = FaultyStore(archive.store)
    assert mirrored(archive, counting) == Mirrored(objects=first.objects + 1, marked=1, lifted=0, by_others=0)
    assert marked(archive.store) == wanted(archive)


def test_running_it_twice_changes_nothing(archive: Archive) -> None:
    hold(archive, "all")
    first = mirrored(archive)
    for full in (False, True):
        assert mirrored(archive, full=full) == Mirrored(objects=first.objects, marked=0, lifted=0, by_others=0)


def test_releasing_lifts_only_what_no_other_hold_covers(archive: Archive) -> None:
    hold(archive, "general", chats=("g:general",))
    hold(archive, "day", from_at_ms=small_archive.at_ms(21, 0), until_ms=small_archive.at_ms(22, 0))
    mirrored(archive)
    release(registrar(archive), "general", reason="settled")
    assert mirrored(archive).lifted > 0
    assert marked(archive.store) == wanted(archive)
    assert len(wanted(archive)) == 3
    release(registrar(archive), "day", reason="settled")
    assert mirrored(archive) == Mirrored(objects=0, marked=0, lifted=3, by_others=0)
    assert marked(archive.store) == set()


def test_a_mark_that_somebody_else_set_is_never_lifted(archive: Archive) -> None:
    (blob,) = of_table({info.key for info in archive.store.list("")}, "blobs")
    archive.store.set_legal_hold(blob, on=True)
    hold(archive, "all")
    assert mirrored(archive).by_others == 1
    release(registrar(archive), "all", reason="settled")
    mirrored(archive)
    assert marked(archive.store) == {blob}


def test_a_mark_that_somebody_lifted_is_set_again_when_all_are_looked_at(archive: Archive) -> None:
    hold(archive, "all")
    mirrored(archive)
    key = min(wanted(archive))
    archive.store.set_legal_hold(key, on=False)
    assert mirrored(archive, full=True).marked == 1
    assert key in marked(archive.store)


def test_without_our_list_marks_stay_and_are_told_as_those_of_others(archive: Archive) -> None:
    hold(archive, "all")
    objects = mirrored(archive).objects
    archive.store.erase(layout.HOLD_MARKS_KEY)
    assert mirrored(archive) == Mirrored(objects=objects, marked=0, lifted=0, by_others=objects)
    release(registrar(archive), "all", reason="settled")
    mirrored(archive)
    assert len(marked(archive.store)) == objects


def test_the_body_of_a_push_about_a_held_message_is_marked(archive: Archive) -> None:
    event = {
        "received_at": small_archive.at_ms(23), "spool_id": "s", "sequence": 1, "feed": "general", "feed_kind": "webhook",
        "verified": "webhook-token", "outcome": "duplicate", "body_digest": "00",
    }  # fmt: skip
    about = [("m-1", b"{}"), ("m-2", None), ("m-5", b"{}")]
    head = archive.head()
    for number, (uid, body) in enumerate(about):
        row = {**event, "sequence": number, "message_uid": uid, "body": body}
        head = small_archive.add(archive, head, {"events": [row]}, attempt=f"{number:08d}")
    hold(archive, "general", chats=("g:general",))
    mirrored(archive)
    assert [key[-18:-14] for key in of_table(marked(archive.store), "events")] == ["0000"]


def test_a_store_without_legal_holds_is_refused(tmp_path: Path) -> None:
    archive, _ = small_archive.build(MemoryStore(), tmp_path)
    with pytest.raises(StoreRefusedError, match="has no legal holds"):
        mirrored(archive)


def test_an_object_that_must_be_marked_and_is_missing_is_damage(archive: Archive) -> None:
    hold(archive, "all")
    archive.store.erase(layout.blob_key(small_archive.FILE_DIGEST))
    with pytest.raises(DamageFoundError, match="a legal hold covers what it held"):
        mirrored(archive)


def rewritten(archive: Archive) -> tuple[str, str]:
    """Move the first object of messages to another key, as retention does when it rewrites one; return the old key and the new."""
    head = archive.head()
    old = of_table(frozenset(head.files), "messages")[0]
    record = head.files[old]
    new = layout.data_key(
        "messages", layout.partition_of(old)[1], sequence=head.sequence + 1, attempt="ffffffff", number=1
    )
    archive.store.create(new, archive.store.read(old))
    entry = ledger.Entry(
        format=1,
        archive_id=archive.facts.archive_id,
        sequence=head.sequence + 1,
        previous=head.digest,
        at=to_text(small_archive.at_ms(25)),
        kind="compact",
        run="run",
        actor="test",
        software="test",
        added=(ledger.FileRecord(**{name: getattr(record, name) for name in record.__struct_fields__} | {"key": new}),),
        blobs=(),
        removed=(Removal(old, "rewritten"),),
        settled=(),
        watermarks=head.watermarks,
        counts={},
        gaps=(),
    )
    ledger.append(archive.store, entry)
    return old, new


def test_the_mark_moves_with_what_is_held_to_the_object_that_holds_it_now(archive: Archive) -> None:
    hold(archive, "all")
    mirrored(archive)
    old, new = rewritten(archive)
    with pytest.raises(ObjectLockedError):
        archive.store.erase(old)  # which hides it
    moved = mirrored(archive)
    assert (moved.marked, moved.lifted) == (1, 1)
    archive.store.erase(old)
    assert new in marked(archive.store)
    assert list(archive.store.list_hidden("messages/")) == []


def test_what_is_disposed_of_goes_when_the_mark_has_moved_and_what_is_held_is_marked_all_the_time(
    bucket: Bucket, tmp_path: Path
) -> None:
    """Two messages of one day lie in one object: one is held, the other leaves by a plan."""
    store = S3Store(bucket.name, uuid.uuid4().hex, client=bucket.client)
    archive, _ = disposing.build(store, tmp_path)
    hold(archive, "shared", chats=("g:2",))
    mirrored(archive)
    head = archive.head()
    plan = disposing.plan_for(archive, head, [disposing.EDITED, disposing.SHARED])
    store_plan(store, plan)
    disposed = disposing.apply(archive, head, plan, coverage=read_coverage(store, head))
    assert disposed.erasure.kept, "the marked object could only be hidden"
    assert {info.key for info in store.list_hidden("messages/")}

    moved = mirrored(archive)
    assert moved.marked > 0
    assert moved.lifted > 0
    assert marked(store) == wanted(archive)
    head, _ = finish_disposals(
        archive,
        archive.head(),
        author=AUTHOR,
        now_ms=small_archive.at_ms(25),
        executor=InlineExecutor(),
        progress=lambda *_: None,
    )
    assert head.unerased == ()
    texts = [info.key for prefix in (*TABLES, "blobs", "plans") for info in store.list_hidden(f"{prefix}/")]
    assert texts == []
    with ThreadPoolExecutor(1) as executor:
        assert not verify(store, level="full", executor=executor).damages
    word = disposing.secret_of(disposing.EDITED)
    assert not disposing.places_of(word, disposing.objects_of(store))
    assert disposing.places_of(disposing.secret_of(disposing.SHARED), disposing.objects_of(store)) & marked(store)


@pytest.mark.parametrize("every", [19, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("effect", EFFECTS)
def test_a_crash_at_any_moment_leaves_what_is_held_in_a_marked_object_and_is_mended(
    effect: Effect, every: int, bucket: Bucket, tmp_path: Path
) -> None:
    """A hold is released, an object was rewritten and another hold is new: the longest way that marks can have to go."""

    def prepared() -> tuple[Archive, str, str]:
        archive = bucket.archive(tmp_path)
        hold(archive, "general", chats=("g:general",))
        mirrored(archive)
        old, new = rewritten(archive)
        hold(archive, "direct", chats=("u:ann,u:bob",))
        hold(archive, "first-day", until_ms=small_archive.at_ms(21, 0))
        release(registrar(archive), "general", reason="settled")
        return archive, old, new

    archive, _, _ = prepared()
    counting = FaultyStore(archive.store, counted="writes")
    mirrored(archive, counting)
    for number in range(1, counting.operations + 1, every):
        archive, old, new = prepared()
        with pytest.raises(Stopped):
            mirrored(archive, FaultyStore(archive.store, stop_at=number, effect=effect, counted="writes"))
        assert {old, new} & marked(archive.store), f"at write {number}"
        mirrored(archive)
        assert marked(archive.store) == wanted(archive), f"after write {number}"
        assert set(read_marks(archive).keys) == wanted(archive)


def test_a_hold_that_is_placed_meanwhile_is_marked_before_it_ends(archive: Archive) -> None:
    hold(archive, "direct", chats=("u:ann,u:bob",))

    def reading(store: Store, head: Head) -> Any:
        coverage = read_coverage(store, head)
        if "all" not in head.holds:
            hold(archive, "all")
        return coverage

    mirror(archive, executor=InlineExecutor(), read=reading)
    assert marked(archive.store) == wanted(archive)
    assert of_table(marked(archive.store), "blobs")


def test_many_threads_mark_as_one_does(archive: Archive) -> None:
    hold(archive, "all")
    with ThreadPoolExecutor(4) as executor:
        mirror(archive, executor=executor)
    assert marked(archive.store) == wanted(archive)
