"""What is old moves to a cheaper class when its day has come, whole and unchanged; what only some rows ask for moves nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest

from archiver.archive import layout
from archiver.archive.reader import Archive, Head, files_of
from archiver.clock import DAY_MS, day_of
from archiver.custody.verify import verify
from archiver.errors import DamageFoundError, StoreRefusedError
from archiver.retention.policy import Policy
from archiver.retention.policy_file import read_policy
from archiver.retention.tiers import Due, Move, Moved, due_moves, move_all
from archiver.store import ObjectLock, Store
from archiver.store.memory import MemoryStore
from tests.archive.archive_steps import AT_MS, InlineExecutor, add
from tests.retention.disposing import FILED, SHARED, apply, build, every_row, file_row, objects_of, plan_for
from tests.retention.locking import LockingStore
from tests.store.test_store_versions import Versioned, versioned

__all__ = ["versioned"]


def policy(folder: Path, rules: str, *, zone: str = "UTC") -> Policy:
    path = folder / "policy.yaml"
    path.write_text(f"name: acme\nzone: {zone}\nmode: longest\nrules:\n{rules}")
    return read_policy(path)


EVERYTHING = "  - {name: all, tier: {after: 10d, to: GLACIER_IR}}\n"


def due_days(archive: Archive, head: Head, rules: Policy, as_of_ms: int, table: str = "messages") -> list[int]:
    keys = {move.key for move in due_moves(archive.store, head, rules, as_of_ms=as_of_ms).moves}
    days = {layout.partition_of(record.key)[1] for record in files_of(head, table) if record.key in keys}
    return sorted((day - day_of(AT_MS)).days for day in days)


def moved(store: Store, archive: Archive, head: Head, rules: Policy, as_of_ms: int) -> Moved:
    moves = due_moves(archive.store, head, rules, as_of_ms=as_of_ms).moves
    return move_all(store, moves, executor=InlineExecutor(), progress=lambda *_: None)


MIDNIGHT_MS = AT_MS - AT_MS % DAY_MS


@pytest.mark.parametrize(
    ("zone", "late_ms"), [("UTC", 0), ("America/New_York", 5 * 3_600_000), ("Asia/Tokyo", 15 * 3_600_000)]
)
def test_an_object_is_due_when_the_local_day_of_its_last_row_and_the_period_have_ended(
    tmp_path: Path, zone: str, late_ms: int
) -> None:
    archive, head = build(MemoryStore(), tmp_path)
    rules = policy(tmp_path, EVERYTHING, zone=zone)
    first_ms = MIDNIGHT_MS + 11 * DAY_MS + late_ms
    assert due_days(archive, head, rules, first_ms - 1) == []
    assert due_days(archive, head, rules, first_ms) == [0]
    assert due_days(archive, head, rules, first_ms + 3 * DAY_MS) == [0, 2, 3]


def test_messages_and_files_move_by_their_own_rules_and_the_longest_that_is_due_decides(tmp_path: Path) -> None:
    archive, head = build(MemoryStore(), tmp_path)
    rules = policy(
        tmp_path,
        "  - {name: soon, on: messages, tier: {after: 1d, to: STANDARD_IA}}\n"
        "  - {name: late, tier: {after: 3d, to: GLACIER_IR}}\n",
    )
    moves = due_moves(archive.store, head, rules, as_of_ms=MIDNIGHT_MS + 4 * DAY_MS).moves
    assert {(move.key.partition("/")[0], move.to) for move in moves} == {
        ("messages", "GLACIER_IR"),
        ("events", "GLACIER_IR"),
        ("files", "GLACIER_IR"),
        ("blobs", "GLACIER_IR"),
        ("messages", "STANDARD_IA"),
        ("events", "STANDARD_IA"),
    }


@pytest.mark.parametrize(
    "rule",
    [
        "  - {name: some, match: {channel: g:1}, tier: {after: 1d, to: GLACIER_IR}}\n",
        "  - {name: some, not: {channel: g:1}, tier: {after: 1d, to: GLACIER_IR}}\n",
        "  - {name: some, from: last_activity, tier: {after: 1d, to: GLACIER_IR}}\n",
    ],
)
def test_a_rule_for_some_items_moves_nothing_and_is_named(tmp_path: Path, rule: str) -> None:
    archive, head = build(MemoryStore(), tmp_path)
    due = due_moves(archive.store, head, policy(tmp_path, rule), as_of_ms=AT_MS + 900 * DAY_MS)
    assert (due.moves, due.idle_rules) == ((), ("some",))


def test_everything_old_moves_unchanged_once_and_can_still_be_verified_and_disposed_of(
    versioned: Versioned, tmp_path: Path
) -> None:
    store = versioned.store
    archive, head = build(store, tmp_path)
    before, rows = objects_of(store), every_row(store, head)
    rules = policy(tmp_path, EVERYTHING)
    done = moved(store, archive, head, rules, AT_MS + 100 * DAY_MS)

    assert done == Moved(moved=len(head.files) + 2, there=0, locked=())
    assert objects_of(store) == before
    assert {store.storage_class(key) for key in head.files} == {"GLACIER_IR"}
    assert store.storage_class(layout.entry_key(1)) == "STANDARD"
    assert [info for table in ("messages", "events", "files", "blobs") for info in store.list_hidden(table)] == []
    assert moved(store, archive, head, rules, AT_MS + 100 * DAY_MS) == Moved(0, len(head.files) + 2, ())
    with ThreadPoolExecutor(4) as executor:
        assert verify(store, level="full", executor=executor).damages == ()
    assert every_row(store, head) == rows

    apply(archive, head, plan_for(archive, head, [SHARED], [(*FILED, 0)]))
    with ThreadPoolExecutor(4) as executor:
        assert verify(store, level="full", executor=executor).damages == ()


def test_what_a_hold_of_the_store_keeps_stays_and_is_named(versioned: Versioned, tmp_path: Path) -> None:
    archive, head = build(versioned.store, tmp_path)
    key = next(iter(head.files))
    versioned.hold(key, "ON")
    done = moved(versioned.store, archive, head, policy(tmp_path, EVERYTHING), AT_MS + 100 * DAY_MS)
    assert done.locked == (key,)
    assert versioned.store.storage_class(key) == "STANDARD"


def test_an_object_that_is_not_what_its_digest_says_is_named(versioned: Versioned, tmp_path: Path) -> None:
    archive, head = build(versioned.store, tmp_path)
    key = next(key for key, record in head.files.items() if record.table == "messages")
    versioned.store.replace(key, b"something else")
    with pytest.raises(DamageFoundError, match=key):
        moved(versioned.store, archive, head, policy(tmp_path, EVERYTHING), AT_MS + 100 * DAY_MS)


def test_a_store_without_classes_refuses_before_anything_changes(tmp_path: Path) -> None:
    archive, head = build(MemoryStore(), tmp_path)
    before = objects_of(archive.store)
    with pytest.raises(StoreRefusedError, match="no storage classes"):
        moved(archive.store, archive, head, policy(tmp_path, EVERYTHING), AT_MS + 100 * DAY_MS)
    assert objects_of(archive.store) == before


def test_what_moves_is_listed_by_table_and_day_and_the_blobs_after_it(tmp_path: Path) -> None:
    archive, head = build(MemoryStore(), tmp_path)
    own, both = (sha256(content).hexdigest() for content in (b"the peony's own file", b"a file of two messages"))
    later = {"files": [file_row(("g:1", "late"), 0, b"the peony's own file", sent_at=AT_MS + 9 * DAY_MS)]}
    head = add(archive, head, later)
    rules = policy(
        tmp_path, "  - {name: some, match: {kind: direct}, tier: {after: 1d, to: DEEP_ARCHIVE}}\n" + EVERYTHING
    )
    due = due_moves(archive.store, head, rules, as_of_ms=MIDNIGHT_MS + 11 * DAY_MS)
    day = day_of(AT_MS)
    of_day = [
        Move(record.key, "GLACIER_IR", record.sha256)
        for table in ("messages", "events", "files")
        for record in files_of(head, table, days=frozenset({day}))
    ]
    # The peony's file is named again by a row of a later day.
    assert due == Due((*of_day, Move(layout.blob_key(both), "GLACIER_IR", both)), ("some",))
    assert list(dict.fromkeys(move.key.partition("/")[0] for move in due.moves)) == [
        "messages",
        "events",
        "files",
        "blobs",
    ]
    everything = due_moves(archive.store, head, rules, as_of_ms=MIDNIGHT_MS + 900 * DAY_MS)
    assert [move.key for move in everything.moves[-2:]] == [layout.blob_key(digest) for digest in sorted([own, both])]
    only_messages = policy(tmp_path, "  - {name: m, on: messages, tier: {after: 1d, to: GLACIER}}\n")
    found = due_moves(archive.store, head, only_messages, as_of_ms=MIDNIGHT_MS + 900 * DAY_MS)
    assert {move.key.partition("/")[0] for move in found.moves} == {"messages", "events"}


class TestMoving:
    """Over a store in memory that has classes and locks."""

    def test_counts_what_moved_what_lay_there_and_names_what_is_locked(self, tmp_path: Path) -> None:
        store = LockingStore()
        archive, head = build(store, tmp_path)
        moves = due_moves(store, head, policy(tmp_path, EVERYTHING), as_of_ms=MIDNIGHT_MS + 900 * DAY_MS).moves
        there, locked = moves[0].key, moves[1].key
        store.classes = {there: "GLACIER_IR"}
        store.locks = {locked: ObjectLock(None, legal_hold=True), there: ObjectLock(None, legal_hold=True)}
        store.done.clear()
        told: list[tuple[int, int]] = []
        done = move_all(store, moves, executor=InlineExecutor(), progress=lambda *step: told.append(step))
        assert done == Moved(moved=len(moves) - 2, there=1, locked=(locked,))
        assert told == [(number, len(moves)) for number in range(1, len(moves) + 1)]
        assert store.done == [f"move {move.key}" for move in moves[2:]]
        assert archive.head() == head

    def test_ends_at_an_object_that_is_not_what_its_digest_says(self, tmp_path: Path) -> None:
        store = LockingStore()
        _, head = build(store, tmp_path)
        (move, *_) = due_moves(store, head, policy(tmp_path, EVERYTHING), as_of_ms=MIDNIGHT_MS + 900 * DAY_MS).moves
        store.replace(move.key, b"something else")
        with pytest.raises(DamageFoundError) as caught:
            move_all(store, [move], executor=InlineExecutor(), progress=lambda *_: None)
        assert (caught.value.what, caught.value.next_step) == (
            f"{move.key} in memory: has SHA-256 {sha256(b'something else').hexdigest()} after it moved to GLACIER_IR, and must have "
            f"{move.sha256}",
            "run `archiver verify` for a full list, then restore the object from a copy",
        )
