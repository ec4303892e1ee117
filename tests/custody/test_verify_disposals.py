"""What `archiver verify` says of an archive from which something was disposed of, and of one where somebody only says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from archiver.archive import layout, ledger
from archiver.archive.commit import Pending
from archiver.archive.reader import Archive
from archiver.custody.findings import Account, Verification
from archiver.custody.verify import verify
from archiver.store.local import LocalStore
from archiver.store.memory import MemoryStore
from tests.archive.archive_steps import add, message
from tests.retention.disposing import EDITED, EVERY_SECRET, FILED, apply, build, plan_for

DISPOSAL = layout.entry_key(3)
ERASED = layout.entry_key(4)


@pytest.fixture(scope="module")
def executor() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    """An archive after a disposal of everything with a word, files included."""
    store = MemoryStore()
    archive, head = build(store, tmp_path)
    apply(archive, head, plan_for(archive, head, EVERY_SECRET, [(*FILED, 0)]))
    return store


def look(store: MemoryStore, executor: Executor) -> Verification:
    return verify(store, level="full", executor=executor)


def found(store: MemoryStore, executor: Executor) -> set[tuple[str, str]]:
    return {(damage.kind, damage.key) for damage in look(store, executor).damages}


def rewrite(store: MemoryStore, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the disposal's entry and mend the chain behind it, as somebody would who knows the format."""
    entry = json.loads(store.read(DISPOSAL))
    change(entry)
    store.replace(DISPOSAL, ledger.canonical_json(entry))
    digest = ledger.read_entry(store, 3)[1]
    store.replace(ERASED, ledger.canonical_json(json.loads(store.read(ERASED)) | {"previous": digest}))


class TestAWholeArchive:
    def test_adds_up_by_table(self, store: MemoryStore, executor: Executor) -> None:
        outcome = look(store, executor)
        assert (outcome.damages, outcome.unfinished, outcome.unerased, outcome.disposals) == ((), 0, (), 1)
        assert outcome.accounts == {
            "messages": Account(written=18, present=10, disposed=8),
            "files": Account(written=5, present=4, disposed=1),
            "events": Account(written=5, present=3, disposed=2),
        }

    def test_may_hold_messages_that_name_a_disposed_blob(self, tmp_path: Path, executor: Executor) -> None:
        """The file went by its own rule; the message, which stays, still says what was attached."""
        store = MemoryStore()
        archive, head = build(store, tmp_path)
        apply(archive, head, plan_for(archive, head, files=[(*FILED, 0)]))
        assert found(store, executor) == set()

    def test_may_be_verified_quickly(self, store: MemoryStore, executor: Executor) -> None:
        assert verify(store, level="quick", executor=executor).damages == ()


class TestWhatIsSaidAndNotSo:
    @pytest.mark.parametrize("rows", [{"messages": 7, "events": 2, "files": 1}, {"messages": 9}, {}])
    def test_another_number_of_rows(self, store: MemoryStore, executor: Executor, rows: dict[str, int]) -> None:
        rewrite(store, lambda entry: entry["disposal"].update(rows=rows))
        assert found(store, executor) == {("ledger", DISPOSAL), ("ledger", ERASED)}

    def test_a_disposal_that_takes_more_than_it_says(self, tmp_path: Path, executor: Executor) -> None:
        """A whole object more goes, and the entry's numbers stay."""
        store = MemoryStore()
        archive, head = build(store, tmp_path)
        extra = next(key for key, record in head.files.items() if record.table == "events")
        apply(archive, head, plan_for(archive, head, [("g:1", "other import")]))
        rewrite(store, lambda entry: entry["removed"].append({"key": extra, "reason": "unnoticed"}))
        store.delete(extra)
        assert ("ledger", DISPOSAL) in found(store, executor)

    def test_a_removal_without_a_disposal(self, store: MemoryStore, executor: Executor) -> None:
        rewrite(store, lambda entry: entry.update(disposal=None))
        assert ("ledger", DISPOSAL) in found(store, executor)

    @pytest.mark.parametrize("number", [1, 2, 9])
    def test_that_something_is_erased_which_never_went(
        self, store: MemoryStore, executor: Executor, number: int
    ) -> None:
        entry = json.loads(store.read(ERASED)) | {"erased": number}
        store.replace(ERASED, ledger.canonical_json(entry))
        assert found(store, executor) == {("ledger", ERASED)}

    def test_an_object_that_went_and_came_again_under_its_key(self, store: MemoryStore, executor: Executor) -> None:
        old = ledger.read_entry(store, 1)[0].added[0]
        archive = Archive.open(store)
        head = add(archive, archive.head(), {"messages": [message("late")]})
        key = layout.entry_key(head.sequence)
        entry = json.loads(store.read(key))
        entry["added"] = [json.loads(ledger.canonical_json(old))]
        entry["counts"] = {old.table: old.rows}
        store.replace(key, ledger.canonical_json(entry))
        assert ("ledger", key) in found(store, executor)


