"""The ledger is a chain that anyone can check with sha256sum, and that two writers cannot fork."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from archiver.archive import ledger
from archiver.archive.layout import entry_key
from archiver.archive.ledger import ArchiveFacts, HeadMovedError, append, canonical_json, read_entry
from archiver.archive.reader import Archive
from archiver.errors import (
    KeyExistsError,
    KeyMissingError,
    LedgerBrokenError,
    NewerFormatError,
    StoreRefusedError,
    StoreUnreachableError,
    UsageError,
)
from archiver.store import Store
from archiver.store.local import LocalStore
from archiver.store.memory import MemoryStore
from tests.archive.archive_steps import add, found, message
from tests.faulty_store import EFFECTS, Effect, FaultyStore


@pytest.fixture
def store() -> MemoryStore:
    """An archive of five commits."""
    store = MemoryStore()
    fill(store, commits=5)
    return store


def fill(store: Store, *, commits: int) -> Archive:
    archive = found(store)
    head = archive.founding_head()
    for number in range(commits):
        head = add(archive, head, {"messages": [message(f"m{number}")]})
    return archive


def edit(store: Store, key: str, **changed: object) -> None:
    store.replace(key, json.dumps({**json.loads(store.read(key)), **changed}).encode())


def broken(store: Store) -> str:
    with pytest.raises(LedgerBrokenError) as caught:
        Archive.open(store).head()
    assert caught.value.exit_code == 4
    return str(caught.value)


class TestTheChain:
    def test_sha256sum_of_each_object_is_what_the_next_one_names(self, tmp_path: Path) -> None:
        sha256sum = shutil.which("sha256sum")
        if sha256sum is None:
            pytest.skip("sha256sum is not installed")
        fill(LocalStore(tmp_path), commits=3)
        names = ["archive.json", *(entry_key(number) for number in (1, 2, 3))]
        printed = subprocess.run([sha256sum, *names], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
        digests = [line.split()[0] for line in printed.splitlines()]
        previous = [json.loads((tmp_path / name).read_bytes())["previous"] for name in names[1:]]
        assert previous == digests[:-1]
        assert Archive.open(LocalStore(tmp_path)).head().digest == digests[-1]

    def test_an_entry_is_canonical_json(self, store: MemoryStore) -> None:
        data = store.read(entry_key(3))
        fields = json.loads(data)
        assert data == json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def test_an_entry_says_who_when_what_and_how_much(self, store: MemoryStore) -> None:
        entry, _ = read_entry(store, 2)
        assert (entry.sequence, entry.kind, entry.run, entry.actor) == (2, "capture", "night-1", "test")
        assert entry.at == "2026-11-18T11:06:40.000Z"
        (record,) = entry.added
        assert (record.table, record.rows, record.bytes) == ("messages", 1, len(store.read(record.key)))
        assert record.ranges["message_uid"] == ("m1", "m1")
        assert entry.counts == {"messages": 1}

    def test_foreign_files_beside_the_entries_are_no_entries(self, store: MemoryStore) -> None:
        before = Archive.open(store).head()
        for name in (
            ".DS_Store",
            "000000000003.json.bak",
            "00000000000x.json",
            "0000000000006.json",
            "~tmp",
            "readme.txt",
        ):
            store.create(f"ledger/{name}", b"not ours")
        store.create("ledger/checkpoints/notes.txt", b"not ours")
        store.create("ledger/pending/000.tmp", b"not ours")
        assert Archive.open(store).head() == before

    def test_an_archive_with_no_commit_has_a_head_too(self) -> None:
        store = MemoryStore()
        archive = found(store)
        assert (archive.head().sequence, archive.head().digest) == (0, archive.facts_digest)


class TestDamage:
    def test_a_missing_entry_is_named(self, store: MemoryStore) -> None:
        store.delete(entry_key(3))
        assert "ledger/000000000003.json is missing" in broken(store)

    def test_a_missing_first_entry_is_named(self, store: MemoryStore) -> None:
        store.delete(entry_key(1))
        assert "ledger/000000000001.json is missing" in broken(store)

    def test_an_altered_entry_breaks_the_one_after_it(self, store: MemoryStore) -> None:
        edit(store, entry_key(3), actor="somebody else")
        what = broken(store)
        assert "ledger/000000000004.json" in what
        assert "does not follow" in what

    def test_white_space_is_an_alteration_too(self, store: MemoryStore) -> None:
        store.replace(entry_key(3), store.read(entry_key(3)) + b"\n")
        assert "ledger/000000000004.json" in broken(store)

    def test_swapped_entries_are_found(self, store: MemoryStore) -> None:
        third, fourth = store.read(entry_key(3)), store.read(entry_key(4))
        store.replace(entry_key(3), fourth)
        store.replace(entry_key(4), third)
        assert "says that it is entry 4" in broken(store)

    def test_a_renumbered_entry_is_found(self, store: MemoryStore) -> None:
        store.replace(entry_key(3), store.read(entry_key(2)).replace(b'"sequence":2', b'"sequence":3'))
        assert "ledger/000000000003.json" in broken(store)

    def test_another_archive_json_breaks_the_first_entry(self, store: MemoryStore) -> None:
        edit(store, "archive.json", workspace="other")
        assert "ledger/000000000001.json" in broken(store)

    @pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b"{" * 5_000, b'{"sequence":3'])
    def test_an_unreadable_entry_is_named(self, store: MemoryStore, data: bytes) -> None:
        store.replace(entry_key(3), data)
        assert "ledger/000000000003.json in memory: cannot be read" in broken(store)

    @pytest.mark.parametrize("data", [b"", b"{}", b"null", b"\xff", b'{"format":"1"}'])
    def test_an_unreadable_archive_json_is_named(self, store: MemoryStore, data: bytes) -> None:
        store.replace("archive.json", data)
        with pytest.raises(LedgerBrokenError, match=r"archive\.json"):
            Archive.open(store)

    def test_no_archive_is_a_usage_error_that_says_what_to_check(self) -> None:
        with pytest.raises(UsageError, match="there is no archive at memory:"):
            Archive.open(MemoryStore())


class TestANewerFormat:
    def test_of_the_archive_is_refused(self, store: MemoryStore) -> None:
        edit(store, "archive.json", format=2)
        with pytest.raises(NewerFormatError, match="format 2; this version reads up to 1"):
            Archive.open(store)

    def test_of_the_archive_is_refused_even_if_nothing_else_is_understood(self, store: MemoryStore) -> None:
        store.replace("archive.json", b'{"format":3,"id":{"new":"shape"}}')
        with pytest.raises(NewerFormatError):
            Archive.open(store)

    @pytest.mark.parametrize("changed", [{}, {"kind": "novelty"}, {"added": {"new": "shape"}}])
    def test_of_an_entry_is_refused(self, store: MemoryStore, changed: dict[str, object]) -> None:
        edit(store, entry_key(5), format=2, **changed)
        with pytest.raises(NewerFormatError) as caught:
            Archive.open(store).head()
        assert caught.value.exit_code == 5

    def test_unknown_fields_of_the_same_format_are_no_obstacle(self, store: MemoryStore) -> None:
        edit(store, entry_key(5), remark="added by a later version")
        assert Archive.open(store).head().sequence == 5


class TestFounding:
    def test_an_archive_is_founded_once(self, store: MemoryStore) -> None:
        with pytest.raises(KeyExistsError):
            ledger.found(store, ArchiveFacts(format=1, archive_id="x", workspace="x", created_at="x"))


class TestAppend:
    def test_of_two_writers_the_second_is_told_and_changes_nothing(self, store: MemoryStore) -> None:
        entry, _ = read_entry(store, 5)
        before = store.read(entry_key(5))
        with pytest.raises(HeadMovedError, match="another writer committed"):
            append(store, msgspec.structs.replace(entry, run="other"))
        assert store.read(entry_key(5)) == before

    def test_an_entry_that_is_there_already_as_ours_is_ours(self, store: MemoryStore) -> None:
        entry, digest = read_entry(store, 5)
        assert append(store, entry) == digest

    @pytest.mark.parametrize("effect", EFFECTS)
    def test_a_create_whose_answer_was_lost_is_resolved_by_reading(self, store: MemoryStore, effect: Effect) -> None:
        entry, digest = read_entry(store, 5)
        following = msgspec.structs.replace(entry, sequence=6, previous=digest)
        lossy = FaultyStore(store, fail_at=[1], effect=effect)
        if effect == "after":
            append(lossy, following)
            assert read_entry(store, 6)[0] == following
        else:
            with pytest.raises(StoreUnreachableError):
                append(lossy, following)
            with pytest.raises(KeyMissingError):
                read_entry(store, 6)

    def test_a_lost_answer_to_a_lost_race_is_a_lost_race(self, store: MemoryStore) -> None:
        entry, _ = read_entry(store, 5)
        with pytest.raises(HeadMovedError):
            append(FaultyStore(store, fail_at=[1], effect="before"), msgspec.structs.replace(entry, run="other"))

    def test_a_store_that_refuses_is_not_asked_again(self, store: MemoryStore) -> None:
        class Refusing(MemoryStore):
            def create(self, key: str, data: bytes | Path) -> None:
                raise StoreRefusedError("read-only")

        entry, digest = read_entry(store, 5)
        with pytest.raises(StoreRefusedError):
            append(Refusing(), msgspec.structs.replace(entry, sequence=6, previous=digest))

    def test_numbers_and_texts_survive_the_canonical_form(self) -> None:
        value = {"b": 2**53 + 1, "a": 'é\u2028"\\\x00', "c": [1, None, True]}
        assert (
            canonical_json(value)
            == json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        )
