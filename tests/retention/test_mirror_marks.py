"""What mirroring writes, in which order, and what it looks at again; the store is one in memory. `test_mirror` asks a real server."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec
import pytest

from archiver.archive import layout
from archiver.archive.ledger import canonical_json
from archiver.archive.reader import Archive, Head
from archiver.errors import DamageFoundError, KeyMissingError, RefusedError, StoreRefusedError, StoreUnreachableError
from archiver.retention.coverage import read_coverage
from archiver.retention.mirror import Marks, Mirrored, mirror, read_marks
from archiver.store import ObjectLock
from archiver.store.memory import MemoryStore
from tests.archive.archive_steps import InlineExecutor
from tests.retention.lived import added, held, lived, released, sent
from tests.retention.locking import LockingStore

FIRST, SECOND, THIRD = date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 3)


class RefusingStore(LockingStore):
    """Lifts no mark while ``lifts_refused``."""

    lifts_refused = False

    def set_legal_hold(self, key: str, *, on: bool) -> bool:
        if self.lifts_refused and not on:
            raise StoreUnreachableError(key)
        return super().set_legal_hold(key, on=on)


class Built:
    """Two chats, each in an object of its own; what is done to the store after this is listed from here on."""

    def __init__(self) -> None:
        self.store = RefusingStore()
        self.archive, self.head = lived(
            [{"messages": [sent("m-1", FIRST)]}, {"messages": [sent("m-2", SECOND, chat_id="g:random")]}],
            store=self.store,
        )
        self.general, self.random = sorted(self.head.files)
        self.store.done.clear()

    def hold(self, name: str, *chats: str) -> None:
        self.head = held(self.archive, self.head, name, chats=chats)
        self.store.done.clear()

    def add(self, uid: str, day: date) -> str:
        before = self.head.files.keys()
        self.head = added(self.archive, self.head, {"messages": [sent(uid, day)]})
        self.store.done.clear()
        (key,) = self.head.files.keys() - before
        return key

    def mirrored(self, **further: Any) -> Mirrored:
        self.store.done.clear()
        return mirror(Archive.open(self.store), executor=InlineExecutor(), **further)

    def marks(self) -> tuple[int, set[str], set[str]]:
        marks = msgspec.json.decode(self.store.read("holds/marks.json"), type=Marks)
        assert marks.archive_id == "0f0f"
        assert marks.reach
        return marks.sequence, set(marks.keys), set(marks.lifting)


@pytest.fixture
def built() -> Built:
    return Built()


WRITTEN = "replace holds/marks.json"


def test_what_is_to_be_marked_is_written_before_it_is_marked_and_what_was_done_after(built: Built) -> None:
    built.hold("one", "g:general")
    told: list[tuple[int, int]] = []
    counted = built.mirrored(progress=lambda *step: told.append(step))
    assert (counted, told) == (Mirrored(objects=1, marked=1, lifted=0, by_others=0), [(1, 2), (2, 2)])
    assert built.store.done == [WRITTEN, f"hold {built.general}", WRITTEN]
    assert built.marks() == (3, {built.general}, set())
    assert built.store.locks == {built.general: ObjectLock(None, legal_hold=True)}

    assert built.mirrored() == Mirrored(objects=1, marked=0, lifted=0, by_others=0)
    assert built.store.done == []


def test_new_marks_come_before_old_ones_go(built: Built) -> None:
    built.hold("one", "g:general")
    built.mirrored()
    _replace_hold(built, "g:random")
    assert built.mirrored() == Mirrored(objects=1, marked=1, lifted=1, by_others=0)
    assert built.store.done == [WRITTEN, f"hold {built.random}", f"lift {built.general}", WRITTEN]
    assert built.marks() == (built.head.sequence, {built.random}, set())


def test_what_is_to_be_lifted_stands_in_the_list_until_it_was(built: Built) -> None:
    built.hold("one", "g:general")
    built.mirrored()
    _replace_hold(built, "g:random")
    built.store.lifts_refused = True
    with pytest.raises(StoreUnreachableError):
        built.mirrored()
    assert built.marks() == (3, {built.random}, {built.general})
    built.store.lifts_refused = False
    assert built.mirrored() == Mirrored(objects=1, marked=0, lifted=1, by_others=0)
    assert built.store.locks.keys() == {built.random}


def test_what_was_to_be_lifted_when_it_broke_off_is_lifted_the_next_time(built: Built) -> None:
    built.hold("one", "g:general")
    built.mirrored()
    _marks(built, lambda of: msgspec.structs.replace(of, keys=(built.general,), lifting=(built.random, built.general)))
    built.store.locks[built.random] = ObjectLock(None, legal_hold=True)
    assert built.mirrored() == Mirrored(objects=1, marked=0, lifted=1, by_others=0)
    assert built.store.locks.keys() == {built.general}
    assert built.marks() == (3, {built.general}, set())


def test_one_that_went_meanwhile_is_not_lifted_and_leaves_the_list(built: Built) -> None:
    built.hold("one", "g:general")
    built.mirrored()
    _marks(built, lambda of: msgspec.structs.replace(of, lifting=("messages/gone",)))
    assert built.mirrored() == Mirrored(objects=1, marked=0, lifted=0, by_others=0)
    assert built.marks() == (3, {built.general}, set())


def test_what_a_custodian_sent_is_marked_by_the_address_that_the_directory_has(built: Built) -> None:
    entry = {"user_id": "u:bob", "email": "bob@example.com", "valid_from": 0, "state": "listed", "captured_by": "u:0", "raw": "{}",
             "state_digest": "00"}  # fmt: skip
    built.head = added(
        built.archive, built.head, {"users": [entry], "messages": [sent("m-3", THIRD, sender_id="u:bob")]}
    )
    built.head = held(built.archive, built.head, "his", custodians=("bob@example.com",))
    assert built.mirrored() == Mirrored(objects=1, marked=1, lifted=0, by_others=0)
    assert [key.partition("/dt=")[2][:10] for key in built.store.locks] == ["2026-03-03"]


def test_what_others_marked_is_counted_and_never_ours(built: Built) -> None:
    built.store.locks = {
        built.general: ObjectLock(None, legal_hold=True),
        built.random: ObjectLock(1_900_000_000_000, legal_hold=False),
    }
    built.hold("one", "g:general", "g:random")
    assert built.mirrored() == Mirrored(objects=2, marked=1, lifted=0, by_others=1)
    assert built.marks() == (3, {built.random}, set())
    assert built.store.locks[built.random] == ObjectLock(1_900_000_000_000, legal_hold=True)


class TestWhatIsLookedAtAgain:
    def test_a_day_that_is_new_and_no_mark_of_before(self, built: Built) -> None:
        built.hold("one", "g:general")
        built.mirrored()
        built.store.locks.clear()  # somebody lifted it
        new = built.add("m-3", THIRD)
        told: list[tuple[int, int]] = []
        counted = built.mirrored(progress=lambda *step: told.append(step))
        assert (counted, told) == (Mirrored(objects=2, marked=1, lifted=0, by_others=0), [(1, 1)])
        assert (built.store.locks.keys(), built.marks()) == ({new}, (4, {built.general, new}, set()))

    def test_everything_where_it_is_asked_for(self, built: Built) -> None:
        built.hold("one", "g:general")
        built.mirrored()
        built.store.locks.clear()
        assert built.mirrored(full=True) == Mirrored(objects=1, marked=1, lifted=0, by_others=0)

    def test_everything_where_a_hold_came_to_something_else(self, built: Built) -> None:
        built.hold("one", "g:general")
        built.mirrored()
        built.store.locks.clear()
        built.hold("two", "g:random")
        assert built.mirrored() == Mirrored(objects=2, marked=2, lifted=0, by_others=0)

    @pytest.mark.parametrize(
        "changes", [{"sequence": 9}, {"reach": "00"}, {"keys": ("messages/gone",)}, {"lifting": ("messages/gone",)}]
    )
    def test_everything_where_the_list_is_not_of_what_is_there(self, built: Built, changes: dict[str, Any]) -> None:
        built.hold("one", "g:general")
        built.mirrored()
        built.store.locks.clear()
        _marks(built, lambda of: msgspec.structs.replace(of, **changes))
        assert built.mirrored() == Mirrored(objects=1, marked=1, lifted=0, by_others=0)
        assert built.marks() == (3, {built.general}, set())

    def test_no_object_because_a_blob_of_ours_is_no_data_object(self, built: Built) -> None:
        built.hold("one", "g:general")
        built.mirrored()
        built.store.locks.clear()
        _marks(built, lambda of: msgspec.structs.replace(of, keys=(*of.keys, layout.blob_key("ab" * 32))))
        assert built.mirrored() == Mirrored(objects=2, marked=0, lifted=0, by_others=0)


class TestTheList:
    def test_is_empty_where_it_is_missing_or_cannot_be_read_or_is_of_another_archive(self, built: Built) -> None:
        none = Marks(archive_id="0f0f")
        assert read_marks(built.archive) == none
        for content in (b"{", b"[]", b"\xff", canonical_json(Marks(archive_id="another", keys=("a",)))):
            built.store.replace("holds/marks.json", content)
            assert read_marks(built.archive) == none
        mine = Marks(archive_id="0f0f", sequence=3, reach="00", keys=("a",), lifting=("b",))
        built.store.replace("holds/marks.json", canonical_json(mine))
        assert read_marks(built.archive) == mine


class TestRefusals:
    def test_a_store_without_legal_holds(self) -> None:
        archive, _ = lived([{"messages": [sent("m-1", FIRST)]}], store=MemoryStore())
        with pytest.raises(StoreRefusedError) as caught:
            mirror(archive, executor=InlineExecutor())
        assert (caught.value.what, caught.value.next_step) == (
            "memory: has no legal holds, so holds cannot be mirrored to it",
            "keep the archive in a bucket with Object Lock enabled, or set `holds.mirror: false`",
        )

    @pytest.mark.parametrize("when", ["before it is looked at", "before it is marked"])
    def test_an_object_that_is_missing(self, built: Built, when: str) -> None:
        class Losing(LockingStore):
            def lock(self, key: str) -> ObjectLock | None:
                if when == "before it is looked at":
                    raise KeyMissingError(key)
                return None

            def set_legal_hold(self, key: str, *, on: bool) -> bool:
                raise KeyMissingError(key)

        losing = Losing()
        losing._objects = built.store._objects
        built.hold("one", "g:general")
        with pytest.raises(DamageFoundError) as caught:
            mirror(Archive.open(losing), executor=InlineExecutor())
        assert (caught.value.what, caught.value.next_step) == (
            f"{built.general} is missing in memory:, and a legal hold covers what it held",
            "run `archiver verify` for a full list, then restore the object from a copy",
        )

    def test_holds_that_change_each_time_it_looks(self, built: Built) -> None:
        asked: list[int] = []

        def reading(store: Any, head: Head) -> Any:
            asked.append(head.sequence)
            built.hold(f"hold-{len(asked)}", "g:general")
            return read_coverage(store, head)

        built.hold("one", "g:general")
        with pytest.raises(RefusedError) as caught:
            built.mirrored(read=reading)
        assert asked == [3, 4, 5, 6, 7]
        assert (caught.value.what, caught.value.next_step) == (
            "holds are placed and released faster than they can be mirrored",
            "run `archiver hold sync` later",
        )

    def test_one_that_was_placed_again_meanwhile_is_mirrored_anew_in_full(self, built: Built) -> None:
        """What it covers is the same, but in between somebody may have lifted its marks."""
        built.hold("one", "g:general")
        built.mirrored()

        def reading(store: Any, head: Head) -> Any:
            if head.sequence == 3:
                built.head = released(built.archive, built.head, "one")
                built.hold("one", "g:general")
            else:
                built.store.locks.clear()
            return read_coverage(store, head)

        assert built.mirrored(read=reading) == Mirrored(objects=1, marked=1, lifted=0, by_others=0)

    def test_one_that_changes_once_is_mirrored_anew_in_full(self, built: Built) -> None:
        built.hold("one", "g:general")
        built.mirrored()

        def reading(store: Any, head: Head) -> Any:
            if head.sequence == 3:
                built.hold("two", "g:random")
                built.store.locks.clear()
            return read_coverage(store, head)

        assert built.mirrored(read=reading) == Mirrored(objects=2, marked=2, lifted=0, by_others=0)


def _marks(built: Built, change: Any) -> None:
    marks = msgspec.json.decode(built.store.read("holds/marks.json"), type=Marks)
    built.store.replace("holds/marks.json", canonical_json(change(marks)))


def _replace_hold(built: Built, chat_id: str) -> None:
    built.hold("two", chat_id)
    built.head = released(built.archive, built.head, "one")
    built.store.done.clear()
