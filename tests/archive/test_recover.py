"""What a crash left is removed, and nothing else: a commit can stop at any call and the archive is whole."""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from archiver.archive import ledger
from archiver.archive.commit import Pending
from archiver.archive.layout import blob_key, data_key, pending_key
from archiver.archive.reader import CHECKPOINT_EVERY_COMMITS, Archive
from archiver.archive.recover import FOREIGN_NOTE_AGE_MS, recover
from archiver.clock import day_of
from archiver.errors import StorageError
from archiver.store import Store
from archiver.store.memory import MemoryStore
from tests.archive.archive_steps import (
    AT_MS,
    AUTHOR,
    STRANGER,
    add,
    blob,
    event,
    found,
    keys,
    message,
    missing,
    objects,
    unnamed,
    values,
)
from tests.faulty_store import EFFECTS, Effect, FaultyStore, Stopped

ROWS = {"messages": [message("new"), message("newer", day=1)], "events": [event(1)]}


def faulty(store: Store, *, at: int, effect: Effect, crash: bool) -> FaultyStore:
    """Return a store whose process ends at an operation, or that loses that one answer and goes on."""
    return FaultyStore(store, stop_at=at if crash else None, fail_at=() if crash else (at,), effect=effect)


def stopped(store: Store, *, at: int, effect: Effect, crash: bool = True, **further: object) -> bool:
    """Commit on a store that stops at a call; tell whether the commit came to its end all the same."""
    archive = Archive.open(store)
    head = archive.head()
    failing = faulty(store, at=at, effect=effect, crash=crash)
    try:
        add(Archive(failing, archive.facts, archive.facts_digest), head, ROWS, **further)  # type: ignore[arg-type]
    except (Stopped, StorageError):
        return False
    return failing.operations < at


def tidy(store: Store, *, writer: str = "here", later_ms: int = 0) -> None:
    recover(Archive.open(store), writer=writer, now_ms=AT_MS + later_ms)


def orphan(
    store: Store, *, sequence: int = 9, attempt: str = "abcdef01", writer: str = "here", **further: object
) -> Pending:
    """Leave a note and its object, as a commit that never came to its entry."""
    key = data_key("messages", day_of(AT_MS), sequence=sequence, attempt=attempt, number=1)
    store.create(key, b"half a commit")
    return note(store, (key,), sequence=sequence, attempt=attempt, writer=writer, **further)


def note(
    store: Store,
    names: tuple[str, ...],
    *,
    sequence: int = 9,
    attempt: str = "abcdef01",
    writer: str = "here",
    at_ms: int = AT_MS,
) -> Pending:
    pending = Pending(sequence=sequence, attempt=attempt, writer=writer, at_ms=at_ms, keys=names)
    store.create(pending_key(sequence, attempt), ledger.canonical_json(pending))
    return pending


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    """An archive of two commits, the second with a blob."""
    store = MemoryStore()
    archive = found(store)
    head = add(archive, archive.founding_head(), {"messages": [message("old")]})
    add(archive, head, {"messages": [message("with file")]}, blobs=blob(tmp_path, b"kept"))
    return store


class TestWhatIsRemoved:
    def test_nothing_where_nothing_was_left(self, store: MemoryStore) -> None:
        before = objects(store)
        done = recover(Archive.open(store), writer="here", now_ms=AT_MS)
        assert (done.unfinished, done.objects_removed, done.left_alone) == (0, 0, 0)
        assert objects(store) == before

    def test_the_objects_of_an_unfinished_commit_of_ours_and_its_note(self, store: MemoryStore) -> None:
        before = objects(store)
        orphan(store)
        done = recover(Archive.open(store), writer="here", now_ms=AT_MS)
        assert (done.unfinished, done.objects_removed) == (1, 1)
        assert objects(store) == before

    def test_only_the_note_where_the_commit_is_in_the_ledger(self, store: MemoryStore) -> None:
        before = objects(store)
        entry, _ = ledger.read_entry(store, 2)
        (record,) = entry.added
        attempt = record.key.rpartition("/")[2][13:21]
        note(store, (record.key, *(blob_key(item.sha256) for item in entry.blobs)), sequence=2, attempt=attempt)
        done = recover(Archive.open(store), writer="here", now_ms=AT_MS)
        assert (done.unfinished, done.objects_removed) == (0, 0)
        assert objects(store) == before

    def test_a_loser_of_the_same_commit_goes_and_the_winner_stays(self, store: MemoryStore) -> None:
        before = objects(store)
        orphan(store, sequence=2, attempt="10101010")
        tidy(store)
        assert objects(store) == before

    def test_an_abandoned_note_of_another_machine_after_a_day(self, store: MemoryStore) -> None:
        before = objects(store)
        orphan(store, writer="there")
        done = recover(Archive.open(store), writer="here", now_ms=AT_MS + FOREIGN_NOTE_AGE_MS)
        assert done.objects_removed == 1
        assert objects(store) == before

    def test_a_blob_that_was_disposed_of_and_came_again_with_an_unfinished_commit(self, store: MemoryStore) -> None:
        kept = blob_key(sha256(b"kept").hexdigest())
        entry, digest = ledger.read_entry(store, 2)
        disposal = msgspec.structs.replace(
            entry,
            sequence=3,
            previous=digest,
            kind="dispose",
            added=(),
            blobs=(),
            removed=(ledger.Removal(kept, "policy"),),
        )
        ledger.append(store, disposal)
        note(store, (kept,))
        tidy(store)
        assert kept not in keys(store)


