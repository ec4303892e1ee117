"""What a disposal writes is stored beside its other work, and nothing is taken for stored that is not."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from archiver.errors import KeyExistsError, StorageError
from archiver.retention.storing import AT_ONCE, Storing
from archiver.store.memory import MemoryStore
from tests.faulty_store import FaultyStore

MANY = [(f"users/dt=2026-11-19/{number}", str(number).encode()) for number in range(25)]


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()


class SlowStore:
    """Passes objects on when it is told to, and knows how many wait."""

    def __init__(self) -> None:
        self.inner = MemoryStore()
        self.gate = threading.Semaphore(0)
        self.begun = 0

    def create(self, key: str, data: bytes | Path) -> None:
        self.begun += 1
        self.gate.acquire()
        self.inner.create(key, data)


@pytest.mark.parametrize("threads", [0, 1, AT_ONCE])
def test_when_the_block_ends_everything_is_stored(threads: int, tmp_path: Path) -> None:
    store = MemoryStore()
    (tmp_path / "large").write_bytes(b"large")
    with ThreadPoolExecutor(max(threads, 1)) as writers, Storing(store, writers if threads else None) as storing:
        for key, data in MANY:
            storing.add(key, data, digest=digest(data))
        storing.add("users/large", tmp_path / "large", digest=digest(b"large"))
        assert store.read("users/large") == b"large"  # its file may go now
    assert {key: store.read(key) for key, _ in MANY} == dict(MANY)


def test_who_adds_goes_on_while_others_are_stored_but_no_further_than_so_many() -> None:
    store: Any = SlowStore()
    added = []

    def add_all() -> None:
        with ThreadPoolExecutor(AT_ONCE) as writers, Storing(store, writers) as storing:
            for key, data in MANY:
                storing.add(key, data, digest=digest(data))
                added.append(key)

    adding = threading.Thread(target=add_all)
    adding.start()
    for released in range(10):
        wait_until(lambda: len(added) == AT_ONCE + released)  # noqa: B023 - called in this round
        assert store.begun <= AT_ONCE + released
        store.gate.release()
    store.gate.release(len(MANY))
    adding.join()
    assert len(added) == len(MANY)


def wait_until(is_true: Any) -> None:
    event = threading.Event()
    for _ in range(5_000):
        if is_true():
            return
        event.wait(0.002)
    raise AssertionError("it never came so far")


@pytest.mark.parametrize("failing", [1, 5, len(MANY)])
def test_an_error_of_storing_is_raised_and_nothing_is_under_way_after_it(failing: int) -> None:
    store: Any = FaultyStore(MemoryStore(), fail_at=(failing,), counted="writes")
    with ThreadPoolExecutor(AT_ONCE) as writers:
        with pytest.raises(StorageError), Storing(store, writers) as storing:
            for key, data in MANY:
                storing.add(key, data, digest=digest(data))
        operations = store.operations
    assert store.operations == operations
    assert failing <= operations <= failing + AT_ONCE


@pytest.mark.parametrize("is_beside", [False, True])
def test_what_was_written_by_a_first_try_is_our_own_and_anything_else_is_not(is_beside: bool) -> None:
    store = MemoryStore()
    store.create("users/1", b"ours")
    with ThreadPoolExecutor(1) as threads:
        writers = threads if is_beside else None
        with Storing(store, writers) as storing:
            storing.add("users/1", b"ours", digest=digest(b"ours"))
        with pytest.raises(KeyExistsError), Storing(store, writers) as storing:
            storing.add("users/1", b"theirs", digest=digest(b"theirs"))
    assert store.read("users/1") == b"ours"
