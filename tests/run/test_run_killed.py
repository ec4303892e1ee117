"""Real processes, killed at moments that nobody chose: what was answered 200 is in the archive in the end, once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from archiver.archive.reader import Archive, files_of, read_rows
from archiver.archive.tables import rows_of
from archiver.capture.reading_pool import ReadingPool
from archiver.model.capture import Capture
from archiver.simulator.server import Simulator
from archiver.spool.sqlite import SqliteSpool
from archiver.store import Store
from archiver.store.local import LocalStore
from archiver.wiring import READER_PROCESSES_FROM_CAPTURES, reader_processes
from tests.archive.archive_steps import InlineExecutor, unnamed
from tests.conftest import ROOT
from tests.run import truth
from tests.run.installation import DEADLINE_SECONDS, Installation, install
from tests.run.station import Station, station

KILLS = 3
KILLS_SLOW = 40
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
SENT_AT_MS = 1_767_225_600_123


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


READING = """
import sys, time
from archiver.wiring import reader_processes
if __name__ == "__main__":
    with reader_processes(2) as readers:
        print(list(readers.map(abs, [1, 2])), flush=True)
        sys.stdin.read()
"""


def test_the_processes_that_read_for_a_run_end_with_it_however_it_ends(tmp_path: Path) -> None:
    (tmp_path / "reading.py").write_text(READING)
    command = [sys.executable, str(tmp_path / "reading.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"[1, 2]\n"
        helpers = descendants(process.pid)
        process.kill()
    assert len(helpers) >= 2
    until(lambda: not any(map(is_alive, helpers)))


def test_a_process_that_read_for_a_run_and_was_killed_does_not_stop_it(tmp_path: Path) -> None:
    """As the system does where memory is short."""
    with station(tmp_path, seed=7, messages=60) as machine, reader_processes(1) as readers:
        machine.flock.play_all(connections=1)
        pool = ReadingPool(readers, waker=InlineExecutor())
        os.kill(readers.submit(os.getpid).result(), signal.SIGKILL)
        assert [stage.error for stage in machine.run(readers=pool).stages] == [None] * 5
        # By now the pool knows that it is broken, and takes nothing more.
        machine.push(*(shown.body for shown in machine.tap.accepted if shown.kind == "webhook"))
        assert [stage.error for stage in machine.run(readers=pool).stages] == [None] * 5
        truth.check(machine)


@pytest.mark.slow
def test_a_run_that_reads_in_several_processes_may_be_killed_too(tmp_path: Path) -> None:
    with station(tmp_path, store=LocalStore(tmp_path / "archive"), seed=7, people=3, channels=1, messages=0) as machine:
        archiver = install(machine.flock, tmp_path, listener_url=machine.url, token_key=machine.token_key.reveal())
        count = READER_PROCESSES_FROM_CAPTURES
        with contextlib.closing(SqliteSpool(machine.spool_path)) as spool:
            spool.append([capture(number) for number in range(count)])
        process = archiver.start("run", "--json")
        archived = tmp_path / "archive" / "messages"
        assert until(lambda: any(archived.rglob("*.parquet")), process)
        helpers = descendants(process.pid)
        assert len(helpers) >= 3, "this run reads in no other process"
        process.kill()
        process.communicate(timeout=DEADLINE_SECONDS)
        until(lambda: not any(map(is_alive, helpers)))
        assert archiver.call("run").code == 0
        assert (machine.head().rows["messages"], machine.head().rows["events"]) == (count, count)
        assert machine.waiting() == 0
        assert machine.verify().damages == ()


def capture(number: int) -> Capture:
    message = {
        "uid": f"{SENT_AT_MS + number}-aBc-m201",
        "from": "u:ann",
        "to": "g:general",
        "text": f"message {number}",
    }
    return Capture("general", "webhook", SENT_AT_MS + number, "webhook-token", json.dumps(message).encode())


def descendants(pid: int) -> list[int]:
    """Return the processes that a process started, and those that they started."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(grandchild for child in children for grandchild in descendants(child))]


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


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
