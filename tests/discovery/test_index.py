"""The index is a cache: it follows the archive, forgets what the archive lost, and whatever happens to it a search finds the same."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tantivy

from archiver.archive.commit import append_entry, next_entry
from archiver.archive.ledger import Removal
from archiver.archive.reader import Archive, Head, files_of
from archiver.discovery import index as index_module
from archiver.discovery.index import Index, OpenIndex, build_from
from archiver.discovery.index_words import WORD_CHARACTERS_MAX, WORDS
from archiver.discovery.search_around import around
from archiver.discovery.search_candidates import candidates
from archiver.store.memory import MemoryStore
from tests.discovery.searched import EXECUTOR, all_pages, places_of, refreshed
from tests.expression.expressions import parsed
from tests.small_archive import AUTHOR, add, at_ms, found, message


def archive_with(*texts: str, day: int = 20) -> tuple[Archive, Head]:
    archive = found(MemoryStore())
    return archive, say(archive, archive.founding_head(), *texts, day=day)


def say(archive: Archive, head: Head, *texts: str, day: int = 20) -> Head:
    rows = [message(f"m-{head.sequence}-{number}", day, text) for number, text in enumerate(texts)]
    return add(archive, head, {"messages": rows}, attempt=f"{head.sequence:08x}")


def without(archive: Archive, head: Head, key: str) -> Head:
    """The head after an object went out of the archive."""
    entry = next_entry(archive, head, "dispose", at_ms=at_ms(23), author=AUTHOR)
    after = append_entry(archive, head, msgspec.structs.replace(entry, removed=(Removal(key, "disposed of"),)))
    archive.store.erase(key)
    return after


def uids(archive: Archive, head: Head, index: OpenIndex | None, text: str) -> list[str]:
    expression = parsed(text)
    return [hit.position.message_uid for hit in all_pages(places_of(archive, head, index, expression), expression)]


def words_lie_in(folder: Path, word: str) -> bool:
    """Whether any shard on the disk has a word, whether it counts or not."""
    shards = [tantivy.Index.open(str(path.parent)) for path in folder.rglob("meta.json")]
    return any(shard.searcher().terms_with_prefix(WORDS, word) for shard in shards)


def test_only_what_is_new_is_indexed(tmp_path: Path) -> None:
    archive, head = archive_with("the merger", "the price")
    built: list[list[str]] = []

    def build(folder: Path, records: Any) -> Any:
        built.append([record.key for record in records])
        return build_from(lambda: archive.store, folder, records)

    index = Index(tmp_path, archive_id="0f0f")
    assert index.refresh(head, build, executor=EXECUTOR)
    later = say(archive, head, "a merger again")
    assert (index.state(later).objects_behind, index.state(later).rows_behind) == (1, 1)
    assert index.refresh(later, build, executor=EXECUTOR)
    assert index.refresh(later, build, executor=EXECUTOR)
    assert [len(keys) for keys in built] == [1, 1]
    assert set(built[0]).isdisjoint(built[1])
    assert index.state(later).objects_behind == 0
    assert not index.open(later).others
    assert uids(archive, later, index.open(later), "merger") == ["m-0-0", "m-1-0"]


def test_many_small_shards_become_one(tmp_path: Path) -> None:
    archive, head = archive_with("merger 0")
    for number in range(1, 2 * index_module.SHARDS_OF_A_SIZE_MAX):
        index = refreshed(archive, head, tmp_path)
        head = say(archive, head, f"merger {number}")
    index = refreshed(archive, head, tmp_path)
    assert index.state(head).shards < index_module.SHARDS_OF_A_SIZE_MAX
    assert len(uids(archive, head, index.open(head), "merger")) == 2 * index_module.SHARDS_OF_A_SIZE_MAX
    names = {path.name for path in index.folder.iterdir() if path.is_dir()}
    assert len(names) == index.state(head).shards


def test_no_word_of_what_is_disposed_of_stays(tmp_path: Path) -> None:
    archive, head = archive_with("abracadabra is disposed of")
    (gone,) = (record.key for record in files_of(head, "messages"))
    head = say(archive, head, "hocuspocus stays", day=21)
    index = refreshed(archive, head, tmp_path)
    assert words_lie_in(tmp_path, "abracadabra")
    after = without(archive, head, gone)
    assert index.is_stale(after)
    # Before anything was done about it, nothing of it is found; what stays in the same shard is read from the archive.
    assert uids(archive, after, index.open(after), "abracadabra") == []
    assert uids(archive, after, index.open(after), "hocuspocus") == ["m-1-0"]
    assert index.forget(after) == 1
    assert not words_lie_in(tmp_path, "abracadabra")
    assert not index.is_stale(after)
    again = refreshed(archive, after, tmp_path)
    assert uids(archive, after, again.open(after), "hocuspocus") == ["m-1-0"]
    assert again.forget(after) == 0


def test_bringing_the_index_up_to_date_removes_words_of_what_is_disposed_of_too(tmp_path: Path) -> None:
    archive, head = archive_with("abracadabra is disposed of")
    (gone,) = (record.key for record in files_of(head, "messages"))
    head = say(archive, head, "hocuspocus stays", day=21)
    refreshed(archive, head, tmp_path)
    after = without(archive, head, gone)
    refreshed(archive, after, tmp_path)
    assert not words_lie_in(tmp_path, "abracadabra")
    assert words_lie_in(tmp_path, "hocuspocus")


def _cut(index: Index) -> None:
    largest = max((path for path in index.folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2)


def _flip(index: Index) -> None:
    for path in index.folder.rglob("*.idx"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 255
        path.write_bytes(data)


def _lose_a_file(index: Index) -> None:
    next(index.folder.rglob("*.term")).unlink()


def _lose_a_shard(index: Index) -> None:
    shutil.rmtree(next(path for path in index.folder.iterdir() if path.is_dir()))


def _no_manifest(index: Index) -> None:
    (index.folder / "index.json").write_text('{"made_with": "half')


def _other_tantivy(index: Index) -> None:
    path = index.folder / "index.json"
    path.write_bytes(path.read_bytes().replace(b"tantivy ", b"tantivy 0."))


def _lead_out_of_the_folder(index: Index) -> None:
    path = index.folder / "index.json"
    manifest = msgspec.json.decode(path.read_bytes())
    manifest["shards"][0]["name"] = "../../elsewhere"
    path.write_bytes(msgspec.json.encode(manifest))


@pytest.mark.parametrize(
    "spoil", [_cut, _flip, _lose_a_file, _lose_a_shard, _no_manifest, _other_tantivy, _lead_out_of_the_folder]
)
def test_an_index_that_was_spoilt_is_not_used_and_made_anew(tmp_path: Path, spoil: Any) -> None:
    archive, head = archive_with("the merger", "the price")
    index = refreshed(archive, head, tmp_path)
    spoil(index)
    assert not index.open(head).shards
    assert uids(archive, head, index.open(head), "merger") == ["m-0-0"]
    refreshed(archive, head, tmp_path)
    opened = index.open(head)
    assert len(opened.shards) == 1
    assert not opened.others
    assert uids(archive, head, opened, "merger") == ["m-0-0"]


def test_what_a_crash_left_half_made_is_no_part_of_the_index_and_is_cleared_away(tmp_path: Path) -> None:
    archive, head = archive_with("the merger")

    def crash(folder: Path, records: Any) -> Any:
        build_from(lambda: archive.store, folder, records)
        raise KeyboardInterrupt

    index = Index(tmp_path, archive_id="0f0f")
    with pytest.raises(KeyboardInterrupt):
        index.refresh(head, crash, executor=EXECUTOR)
    assert not index.open(head).shards
    assert len([path for path in index.folder.iterdir() if path.is_dir()]) == 1
    refreshed(archive, head, tmp_path)
    assert len([path for path in index.folder.iterdir() if path.is_dir()]) == 1
    assert uids(archive, head, index.open(head), "merger") == ["m-0-0"]


def test_while_one_process_brings_it_up_to_date_another_searches_with_what_there_is(tmp_path: Path) -> None:
    archive, head = archive_with("the merger")
    index = refreshed(archive, head, tmp_path)
    later = say(archive, head, "a merger again", day=21)
    with (index.folder / "index.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not index.refresh(
            later, lambda folder, records: build_from(lambda: archive.store, folder, records), executor=EXECUTOR
        )
        opened = index.open(later)
        assert len(opened.shards) == 1
        assert len(opened.others) == 1
        assert uids(archive, later, opened, "merger") == ["m-1-0", "m-0-0"]


def test_who_has_opened_the_index_can_ask_it_after_it_was_replaced(tmp_path: Path) -> None:
    archive, head = archive_with("the merger")
    index = refreshed(archive, head, tmp_path)
    opened = index.open(head)
    index.drop()
    assert not index.open(head).shards
    assert uids(archive, head, opened, "merger") == ["m-0-0"]


def test_two_archives_of_one_machine_have_two_indexes(tmp_path: Path) -> None:
    one, other = Index(tmp_path, archive_id="0f0f"), Index(tmp_path, archive_id="../../0e")
    assert one.folder != other.folder
    assert other.folder.parent == one.folder.parent == tmp_path / "search"


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("x" * 100_000, "x" * 4_000),
        ("y" * WORD_CHARACTERS_MAX, "y" * WORD_CHARACTERS_MAX),
        ("z" * 300, "z" * 280 + "*"),
        ("ж" * 300, "ж" * 290 + "*"),
        ("会" * 3_000, '"' + "会" * 500 + '"'),
        ("e" + "\u0301" * 5_000, "é"),
    ],
)
def test_words_of_any_length_are_found_and_no_others(tmp_path: Path, said: str, asked: str) -> None:
    archive, head = archive_with(said, said[:10])
    opened = refreshed(archive, head, tmp_path).open(head)
    assert uids(archive, head, opened, asked) == uids(archive, head, None, asked)


def test_ids_and_names_of_any_kind_are_found(tmp_path: Path) -> None:
    archive = found(MemoryStore())
    odd = ["u:a b", "u:a\tb\nc", "u:\x1fs", "u:" + "long" * 500, "u:日本 人", "\x1f"]
    rows = [
        message(f"m {number}", 20, "hello", sender_id=sender, chat_id=f"g:{sender}", sender_name=f"{sender} Name")
        for number, sender in enumerate(odd)
    ]
    head = add(archive, archive.founding_head(), {"messages": rows}, attempt="aaaaaaaa")
    opened = refreshed(archive, head, tmp_path).open(head)
    for number, sender in enumerate(odd[:4]):
        quoted = sender[:200].replace("\n", "*").replace("\t", "*") + "*"
        for asked in (f'from:"{quoted}"', f'in:"g:{quoted}"'):
            found_here = uids(archive, head, opened, asked)
            assert found_here == uids(archive, head, None, asked)
            assert f"m {number}" in found_here


def test_messages_of_one_instant_stand_around_each_other_in_one_order(tmp_path: Path) -> None:
    archive, head = archive_with(*(f"text {number}" for number in range(7)))
    for index in (None, refreshed(archive, head, tmp_path).open(head)):
        places = places_of(archive, head, index, parsed("text"))
        before, after = around(places, chat_id="g:general", message_uid="m-0-3", at_ms=at_ms(20), count=2)
        assert [one.message_uid for one in before] == ["m-0-1", "m-0-2"]
        assert [one.message_uid for one in after] == ["m-0-4", "m-0-5"]


def test_whoever_reads_days_himself_is_told_which_rows_are_worth_it(tmp_path: Path) -> None:
    archive, head = archive_with("the merger", "the price", "merger again")
    (indexed,) = (record.key for record in files_of(head, "messages"))
    opened = refreshed(archive, head, tmp_path).open(head)
    found_in = candidates(places_of(archive, head, opened, parsed("merger")), parsed("merger"))
    assert found_in is not None
    assert found_in.rows_of(indexed) == [0, 2]
    later = say(archive, head, "another merger", day=21)
    opened = Index(tmp_path, archive_id="0f0f").open(later)
    found_in = candidates(places_of(archive, later, opened, parsed("merger")), parsed("merger"))
    assert found_in is not None
    (new,) = (record.key for record in files_of(later, "messages") if record.key != indexed)
    assert found_in.rows_of(new) is None
    assert candidates(places_of(archive, head, None, parsed("merger")), parsed("merger")) is None
    assert candidates(places_of(archive, head, opened, parsed("has:file")), parsed("NOT has:file")) is None
