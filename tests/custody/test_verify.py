"""`archiver verify`: every kind of damage, done by hand to a real archive, is found and named, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archiver.archive import layout, ledger
from archiver.archive.commit import Pending
from archiver.archive.reader import Archive
from archiver.custody import chain, strays
from archiver.custody.findings import Level, Verification
from archiver.custody.verify import verify
from archiver.errors import LedgerBrokenError, NewerFormatError, UsageError
from archiver.store.local import LocalStore
from archiver.store.memory import MemoryStore
from tests import small_archive

ENTRY_1 = layout.entry_key(1)
ENTRY_2 = layout.entry_key(2)
BLOB = layout.blob_key(small_archive.FILE_DIGEST)


@pytest.fixture(scope="module")
def executor() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of a small, whole archive."""
    small_archive.build(LocalStore(tmp_path / "archive"), tmp_path)
    return tmp_path / "archive"


def look(root: Path, executor: Executor, *, level: Level = "full") -> Verification:
    return verify(LocalStore(root), level=level, executor=executor)


def found(root: Path, executor: Executor, *, level: Level = "full") -> set[tuple[str, str]]:
    """Kind and key of every damage."""
    return {(damage.kind, damage.key) for damage in look(root, executor, level=level).damages}


def data_keys(root: Path, table: str = "messages") -> list[str]:
    return sorted(str(path.relative_to(root)) for path in (root / table).rglob("*.parquet"))


def rewrite_entry(root: Path, key: str, **changes: Any) -> None:
    """Change an entry as somebody would who does not mend the chain behind it."""
    entry = json.loads((root / key).read_bytes()) | changes
    (root / key).write_bytes(ledger.canonical_json(entry))


def rewrite_ledger(root: Path, change: Any) -> None:
    """Change the first entry and mend the chain behind it, as somebody would who knows the format."""
    entry = json.loads((root / ENTRY_1).read_bytes())
    change(entry)
    data = ledger.canonical_json(entry)
    (root / ENTRY_1).write_bytes(data)
    rewrite_entry(root, ENTRY_2, previous=sha256(data).hexdigest())


class TestAWholeArchive:
    def test_is_verified_without_a_finding(self, root: Path, executor: Executor) -> None:
        outcome = look(root, executor)
        assert outcome.damages == ()
        assert outcome.exit_code == 0
        assert (outcome.sequence, outcome.unfinished) == (small_archive.COMMITS, 0)
        assert outcome.digest == sha256((root / ENTRY_2).read_bytes()).hexdigest()

    def test_is_looked_at_whole(self, root: Path, executor: Executor) -> None:
        looked = look(root, executor).looked
        stored = [path for path in root.rglob("*") if path.suffix == ".parquet" or "blobs" in path.parts]
        assert looked.objects + looked.blobs == sum(path.is_file() for path in stored)
        assert looked.bytes_hashed == sum(path.stat().st_size for path in stored if path.is_file())
        assert looked.rows == small_archive.MESSAGE_ROWS + 2

    def test_is_verified_quickly_without_reading_data(self, root: Path, executor: Executor) -> None:
        outcome = look(root, executor, level="quick")
        assert outcome.damages == ()
        assert outcome.looked.bytes_hashed == 0
        assert outcome.looked.objects > 0

    def test_tells_how_far_it_is(self, root: Path, executor: Executor) -> None:
        steps: list[tuple[int, int]] = []
        verify(LocalStore(root), level="full", executor=executor, progress=lambda *step: steps.append(step))
        total = steps[-1][1]
        assert steps == [(done, total) for done in range(1, total + 1)]

    def test_may_be_empty(self, executor: Executor) -> None:
        store = MemoryStore()
        small_archive.found(store)
        outcome = verify(store, level="full", executor=executor)
        assert (outcome.damages, outcome.sequence) == ((), 0)

    def test_needs_no_checkpoint_and_believes_none(self, root: Path, executor: Executor) -> None:
        forged = root / layout.checkpoint_key(2)
        forged.parent.mkdir(exist_ok=True)
        forged.write_text("not even JSON")
        assert found(root, executor) == set()


