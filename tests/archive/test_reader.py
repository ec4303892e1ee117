"""What is live at the head, and rows out of it; what cannot be read is named, not skipped."""

from __future__ import annotations

import io
import random
from typing import BinaryIO

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.archive.ledger import Entry, FileRecord, Removal
from archiver.archive.reader import (
    READ_WHOLE_BYTES_MAX,
    Archive,
    Head,
    advance,
    files_of,
    latest_states,
    open_files,
    read_columns,
    read_rows,
    read_rows_at,
)
from archiver.clock import DAY_MS, day_of
from archiver.errors import DamageFoundError, StoreUnreachableError
from archiver.store.memory import MemoryStore
from tests.archive.archive_steps import AT_MS, add, event, found, message, values


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    archive = found(store)
    head = add(archive, archive.founding_head(), {"messages": [message("a"), message("b", day=1), message("c", day=2)]})
    add(archive, head, {"messages": [message("d", day=1)], "events": [event(1, outcome="wanted"), event(2)]})
    return store


def head_of(store: MemoryStore) -> Head:
    return Archive.open(store).head()


def entry(
    head: Head, *, added: tuple[FileRecord, ...] = (), removed: tuple[str, ...] = (), settled: tuple[str, ...] = ()
) -> Entry:
    return Entry(
        format=1, archive_id="0f0f", sequence=head.sequence + 1, previous=head.digest, at="x", kind="dispose", run="", actor="",
        software="", added=added, blobs=(), removed=tuple(Removal(key, "policy") for key in removed), settled=settled,
        watermarks=dict(head.watermarks), counts={}, gaps=(),
    )  # fmt: skip


class TestTheHead:
    def test_what_an_entry_removes_is_no_longer_live(self, store: MemoryStore) -> None:
        head = head_of(store)
        gone, *rest = files_of(head, "messages")
        after = advance(head, entry(head, removed=(gone.key,)), "digest")
        assert files_of(after, "messages") == rest
        assert after.rows == {"messages": head.rows["messages"] - gone.rows, "events": 2}
        assert (after.sequence, after.digest) == (head.sequence + 1, "digest")
        assert files_of(head, "messages") == [gone, *rest]

    def test_removing_what_is_not_there_changes_no_count(self, store: MemoryStore) -> None:
        head = head_of(store)
        assert advance(head, entry(head, removed=("messages/gone",)), "d").rows == head.rows

    def test_a_cursor_moves_with_the_entry_that_moves_it_and_stays_through_those_that_do_not(
        self, store: MemoryStore
    ) -> None:
        head = head_of(store)
        moved = advance(head, msgspec.structs.replace(entry(head), cursors={"gateway": "p2", "other": "x"}), "d")
        stayed = advance(moved, entry(moved), "e")
        assert stayed.cursors == {"gateway": "p2", "other": "x"}
        again = advance(stayed, msgspec.structs.replace(entry(stayed), cursors={"gateway": "p3"}), "f")
        assert again.cursors == {"gateway": "p3", "other": "x"}

    def test_one_object_may_replace_another_in_one_entry(self, store: MemoryStore) -> None:
        head = head_of(store)
        old = files_of(head, "messages")[0]
        new = msgspec.structs.replace(old, key=old.key.replace("-00001", "-00099"))
        after = advance(head, entry(head, added=(new,), removed=(old.key,)), "d")
        assert after.rows == head.rows
        assert new.key in after.files
        assert old.key not in after.files

    def test_what_is_settled_is_forgotten_with_its_object(self, store: MemoryStore) -> None:
        head = head_of(store)
        (record,) = open_files(head, "events")
        settled = advance(head, entry(head, settled=(record.key, "never there")), "d")
        assert settled.settled == {record.key}
        assert open_files(settled, "events") == []
        assert advance(settled, entry(settled, removed=(record.key,)), "e").settled == frozenset()

    def test_objects_of_a_table_come_in_key_order_and_by_day_if_asked(self, store: MemoryStore) -> None:
        head = head_of(store)
        keys = [record.key for record in files_of(head, "messages")]
        assert keys == sorted(keys)
        assert len(keys) == 4
        days = frozenset({day_of(AT_MS + DAY_MS)})
        assert [record.key for record in files_of(head, "messages", days=days)] == keys[1:3]
        assert files_of(head, "messages", days=frozenset()) == []
        assert files_of(head, "users") == []


class TestRows:
    def test_only_the_columns_asked_for_are_read(self, store: MemoryStore) -> None:
        (batch,) = read_rows(store, files_of(head_of(store), "messages")[:1], ["text", "message_uid"])
        assert sorted(batch.schema.names) == ["message_uid", "text"]

    def test_a_missing_object_is_named(self, store: MemoryStore) -> None:
        record = files_of(head_of(store), "messages")[1]
        store.delete(record.key)
        with pytest.raises(DamageFoundError, match="is missing in memory:, the ledger names it") as caught:
            values(store, head_of(store), "messages", "text")
        assert record.key in caught.value.what

    @pytest.mark.parametrize(
        "damage", [lambda data: b"", lambda data: data[:-9], lambda data: b"PAR1" + data[5:-5] + b"\0PAR1"]
    )
    def test_a_damaged_object_is_named(self, store: MemoryStore, damage: object) -> None:
        record = files_of(head_of(store), "messages")[1]
        store.replace(record.key, damage(store.read(record.key)))  # type: ignore[operator]
        with pytest.raises(DamageFoundError) as caught:
            values(store, head_of(store), "messages", "text")
        assert record.key in caught.value.what

    def test_a_store_that_fails_while_it_is_read_is_not_called_damage(self, store: MemoryStore) -> None:
        class Dropping(io.BytesIO):
            def read(self, *_: object) -> bytes:
                raise StoreUnreachableError("the connection was lost")

        class Lossy(MemoryStore):
            def open(self, key: str) -> BinaryIO:
                return Dropping(store.read(key))

        with pytest.raises(StoreUnreachableError):
            list(read_rows(Lossy(), files_of(head_of(store), "messages"), ["text"]))


