"""Real processes, killed at moments that nobody chose: what was answered 200 is in the archive in the end, once."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from archiver.archive.reader import Archive, files_of, read_rows
from archiver.archive.tables import rows_of
from archiver.simulator.server import Simulator
from archiver.store import Store
from archiver.store.local import LocalStore
from tests.archive.archive_steps import unnamed
from tests.run import truth
from tests.run.installation import DEADLINE_SECONDS, Installation, install
from tests.run.station import Station, station

KILLS = 3
KILLS_SLOW = 40
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[tuple[Station, Installation]]:
    """A machine with a full spool, and the program, told to commit after every few messages."""
    with station(tmp_path, store=LocalStore(tmp_path / "archive"), seed=7, messages=120) as machine:
        machine.flock.configure(push_edits=True)
        machine.flock.play_all(connections=1)
        machine.take_pushes()
        archiver = install(machine.flock, tmp_path, listener_url=machine.url, token_key=machine.token_key.reveal())
        archiver.change("run", messages_per_commit=10)
        yield machine, archiver


def until(happened: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> bool:
    """Wait for something to happen; tell whether it did before the process ended."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not happened():
        if process is not None and process.poll() is not None:
            return False
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return True


def files_in(folder: Path) -> int:
    """Count the files of an archive, unfinished ones included: how far a run has come, as seen from outside."""
    return sum(path.is_file() for path in folder.rglob("*"))


def kill_somewhere(archiver: Installation, random: Random) -> int:
    """Start a run, end it after it wrote some objects more, and return how it ended."""
    archive = archiver.folder / "archive"
    enough = files_in(archive) + random.randint(1, 25)
    process = archiver.start("run", "--json")
    until(lambda: files_in(archive) >= enough, process)
    process.send_signal(random.choice(SIGNALS))
    process.communicate(timeout=DEADLINE_SECONDS)
    return process.returncode


def check_runs_that_are_killed(machine: Station, archiver: Installation, *, seed: int, kills: int) -> None:
    random = Random(seed)
    ends = [kill_somewhere(archiver, random) for _ in range(kills)]
    assert set(ends) <= {-signal.SIGKILL, -signal.SIGTERM, 130, 0, 3}
    assert any(end < 0 for end in ends), "nothing was killed"
    assert machine.verify().damages == ()
    assert archiver.call("run").code in (0, 3)
    truth.check(machine)
    truth.check_directory(machine)
    assert unnamed(machine.store) == set()


def test_a_run_that_is_killed_again_and_again_comes_to_its_end(home: tuple[Station, Installation]) -> None:
    machine, archiver = home
    check_runs_that_are_killed(machine, archiver, seed=1, kills=KILLS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 8))
def test_a_run_that_is_killed_many_times_comes_to_its_end(home: tuple[Station, Installation], seed: int) -> None:
    machine, archiver = home
    check_runs_that_are_killed(machine, archiver, seed=seed, kills=KILLS_SLOW)


def test_an_interrupted_run_says_so_and_lets_go_of_the_archive(home: tuple[Station, Installation]) -> None:
    machine, archiver = home
    process = archiver.start("run", "--json")
    assert until(lambda: files_in(archiver.folder / "archive") > 5, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 130
    assert archiver.call("run").code == 3
    truth.check(machine)


class TestAListenerThatIsKilled:
    """Flock pushes at most once, so what counts is what was answered 200 (flock-api.md 11.1)."""

    def test_has_kept_everything_that_it_answered(self, tmp_path: Path) -> None:
        with Simulator(seed=7, messages=600) as flock:
            flock.configure(push_edits=True)
            archiver = install(flock, tmp_path)
            for acknowledged in (60, 150, 260):
                with archiver.listening() as listener:
                    playing = threading.Thread(target=flock.play_next, args=(220,))
                    playing.start()
                    until(lambda: flock.counters()["pushes"].get("200", 0) >= acknowledged)  # noqa: B023 -- called here
                    listener.kill()
                    playing.join()
            with archiver.listening():
                flock.play_all()
                # A run beside a listener that is at work.
                assert archiver.call("run").code == 3
            check_acknowledged(flock, LocalStore(tmp_path / "archive"))
            assert archiver.call("verify").code == 0
            assert flock.violations() == []


def check_acknowledged(flock: Simulator, store: Store) -> None:
    """Each message whose push was answered 200 is there, and every one that is there was said just so, and once."""
    pushes = [row for row in flock.truth("push") if row["uid"]]
    assert {row["status"] for row in pushes} - {"200"}, "the listener was never killed in the middle of a push"
    acknowledged = {row["uid"] for row in pushes if row["status"] == "200"}
    said = {
        (row["chat_id"], row["uid"], row["from"], version["text"])
        for row in flock.truth("message")
        for version in row["versions"]
    }
    columns = ("chat_id", "message_uid", "sender_id", "text")
    records = files_of(Archive.open(store).head(), "messages")
    rows = [tuple(row.values()) for batch in read_rows(store, records, columns) for row in rows_of(batch)]
    assert acknowledged <= {row[1] for row in rows}
    assert set(rows) <= said
    assert len(set(rows)) == len(rows)
