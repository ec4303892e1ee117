"""A copy of an archive is an archive: whole at every moment, of this archive and no other, and without what had to go."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from archiver.archive import layout, ledger
from archiver.archive.ledger import HoldScope, MatterAct
from archiver.archive.matters import record_act
from archiver.archive.reader import CHECKPOINT_EVERY_COMMITS, Archive, Head
from archiver.custody.verify import verify
from archiver.discovery.clone import Cloned, Means, clone
from archiver.discovery.clone_copying import FILE_PIECE_BYTES
from archiver.errors import DamageFoundError, KeyMissingError, RefusedError, StoreUnreachableError
from archiver.simulator.s3server import S3Access
from archiver.store import Store
from archiver.store.local import LocalStore
from archiver.store.memory import MemoryStore
from archiver.store.s3 import S3Store
from tests.archive.archive_steps import AT_MS, AUTHOR, InlineExecutor, add, blob, found, message
from tests.faulty_store import EFFECTS, FaultyStore, Stopped
from tests.retention.disposing import (
    EVERY_SECRET,
    FILED,
    SECRETS,
    apply,
    build,
    objects_of,
    places_of,
    plan_for,
)
from tests.servers.plugin import s3_client


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clone")


@pytest.fixture(scope="module")
def executor() -> Iterator[Executor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


def copy(source: Archive, target: Store, folder: Path, **further: Any) -> Cloned:
    given = {
        "executor": InlineExecutor(),
        "folder": folder,
        "attempt": "c0ffee00",
        "now_ms": AT_MS,
        "progress": lambda done, total: None,
    }
    return clone(source, target, Means(**{**given, **further}))


def damages(store: Store) -> list[tuple[str, str]]:
    outcome = verify(store, level="full", executor=InlineExecutor())
    return [(damage.kind, damage.key) for damage in outcome.damages]


def head_of(store: Store) -> Head:
    return Archive.open(store).head()


def whole(store: Store, source: Archive) -> bool:
    """The copy stands at the source's head, is one by every check, and nothing of a copy under way is left in it."""
    assert damages(store) == []
    assert (head_of(store), list(store.list(layout.PENDING_PREFIX))) == (source.head(), [])
    return True


def write_to_copy(store: Store, uid: str) -> None:
    """Commit to a copy as an earlier version of the software did, which did not look whether it is one."""
    mark = store.read(layout.CLONE_KEY)
    store.delete(layout.CLONE_KEY)
    add(Archive.open(store), head_of(store), {"messages": [message(uid)]})
    store.create(layout.CLONE_KEY, mark)


def of_archive(store: Store) -> dict[str, bytes]:
    """Every object that an archive consists of, by key."""
    own = (layout.CLONE_KEY, layout.HOLD_MARKS_KEY, layout.PENDING_PREFIX)
    return {info.key: store.read(info.key) for info in store.list("") if not info.key.startswith(own)}