class TestCertificates:
    def key(self, store: MemoryStore) -> str:
        [info] = store.list(layout.CERTIFICATE_PREFIX)
        return info.key

    def test_one_that_is_gone_is_missed(self, store: MemoryStore, executor: Executor) -> None:
        key = self.key(store)
        store.delete(key)
        assert found(store, executor) == {("certificate", key)}
        assert {damage.kind for damage in verify(store, level="quick", executor=executor).damages} == {"certificate"}

    def test_one_that_was_changed_is_found(self, store: MemoryStore, executor: Executor) -> None:
        key = self.key(store)
        store.replace(key, store.read(key).replace(b"The Records Manager", b"Somebody Else Here."))
        assert found(store, executor) == {("certificate", key)}

    def test_one_of_a_disposal_that_never_was_is_named(self, store: MemoryStore, executor: Executor) -> None:
        key = layout.certificate_key("0" * 64)
        store.create(key, b"{}")
        assert found(store, executor) == {("unnamed", key)}


class TestWhatShouldBeGone:
    def test_and_is_about_to_be_committed_again_is_unfinished(self, store: MemoryStore, executor: Executor) -> None:
        """Content that was disposed of is sent once more, and the commit stopped before its entry."""
        blob = next(
            removal.key for removal in ledger.read_entry(store, 3)[0].removed if layout.is_blob_key(removal.key)
        )
        store.create(blob, b"the peony's own file")
        assert found(store, executor) == {("unerased", blob)}
        note = Pending(sequence=5, attempt="dddddddd", writer="here", at_ms=0, keys=(blob,))
        store.create(layout.pending_key(5, "dddddddd"), ledger.canonical_json(note))
        assert found(store, executor) == set()
        assert look(store, executor).unfinished == 1

    def test_and_lies_in_the_store_again_is_damage(self, tmp_path: Path, executor: Executor) -> None:
        """Somebody restored a backup over it."""
        store = LocalStore(tmp_path / "archive")
        archive, head = build(store, tmp_path)
        backup = {info.key: store.read(info.key) for info in store.list("")}
        done = apply(archive, head, plan_for(archive, head, [EDITED], [(*FILED, 0)]))
        for key, data in backup.items():
            if not any(info.key == key for info in store.list(key)):
                store.create(key, data)
        outcome = verify(store, level="full", executor=executor)
        removed = {change.key for change in done.certificate.objects}
        removed |= {layout.blob_key(item.sha256) for item in done.certificate.blobs}
        assert {(damage.kind, damage.key) for damage in outcome.damages} == {("unerased", key) for key in removed}
        assert outcome.exit_code == 4

    def test_and_is_not_yet_is_told_and_no_damage(self, store: MemoryStore, executor: Executor) -> None:
        removed = ledger.read_entry(store, 3)[0].removed
        store.delete(ERASED)
        store.create(removed[0].key, b"not erased yet")
        outcome = look(store, executor)
        assert outcome.damages == ()
        assert [(left.sequence, left.objects) for left in outcome.unerased] == [(3, 1)]