class TestWhatIsLeftAlone:
    def test_a_commit_under_way_on_another_machine(self, store: MemoryStore) -> None:
        orphan(store, writer="there")
        before = objects(store)
        done = recover(Archive.open(store), writer="here", now_ms=AT_MS + FOREIGN_NOTE_AGE_MS - 1)
        assert (done.unfinished, done.objects_removed, done.left_alone) == (0, 0, 1)
        assert objects(store) == before

    def test_a_blob_that_any_commit_names(self, store: MemoryStore) -> None:
        kept = blob_key(sha256(b"kept").hexdigest())
        left = blob_key(sha256(b"left").hexdigest())
        store.create(left, b"left")
        note(store, (kept, left))
        tidy(store)
        assert missing(store) == unnamed(store) == set()
        assert left not in keys(store)

    def test_a_blob_that_a_commit_under_way_elsewhere_is_about_to_name(
        self, store: MemoryStore, tmp_path: Path
    ) -> None:
        # The other writer finds our blob there, does not store it again, and names it.
        shared = blob(tmp_path, b"shared")
        assert not stopped(store, at=8, effect="before", blobs=shared)
        (left,) = keys(store, "blobs/") - {blob_key(sha256(b"kept").hexdigest())}
        others = note(store, (left,), writer="there")
        tidy(store)
        assert left in keys(store)
        store.delete(pending_key(others.sequence, others.attempt))
        add(
            Archive.open(store),
            Archive.open(store).head(),
            {"messages": [message("theirs")]},
            blobs=shared,
            author=STRANGER,
        )
        tidy(store)
        assert missing(store) == unnamed(store) == set()

    def test_a_blob_of_two_unfinished_commits_goes_with_the_second(self, store: MemoryStore) -> None:
        before = objects(store)
        left = blob_key(sha256(b"left").hexdigest())
        store.create(left, b"left")
        note(store, (left,), attempt="00000001")
        note(store, (left,), attempt="00000002")
        tidy(store)
        assert objects(store) == before

    @pytest.mark.parametrize(
        "victim",
        [
            "archive.json",
            "ledger/000000000001.json",
            "ledger/pending/000000000009-abcdef01.json",
            "ledger/checkpoints/000000000064.json",
            "a committed object",
            "somebody's file",
        ],
    )
    def test_whatever_a_note_claims_that_a_commit_does_not_write(self, store: MemoryStore, victim: str) -> None:
        store.create("somebody's file", b"not ours")
        before = objects(store)
        committed = next(iter(Archive.open(store).head().files))
        note(store, (committed if victim == "a committed object" else victim,))
        tidy(store)
        assert objects(store) == before

    @pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"sequence":9}'])
    def test_a_note_that_cannot_be_read(self, store: MemoryStore, data: bytes) -> None:
        store.create("ledger/pending/000000000009-abcdef01.json", data)
        before = objects(store)
        assert recover(Archive.open(store), writer="here", now_ms=AT_MS).left_alone == 1
        assert objects(store) == before

    def test_a_note_under_a_name_that_is_not_its_own(self, store: MemoryStore) -> None:
        entry, _ = ledger.read_entry(store, 2)
        (record,) = entry.added
        claim = Pending(
            sequence=2, attempt=record.key.rpartition("/")[2][13:21], writer="here", at_ms=0, keys=(record.key,)
        )
        store.create("ledger/pending/000000000099-abcdef01.json", ledger.canonical_json(claim))
        before = objects(store)
        tidy(store)
        assert objects(store) == before


