"""The power may go at any operation of the store or the spool: the archive stays whole, and the next run brings everything home."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from random import Random

import pytest

from archiver.archive.reader import Archive
from archiver.errors import UsageError
from archiver.model.capture import Capture
from archiver.run.session import Limits
from archiver.spool.sqlite import SqliteSpool
from archiver.store import Store
from archiver.store.memory import MemoryStore
from tests.archive.archive_steps import InlineExecutor, missing, unnamed
from tests.faulty_store import EFFECTS, Stopped
from tests.run import truth
from tests.run.power import Moment, Power
from tests.run.station import Station, station

# Several commits of every kind: drains, a fetch, directory changes.
LIMITS = Limits(messages_per_commit=20)
DOUBLE_CRASHES = 60


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """A machine whose spool holds a small day: messages, edits, files, and uids to fetch."""
    folder = tmp_path_factory.mktemp("full")
    with station(folder, seed=5, people=4, channels=2, messages=40) as machine:
        machine.flock.configure(push_edits=True, action_messages=False)
        machine.flock.inject("duplicate", "webhooks", probability=0.2)
        machine.flock.play_all(connections=1)
        machine.take_pushes()
        yield machine


def captures(machine: Station) -> list[Capture]:
    with contextlib.closing(SqliteSpool(machine.spool_path)) as spool:
        return [item.capture for item in spool.read(after=0, captures_max=10_000, bytes_max=2**30)]


def copy(machine: Station, folder: Path, *, store: Store | None = None) -> Station:
    """Return the same machine, its spool as full, with an empty archive."""
    twin = replace(machine, state=folder / "state", store=store or MemoryStore(), shown=list(machine.shown))
    with contextlib.closing(SqliteSpool(twin.spool_path)) as spool:
        spool.append(captures(machine))
    return twin


def run_until(machine: Station, power: Power) -> None:
    """Run with a power switch; when it goes off the process is gone."""
    with contextlib.suppress(Stopped):
        machine.run(limits=LIMITS, store=power.store(machine.store), wrap_spool=power.spool, executor=InlineExecutor())


def moments(machine: Station, folder: Path) -> list[Moment]:
    """Return every moment at which the power can go during the machine's run."""
    power = Power()
    run_until(copy(machine, folder), power)
    return [
        Moment(label, number, effect)
        for label, count in sorted(power.counts.items())
        for number in range(1, count + 1)
        for effect in EFFECTS
    ]


