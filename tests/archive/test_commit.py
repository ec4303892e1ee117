"""A commit is all there or not there at all, and of two writers exactly one wins."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from archiver.archive.commit import Draft, Pending
from archiver.archive.ledger import BlobRecord, HeadMovedError, read_entry
from archiver.archive.reader import CHECKPOINT_EVERY_COMMITS, Archive, Head, files_of, open_files
from archiver.errors import DamageFoundError, KeyExistsError, StoreFullError, StoreUnreachableError
from archiver.store.local import LocalStore
from archiver.store.memory import MemoryStore
from tests.archive.archive_steps import (
    AT_MS,
    STRANGER,
    add,
    blob,
    draft_of,
    event,
    found,
    keys,
    message,
    missing,
    objects,
    unnamed,
    values,
)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


class TestOneCommit:
    def test_it_covers_all_tables_and_all_days_of_a_batch(self, store: MemoryStore) -> None:
        archive = found(store)
        rows = [message("a"), message("b", day=1), message("c", day=-1), message("d", day=1)]
        head = add(archive, archive.founding_head(), {"messages": rows, "events": [event(1)]})
        assert head.sequence == 1
        assert head.rows == {"messages": 4, "events": 1}
        assert values(store, head, "messages", "message_uid") == ["a", "b", "c", "d"]
        days = [record.key.split("/")[1] for record in files_of(head, "messages")]
        assert days == ["dt=2026-11-17", "dt=2026-11-18", "dt=2026-11-19"]

    def test_the_ledger_records_of_each_object_what_it_is(self, store: MemoryStore) -> None:
        archive = found(store)
        head = add(archive, archive.founding_head(), {"messages": [message("b"), message("a")]})
        (record,) = files_of(head, "messages")
        data = store.read(record.key)
        assert (record.bytes, record.sha256, record.rows) == (len(data), sha256(data).hexdigest(), 2)
        assert record.ranges == {"sent_at": (AT_MS, AT_MS), "message_uid": ("a", "b"), "chat_id": ("g:1", "g:1")}

    def test_the_head_it_returns_is_the_head_that_a_reader_finds(self, store: MemoryStore) -> None:
        archive = found(store)
        head = archive.founding_head()
        for number in range(3):
            head = add(archive, head, {"messages": [message(f"m{number}")]}, watermarks={f"s{number}": number})
            assert Archive.open(store).head() == head
            assert archive.head(head) == head

    def test_watermarks_that_it_does_not_move_stay(self, store: MemoryStore) -> None:
        archive = found(store)
        first = add(archive, archive.founding_head(), {}, watermarks={"one": 5, "two": 9})
        second = add(archive, first, {}, watermarks={"one": 7})
        assert second.watermarks == {"one": 7, "two": 9}

    def test_open_rows_stay_open_until_a_commit_settles_them(self, store: MemoryStore) -> None:
        archive = found(store)
        first = add(archive, archive.founding_head(), {"events": [event(1, outcome="wanted"), event(2)]})
        (record,) = open_files(first, "events")
        assert record.open_rows == 1
        second = add(archive, first, {"events": [event(3)]}, settled=(record.key,))
        assert open_files(second, "events") == []
        assert Archive.open(store).head().settled == {record.key}

    def test_a_draft_without_anything_says_so(self) -> None:
        assert Draft(at_ms=0).is_empty
        assert draft_of({"messages": []}).is_empty
        assert not draft_of({"messages": [message("a")]}).is_empty
        assert not Draft(at_ms=0, watermarks={"s": 1}).is_empty
        assert not Draft(at_ms=0, settled=("x",)).is_empty

    def test_threads_make_no_difference(self, store: MemoryStore, threads: ThreadPoolExecutor) -> None:
        archive = found(store)
        rows = [message(f"m{day}", day=day) for day in range(40)]
        head = add(archive, archive.founding_head(), {"messages": rows}, executor=threads)
        assert len(files_of(head, "messages")) == 40
        assert len(values(store, head, "messages", "message_uid")) == 40
        assert unnamed(store) == set()


class TestTheNote:
    def test_it_is_written_first_and_gone_at_the_end(self) -> None:
        order: list[tuple[str, str]] = []

        class Watched(MemoryStore):
            def create(self, key: str, data: bytes | Path) -> None:
                super().create(key, data)
                order.append(("create", key))

            def delete(self, key: str) -> None:
                super().delete(key)
                order.append(("delete", key))

        store = Watched()
        archive = found(store)
        order.clear()
        add(archive, archive.founding_head(), {"messages": [message("a"), message("b", day=1)], "events": [event(1)]})
        note = order[0][1]
        assert note.startswith("ledger/pending/000000000001-")
        assert order[0] == ("create", note)
        assert [what for what, _ in order] == ["create"] * 5 + ["delete"]
        assert order[-2:] == [("create", "ledger/000000000001.json"), ("delete", note)]

    def test_it_names_every_object_of_the_attempt(self, tmp_path: Path) -> None:
        notes: list[Pending] = []

        class Watched(MemoryStore):
            def create(self, key: str, data: bytes | Path) -> None:
                super().create(key, data)
                if "pending" in key:
                    notes.append(msgspec.json.decode(self.read(key), type=Pending))

        store = Watched()
        archive = found(store)
        add(archive, archive.founding_head(), {"messages": [message("a")]}, blobs=blob(tmp_path, b"x"))
        (note,) = notes
        assert set(note.keys) == keys(store) - {"archive.json", "ledger/000000000001.json"}
        assert (note.sequence, note.writer, note.at_ms) == (1, "here", AT_MS)

    def test_a_note_that_cannot_be_removed_does_not_make_the_commit_fail(self) -> None:
        class Undeletable(MemoryStore):
            def delete(self, key: str) -> None:
                raise StoreUnreachableError("no answer")

        store = Undeletable()
        archive = found(store)
        head = add(archive, archive.founding_head(), {"messages": [message("a")]})
        assert Archive.open(store).head() == head


class TestTwoWriters:
    def test_the_second_adds_nothing_and_leaves_nothing(self, store: MemoryStore) -> None:
        archive = found(store)
        old = archive.founding_head()
        add(archive, old, {"messages": [message("first")]})
        before = objects(store)
        with pytest.raises(HeadMovedError):
            add(archive, old, {"messages": [message("second"), message("third", day=3)]}, author=STRANGER)
        assert objects(store) == before

    def test_the_second_prepared_again_on_the_new_head_succeeds(self, store: MemoryStore) -> None:
        archive = found(store)
        old = archive.founding_head()
        add(archive, old, {"messages": [message("first")]})
        with pytest.raises(HeadMovedError):
            add(archive, old, {"messages": [message("second")]}, author=STRANGER)
        head = add(archive, archive.head(), {"messages": [message("second")]}, author=STRANGER)
        assert values(store, head, "messages", "message_uid") == ["first", "second"]

    def test_a_loser_that_cannot_tidy_up_still_learns_that_it_lost(self) -> None:
        class Undeletable(MemoryStore):
            def delete(self, key: str) -> None:
                raise StoreUnreachableError("no answer")

        store = Undeletable()
        archive = found(store)
        old = archive.founding_head()
        add(archive, old, {"messages": [message("first")]})
        with pytest.raises(HeadMovedError):
            add(archive, old, {"messages": [message("second")]})

    @pytest.mark.parametrize("writers", [2, 8])
    def test_of_writers_at_the_same_moment_exactly_one_wins(self, tmp_path: Path, writers: int) -> None:
        store = LocalStore(tmp_path / "archive")
        archive = found(store)
        old = archive.founding_head()
        start = threading.Barrier(writers)

        def write(number: int) -> str:
            own = Archive.open(LocalStore(tmp_path / "archive"))
            start.wait()
            try:
                add(own, old, {"messages": [message(f"w{number}")], "events": [event(number)]})
            except HeadMovedError:
                return "lost"
            return f"w{number}"

        with ThreadPoolExecutor(writers) as executor:
            results = list(executor.map(write, range(writers)))
        (winner,) = [result for result in results if result != "lost"]
        assert values(store, archive.head(), "messages", "message_uid") == [winner]
        assert unnamed(store) == set()

    def test_the_loser_keeps_its_note_while_it_cannot_know_whose_the_blobs_are(
        self, store: MemoryStore, tmp_path: Path
    ) -> None:
        archive = found(store)
        old = archive.founding_head()
        same = blob(tmp_path, b"the same picture")
        add(archive, old, {"messages": [message("first")]}, blobs=same)
        with pytest.raises(HeadMovedError):
            add(archive, old, {"messages": [message("second")]}, blobs=same, author=STRANGER)
        assert missing(store) == set()
        assert {key.rpartition("/")[0] for key in unnamed(store)} == {"ledger/pending"}


class TestBlobs:
    def test_a_blob_is_stored_once_under_its_digest(self, store: MemoryStore, tmp_path: Path) -> None:
        archive = found(store)
        content = b"minutes"
        head = archive.founding_head()
        for uid in ("a", "b"):
            head = add(archive, head, {"messages": [message(uid)]}, blobs=blob(tmp_path, content))
        digest = sha256(content).hexdigest()
        assert keys(store, "blobs/") == {f"blobs/sha256/{digest[:2]}/{digest}"}
        assert store.read(f"blobs/sha256/{digest[:2]}/{digest}") == content
        assert [read_entry(store, number)[0].blobs for number in (1, 2)] == [(BlobRecord(digest, len(content)),)] * 2

    def test_a_blob_of_another_size_under_that_name_is_damage(self, store: MemoryStore, tmp_path: Path) -> None:
        archive = found(store)
        digest = sha256(b"minutes").hexdigest()
        store.create(f"blobs/sha256/{digest[:2]}/{digest}", b"cut")
        with pytest.raises(DamageFoundError, match="3 bytes, its content has 7"):
            add(archive, archive.founding_head(), {"messages": [message("a")]}, blobs=blob(tmp_path, b"minutes"))
        assert archive.head().sequence == 0

    def test_an_empty_file_is_a_blob_too(self, store: MemoryStore, tmp_path: Path) -> None:
        archive = found(store)
        add(archive, archive.founding_head(), {"messages": [message("a")]}, blobs=blob(tmp_path, b""))
        assert missing(store) == unnamed(store) == set()


class TestAStoreThatFails:
    def test_a_full_store_leaves_the_old_head(self) -> None:
        class Full(MemoryStore):
            full = False

            def create(self, key: str, data: bytes | Path) -> None:
                if self.full and key.startswith("messages/"):
                    raise StoreFullError("no space left")
                super().create(key, data)

        store = Full()
        archive = found(store)
        head = add(archive, archive.founding_head(), {"messages": [message("a")]})
        store.full = True
        with pytest.raises(StoreFullError):
            add(archive, head, {"messages": [message("b")], "events": [event(1)]})
        assert archive.head() == head

    def test_a_store_that_finds_its_own_first_try_is_believed(self) -> None:
        class Retrying(MemoryStore):
            """Loses each first answer and tries again by itself, as an HTTP client does."""

            def create(self, key: str, data: bytes | Path) -> None:
                super().create(key, data)
                raise KeyExistsError(f"{key} is there")

        store = Retrying()
        with pytest.raises(KeyExistsError):
            found(store)
        archive = Archive.open(store)
        head = add(archive, archive.founding_head(), {"messages": [message("a")], "events": [event(1)]})
        assert archive.head() == head
        assert unnamed(store) == set()

    def test_nothing_is_written_any_more_once_a_commit_has_failed(self, threads: ThreadPoolExecutor) -> None:
        slow_may_go_on = threading.Event()

        class OneFailsOneIsSlow(MemoryStore):
            def create(self, key: str, data: bytes | Path) -> None:
                if key.startswith("events/"):
                    threading.Timer(0.05, slow_may_go_on.set).start()
                    raise StoreUnreachableError("no answer")
                if key.startswith("messages/"):
                    assert slow_may_go_on.wait(10)
                super().create(key, data)

        store = OneFailsOneIsSlow()
        archive = found(store)
        with pytest.raises(StoreUnreachableError):
            add(archive, archive.founding_head(), {"events": [event(1)], "messages": [message("a")]}, executor=threads)
        assert slow_may_go_on.is_set()
        assert len(keys(store, "messages/")) == 1


@pytest.fixture(scope="module")
def filled() -> MemoryStore:
    store = MemoryStore()
    archive = found(store)
    head = archive.founding_head()
    for number in range(2 * CHECKPOINT_EVERY_COMMITS + 3):
        settled = tuple(record.key for record in open_files(head, "events"))
        rows = [event(number, outcome="wanted")] if number % 5 == 0 else []
        head = add(
            archive,
            head,
            {"messages": [message(f"m{number}", day=number % 3)], "events": rows},
            watermarks={"s": number},
            settled=settled if number % 7 == 0 else (),
        )
    return store


class TestCheckpoints:
    """A checkpoint only saves reading: with it, without it and with a forged one the head is the same."""

    @pytest.fixture
    def store(self, filled: MemoryStore) -> MemoryStore:
        copy = MemoryStore()
        for key, data in objects(filled).items():
            copy.create(key, data)
        return copy

    @staticmethod
    def head_from_the_chain(store: MemoryStore) -> Head:
        return Archive.open(store).head(Archive.open(store).founding_head())

    def test_one_is_taken_every_so_many_commits(self, store: MemoryStore) -> None:
        assert keys(store, "ledger/checkpoints/") == {
            f"ledger/checkpoints/{CHECKPOINT_EVERY_COMMITS * number:012d}.json" for number in (1, 2)
        }

    def test_the_head_is_that_of_the_chain(self, store: MemoryStore) -> None:
        assert Archive.open(store).head() == self.head_from_the_chain(store)

    def test_opening_reads_only_what_came_after(self, store: MemoryStore) -> None:
        for number in range(1, 2 * CHECKPOINT_EVERY_COMMITS):
            store.delete(f"ledger/{number:012d}.json")
        assert Archive.open(store).head().sequence == 2 * CHECKPOINT_EVERY_COMMITS + 3

    def test_its_digest_stands_in_the_entry_of_its_commit(self, store: MemoryStore) -> None:
        for number in (1, 2):
            sequence = CHECKPOINT_EVERY_COMMITS * number
            data = store.read(f"ledger/checkpoints/{sequence:012d}.json")
            assert read_entry(store, sequence)[0].checkpoint == sha256(data).hexdigest()
        assert read_entry(store, 1)[0].checkpoint is None

    @pytest.mark.parametrize(
        "forge",
        [
            lambda data: b"",
            lambda data: b"{}",
            lambda data: b"[" * 100_000,
            lambda data: data[:-1],
            lambda data: data.replace(b'"rows":{"', b'"rows":{"ghosts":7,"', 1),
            lambda data: data.replace(b'"settled":[', b'"settled":["x",', 1),
            lambda data: data.replace(b'"watermarks":{"s":', b'"watermarks":{"s":9', 1),
            lambda data: data.replace(b"messages/dt=2026", b"messages/dt=2027"),
            lambda data: data + b" ",
        ],
    )
    def test_a_forged_one_is_ignored(self, store: MemoryStore, forge: object) -> None:
        expected = self.head_from_the_chain(store)
        for key in keys(store, "ledger/checkpoints/"):
            forged = forge(store.read(key))  # type: ignore[operator]
            assert forged != store.read(key)
            store.replace(key, forged)
        assert Archive.open(store).head() == expected

    def test_one_of_another_commit_or_of_none_is_ignored(self, store: MemoryStore) -> None:
        expected = self.head_from_the_chain(store)
        first, second = sorted(keys(store, "ledger/checkpoints/"))
        older = store.read(first)
        store.replace(second, older)
        store.create("ledger/checkpoints/000000000130.json", older)
        store.create("ledger/checkpoints/000000009999.json", older)
        assert Archive.open(store).head() == expected

    def test_losing_them_loses_nothing(self, store: MemoryStore) -> None:
        expected = Archive.open(store).head()
        for key in keys(store, "ledger/checkpoints/"):
            store.delete(key)
        assert Archive.open(store).head() == expected

    def test_one_that_cannot_be_written_does_not_make_the_commit_fail(self, store: MemoryStore) -> None:
        class NoReplace(MemoryStore):
            def replace(self, key: str, data: bytes) -> None:
                raise StoreUnreachableError("no answer")

        lame = NoReplace()
        for key, data in objects(store).items():
            lame.create(key, data)
        archive = Archive.open(lame)
        head = archive.head()
        while head.sequence < 3 * CHECKPOINT_EVERY_COMMITS:
            head = add(archive, head, {}, watermarks={"s": head.sequence})
        assert archive.head() == head
