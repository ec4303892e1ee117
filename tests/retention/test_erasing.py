"""What a disposal took out of the archive leaves the store: in which order, what stays and why, and who may finish what another began."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from archiver.archive import layout, ledger
from archiver.archive.commit import FOREIGN_NOTE_AGE_MS, Pending, write_note
from archiver.archive.disposal import commit_erased
from archiver.archive.ledger import HeadMovedError
from archiver.archive.reader import Archive, Head
from archiver.clock import DAY_MS, day_of
from archiver.errors import KeyExistsError, StoreUnreachableError
from archiver.retention.dispose import dispose
from archiver.retention.erasing import COMMIT_TRIES_MAX, Erasure, Kept, erase_removed, finish_disposals
from archiver.store import ObjectLock
from tests.archive.archive_steps import AT_MS, AUTHOR, STRANGER, InlineExecutor, add, blob, message
from tests.retention.disposing import ALONE, FILED, SHARED, NoHolds, apply, build, plan_for
from tests.retention.late_listing import LateListing
from tests.retention.locking import LockingStore

OWN_FILE = b"the peony's own file"
OWN = layout.blob_key(sha256(OWN_FILE).hexdigest())
LATER_MS = AT_MS + FOREIGN_NOTE_AGE_MS
HELD = ObjectLock(None, legal_hold=True)


@pytest.fixture
def built(tmp_path: Path) -> tuple[Archive, Head, LockingStore]:
    store = LockingStore()
    archive, head = build(store, tmp_path)
    store.done.clear()
    return archive, head, store


def alone(head: Head) -> str:
    """The object that holds nothing but the message that is alone."""
    (key,) = [key for key in head.files if layout.partition_of(key) == ("messages", day_of(AT_MS + 5 * DAY_MS))]
    return key


def unerased(built: tuple[Archive, Head, LockingStore]) -> Head:
    """Take a message and all files out of the archive, of which a legal hold keeps the object and a blob; then lift the holds."""
    archive, head, store = built
    store.locks = {alone(head): HELD, OWN: HELD}
    done = apply(archive, head, plan_for(archive, head, [ALONE], [(*FILED, 0), (*FILED, 1), (*SHARED, 0)]))
    assert done.erasure == Erasure(3, 2, (Kept(alone(head), "lock"), Kept(OWN, "lock")))
    assert done.head.unerased == (3,)
    store.locks = {}
    store.done.clear()
    return done.head


def finish(archive: Archive, head: Head, **further: Any) -> tuple[Head, list[Erasure]]:
    given: dict[str, Any] = {"author": AUTHOR, "now_ms": AT_MS, "progress": lambda *_: None, **further}
    return finish_disposals(archive, head, executor=InlineExecutor(), **given)


def note_of(
    archive: Archive, *, writer: str = "there", at_ms: int = AT_MS, sequence: int = 3, keys: tuple[str, ...] = ()
) -> str:
    return write_note(
        archive.store, Pending(sequence=sequence, attempt="bbbbbbbb", writer=writer, at_ms=at_ms, keys=keys)
    )


CERTIFICATE = layout.certificate_key("ab" * 32)


class TestTheOrder:
    def test_note_new_objects_certificate_entry_erasing_entry_and_the_note_goes(
        self, built: tuple[Archive, Head, LockingStore]
    ) -> None:
        archive, head, store = built
        (files,) = [key for key, record in head.files.items() if record.table == "files"]
        plan = plan_for(archive, head, [ALONE], [(*FILED, 0)])
        told: list[tuple[str, int, int]] = []
        with ThreadPoolExecutor(1) as writers:
            done = dispose(
                archive, head, plan, coverage=NoHolds(), approved_by="ann", author=AUTHOR, attempt="d15905ed", now_ms=AT_MS,
                executor=InlineExecutor(), writers=writers, progress=lambda *step: told.append(step),
            )  # fmt: skip

        note = "ledger/pending/000000000003-d15905ed.json"
        new = files.replace(files.rpartition("/")[2], "000000000003-d15905ed-00001.parquet")
        assert store.done == [
            f"create {note}",
            f"create {new}",
            f"create certificates/{plan.digest}.json",
            "create ledger/000000000003.json",
            f"erase {alone(head)}",
            f"erase {files}",
            f"erase {OWN}",
            "create ledger/000000000004.json",
            f"delete {note}",
        ]
        assert [step for step in told if step[0] not in ("finding messages", "finding events", "finding files")] == [
            ("rewriting", 1, 1),
            ("erasing", 1, 3),
            ("erasing", 2, 3),
            ("erasing", 3, 3),
        ]
        assert done.erasure == Erasure(3, 3, ())
        assert (done.sequence, done.head.sequence, done.head.unerased) == (3, 4, ())
        assert done.certificate_key == f"certificates/{plan.digest}.json"
        first, _ = ledger.read_entry(store, 3)
        last, _ = ledger.read_entry(store, 4)
        assert first.disposal == ledger.Disposal(
            plan=plan.digest,
            approved_by="ann",
            rows={"messages": 1, "files": 1},
            certificate_sha256=sha256(store.read(done.certificate_key)).hexdigest(),
        )
        assert {removal.reason for removal in first.removed} == {f"disposed of by plan {plan.digest}"}
        assert (first.kind, last.kind, last.erased) == ("dispose", "dispose", 3)
        assert [record.key for record in first.added] == list(first.settled) == [new]


class TestWhatStays:
    def test_what_a_lock_keeps_is_hidden_and_told_with_its_end(self, built: tuple[Archive, Head, LockingStore]) -> None:
        archive, head, store = built
        store.locks = {alone(head): ObjectLock(1_900_000_000_000, legal_hold=False)}
        done = apply(archive, head, plan_for(archive, head, [ALONE]))
        assert done.erasure == Erasure(3, 0, (Kept(alone(head), "lock", 1_900_000_000_000),))
        assert (done.head.sequence, done.head.unerased, store.hidden) == (3, (3,), {alone(head)})
        # Whose work it was to finish is nobody's alone any more.
        assert store.done[-2:] == [f"hide {alone(head)}", "delete ledger/pending/000000000003-d15905ed.json"]

    def test_a_blob_that_a_commit_under_way_names_is_awaited_and_the_note_stays(
        self, built: tuple[Archive, Head, LockingStore]
    ) -> None:
        archive, head, store = built
        note_of(archive, sequence=4, keys=(OWN,))
        done = apply(archive, head, plan_for(archive, head, [ALONE], [(*FILED, 0)]))
        assert done.erasure == Erasure(3, 2, (Kept(OWN, "awaited"),))
        assert [info.key for info in store.list(layout.PENDING_PREFIX)] == [
            "ledger/pending/000000000003-d15905ed.json",
            "ledger/pending/000000000004-bbbbbbbb.json",
        ]
        assert store.stat(OWN).size == len(OWN_FILE)

    def test_a_blob_that_a_later_entry_names_is_none_of_this_disposals(
        self, built: tuple[Archive, Head, LockingStore], tmp_path: Path
    ) -> None:
        archive, _, store = built
        head = unerased(built)
        head = add(archive, head, {"messages": [message("late")]}, at_ms=LATER_MS, blobs=blob(tmp_path, OWN_FILE))
        store.done.clear()
        head, erasures = finish(archive, head)
        assert erasures == [Erasure(3, 4, ())]
        assert (head.unerased, store.stat(OWN).size) == ((), len(OWN_FILE))

    def test_unless_an_entry_after_that_removed_it_again(
        self, built: tuple[Archive, Head, LockingStore], tmp_path: Path
    ) -> None:
        archive, _, store = built
        head = unerased(built)
        late = {"messages": [message("late")], "files": []}
        head = add(archive, head, late, at_ms=LATER_MS, blobs=blob(tmp_path, OWN_FILE))
        entry = ledger.Entry(
            **{
                **{name: getattr(ledger.read_entry(store, head.sequence)[0], name) for name in ledger.Entry.__struct_fields__},
                "sequence": head.sequence + 1, "previous": head.digest, "kind": "dispose", "added": (), "blobs": (),
                "removed": (ledger.Removal(OWN, "again"),),
            }
        )  # fmt: skip
        ledger.append(store, entry)
        head, erasures = finish(archive, archive.head())
        assert [erasure.sequence for erasure in erasures] == [3]
        assert f"erase {OWN}" in store.done

    def test_old_versions_that_no_commit_ever_named_go_along_and_no_others(
        self, built: tuple[Archive, Head, LockingStore]
    ) -> None:
        archive, head, store = built
        named, blob_named = next(iter(head.files)), layout.blob_key(sha256(b"a file of two messages").hexdigest())
        announced = layout.data_key("files", day_of(AT_MS), sequence=9, attempt="bbbbbbbb", number=1)
        orphans = [
            layout.data_key(table, day_of(AT_MS), sequence=2, attempt="ffffffff", number=1)
            for table in ("users", "messages", "events")
        ]
        locked = layout.data_key("groups", day_of(AT_MS), sequence=2, attempt="ffffffff", number=1)
        blob_orphan = layout.blob_key("00" * 32)
        note_of(archive, sequence=9, keys=(announced,))
        store.hidden = {named, blob_named, announced, *orphans, locked, blob_orphan, "plans/old", "ledger/old"}
        store.locks = {locked: HELD}
        store.done.clear()

        done = apply(archive, head, plan_for(archive, head, [ALONE]))

        erased = [line.removeprefix("erase ") for line in store.done if line.startswith("erase ")]
        assert erased == [alone(head), *sorted([*orphans, blob_orphan])]
        assert store.hidden == {named, blob_named, announced, locked, "plans/old", "ledger/old"}
        assert (done.head.unerased, done.erasure) == ((), Erasure(3, 1, ()))


class TestFinishing:
    def test_goes_on_where_it_stopped_and_says_so(self, built: tuple[Archive, Head, LockingStore]) -> None:
        archive, _, store = built
        head = unerased(built)
        told: list[tuple[str, int, int]] = []
        head, erasures = finish(archive, head, progress=lambda *step: told.append(step))
        assert erasures == [Erasure(3, 4, ())]
        assert told == [("erasing", done, 4) for done in range(1, 5)]
        assert (head.sequence, head.unerased, archive.head() == head, store.hidden) == (4, (), True, set())
        assert store.done[-1] == "create ledger/000000000004.json"
        entry, _ = ledger.read_entry(store, 4)
        assert (entry.run, entry.actor, entry.erased, entry.at) == (
            "night-1",
            "test",
            3,
            ledger.read_entry(store, 3)[0].at,
        )
        assert finish(archive, head) == (head, [])

    @pytest.mark.parametrize(
        ("note", "is_left"),
        [
            ({}, True),
            ({"at_ms": AT_MS - FOREIGN_NOTE_AGE_MS + 1}, True),
            ({"at_ms": AT_MS - FOREIGN_NOTE_AGE_MS}, False),
            ({"writer": "here"}, False),
            ({"sequence": 4}, False),
            ({"keys": (layout.blob_key("11" * 32),)}, False),
        ],
        ids=str,
    )
    def test_is_left_to_another_machine_that_began_it_within_the_day(
        self, note: dict[str, Any], is_left: bool, built: tuple[Archive, Head, LockingStore]
    ) -> None:
        archive, _, _ = built
        head = unerased(built)
        key = note_of(archive, **{"keys": (CERTIFICATE,), **note})
        after, erasures = finish(archive, head)
        assert (after == head, [erasure.sequence for erasure in erasures]) == (is_left, [] if is_left else [3])
        # The note of a disposal at this place of the ledger goes with what it announced.
        of_it = "keys" not in note and note.get("sequence", 3) == 3
        assert (key in {info.key for info in archive.store.list(layout.PENDING_PREFIX)}) == (is_left or not of_it)

    def test_goes_past_one_that_is_left_alone(self, built: tuple[Archive, Head, LockingStore]) -> None:
        archive, _, store = built
        head = unerased(built)
        files = next(key for key, record in head.files.items() if record.table == "files")
        store.locks = {files: HELD}
        again = apply(archive, head, plan_for(archive, head, files=[(*FILED, 2)]), attempt="00000002").head
        assert again.unerased == (3, 4)
        store.locks = {}
        note_of(archive, keys=(CERTIFICATE,))
        after, erasures = finish(archive, again)
        assert (after.unerased, erasures) == ((3,), [Erasure(4, 1, ())])

    def test_a_note_that_cannot_be_removed_now_is_no_failure(self, tmp_path: Path) -> None:
        class Keeping(LockingStore):
            def delete(self, key: str) -> None:
                if key.endswith("-d15905ed.json"):
                    raise StoreUnreachableError(key)
                super().delete(key)

        archive, head = build(Keeping(), tmp_path)
        done = apply(archive, head, plan_for(archive, head, [ALONE]))
        assert (done.head.unerased, done.erasure.kept) == ((), ())


class TestSayingSo:
    """The entry that says that all has gone, while others commit."""

    def erased(self, archive: Archive, head: Head) -> tuple[Head, Erasure]:
        return erase_removed(
            archive,
            head,
            ledger.read_entry(archive.store, 3),
            author=AUTHOR,
            now_ms=AT_MS,
            executor=InlineExecutor(),
            progress=lambda *_: None,
        )

    @pytest.mark.parametrize(
        ("meanwhile", "sequence"),
        [
            (lambda archive, head: add(archive, head, {"messages": [message("meanwhile")]}, author=STRANGER), 5),
            (lambda archive, head: commit_erased(archive, head, 3, author=STRANGER, at_ms=AT_MS), 4),
        ],
        ids=["another commit came", "another machine said it"],
    )
    def test_follows_whatever_came_first(
        self, meanwhile: Callable[[Archive, Head], Head], sequence: int, built: tuple[Archive, Head, LockingStore]
    ) -> None:
        archive, _, _ = built
        head = unerased(built)
        meanwhile(archive, head)
        after, erasure = self.erased(archive, head)
        assert (after.sequence, after.unerased, archive.head().sequence) == (sequence, (), sequence)
        assert erasure == Erasure(3, 4, ())

    def test_is_given_up_after_so_many_tries(self, built: tuple[Archive, Head, LockingStore]) -> None:
        archive, _, store = built
        head = unerased(built)
        add(archive, head, {"messages": [message("meanwhile")]}, author=STRANGER)
        tries: list[str] = []

        class Counting(LateListing):
            def create(self, key: str, data: Any) -> None:
                try:
                    store.create(key, data)
                except KeyExistsError:
                    tries.append(key)
                    raise

        late = Archive(Counting(store, until=3), archive.facts, archive.facts_digest)
        with pytest.raises(HeadMovedError):
            self.erased(late, head)
        assert tries == ["ledger/000000000004.json"] * COMMIT_TRIES_MAX
        assert COMMIT_TRIES_MAX == 20