class TestACopy:
    def test_is_the_archive_byte_by_byte(self, folder: Path, executor: Executor) -> None:
        source, head = build(MemoryStore(), folder)
        target = MemoryStore()
        done = copy(source, target, folder, executor=executor)
        assert whole(target, source)
        assert of_archive(target) == of_archive(source.store)
        assert (done.from_sequence, done.sequence, done.digest) == (0, head.sequence, head.digest)
        assert done.objects == len(head.files) + 2

    def test_tells_of_an_empty_file_too(self, folder: Path) -> None:
        source = found(MemoryStore())
        add(source, source.founding_head(), {"messages": [message("m")]}, blobs=blob(folder, b""))
        assert copy(source, MemoryStore(), folder).objects == 2

    def test_is_brought_up_to_date_by_what_is_new(self, folder: Path) -> None:
        source, head = build(MemoryStore(), folder)
        target = MemoryStore()
        copy(source, target, folder)
        add(source, head, {"messages": [message("new")]})
        counting = FaultyStore(source.store)
        done = copy(Archive.open(counting), target, folder)
        assert whole(target, source)
        assert (done.from_sequence, done.sequence, done.objects) == (2, 3, 1)

    def test_of_nothing_new_writes_nothing(self, folder: Path) -> None:
        source, _ = build(MemoryStore(), folder)
        target = MemoryStore()
        copy(source, target, folder)
        counting = FaultyStore(target, counted="writes")
        assert copy(source, counting, folder).objects == 0
        assert counting.operations == 0

    def test_of_an_archive_without_a_commit_is_one_too(self, folder: Path) -> None:
        source = found(MemoryStore())
        target = MemoryStore()
        copy(source, target, folder)
        assert whole(target, source)

    def test_can_be_copied_back_to_where_the_archive_was(self, folder: Path) -> None:
        source, _ = build(MemoryStore(), folder)
        backup, again = MemoryStore(), MemoryStore()
        copy(source, backup, folder)
        copy(Archive.open(backup), again, folder)
        assert of_archive(again) == of_archive(source.store)

    def test_holds_files_that_are_too_large_for_one_piece(self, tmp_path: Path, executor: Executor) -> None:
        source = found(MemoryStore())
        content = b"\x00large" * (FILE_PIECE_BYTES // 6 + 1)
        add(source, source.founding_head(), {"messages": [message("m")]}, blobs=blob(tmp_path, content))
        target = LocalStore(tmp_path / "copy")
        copy(source, target, tmp_path, executor=executor)
        assert whole(target, source)
        assert not list(tmp_path.glob("batch-*"))

    def test_brings_plans_and_the_newest_checkpoint_along(self, folder: Path) -> None:
        source, head = build(MemoryStore(), folder)
        plan = b'{"a plan":1}'
        digest = sha256(plan).hexdigest()
        source.store.create(layout.plan_items_key(digest), b"items")
        source.store.create(layout.plan_key(digest), plan)
        while head.sequence < CHECKPOINT_EVERY_COMMITS + 1:
            head = add(source, head, {"messages": [message(f"m-{head.sequence}")]})
        target = MemoryStore()
        assert copy(source, target, folder).papers == 2
        assert target.read(layout.plan_key(digest)) == plan
        assert target.read(layout.plan_items_key(digest)) == b"items"
        assert target.read(layout.checkpoint_key(64)) == source.store.read(layout.checkpoint_key(64))
        assert whole(target, source)

    def test_says_of_no_head_that_its_legal_holds_are_set(self, folder: Path) -> None:
        """They are in the source's bucket, and nobody set them in the copy's."""
        source, _ = build(MemoryStore(), folder)
        marks = {"archive_id": "0f0f", "sequence": 2, "reach": "ab", "keys": ["messages/x"], "lifting": []}
        source.store.replace(layout.HOLD_MARKS_KEY, ledger.canonical_json(marks))
        target = MemoryStore()
        copy(source, target, folder)
        there = json.loads(target.read(layout.HOLD_MARKS_KEY))
        assert (there["keys"], there["sequence"], there["reach"]) == (["messages/x"], 0, "")


class TestAPlace:
    def test_that_is_not_empty_is_refused(self, folder: Path) -> None:
        source, _ = build(MemoryStore(), folder)
        target = MemoryStore()
        target.create("holiday.jpg", b"x")
        with pytest.raises(RefusedError, match="is not empty"):
            copy(source, target, folder)
        assert [info.key for info in target.list("")] == ["holiday.jpg"]

    def test_with_an_archive_that_is_no_copy_is_refused(self, folder: Path) -> None:
        source, _ = build(MemoryStore(), folder)
        other, _ = build(MemoryStore(), folder)
        before = of_archive(other.store)
        with pytest.raises(RefusedError):
            copy(source, other.store, folder)
        assert of_archive(other.store) == before

    def test_with_a_copy_of_another_archive_is_refused(self, folder: Path) -> None:
        source, _ = build(MemoryStore(), folder)
        store = MemoryStore()
        ledger.found(store, ledger.ArchiveFacts(format=1, archive_id="beef", workspace="acme", created_at="2026-11-19"))
        target = MemoryStore()
        copy(Archive.open(store), target, folder)
        with pytest.raises(RefusedError, match="a copy of archive beef"):
            copy(source, target, folder)

    def test_that_is_ahead_is_refused(self, folder: Path) -> None:
        source, _ = build(MemoryStore(), folder)
        target = MemoryStore()
        copy(source, target, folder)
        write_to_copy(target, "by a run that should not be here")
        with pytest.raises(RefusedError, match=r"ahead of .*it, or was written to"):
            copy(source, target, folder)

    def test_that_went_another_way_is_refused(self, folder: Path) -> None:
        source, head = build(MemoryStore(), folder)
        target = MemoryStore()
        copy(source, target, folder)
        write_to_copy(target, "here")
        add(source, head, {"messages": [message("there")]})
        before = of_archive(target)
        with pytest.raises(RefusedError, match="is none of"):
            copy(source, target, folder)
        assert of_archive(target) == before


class TestOnlyACloneWrites:
    def test_to_a_copy(self, folder: Path) -> None:
        """Whatever else would, a commit, an audit entry or a founding, is refused with what to do instead."""
        source, _ = build(MemoryStore(), folder)
        target = MemoryStore()
        copy(source, target, folder)
        before = of_archive(target)
        act = MatterAct(matter="m", head_sequence=2, head_digest="ab", counts={}, scope=HoldScope())
        writes: list[Callable[[], object]] = [
            lambda: add(Archive.open(target), head_of(target), {"messages": [message("new")]}),
            lambda: record_act(
                Archive.open(target), head_of(target), "search", act, author=AUTHOR, now_ms=lambda: AT_MS
            ),
        ]
        for write in writes:
            with pytest.raises(RefusedError, match="is a copy") as caught:
                write()
            assert caught.value.exit_code == 5
            assert "archiver promote" in caught.value.next_step
        assert of_archive(target) == before


class TestDamage:
    def test_of_an_object_is_named_and_not_copied(self, folder: Path) -> None:
        source, head = build(MemoryStore(), folder)
        key = next(iter(head.files))
        source.store.replace(key, b"not what it was")
        target = MemoryStore()
        with pytest.raises(DamageFoundError, match=key) as caught:
            copy(source, target, folder)
        assert caught.value.exit_code == 4
        with pytest.raises(KeyMissingError):
            target.read(key)

    def test_of_a_blob_is_named(self, folder: Path) -> None:
        source, _ = build(MemoryStore(), folder)
        key = next(info.key for info in source.store.list(layout.BLOB_PREFIX))
        source.store.replace(key, b"other bytes")
        with pytest.raises(DamageFoundError, match=key):
            copy(source, MemoryStore(), folder)

    def test_of_the_chain_is_named(self, folder: Path) -> None:
        source, _ = build(MemoryStore(), folder)
        entry = json.loads(source.store.read(layout.entry_key(1))) | {"actor": "somebody else"}
        source.store.replace(layout.entry_key(1), ledger.canonical_json(entry))
        with pytest.raises(DamageFoundError, match="ledger entry"):
            copy(Archive.open(source.store), MemoryStore(), folder)

    def test_a_missing_object_is_damage(self, folder: Path) -> None:
        source, head = build(MemoryStore(), folder)
        key = next(iter(head.files))
        source.store.delete(key)
        with pytest.raises(DamageFoundError, match="not there"):
            copy(source, MemoryStore(), folder)

    def test_what_lies_in_the_copy_already_is_looked_at(self, folder: Path) -> None:
        source, head = build(MemoryStore(), folder)
        target = MemoryStore()
        with pytest.raises(Stopped):
            copy(source, FaultyStore(target, stop_at=4, effect="after", counted="writes"), folder)
        key = next(info.key for info in target.list("") if info.key in head.files)
        target.replace(key, b"changed meanwhile")
        with pytest.raises(DamageFoundError, match=key):
            copy(source, target, folder)


def test_what_lies_cold_in_the_copy_is_held_against_its_size(folder: Path, moto_server: S3Access) -> None:
    """A lifecycle rule of a backup's bucket moves objects away, and a later commit names one of them again."""
    client, prefix = s3_client(moto_server), f"copy-{uuid.uuid4().hex}"
    target = S3Store(moto_server.bucket, prefix, client=client)
    source, head = build(MemoryStore(), folder)
    copy(source, target, folder)
    content = b"the peony's own file"
    key = layout.blob_key(sha256(content).hexdigest())
    client.put_object(Bucket=moto_server.bucket, Key=f"{prefix}/{key}", Body=content, StorageClass="GLACIER")
    head = add(source, head, {"messages": [message("again")]}, blobs=blob(folder, content))
    assert copy(source, target, folder).sequence == head.sequence

    client.put_object(Bucket=moto_server.bucket, Key=f"{prefix}/{key}", Body=b"short", StorageClass="GLACIER")
    add(source, head, {"messages": [message("and again")]}, blobs=blob(folder, content))
    with pytest.raises(DamageFoundError, match="has 5 bytes"):
        copy(source, target, folder)


# Other files of the messages that were disposed of are of another kind, and stay with their rows.
WITH_WHAT_STAYS = {"peony", "yarrow"}


def secrets_in(store: Store) -> set[str]:
    return {word for word in SECRETS.values() if places_of(word, objects_of(store))}


class TestWhatHadToGo:
    def test_goes_from_the_copy_too(self, folder: Path) -> None:
        source, head = build(MemoryStore(), folder)
        target = MemoryStore()
        copy(source, target, folder)
        assert secrets_in(target)
        apply(source, head, plan_for(source, head, EVERY_SECRET, [(*FILED, 0)]))
        done = copy(source, target, folder)
        assert done.erased
        assert whole(target, source)
        assert secrets_in(target) == secrets_in(source.store) == WITH_WHAT_STAYS
        assert of_archive(target) == of_archive(source.store)

    def test_never_comes_to_a_new_copy(self, folder: Path) -> None:
        source, head = build(MemoryStore(), folder)
        apply(source, head, plan_for(source, head, EVERY_SECRET, [(*FILED, 0)]))
        target = MemoryStore()
        copy(source, target, folder)
        assert whole(target, source)
        assert secrets_in(target) == secrets_in(source.store) == WITH_WHAT_STAYS

    def test_and_came_again_since_is_there(self, folder: Path) -> None:
        """A file's content was disposed of, and somebody sent it again."""
        source, head = build(MemoryStore(), folder)
        target = MemoryStore()
        copy(source, target, folder)
        disposed = apply(source, head, plan_for(source, head, [FILED], [(*FILED, 0)]))
        assert disposed
        content = b"the peony's own file"
        add(source, source.head(), {"messages": [message("again")]}, blobs=blob(folder, content))
        copy(source, target, folder)
        assert whole(target, source)
        for objects_max in (1, 2):
            anew = MemoryStore()
            copy(source, anew, folder, leg_objects_max=objects_max)
            assert whole(anew, source)

    def test_while_it_is_being_copied_is_left_behind(self, folder: Path) -> None:
        """Retention disposes of it between the look at the head and the reading of the objects."""
        source, head = build(MemoryStore(), folder)
        disposed: list[object] = []

        def dispose_once(_: object) -> None:
            if not disposed:
                disposed.append(apply(source, head, plan_for(source, head, EVERY_SECRET, [(*FILED, 0)])))

        target = MemoryStore()
        copy(source, target, folder, before_leg=dispose_once)
        assert whole(target, source)
        assert secrets_in(target) == secrets_in(source.store) == WITH_WHAT_STAYS

    def test_with_its_old_versions_and_what_a_lock_keeps_is_said(self, folder: Path, seaweedfs: S3Access) -> None:
        client, bucket = s3_client(seaweedfs), f"clone-{uuid.uuid4().hex[:12]}"
        client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
        target = S3Store(bucket, "acme", client=client)
        source, head = build(MemoryStore(), folder)
        copy(source, target, folder)
        locked = next(key for key, record in sorted(head.files.items()) if record.table == "messages")
        client.put_object_retention(
            Bucket=bucket,
            Key=f"acme/{locked}",
            Retention={"Mode": "GOVERNANCE", "RetainUntilDate": datetime.now(UTC) + timedelta(days=1)},
        )
        apply(source, head, plan_for(source, head, EVERY_SECRET, [(*FILED, 0)]))

        assert copy(source, target, folder).kept == (locked,)
        assert damages(target) == [("unerased", locked)]
        assert copy(source, target, folder).kept == (locked,)

        for version in client.list_object_versions(Bucket=bucket, Prefix=f"acme/{locked}")["Versions"]:
            client.delete_object(
                Bucket=bucket,
                Key=f"acme/{locked}",
                VersionId=version["VersionId"],
                BypassGovernanceRetention=True,
            )
        assert copy(source, target, folder).kept == ()
        assert whole(target, source)
        assert list(target.list_hidden("messages/")) == []


@dataclass(frozen=True)
class Story:
    """A copy at one moment, and a source that went on since."""

    name: str
    prepare: Callable[[Path], tuple[Archive, MemoryStore]]
    has_window: bool = False
    """Whether something was added and removed again since the last copy."""


def _anew(folder: Path) -> tuple[Archive, MemoryStore]:
    return build(MemoryStore(), folder)[0], MemoryStore()


def _anew_after_a_disposal(folder: Path) -> tuple[Archive, MemoryStore]:
    source, head = build(MemoryStore(), folder)
    apply(source, head, plan_for(source, head, EVERY_SECRET, [(*FILED, 0)]))
    return source, MemoryStore()


def _disposed_since(folder: Path) -> tuple[Archive, MemoryStore]:
    source, head = build(MemoryStore(), folder)
    target = MemoryStore()
    copy(source, target, folder)
    apply(source, head, plan_for(source, head, EVERY_SECRET, [(*FILED, 0)]))
    add(source, source.head(), {"messages": [message("afterwards")]}, blobs=blob(folder, b"the peony's own file"))
    return source, target


def _came_and_went_since(folder: Path) -> tuple[Archive, MemoryStore]:
    source = found(MemoryStore())
    head = add(source, source.founding_head(), {"messages": [message("first")]})
    target = MemoryStore()
    copy(source, target, folder)
    head = add(source, head, {"messages": [message("kept"), message("passing")]})
    apply(source, head, plan_for(source, head, [("g:1", "passing")]))
    return source, target


STORIES = [
    Story("anew", _anew),
    Story("anew after a disposal", _anew_after_a_disposal),
    Story("disposed since", _disposed_since),
    Story("came and went since", _came_and_went_since, has_window=True),
]


def again(store: Store) -> MemoryStore:
    """Another store with the same objects."""
    other = MemoryStore()
    for info in store.list(""):
        other.create(info.key, store.read(info.key))
    return other


@pytest.fixture(scope="module")
def prepared(folder: Path) -> Callable[[Story], tuple[Archive, MemoryStore]]:
    """Each story is lived through once."""
    known: dict[str, tuple[Archive, MemoryStore]] = {}

    def prepare(story: Story) -> tuple[Archive, MemoryStore]:
        if story.name not in known:
            known[story.name] = story.prepare(folder)
        source, target = known[story.name]
        return source, again(target)

    return prepare


Prepared = Callable[[Story], tuple[Archive, MemoryStore]]


def _is_archive(store: Store) -> bool:
    """A place becomes an archive when it is a whole one."""
    return any(info.key == layout.ARCHIVE_KEY for info in store.list(layout.ARCHIVE_KEY))


def _stopped(story: Story, prepared: Prepared, folder: Path, *, stop_at: int, effect: Any) -> None:
    source, store = prepared(story)
    with pytest.raises(Stopped):
        copy(source, FaultyStore(store, stop_at=stop_at, effect=effect, counted="writes"), folder, leg_objects_max=2)
    if _is_archive(store):
        allowed = {"missing"} if story.has_window else set()
        assert {kind for kind, _ in damages(store)} <= allowed
    copy(source, store, folder, attempt="c0ffee01")
    assert whole(store, source)
    assert of_archive(store) == of_archive(source.store)
    assert secrets_in(store) == secrets_in(source.store)


def _writes(story: Story, prepared: Prepared, folder: Path) -> int:
    source, store = prepared(story)
    counting = FaultyStore(store, counted="writes")
    copy(source, counting, folder, leg_objects_max=2)
    return counting.operations


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_stopped_at_a_step_it_stands_at_an_older_head_and_goes_on(
    story: Story, prepared: Prepared, folder: Path
) -> None:
    """A few steps of each story; the next test stops at every one."""
    writes = _writes(story, prepared, folder)
    for stop_at in (writes // 3, writes - 1):
        _stopped(story, prepared, folder, stop_at=stop_at, effect=EFFECTS[stop_at % 2])


@pytest.mark.slow
@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_stopped_at_any_step_it_stands_at_an_older_head_and_goes_on(
    story: Story, effect: Any, prepared: Prepared, folder: Path
) -> None:
    for stop_at in range(1, _writes(story, prepared, folder) + 1):
        _stopped(story, prepared, folder, stop_at=stop_at, effect=effect)


@pytest.mark.parametrize("seed", range(2))
def test_a_store_that_fails_now_and_then_costs_calls_and_nothing_else(folder: Path, seed: int) -> None:
    source, target = _disposed_since(folder)
    for number in range(200):
        faulty = FaultyStore(target, fail_rate=0.08, seed=seed * 1_000 + number)
        try:
            copy(source, faulty, folder, leg_objects_max=2, attempt=f"{number:08x}")
        except StoreUnreachableError:
            continue
        break
    copy(source, target, folder)
    assert whole(target, source)
    assert of_archive(target) == of_archive(source.store)


def test_it_goes_from_a_folder_to_a_bucket_and_back(tmp_path: Path, seaweedfs: S3Access, executor: Executor) -> None:
    source, _ = build(LocalStore(tmp_path / "archive"), tmp_path)
    bucket = S3Store(seaweedfs.bucket, f"clone/{uuid.uuid4().hex}", client=s3_client(seaweedfs))
    back = LocalStore(tmp_path / "back")
    copy(source, bucket, tmp_path, executor=executor)
    copy(Archive.open(bucket), back, tmp_path, executor=executor)
    assert whole(back, source)
    assert of_archive(back) == of_archive(source.store)