class TestDamageToObjects:
    def test_a_missing_object_is_named(self, root: Path, executor: Executor) -> None:
        key = data_keys(root)[0]
        (root / key).unlink()
        assert found(root, executor) == {("missing", key)}
        assert found(root, executor, level="quick") == {("missing", key)}
        assert look(root, executor).exit_code == 4

    def test_a_missing_blob_is_named(self, root: Path, executor: Executor) -> None:
        (root / BLOB).unlink()
        assert found(root, executor) == {("missing", BLOB)}
        assert found(root, executor, level="quick") == {("missing", BLOB)}

    def test_a_cut_object_is_named_by_size_and_digest(self, root: Path, executor: Executor) -> None:
        key = data_keys(root)[0]
        (root / key).write_bytes((root / key).read_bytes()[:-1])
        assert found(root, executor) == {("size", key), ("digest", key)}
        assert found(root, executor, level="quick") == {("size", key)}

    @given(data=st.data())
    @settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_one_flipped_bit_anywhere_is_found(self, root: Path, executor: Executor, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from([*data_keys(root), *data_keys(root, "files"), BLOB]))
        whole = (root / key).read_bytes()
        place = data.draw(st.integers(0, len(whole) * 8 - 1))
        spoilt = bytearray(whole)
        spoilt[place // 8] ^= 1 << place % 8
        (root / key).write_bytes(bytes(spoilt))
        try:
            assert found(root, executor) == {("digest", key)}
        finally:
            (root / key).write_bytes(whole)

    def test_a_changed_blob_is_named(self, root: Path, executor: Executor) -> None:
        (root / BLOB).write_bytes(small_archive.FILE_BYTES.upper())
        assert found(root, executor) == {("digest", BLOB)}

    def test_an_object_that_cannot_be_opened_as_a_file_is_named(self, root: Path, executor: Executor) -> None:
        key = data_keys(root)[0]
        (root / key).unlink()
        (root / key).mkdir()
        assert ("missing", key) in found(root, executor)

    def test_every_damage_is_named_not_only_the_first(self, root: Path, executor: Executor) -> None:
        keys = data_keys(root)
        for key in keys:
            (root / key).unlink()
        assert found(root, executor) == {("missing", key) for key in keys}


class TestAnObjectThatNoEntryNames:
    """Its rows would be counted by everyone who reads the archive with a glob."""

    def test_among_the_data_is_damage(self, root: Path, executor: Executor) -> None:
        planted = layout.data_key("messages", small_archive.at_day(20), sequence=9, attempt="cccccccc", number=1)
        (root / planted).write_bytes((root / data_keys(root)[0]).read_bytes())
        assert found(root, executor) == {("unnamed", planted)}
        assert found(root, executor, level="quick") == {("unnamed", planted)}

    def test_among_the_blobs_is_damage(self, root: Path, executor: Executor) -> None:
        planted = layout.blob_key("ab" * 32)
        (root / planted).parent.mkdir(parents=True)
        (root / planted).write_bytes(b"?")
        assert found(root, executor) == {("unnamed", planted)}

    def test_is_no_damage_where_an_interrupted_commit_announced_it(self, root: Path, executor: Executor) -> None:
        left = layout.data_key("messages", small_archive.at_day(20), sequence=3, attempt="dddddddd", number=1)
        (root / left).write_bytes(b"half")
        note = Pending(sequence=3, attempt="dddddddd", writer="here", at_ms=0, keys=(left,))
        LocalStore(root).create(layout.pending_key(3, "dddddddd"), ledger.canonical_json(note))
        outcome = look(root, executor)
        assert (outcome.damages, outcome.unfinished) == ((), 1)

    def test_elsewhere_is_nobody_s_business(self, root: Path, executor: Executor) -> None:
        (root / "README.txt").write_text("Acme's archive; ask legal before touching it.")
        assert found(root, executor) == set()


class TestDamageToTheLedger:
    def test_a_changed_entry_breaks_the_chain_behind_it(self, root: Path, executor: Executor) -> None:
        rewrite_entry(root, ENTRY_1, actor="somebody else")
        outcome = look(root, executor)
        assert ("ledger", ENTRY_2) in {(damage.kind, damage.key) for damage in outcome.damages}
        assert outcome.sequence == 1

    def test_a_changed_archive_json_breaks_the_chain_at_the_first_entry(self, root: Path, executor: Executor) -> None:
        facts = json.loads((root / layout.ARCHIVE_KEY).read_bytes()) | {"workspace": "other"}
        (root / layout.ARCHIVE_KEY).write_bytes(ledger.canonical_json(facts))
        assert ("ledger", ENTRY_1) in found(root, executor)

    def test_a_missing_entry_amid_the_chain_is_named(self, root: Path, executor: Executor) -> None:
        (root / ENTRY_1).unlink()
        assert ("ledger", ENTRY_1) in found(root, executor, level="quick")

    def test_newest_entries_that_were_taken_away_show_by_the_data_they_left(
        self, root: Path, executor: Executor
    ) -> None:
        (root / ENTRY_2).unlink()
        assert found(root, executor) == {("unnamed", key) for key in data_keys(root) if "/000000000002-" in key}

    @pytest.mark.parametrize("spoilt", [b"", b"{", b"[]", b"\xff\xfe", b'{"format":1}'])
    def test_an_unreadable_entry_is_named(self, root: Path, executor: Executor, spoilt: bytes) -> None:
        (root / ENTRY_2).write_bytes(spoilt)
        assert ("ledger", ENTRY_2) in found(root, executor)

    def test_an_entry_under_another_s_name_is_named(self, root: Path, executor: Executor) -> None:
        (root / layout.entry_key(3)).write_bytes((root / ENTRY_2).read_bytes())
        assert found(root, executor) == {("ledger", layout.entry_key(3))}

    def test_an_entry_of_another_archive_is_named_even_where_the_chain_was_mended(
        self, root: Path, executor: Executor
    ) -> None:
        rewrite_ledger(root, lambda entry: entry.update(archive_id="other"))
        assert found(root, executor) == {("ledger", ENTRY_1)}

    def test_counts_that_do_not_fit_the_objects_are_named(self, root: Path, executor: Executor) -> None:
        rewrite_ledger(root, lambda entry: entry["counts"].update(messages=99))
        assert found(root, executor) == {("ledger", ENTRY_1)}

    def test_a_watermark_that_goes_back_is_named(self, root: Path, executor: Executor) -> None:
        rewrite_entry(root, ENTRY_2, watermarks={"spool-1": 1})
        assert found(root, executor) == {("ledger", ENTRY_2)}

    def test_a_removal_of_what_was_not_there_is_named(self, root: Path, executor: Executor) -> None:
        rewrite_entry(root, ENTRY_2, removed=[{"key": "messages/nothing", "reason": "?"}])
        assert found(root, executor) == {("ledger", ENTRY_2)}

    def test_two_sizes_of_one_blob_are_named(self, root: Path, executor: Executor) -> None:
        rewrite_entry(root, ENTRY_2, blobs=[{"sha256": small_archive.FILE_DIGEST, "bytes": 5}])
        assert found(root, executor) == {("ledger", ENTRY_2)}

    def test_a_promotion_that_names_another_commit_than_the_one_before_is_named(
        self, root: Path, executor: Executor
    ) -> None:
        before = json.loads((root / ENTRY_2).read_bytes())["previous"]
        told = {"place": "/backup", "reason": "it broke", "behind": None, "damages": 0}
        for at, is_right in (((1, before), True), ((2, before), False), ((1, "00"), False)):
            rewrite_entry(root, ENTRY_2, promotion=told | {"head_sequence": at[0], "head_digest": at[1]})
            assert found(root, executor) == (set() if is_right else {("ledger", ENTRY_2)})

    def test_an_object_that_an_entry_removed_without_a_disposal_is_named(self, root: Path, executor: Executor) -> None:
        key = data_keys(root, "channels")[0]
        rewrite_entry(root, ENTRY_2, removed=[{"key": key, "reason": "somebody felt like it"}])
        (root / key).unlink()
        assert found(root, executor) == {("ledger", ENTRY_2)}
        assert "is no disposal" in look(root, executor).damages[0].what

    def test_an_unreadable_archive_json_stops_everything(self, root: Path, executor: Executor) -> None:
        (root / layout.ARCHIVE_KEY).write_bytes(b"{")
        with pytest.raises(LedgerBrokenError, match=r"archive\.json"):
            look(root, executor)

    def test_an_archive_of_a_newer_format_is_refused_not_called_damaged(self, root: Path, executor: Executor) -> None:
        facts = json.loads((root / layout.ARCHIVE_KEY).read_bytes()) | {"format": 2}
        (root / layout.ARCHIVE_KEY).write_bytes(ledger.canonical_json(facts))
        with pytest.raises(NewerFormatError, match="format 2"):
            look(root, executor)

    def test_no_archive_is_a_wrong_place_and_no_damage(self, tmp_path: Path, executor: Executor) -> None:
        with pytest.raises(UsageError, match="no archive"):
            look(tmp_path / "nowhere", executor)
        assert not (tmp_path / "nowhere").exists()


class TestALedgerThatSaysSomethingElseThanTheData:
    """The chain holds, each object is the one that was named, and yet a promise of the entry is wrong."""

    def test_about_rows(self, root: Path, executor: Executor) -> None:
        def change(entry: dict[str, Any]) -> None:
            record = next(record for record in entry["added"] if record["table"] == "channels")
            record["rows"] += 1
            entry["counts"]["channels"] += 1

        rewrite_ledger(root, change)
        assert found(root, executor) == {("rows", data_keys(root, "channels")[0])}

    @pytest.mark.parametrize(("column", "bound"), [("sent_at", 1), ("message_uid", "m-0")])
    def test_about_ranges(self, root: Path, executor: Executor, column: str, bound: int | str) -> None:
        rewrite_ledger(root, lambda entry: entry["added"][0]["ranges"][column].__setitem__(0, bound))
        assert found(root, executor) == {("ranges", json.loads((root / ENTRY_1).read_bytes())["added"][0]["key"])}

    def test_about_the_columns(self, root: Path, executor: Executor) -> None:
        key = data_keys(root, "channels")[0]
        pq.write_table(pa.table({"wrong": [1]}), root / key)
        data = (root / key).read_bytes()

        def change(entry: dict[str, Any]) -> None:
            record = next(record for record in entry["added"] if record["key"] == key)
            record.update(bytes=len(data), sha256=sha256(data).hexdigest())

        rewrite_ledger(root, change)
        assert found(root, executor) == {("unreadable", key)}

    def test_about_what_is_no_parquet_at_all(self, root: Path, executor: Executor) -> None:
        key = data_keys(root, "channels")[0]
        (root / key).write_bytes(b"PAR1 and nothing")

        def change(entry: dict[str, Any]) -> None:
            record = next(record for record in entry["added"] if record["key"] == key)
            record.update(bytes=16, sha256=sha256(b"PAR1 and nothing").hexdigest())

        rewrite_ledger(root, change)
        assert found(root, executor) == {("unreadable", key)}

    def test_about_a_blob_that_rows_name_and_no_entry_recorded(self, root: Path, executor: Executor) -> None:
        rewrite_ledger(root, lambda entry: entry.update(blobs=[]))
        assert found(root, executor) == {("blob", BLOB), ("unnamed", BLOB)}

    def test_about_the_size_of_a_blob(self, root: Path, executor: Executor) -> None:
        rewrite_ledger(root, lambda entry: entry["blobs"][0].__setitem__("bytes", 5))
        assert found(root, executor) == {("size", BLOB), ("blob", BLOB)}


def test_a_commit_that_ends_while_we_look_is_no_damage(tmp_path: Path, executor: Executor) -> None:
    """The head was read first; what a later entry names is named."""
    archive, head = small_archive.build(LocalStore(tmp_path / "archive"), tmp_path)
    followed = chain.follow(archive)
    small_archive.add(archive, head, {"messages": [small_archive.message("m-7", 22, "late")]}, attempt="eeeeeeee")
    assert strays.find(Archive.open(archive.store), followed) == strays.Strays((), 0)