def sample(all_moments: list[Moment]) -> list[Moment]:
    """Return for each kind of operation one in the middle of the run, by turns before and after its effect."""
    last = {moment.label: moment.number for moment in all_moments}
    effects = dict(zip(last, cycle(EFFECTS), strict=False))
    return [
        moment
        for moment in all_moments
        if (moment.number, moment.effect) == ((last[moment.label] + 1) // 2, effects[moment.label])
    ]


def check_reopened(machine: Station) -> None:
    """What stands there now is the archive as of some commit, with nothing wrong with it."""
    try:
        archive = Archive.open(machine.store)
    except UsageError:
        return  # the power went before there was one
    assert archive.head().sequence == len(list(archive.entries()))
    assert machine.verify().damages == ()
    assert missing(machine.store) == set()


def check_end(machine: Station) -> None:
    """Another run brings everything home, once, and leaves nothing behind."""
    machine.run(limits=LIMITS)
    truth.check(machine)
    truth.check_directory(machine)
    assert unnamed(machine.store) == set()
    assert machine.run().commits == 0


def check_crash(machine: Station, moment: Moment) -> None:
    power = Power(moment)
    run_until(machine, power)
    assert power.went_off, f"the run came to its end and never to the moment {moment}"
    check_reopened(machine)
    check_end(machine)


def test_the_run_uses_every_kind_of_operation(full: Station, tmp_path: Path) -> None:
    """The sweep below is worth something only if the run does everything that a run can do."""
    labels = {moment.label for moment in moments(full, tmp_path)}
    for needed in (
        "create archive.json", "create note", "create data", "create blob", "create entry", "delete note", "open data",
        "spool read", "spool discard", "spool depth",
    ):  # fmt: skip
        assert needed in labels, f"{needed} is not in {sorted(labels)}"


def test_a_run_that_stops_in_any_kind_of_operation_loses_nothing(full: Station, tmp_path: Path) -> None:
    for number, moment in enumerate(sample(moments(full, tmp_path))):
        check_crash(copy(full, tmp_path / str(number)), moment)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_a_run_that_stops_at_every_single_operation_loses_nothing(full: Station, tmp_path: Path) -> None:
    for number, moment in enumerate(moments(full, tmp_path)):
        check_crash(copy(full, tmp_path / str(number)), moment)


def test_a_run_that_stops_while_it_clears_what_a_crash_left_loses_nothing(full: Station, tmp_path: Path) -> None:
    """The first crash leaves objects that nobody names; the second one strikes the run that removes them."""
    first = next(m for m in reversed(moments(full, tmp_path)) if m.label == "create entry" and m.effect == "before")
    for number, second in enumerate(
        Moment(label, count, effect)
        for label, count in (("delete data", 1), ("delete blob", 1), ("delete note", 1), ("stat data", 2))
        for effect in EFFECTS
    ):
        machine = copy(full, tmp_path / str(number))
        run_until(machine, Power(replace(first, number=2)))
        run_until(machine, Power(second))
        check_reopened(machine)
        check_end(machine)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_run_after_run_may_stop_at_any_moment(full: Station, tmp_path: Path) -> None:
    possible = moments(full, tmp_path)
    for seed in range(DOUBLE_CRASHES):
        random = Random(seed)
        machine = copy(full, tmp_path / str(seed))
        for moment in random.sample(possible, 4):
            run_until(machine, Power(moment))
            check_reopened(machine)
        check_end(machine)


def test_a_machine_that_was_set_back_loses_nothing_that_came_after(full: Station, tmp_path: Path) -> None:
    """Restored from a copy, its spool gives numbers again that the archive holds already, for other captures."""
    everything = captures(full)
    early, late, later = everything[:10], everything[10:30], everything[30:]
    machine = replace(full, state=tmp_path / "state", store=MemoryStore(), shown=list(full.shown))
    path, kept = machine.spool_path, tmp_path / "copy.sqlite"
    append(path, early)
    shutil.copy(path, kept)
    append(path, late)
    machine.run(limits=LIMITS)
    assert machine.waiting() == 0
    shutil.copy(kept, path)
    append(path, later)
    assert machine.waiting() == len(early) + len(later)
    result = machine.run(limits=LIMITS)
    # What the spool lost by it is not known; that it may have lost something is.
    recorded = [gap.kind for entry, _ in machine.archive().entries() for gap in entry.gaps]
    assert [gap.kind for gap in result.gaps].count("spool-set-back") == recorded.count("spool-set-back") == 1
    truth.check(machine)
    truth.check_directory(machine)
    assert machine.run().commits == 0


@pytest.mark.parametrize("forgotten", [0, 3, 20])
def test_captures_that_were_committed_and_not_forgotten_are_not_archived_again(
    full: Station, tmp_path: Path, forgotten: int
) -> None:
    machine = copy(full, tmp_path)
    kept = tmp_path / "copy.sqlite"
    shutil.copy(machine.spool_path, kept)
    machine.run(limits=LIMITS)
    shutil.copy(kept, machine.spool_path)
    with contextlib.closing(SqliteSpool(machine.spool_path)) as spool:
        spool.discard(through=forgotten)
    before = machine.objects()
    assert machine.run().commits == 0
    assert machine.objects() == before
    truth.check(machine)


def append(path: Path, some: list[Capture]) -> None:
    with contextlib.closing(SqliteSpool(path)) as spool:
        spool.append(some)