class TestACommitThatStops:
    """Every call of a commit, the effect of the last one there or not: the head is the old or the new one."""

    CALLS = 10  # whether it is a copy, the note, three objects, two looks for blobs of which one is stored, the entry, the note again

    @pytest.mark.parametrize("effect", EFFECTS)
    @pytest.mark.parametrize("crash", [True, False], ids=["power", "answer"])
    @pytest.mark.parametrize("at", range(1, CALLS + 1))
    def test_the_next_run_cleans_up_and_the_same_commit_works(
        self, store: MemoryStore, tmp_path: Path, at: int, effect: Effect, crash: bool
    ) -> None:
        further = {"blobs": {**blob(tmp_path, b"new file"), **blob(tmp_path, b"kept")}, "watermarks": {"s": 1}}
        old = Archive.open(store).head()
        ended = stopped(store, at=at, effect=effect, crash=crash, **further)
        new = Archive.open(store).head()
        assert new.sequence in (old.sequence, old.sequence + 1)
        if new.sequence == old.sequence:
            assert new == old
        else:
            assert values(store, new, "messages", "message_uid") == ["new", "newer", "old", "with file"]
        assert not ended or new != old
        tidy(store)
        assert Archive.open(store).head() == new
        assert missing(store) == unnamed(store) == set()
        archive = Archive.open(store)
        if new == old:
            new = add(archive, old, ROWS, **further)  # type: ignore[arg-type]
        assert values(store, new, "messages", "message_uid") == ["new", "newer", "old", "with file"]
        assert missing(store) == unnamed(store) == set()

    def test_there_is_no_further_call(self, store: MemoryStore, tmp_path: Path) -> None:
        archive = Archive.open(store)
        counting = FaultyStore(store)
        further = {"blobs": {**blob(tmp_path, b"new file"), **blob(tmp_path, b"kept")}}
        add(Archive(counting, archive.facts, archive.facts_digest), archive.head(), ROWS, **further)  # type: ignore[arg-type]
        assert counting.operations == self.CALLS

    @pytest.mark.parametrize("effect", EFFECTS)
    @pytest.mark.parametrize("at", range(1, 8))
    def test_so_does_one_that_takes_a_checkpoint(self, at: int, effect: Effect) -> None:
        store = MemoryStore()
        archive = found(store)
        head = archive.founding_head()
        while head.sequence < CHECKPOINT_EVERY_COMMITS - 1:
            head = add(archive, head, {}, watermarks={"s": head.sequence})
        stopped(store, at=at, effect=effect)
        tidy(store)
        assert missing(store) == unnamed(store) == set()
        assert Archive.open(store).head() == archive.head(head) == archive.head(archive.founding_head())

    @pytest.mark.parametrize("effect", EFFECTS)
    @pytest.mark.parametrize("at", range(1, 16))
    def test_recovering_may_stop_anywhere_too(
        self, store: MemoryStore, tmp_path: Path, at: int, effect: Effect
    ) -> None:
        head = Archive.open(store).head()
        assert not stopped(store, at=8, effect="before", blobs=blob(tmp_path, b"new file"))
        assert len(unnamed(store)) == 5
        archive = Archive.open(store)
        try:
            recover(
                Archive(faulty(store, at=at, effect=effect, crash=True), archive.facts, archive.facts_digest),
                writer="here",
                now_ms=AT_MS,
            )
        except Stopped:
            tidy(store)
        assert Archive.open(store).head() == head
        assert missing(store) == unnamed(store) == set()


class ArchiveOverItsLife(RuleBasedStateMachine):
    """Commits, crashes, lost answers, lost races and recoveries in any order, against a set of names."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()
        self.archive = found(self.store)
        self.head = self.archive.founding_head()
        self.written: set[str] = set()
        self.number = 0

    def rows(self, days: list[int]) -> tuple[dict[str, list[dict[str, object]]], set[str]]:
        names = set()
        rows = []
        for day in days:
            self.number += 1
            names.add(f"m{self.number}")
            rows.append(message(f"m{self.number}", day=day))
        return {"messages": rows, "events": [event(self.number)]}, names

    @initialize()
    def start(self) -> None:
        assert self.archive.head() == self.head

    @rule(days=st.lists(st.integers(-2, 2), max_size=4))
    def commit(self, days: list[int]) -> None:
        rows, names = self.rows(days)
        self.head = add(self.archive, self.head, rows)
        self.written |= names

    @rule(
        days=st.lists(st.integers(-2, 2), min_size=1, max_size=3),
        at=st.integers(1, 12),
        effect=st.sampled_from(EFFECTS),
        crash=st.booleans(),
    )
    def commit_that_stops(self, days: list[int], at: int, effect: Effect, crash: bool) -> None:
        rows, names = self.rows(days)
        failing = faulty(self.store, at=at, effect=effect, crash=crash)
        with suppress(Stopped, StorageError):
            add(Archive(failing, self.archive.facts, self.archive.facts_digest), self.head, rows)
        self.reopen()
        if values(self.store, self.head, "messages", "message_uid") != sorted(self.written):
            self.written |= names

    @precondition(lambda self: self.head.sequence > 0)
    @rule()
    def commit_on_an_old_head(self) -> None:
        rows, _ = self.rows([0])
        with pytest.raises(ledger.HeadMovedError):
            add(self.archive, self.archive.founding_head(), rows, author=STRANGER)

    @rule()
    def reopen(self) -> None:
        self.archive = Archive.open(self.store)
        self.head = self.archive.head()

    @rule(later_ms=st.integers(0, 2 * FOREIGN_NOTE_AGE_MS))
    def tidy(self, later_ms: int) -> None:
        recover(self.archive, writer=AUTHOR.writer, now_ms=AT_MS + later_ms)
        assert unnamed(self.store) == set()

    @invariant()
    def what_was_written_can_be_read(self) -> None:
        assert values(self.store, self.head, "messages", "message_uid") == sorted(self.written)
        assert self.head.rows.get("messages", 0) == len(self.written)
        assert missing(self.store) == set()
        assert self.archive.head() == self.head


TestArchiveOverItsLife = ArchiveOverItsLife.TestCase
TestArchiveOverItsLife.settings = settings(max_examples=30, stateful_step_count=15, deadline=None)
