"""The contract of `archiver.store.Store`, asked of every store there is."""

from __future__ import annotations

import concurrent.futures
import hashlib
import os
import threading
from collections.abc import Iterable, Iterator
from mmap import mmap
from pathlib import Path

import pytest

from archiver.errors import KeyExistsError, KeyMissingError, StoreRefusedError, StoreUnreachableError
from archiver.store import MULTIPART_FROM_BYTES, ObjectInfo, Store
from archiver.store.batches import IN_MEMORY_BYTES_MAX
from archiver.store.keys import KEY_LENGTH_MAX, SEGMENT_LENGTH_MAX

WRITERS = 16

BAD_KEYS = [
    "",
    "/",
    "/absolute",
    "folder/",
    "a//b",
    ".",
    "..",
    "../outside",
    "a/../b",
    "a/./b",
    "a/..",
    "back\\slash",
    "new\nline",
    "nul\0",
    "tab\t",
    "delete\x7f",
    "ünïcode",
    "emoji😀",
    ".store/incomplete/x",
    ".store",
    "lost+found/x",
    "s" * (SEGMENT_LENGTH_MAX + 1),
    "a/" * (KEY_LENGTH_MAX // 2) + "a",
]

ODD_KEYS = [
    "a",
    "A",
    "messages/dt=2026-11-22/000000000001-0.parquet",
    "a folder/with spaces.txt",
    "percent/%2F%25+plus",
    "quotes/'\"`",
    "markup/<&>",
    "glob/*?[a]{b}",
    "dots/...",
    "dots/.hidden",
    "tilde/~",
    "signs/!#$^()=@:;,|",
    "s" * SEGMENT_LENGTH_MAX,
]


def keys_of(infos: Iterable[ObjectInfo]) -> list[str]:
    return [info.key for info in infos]


# Writing and reading


@pytest.mark.parametrize(
    "content", [b"", b"x", b"\x00\xff" * 1000, os.urandom(300_000)], ids=["empty", "one", "binary", "large"]
)
def test_what_was_created_is_read(store: Store, content: bytes) -> None:
    store.create("folder/object", content)

    assert store.read("folder/object") == content
    assert store.stat("folder/object") == ObjectInfo("folder/object", len(content))
    assert list(store.list("")) == [ObjectInfo("folder/object", len(content))]
    with store.open("folder/object") as reader:
        assert reader.read() == content


def test_a_file_is_streamed_into_the_store(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"from a file")

    store.create("object", source)

    assert store.read("object") == b"from a file"
    assert source.read_bytes() == b"from a file"


def test_an_empty_file_is_an_object(store: Store, tmp_path: Path) -> None:
    (tmp_path / "source").touch()

    store.create("object", tmp_path / "source")

    assert store.read("object") == b""


def test_a_source_that_cannot_be_read_is_the_callers_error_and_creates_nothing(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.create("object", tmp_path / "nothing")

    assert list(store.list("")) == []


@pytest.mark.parametrize("form", ["bytes", "file"])
@pytest.mark.parametrize("more_bytes", [-1, 0, 9_000_001])
def test_content_around_and_above_the_multipart_limit_arrives_whole(
    store: Store, tmp_path: Path, form: str, more_bytes: int
) -> None:
    content = _pattern(MULTIPART_FROM_BYTES + more_bytes)
    source = tmp_path / "source"
    source.write_bytes(content)

    store.create("large", source if form == "file" else content)

    assert hashlib.sha256(store.read("large")).digest() == hashlib.sha256(content).digest()
    with pytest.raises(KeyExistsError):
        store.create("large", source if form == "file" else content)


def test_a_second_create_is_refused_and_changes_nothing(store: Store) -> None:
    store.create("key", b"first")

    with pytest.raises(KeyExistsError, match="key"):
        store.create("key", b"second")

    assert store.read("key") == b"first"


def test_a_large_create_over_a_small_object_is_refused_and_changes_nothing(store: Store) -> None:
    store.create("key", b"first")

    with pytest.raises(KeyExistsError):
        store.create("key", _pattern(MULTIPART_FROM_BYTES))

    assert store.read("key") == b"first"


def test_a_deleted_key_can_be_created_again(store: Store) -> None:
    store.create("key", b"first")
    store.delete("key")

    store.create("key", b"second")

    assert store.read("key") == b"second"


def test_replace_writes_over_what_is_there_and_where_nothing_is(store: Store) -> None:
    store.replace("folder/key", b"a longer first content")
    store.replace("folder/key", b"second")

    assert store.read("folder/key") == b"second"
    assert store.stat("folder/key").size == 6


def test_a_missing_key_is_told_apart_from_every_other_failure(store: Store) -> None:
    store.create("there", b"")
    for missing in ("nothing", "no/folder/either", "there-not"):
        for ask in (store.read, store.open, store.stat):
            with pytest.raises(KeyMissingError, match=missing):
                ask(missing)


def test_a_folder_is_no_object(store: Store) -> None:
    store.create("folder/inner/object", b"x")

    for ask in (store.read, store.open, store.stat):
        with pytest.raises(KeyMissingError):
            ask("folder/inner")
    store.delete("folder/inner")
    assert store.read("folder/inner/object") == b"x"


def test_delete_removes_and_is_content_with_nothing_to_remove(store: Store) -> None:
    store.create("folder/key", b"x")
    store.create("folder/other", b"y")

    store.delete("folder/key")
    store.delete("folder/key")
    store.delete("never/was")

    assert keys_of(store.list("")) == ["folder/other"]
    with pytest.raises(KeyMissingError):
        store.read("folder/key")


def test_erasing_removes_for_good_and_is_content_with_nothing_to_remove(store: Store) -> None:
    store.create("folder/key", b"x")
    store.create("folder/key2", b"y")

    store.erase("folder/key")
    store.erase("folder/key")
    store.erase("never/was")

    assert keys_of(store.list("")) == ["folder/key2"]
    assert list(store.list_hidden("")) == []
    with pytest.raises(KeyMissingError):
        store.read("folder/key")
    store.create("folder/key", b"again")
    assert store.read("folder/key") == b"again"


def test_what_nobody_locked_has_no_lock(store: Store) -> None:
    store.create("folder/key", b"x")

    assert store.lock("folder/key") is None
    with pytest.raises(KeyMissingError):
        store.lock("folder/other")


def test_a_store_without_legal_holds_says_so_and_sets_none(store: Store) -> None:
    """None of these has any: a folder and a dictionary never, a bucket only where Object Lock is enabled for it."""
    store.create("folder/key", b"x")

    assert store.can_hold() is False
    for on in (True, False):
        with pytest.raises(StoreRefusedError, match=r"legal hold"):
            store.set_legal_hold("folder/key", on=on)
        with pytest.raises(KeyMissingError):
            store.set_legal_hold("folder/other", on=on)
    assert store.lock("folder/key") is None
    assert keys_of(store.list("")) == ["folder/key"]


# Keys


@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_bad_key_is_refused_before_anything_is_touched(store: Store, key: str) -> None:
    for use in (store.read, store.open, store.stat, store.delete, store.erase, store.lock):
        with pytest.raises(ValueError):
            use(key)
    with pytest.raises(ValueError):
        store.set_legal_hold(key, on=True)
    for write in (store.create, store.replace):
        with pytest.raises(ValueError):
            write(key, b"x")
    assert list(store.list("")) == []


@pytest.mark.parametrize("prefix", ["/", "../", "a/../b", "a//", "./x", "ü", "a\\"])
def test_a_prefix_that_no_key_can_have_is_refused_at_once(store: Store, prefix: str) -> None:
    with pytest.raises(ValueError):
        store.list(prefix)
    with pytest.raises(ValueError):
        store.list("", after=prefix)
    with pytest.raises(ValueError):
        store.list_hidden(prefix)


def test_every_printable_key_is_kept_as_it_is(store: Store) -> None:
    for key in ODD_KEYS:
        store.create(key, key.encode())

    assert keys_of(store.list("")) == sorted(ODD_KEYS)
    for key in ODD_KEYS:
        assert store.read(key) == key.encode()
        assert key in keys_of(store.list(key))


# Listing


def test_an_empty_store_lists_nothing(store: Store) -> None:
    assert list(store.list("")) == []
    assert list(store.list("some/prefix/")) == []


def test_a_listing_is_in_order_of_code_points_whatever_the_order_of_writing(store: Store) -> None:
    keys = ["b/2", "a", "B", "b/10", "b/1/x", "b/1/X", "_", "z0", "b/1/_", "0", "~"]
    for key in keys:
        store.create(key, b"")

    assert keys_of(store.list("")) == sorted(keys)


def test_a_prefix_need_not_end_at_a_slash(store: Store) -> None:
    for key in ("ledger/0001.json", "ledger/0002.json", "ledger/0010.json", "ledgers", "other/0001"):
        store.create(key, b"")

    assert keys_of(store.list("ledger/000")) == ["ledger/0001.json", "ledger/0002.json"]
    assert keys_of(store.list("ledger")) == ["ledger/0001.json", "ledger/0002.json", "ledger/0010.json", "ledgers"]
    assert keys_of(store.list("ledger/0001.json")) == ["ledger/0001.json"]
    assert keys_of(store.list("ledger/0003")) == []


def test_a_listing_goes_on_after_a_key_that_is_there_or_not(store: Store) -> None:
    keys = [f"l/{number:03}" for number in range(0, 40, 2)] + ["k", "m/1/2", "m/3"]
    for key in keys:
        store.create(key, b"")

    for after in [
        "",
        " ",
        "k",
        "l",
        "l/",
        "l/ ",
        "l/006",
        "l/006 ",
        "l/007",
        "l/038",
        "l/999",
        "m",
        "m/1",
        "m/1/2",
        "m/2",
        "z",
    ]:
        assert keys_of(store.list("", after=after)) == [key for key in sorted(keys) if key > after], after
        assert keys_of(store.list("l/", after=after)) == [
            key for key in sorted(keys) if key[:2] == "l/" and key > after
        ]


def test_a_listing_longer_than_a_page_is_whole_and_in_order(store: Store) -> None:
    keys = [f"{number % 7}/{number:05}" for number in range(120)]
    for key in keys:
        store.create(key, b"")

    assert keys_of(store.list("")) == sorted(keys)
    assert keys_of(store.list("", after="3/00003")) == [key for key in sorted(keys) if key > "3/00003"]


# Reading ranges


def test_a_reader_seeks_and_reads_any_range(store: Store) -> None:
    content = _pattern(700_001)
    store.create("object", content)

    with store.open("object") as reader:
        assert reader.seekable()
        assert reader.readable()
        for position, length in [
            (0, 10),
            (699_990, 100),
            (350_000, 1),
            (5, 0),
            (0, 700_001),
            (700_001, 5),
            (123_456, 300_000),
        ]:
            assert reader.seek(position) == position
            assert reader.tell() == position
            assert reader.read(length) == content[position : position + length]
        assert reader.seek(-7, os.SEEK_END) == 699_994
        assert reader.read() == content[-7:]
        reader.seek(100)
        reader.seek(20, os.SEEK_CUR)
        assert reader.read(3) == content[120:123]
        reader.seek(250_000)
        assert reader.read() == content[250_000:]
        reader.seek(900_000)
        assert reader.read(1) == b""


def test_a_reader_reads_an_empty_object_and_lines(store: Store) -> None:
    store.create("empty", b"")
    store.create("lines", b"one\ntwo\n" * 50_000)

    with store.open("empty") as reader:
        assert reader.read() == b""
        assert reader.seek(0, os.SEEK_END) == 0
    with store.open("lines") as reader:
        assert sum(1 for _ in reader) == 100_000


def test_a_reader_keeps_to_one_version_of_a_replaced_object(store: Store) -> None:
    store.replace("object", b"a" * 1_000_000)
    with store.open("object") as reader:
        start = reader.read(1000)
        store.replace("object", b"b" * 1_000_000)
        try:
            rest = reader.read()
        except StoreUnreachableError:
            return
        assert set(start + rest) == {ord("a")}


# Many at once


def test_of_many_writers_at_once_exactly_one_wins(store: Store, request: pytest.FixtureRequest) -> None:
    if "moto" in request.node.callspec.id:
        pytest.skip(
            "moto looks for the key and writes it in two steps without a lock, so that two threads may both win"
        )
    for attempt in range(2):
        key = f"race/{attempt}"
        start = threading.Barrier(WRITERS)

        def write(number: int, key: str = key, start: threading.Barrier = start) -> int | None:
            start.wait()
            try:
                store.create(key, f"writer {number}".encode())
            except KeyExistsError:
                return None
            return number

        with concurrent.futures.ThreadPoolExecutor(WRITERS) as threads:
            winners = [number for number in threads.map(write, range(WRITERS)) if number is not None]

        assert len(winners) == 1
        assert store.read(key) == f"writer {winners[0]}".encode()


def test_readers_see_an_object_whole_or_not_at_all(store: Store) -> None:
    """While one thread replaces it over and over, every read is one of the two contents."""
    contents = {b"a" * 50_000, b"b" * 70_000}
    store.replace("object", b"a" * 50_000)
    is_done = threading.Event()

    def read_on() -> int:
        count = 0
        while not is_done.is_set():
            assert store.read("object") in contents
            count += 1
        return count

    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        readers = [threads.submit(read_on) for _ in range(2)]
        for _ in range(20):
            for content in sorted(contents):
                store.replace("object", content)
        is_done.set()
        assert all(reader.result() for reader in readers)


# The store itself


def test_a_probe_accepts_a_store_that_keeps_the_contract_and_leaves_nothing_to_see(store: Store) -> None:
    store.probe()
    store.probe()

    assert list(store.list("")) == []


def test_a_sweep_of_a_tidy_store_finds_nothing(store: Store) -> None:
    store.create("key", b"x")

    assert store.sweep() == 0
    assert store.read("key") == b"x"


def _pattern(size: int) -> bytes:
    """Bytes no two parts of which are alike, so that a part in the wrong place shows."""
    return b"".join(number.to_bytes(8, "big") for number in range(size // 8 + 1))[:size]


def test_a_batch_is_there_when_it_ends(store: Store, tmp_path: Path) -> None:
    with store.batch(tmp_path) as batch, concurrent.futures.ThreadPoolExecutor(4) as threads:
        contents = {
            f"batch/{number % 3}/{number}": [bytes([number]) * number, b"", b"and more"] for number in range(20)
        }
        list(threads.map(lambda item: batch.create(*item), contents.items()))
    assert batch.taken == set()
    assert {info.key: store.read(info.key) for info in store.list("batch/")} == {
        key: b"".join(pieces) for key, pieces in contents.items()
    }


def test_an_object_of_a_batch_is_its_pieces_of_whatever_sizes_from_memory_that_is_used_again(
    store: Store, tmp_path: Path
) -> None:
    """A disk is written to in blocks, and a caller reads each piece into the same memory."""
    large = 512 * 1024
    for number, sizes in enumerate([[large, 4096, large, 0, large - 1], [large + 1, large], [3, large]]):
        content, buffer = _pattern(sum(sizes)), memoryview(mmap(-1, large + 1))

        def pieces(
            sizes: list[int] = sizes, content: bytes = content, buffer: memoryview = buffer
        ) -> Iterator[memoryview]:
            at = 0
            for size in sizes:
                buffer[:size] = content[at : at + size]
                yield buffer[:size]
                at += size

        with store.batch(tmp_path) as batch:
            batch.create(f"batch/{number}", pieces())
            batch.create(f"batch/{number}-of-bytes", (bytes(piece) for piece in pieces()))
        assert store.read(f"batch/{number}") == content
        assert store.read(f"batch/{number}-of-bytes") == content


def test_a_batch_creates_what_must_not_exist(store: Store, tmp_path: Path) -> None:
    store.create("batch/a", b"first")
    with store.batch(tmp_path) as batch:
        with pytest.raises(KeyExistsError):
            batch.create("batch/a", [b"second"])
        batch.create("batch/b", [b"own"])
    assert (store.read("batch/a"), store.read("batch/b")) == (b"first", b"own")


def test_of_two_that_create_a_key_in_batches_one_wins_and_the_other_hears_of_it(store: Store, tmp_path: Path) -> None:
    told = 0
    with store.batch(tmp_path) as one:
        one.create("batch/a", [b"one"])
        with store.batch(tmp_path) as other:
            try:
                other.create("batch/a", [b"other"])
            except KeyExistsError:
                told += 1
        told += len(other.taken)
    assert told + len(one.taken) == 1
    assert store.read("batch/a") in (b"one", b"other")


def test_a_batch_that_fails_leaves_whole_objects_or_none(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), store.batch(tmp_path) as batch:
        batch.create("batch/a", [b"whole"])
        raise ZeroDivisionError
    assert [store.read(info.key) for info in store.list("batch/")] in ([], [b"whole"])
    assert store.sweep() == 0


@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_batch_refuses_a_bad_key(store: Store, key: str, tmp_path: Path) -> None:
    with store.batch(tmp_path) as batch, pytest.raises(ValueError):
        batch.create(key, [b"x"])


@pytest.mark.parametrize("size", [10, IN_MEMORY_BYTES_MAX + 1], ids=["small", "by a file"])
def test_pieces_that_are_refused_at_their_end_make_no_object(store: Store, tmp_path: Path, size: int) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"x" * size
        raise ZeroDivisionError

    with store.batch(tmp_path) as batch:
        with pytest.raises(ZeroDivisionError):
            batch.create("batch/a", pieces())
        batch.create("batch/b", [b"x" * size, b"y"])
    assert [(info.key, info.size) for info in store.list("batch/")] == [("batch/b", size + 1)]
    assert not list(tmp_path.glob("batch-*"))
