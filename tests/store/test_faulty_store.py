"""The store that fails on purpose does so where it was told to, whether the effect comes or not, and the same each time."""

from __future__ import annotations

import concurrent.futures

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.errors import KeyExistsError, StoreUnreachableError
from archiver.store import Store
from archiver.store.memory import MemoryStore
from tests.faulty_store import EFFECTS, Effect, FaultyStore, Stopped


def _work(store: Store) -> None:
    """Seven operations, four of which write."""
    store.create("a", b"1")
    store.create("b", b"2")
    store.replace("a", b"3")
    store.read("a")
    list(store.list(""))
    store.delete("b")
    store.stat("a")


def _content(store: Store) -> dict[str, bytes]:
    return {info.key: store.read(info.key) for info in store.list("")}


def test_without_faults_it_only_counts() -> None:
    inner = MemoryStore()
    everything, writes = FaultyStore(inner), FaultyStore(MemoryStore(), counted="writes")

    _work(everything)
    _work(writes)

    assert everything.operations == 7
    assert writes.operations == 4
    assert _content(inner) == {"a": b"3"}


# What is there after the n-th write took effect.
STATES = [{}, {"a": b"1"}, {"a": b"1", "b": b"2"}, {"a": b"3", "b": b"2"}, {"a": b"3"}]


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("stop_at", [1, 2, 3, 4])
def test_a_stop_comes_before_or_after_the_effect_and_nothing_works_later(stop_at: int, effect: Effect) -> None:
    inner = MemoryStore()
    faulty = FaultyStore(inner, stop_at=stop_at, effect=effect, counted="writes")

    with pytest.raises(Stopped):
        _work(faulty)

    assert _content(inner) == STATES[stop_at if effect == "after" else stop_at - 1]
    for use in (lambda: faulty.read("a"), lambda: faulty.create("new", b""), lambda: faulty.list(""), faulty.probe):
        with pytest.raises(Stopped):
            use()
    assert "new" not in _content(inner)


def test_a_stop_passes_every_handler_of_errors() -> None:
    def handle_everything() -> None:
        try:
            FaultyStore(MemoryStore(), stop_at=1).read("a")
        except Exception:
            pytest.fail("a stopped process handles nothing")

    with pytest.raises(Stopped):
        handle_everything()


@pytest.mark.parametrize("effect", EFFECTS)
def test_a_failure_leaves_the_caller_in_doubt_once(effect: Effect) -> None:
    inner = MemoryStore()
    faulty = FaultyStore(inner, fail_at=[2], effect=effect)
    faulty.create("a", b"1")

    with pytest.raises(StoreUnreachableError, match="create b"):
        faulty.create("b", b"2")

    assert ("b" in _content(inner)) == (effect == "after")
    assert faulty.read("a") == b"1"


def _failed_numbers(seed: int) -> list[str]:
    faulty = FaultyStore(MemoryStore(), fail_rate=0.3, seed=seed)
    for number in range(100):
        try:
            faulty.replace(f"key-{number}", b"")
        except StoreUnreachableError:
            continue
    return faulty.failures


def test_one_seed_always_fails_in_the_same_way_and_another_in_another() -> None:
    assert _failed_numbers(7) == _failed_numbers(7) != _failed_numbers(8)
    assert 15 < len(_failed_numbers(7)) < 45
    assert {"before", "after"} == {failure.rpartition(" ")[2] for failure in _failed_numbers(7)}


def test_the_faults_of_one_thread_do_not_move_anothers() -> None:
    faulty = FaultyStore(MemoryStore(), fail_rate=0.3, seed=7)

    def replace(number: int) -> None:
        try:
            faulty.replace(f"key-{number}", b"")
        except StoreUnreachableError:
            return

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        list(threads.map(replace, range(100)))

    places = {failure.partition(", ")[2] for failure in faulty.failures}
    assert places == {failure.partition(", ")[2] for failure in _failed_numbers(7)}


def test_a_failed_test_shows_the_seed() -> None:
    faulty = FaultyStore(MemoryStore(), fail_at=[1], effect="before", seed=42)
    with pytest.raises(StoreUnreachableError):
        faulty.create("a", b"")

    assert "seed=42" in repr(faulty)
    assert "create a, operation 1, before" in repr(faulty)


@given(seed=st.integers(0, 10_000))
def test_a_caller_that_looks_after_each_failure_creates_everything_once(seed: int) -> None:
    faulty = FaultyStore(MemoryStore(), fail_rate=0.5, seed=seed)
    created = 0
    for key in ("a", "b", "c"):
        while True:
            try:
                faulty.create(key, key.encode())
            except StoreUnreachableError:
                continue
            except KeyExistsError:
                break
            created += 1
            break

    assert _content(faulty.inner) == {"a": b"a", "b": b"b", "c": b"c"}
    assert created <= 3
