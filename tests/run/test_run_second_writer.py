"""Of two writers one wins and the other starts over or stays out; what both heard is in the archive once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from archiver.errors import ArchiveBusyError
from archiver.run.lock import hold
from archiver.run.session import Limits
from archiver.store import Store
from tests.run import truth
from tests.run.conftest import SMALL
from tests.run.installation import Installation
from tests.run.station import Station, flock_in_a_hurry, station

HOUR_SECONDS = 3_600


class Interrupted:
    """A store in which something happens just before a certain ledger entry is written."""

    def __init__(self, store: Store, sequence: int, meanwhile: Callable[[], object]) -> None:
        self._store = store
        self._key = f"ledger/{sequence:012d}.json"
        self._meanwhile = meanwhile
        self.happened = False

    def create(self, key: str, data: bytes | Path) -> None:
        if key == self._key and not self.happened:
            self.happened = True
            self._meanwhile()
        self._store.create(key, data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Station, Station]]:
    """Two machines that hear the same Flock and write one archive."""
    with (
        flock_in_a_hurry(**SMALL) as flock,
        station(tmp_path / "one", on=flock) as one,
        station(tmp_path / "other", on=flock, store=one.store) as other,
    ):
        yield one, other


def check_both(one: Station, other: Station) -> None:
    """After another run of each nothing is left to do, and everything is there once."""
    for machine in (one, other, one, other):
        machine.run()
    before = one.objects()
    assert (one.run().commits, other.run().commits) == (0, 0)
    assert one.objects() == before
    told = truth.told_by(one.shown + other.shown)
    truth.check_messages(one, told)
    truth.check_told_is_true(one, told)
    truth.check_files(one)
    truth.check_directory(one)
    truth.check_whole(one)
    truth.check_whole(other)
    observed = [(row["chat_id"], row["message_uid"], row["outcome"]) for row in one.rows("observations")]
    assert len(set(observed)) == len(observed)
    settled = [key for entry, _ in one.archive().entries() for key in entry.settled]
    assert len(set(settled)) == len(settled)


class TestOnOneMachine:
    def test_is_refused_with_5_and_told_who_is_at_work(self, home: tuple[Station, Installation]) -> None:
        machine, archiver = home
        with hold(archiver.state):
            run = archiver.call("run")
            assert run.code == 5
            assert str(archiver.state / "run.lock") in run.err
            assert "nothing was changed" in run.err
        assert machine.waiting() == len(machine.shown)
        assert archiver.call("run").code == 3

    def test_is_refused_in_one_process_too(self, machine: Station) -> None:
        with machine.ports(), pytest.raises(ArchiveBusyError):
            machine.run()


class TestOnTwoMachines:
    @pytest.mark.parametrize("entry", [1, 2, 3, 4])
    def test_who_is_late_starts_over_and_adds_what_is_left(self, two: tuple[Station, Station], entry: int) -> None:
        """The other's whole run happens just before the one writes an entry: of the directory, a drain, a fetch."""
        one, other = two
        one.flock.configure(action_messages=False)
        one.flock.play_all(connections=1)
        store = Interrupted(one.store, entry, other.run)
        result = one.run(store=store, limits=Limits(messages_per_commit=20))  # type: ignore[arg-type]
        assert store.happened
        assert not [stage.error for stage in result.stages if stage.error]
        check_both(one, other)

    def test_a_file_that_both_try_again_leaves_one_row(self, two: tuple[Station, Station]) -> None:
        one, other = two
        one.flock.play_all(connections=1)
        one.run()
        other.run()
        refused = {row["url"] for row in one.rows("files") if row["status"] == "failed"}
        # One of them is refused again: then it is the other's new row that is open.
        for url in sorted(refused)[1:]:
            one.flock.set_file_mode(url, "direct")
        one.clock.sleep(2 * HOUR_SECONDS)
        store = Interrupted(one.store, one.head().sequence + 1, other.run)
        one.run(store=store)  # type: ignore[arg-type]
        assert store.happened
        check_both(one, other)

    def test_at_the_same_time_both_end_well(self, two: tuple[Station, Station]) -> None:
        one, other = two
        one.flock.configure(push_edits=True)
        one.flock.play_all(connections=1)
        results: list[int] = []

        def run(machine: Station) -> None:
            results.append(machine.run(limits=Limits(messages_per_commit=20)).exit_code)

        threads = [threading.Thread(target=run, args=(machine,)) for machine in two]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # Whose commit holds the files that could not be had names the gap; the other has nothing to add.
        assert len(results) == 2
        assert set(results) <= {0, 3}
        check_both(one, other)