def channel(name: str, valid_from: int, channel_id: str = "g:1") -> dict[str, object]:
    return {
        "channel_id": channel_id,
        "valid_from": AT_MS + valid_from,
        "state": "listed",
        "name": name,
        "captured_by": "u:1",
        "raw": "{}",
        "state_digest": name,
    }


class TestStates:
    @given(
        st.lists(
            st.tuples(st.sampled_from(["g:1", "g:2"]), st.integers(0, 3 * DAY_MS)), min_size=1, max_size=6, unique=True
        )
    )
    def test_the_newest_state_of_each_counts_wherever_it_lies(self, changes: list[tuple[str, int]]) -> None:
        store = MemoryStore()
        archive = found(store)
        head = archive.founding_head()
        for number, (channel_id, at) in enumerate(changes):
            head = add(archive, head, {"channels": [channel(f"n{number}", at, channel_id)]})
        states = latest_states(store, head, "channels", ("channel_id",))
        for (channel_id,), state in states.items():
            newest = max((at, f"n{number}") for number, (known, at) in enumerate(changes) if known == channel_id)
            assert (state["valid_from"] - AT_MS, state["name"]) == newest
        assert {channel_id for (channel_id,) in states} == {channel_id for channel_id, _ in changes}

    def test_of_two_states_at_one_moment_the_one_committed_later_counts(self) -> None:
        store = MemoryStore()
        archive = found(store)
        head = archive.founding_head()
        for name in ("zzz", "aaa"):
            head = add(archive, head, {"channels": [channel(name, 0)]})
        assert latest_states(store, head, "channels", ("channel_id",))[("g:1",)]["name"] == "aaa"


def test_single_rows_are_read_by_their_numbers_in_the_order_in_which_they_are_asked_for() -> None:
    store = MemoryStore()
    archive = found(store)
    rows = [message(f"m-{number}", text=f"text {number}") for number in range(5)]
    (record,) = files_of(add(archive, archive.founding_head(), {"messages": rows}), "messages")
    assert read_rows_at(store, record, [3, 0, 3], ["text"]).column("text").to_pylist() == ["text 3", "text 0", "text 3"]
    assert read_rows_at(store, record, [], ["text"]).num_rows == 0
    with pytest.raises(IndexError):
        read_rows_at(store, record, [5], ["text"])


class TestWhatIsReadAtOnce:
    def test_an_object_that_is_small_is_read_in_one_go_whichever_columns_are_asked_for(self) -> None:
        store, record = counted()
        found = read_columns(store, record, ["text", "chat_id"])
        assert found.column("text").to_pylist() == TEXTS
        assert store.reads == [READ_WHOLE_BYTES_MAX + 1]
        assert found.column_names == ["text", "chat_id"]

    def test_of_one_that_is_larger_only_the_columns_are_read(self) -> None:
        store, record = counted()
        found = read_columns(store, record, ["chat_id"], whole_bytes_max=record.bytes - 1)
        assert len(store.reads) > 1
        assert sum(store.reads) < record.bytes
        assert found.equals(read_columns(store, record, ["chat_id"]))

    def test_one_that_is_larger_than_the_ledger_says_is_never_read_whole(self) -> None:
        store, record = counted()
        told = msgspec.structs.replace(record, bytes=1)
        found = read_columns(store, told, ["chat_id"], whole_bytes_max=record.bytes // 4)
        assert sum(store.reads) < record.bytes
        assert found.equals(read_columns(store, record, ["chat_id"]))

    @pytest.mark.parametrize("whole_bytes_max", [0, READ_WHOLE_BYTES_MAX])
    @pytest.mark.parametrize("data", [b"", b"no parquet"])
    def test_one_that_is_damaged_is_named_either_way(self, data: bytes, whole_bytes_max: int) -> None:
        store, record = counted()
        store.replace(record.key, data)
        with pytest.raises(DamageFoundError, match=record.key):
            read_columns(store, record, ["text"], whole_bytes_max=whole_bytes_max)


# Long enough that an object is more than what is read of its end.
TEXTS = [random.Random(number).randbytes(4_000).hex() for number in range(100)]


def counted() -> tuple[Counting, FileRecord]:
    store = Counting()
    rows = [message(f"m-{number:03d}", text=text) for number, text in enumerate(TEXTS)]
    archive = found(store)
    (record,) = files_of(add(archive, archive.founding_head(), {"messages": rows}), "messages")
    store.reads.clear()
    return store, record


class Counting(MemoryStore):
    """A store that notes how much is asked for of what it opens."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[int] = []

    def open(self, key: str) -> BinaryIO:
        return Noting(super().open(key).read(), self.reads)


class Noting(io.BytesIO):
    def __init__(self, data: bytes, reads: list[int]) -> None:
        super().__init__(data)
        self._reads = reads

    def read(self, many: int | None = -1, /) -> bytes:
        self._reads.append(-1 if many is None else many)
        return super().read(many)
