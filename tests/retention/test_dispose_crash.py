"""A disposal may stop at any operation of its store: the archive is whole at every stop, and the next run finishes what was begun."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from archiver.archive import layout
from archiver.archive.reader import Archive, Head
from archiver.archive.recover import FOREIGN_NOTE_AGE_MS, recover
from archiver.custody.verify import verify
from archiver.errors import RefusedError, StorageError
from archiver.retention.erasing import finish_disposals
from archiver.retention.plan_document import Plan, store_plan
from archiver.store.memory import MemoryStore
from tests.archive.archive_steps import AT_MS, AUTHOR, STRANGER, InlineExecutor
from tests.faulty_store import EFFECTS, Effect, FaultyStore, Stopped
from tests.retention.disposing import (
    ALONE,
    EVERY_SECRET,
    FILED,
    SHARED,
    apply,
    build,
    every_row,
    objects_of,
    places_of,
    plan_for,
    secret_of,
)

WORDS = [*(secret_of(key) for key in EVERY_SECRET), "the peony's own file", "a file of two messages"]


@dataclass(frozen=True, slots=True)
class Begun:
    """An archive with a stored plan over all of its secrets, as bytes, and what is there before and after."""

    objects: dict[str, bytes]
    plan: Plan
    before: Counter[str]
    after: Counter[str]
    operations: int

    def store(self) -> MemoryStore:
        store = MemoryStore()
        for key, data in self.objects.items():
            store.create(key, data)
        return store


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Begun:
    store = MemoryStore()
    archive, head = build(store, tmp_path_factory.mktemp("blobs"))
    plan = plan_for(archive, head, EVERY_SECRET, [(*FILED, 0), (*FILED, 1), (*FILED, 2), (*SHARED, 0)])
    store_plan(store, plan)
    objects, before = objects_of(store), every_row(store, head)
    counting = FaultyStore(store)
    done = apply(Archive(counting, archive.facts, archive.facts_digest), head, plan)
    return Begun(objects, plan, before, every_row(store, done.head), counting.operations)


def run_again(store: MemoryStore, *, author: Any = AUTHOR, later_ms: int = 0) -> Head:
    """Do what the next run does first."""
    archive = Archive.open(store)
    recover(archive, writer=author.writer, now_ms=AT_MS + later_ms)
    head, _ = finish_disposals(
        archive,
        archive.head(),
        author=author,
        now_ms=AT_MS + later_ms,
        executor=InlineExecutor(),
        progress=lambda *_: None,
    )
    return head


def assert_whole(store: MemoryStore) -> None:
    with ThreadPoolExecutor(1) as executor:
        outcome = verify(store, level="full", executor=executor)
    assert outcome.damages == ()
    assert outcome.accounts["messages"].written == 18


def assert_gone(store: MemoryStore) -> None:
    assert {word: places for word in WORDS if (places := places_of(word, objects_of(store)))} == {}


def stopped(begun: Begun, number: int, effect: Effect) -> MemoryStore:
    store = begun.store()
    archive = Archive.open(store)
    head = archive.head()
    with pytest.raises(Stopped):
        apply(
            Archive(FaultyStore(store, stop_at=number, effect=effect), archive.facts, archive.facts_digest),
            head,
            begun.plan,
        )
    return store


SOME_OR_ALL = pytest.mark.parametrize("every", [61, pytest.param(1, marks=pytest.mark.slow)])


@SOME_OR_ALL
def test_the_archive_is_whole_wherever_it_stops_and_running_again_finishes_it(begun: Begun, every: int) -> None:
    """Before the entry nothing has happened, and the plan can be applied; after it nothing is left to be found."""
    ends = Counter[str]()
    for number in range(1, begun.operations + 1, every):
        for effect in EFFECTS:
            store = stopped(begun, number, effect)
            assert_whole(store)
            head = run_again(store)
            archive = Archive.open(store)
            if not head.disposed:
                assert every_row(store, head) == begun.before
                assert objects_of(store) == begun.objects
                head = apply(archive, head, begun.plan, attempt="00000002").head
                ends["before"] += 1
            else:
                ends["after"] += 1
                with pytest.raises(RefusedError):
                    apply(archive, head, begun.plan, attempt="00000002")
            assert every_row(store, head) == begun.after
            assert (head.unerased, archive.head()) == ((), head)
            assert_gone(store)
            assert_whole(store)
    assert min(ends.values()) >= 10 // every + 1


@SOME_OR_ALL
def test_stopping_while_finishing_is_finished_too(begun: Begun, every: int) -> None:
    half = next(
        store
        for number in range(begun.operations, 0, -1)
        if len(Archive.open(store := stopped(begun, number, "before")).head().unerased)
        and len(objects_of(store)) > len(begun.objects) + 2
    )
    objects = objects_of(half)
    for number in range(1, 400, every):
        store = MemoryStore()
        for key, data in objects.items():
            store.create(key, data)
        try:
            run_again(FaultyStore(store, stop_at=number))  # type: ignore[arg-type]
        except Stopped:
            assert_whole(store)
            run_again(store)
            assert_gone(store)
            assert_whole(store)
        else:
            return
    raise AssertionError("it never came to its end")


@SOME_OR_ALL
def test_a_store_that_answers_no_more_leaves_an_archive_that_is_whole(begun: Begun, every: int) -> None:
    for number in range(1, begun.operations + 1, every):
        store = begun.store()
        archive = Archive.open(store)
        failing = FaultyStore(store, fail_at=(number,), effect="after")
        try:
            apply(Archive(failing, archive.facts, archive.facts_digest), archive.head(), begun.plan)
        except StorageError:
            assert_whole(store)
        head = run_again(store)
        if not head.disposed:
            head = apply(Archive.open(store), head, begun.plan, attempt="00000002").head
        assert every_row(store, head) == begun.after
        assert_gone(store)
        assert_whole(store)


def test_another_machine_waits_a_day_before_it_finishes_what_is_not_its_own(begun: Begun) -> None:
    store = next(
        store
        for number in range(1, begun.operations)
        if Archive.open(store := stopped(begun, number, "after")).head().unerased
    )
    assert run_again(store, author=STRANGER, later_ms=FOREIGN_NOTE_AGE_MS - 1).unerased == (3,)
    assert places_of(secret_of(ALONE), objects_of(store)) != set()

    assert run_again(store, author=STRANGER, later_ms=FOREIGN_NOTE_AGE_MS).unerased == ()
    assert_gone(store)
    assert_whole(store)


def test_its_note_tells_whose_work_it_is_until_it_is_done(begun: Begun) -> None:
    """Also when the machine that began it only got as far as clearing what else was left."""
    store = next(
        store
        for number in range(1, begun.operations)
        if Archive.open(store := stopped(begun, number, "after")).head().unerased
    )
    assert recover(Archive.open(store), writer=AUTHOR.writer, now_ms=AT_MS).left_alone == 1
    assert run_again(store, author=STRANGER).unerased == (3,)

    assert run_again(store).unerased == ()
    assert list(store.list(layout.PENDING_PREFIX)) == []
