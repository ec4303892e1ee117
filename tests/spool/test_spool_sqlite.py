"""What the SQLite spool owes beyond the contract: its file, its failures, its survival of a killed process."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from archiver.errors import EXIT_STORAGE, SpoolError
from archiver.model.capture import Capture
from archiver.spool.sqlite import FORMAT, PLACE_CHECKED_SECONDS, SqliteSpool
from tests.manual_clock import ManualClock

REPOSITORY = Path(__file__).resolve().parents[2]


def captures(count: int, *, size: int = 10) -> list[Capture]:
    return [Capture("general", "webhook", n, "webhook-token", b"%d:" % n + b"x" * size) for n in range(count)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "spool.sqlite"


def test_its_files_are_for_its_owner_only(path):
    spool = SqliteSpool(path)
    spool.append(captures(1))

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    # The write-ahead log holds captures too.
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    spool.close()
    assert [file.name for file in path.parent.iterdir()] == ["spool.sqlite"]


def test_every_commit_is_synced(path):
    spool = SqliteSpool(path)

    (journal_mode,) = spool._connection.execute("PRAGMA journal_mode").fetchone()
    (synchronous,) = spool._connection.execute("PRAGMA synchronous").fetchone()

    assert (journal_mode, synchronous) == ("wal", 2)
    spool.close()


def test_processes_that_start_together_agree_on_one_spool(path):
    opened: list[SqliteSpool] = []
    barrier = threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        opened.append(SqliteSpool(path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({spool.spool_id for spool in opened}) == 1
    assert len(opened) == 8
    for spool in opened:
        spool.close()
    assert [file.name for file in path.parent.iterdir()] == ["spool.sqlite"]


def test_a_newer_format_is_refused_with_what_to_do(path):
    SqliteSpool(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT + 1}")

    with pytest.raises(SpoolError, match=f"has format {FORMAT + 1}") as caught:
        SqliteSpool(path)

    assert "install the newer" in caught.value.next_step
    assert caught.value.exit_code == EXIT_STORAGE


def test_another_programs_database_is_not_taken_for_a_spool(path):
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")

    with pytest.raises(SpoolError, match="is not a spool of the archiver"):
        SqliteSpool(path)


def test_a_file_that_is_no_database_is_named_as_damaged(path):
    path.parent.mkdir()
    path.write_bytes(b"not a database at all" * 500)

    with pytest.raises(SpoolError, match="is damaged") as caught:
        SqliteSpool(path)

    assert str(path) in caught.value.what
    assert "keep a copy" in caught.value.next_step


@pytest.mark.parametrize("damage", [b"\xff" * 4_096, b"y"], ids=["a page", "a letter of a body"])
def test_damage_is_an_error_and_never_a_wrong_answer(path, damage):
    spool = SqliteSpool(path)
    spool.append(captures(2_000, size=500))
    spool.close()
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4_096 * 4_096 + 100
    assert content[middle : middle + 1] == b"x"
    content[middle : middle + len(damage)] = damage
    path.write_bytes(content)

    damaged = SqliteSpool(path)
    with pytest.raises(SpoolError, match="is damaged"):
        damaged.read(after=0, captures_max=10_000, bytes_max=100_000_000)
    damaged.close()


def test_a_full_disk_refuses_the_batch_whole_and_recovers_when_there_is_space(path):
    spool = SqliteSpool(path)
    spool.append(captures(1))
    # SQLite answers SQLITE_FULL here exactly as it does when the file system is full.
    spool._connection.execute("PRAGMA max_page_count = 8")

    with pytest.raises(SpoolError, match="has no space left") as caught:
        spool.append(captures(100, size=1_000))

    assert "free some space" in caught.value.next_step
    assert spool.depth().captures == 1
    spool._connection.execute("PRAGMA max_page_count = 100000")
    spool.append(captures(100, size=1_000))
    assert spool.depth().captures == 101
    spool.close()


def test_a_spool_whose_directory_cannot_be_made_says_so(tmp_path):
    (tmp_path / "state").write_text("a file where the directory should be")

    with pytest.raises(SpoolError, match="cannot be reached"):
        SqliteSpool(tmp_path / "state" / "spool.sqlite")


AS_SOMEBODY_ELSE = """
import os, sys
from pathlib import Path
from archiver.errors import SpoolError
from archiver.model.capture import Capture
from archiver.spool.sqlite import SqliteSpool
if os.getuid() == 0:
    os.setuid(65534)
try:
    SqliteSpool(Path(sys.argv[1])).append([Capture("general", "webhook", 1, "webhook-token", b"{}")])
except SpoolError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("what", ["directory", "file"])
def test_missing_rights_are_a_clear_refusal(path, what):
    """Run as another user if we are root, whom no permission stops."""
    SqliteSpool(path).close()
    if what == "directory":
        path.unlink()
        path.parent.chmod(0o555)
    else:
        path.chmod(0o444)
        path.parent.chmod(0o555)
    for parent in path.parents[1:-2]:
        parent.chmod(parent.stat().st_mode | 0o055)

    done = subprocess.run(
        [sys.executable, "-c", AS_SOMEBODY_ELSE, str(path)], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )

    assert done.returncode == EXIT_STORAGE, done.stderr
    assert "cannot be" in done.stdout
    assert "Next: give the user" in done.stdout
    path.parent.chmod(0o700)


def test_a_spool_that_was_replaced_while_open_takes_nothing_more(path):
    """What is written to a file without a name is lost, so it must not be acknowledged; noticed within a second."""
    clock = ManualClock()
    spool = SqliteSpool(path, monotonic=clock.monotonic)
    spool.append(captures(1))
    path.rename(path.with_suffix(".moved"))

    with pytest.raises(SpoolError, match="cannot be reached"):
        spool.probe()
    clock.turn(PLACE_CHECKED_SECONDS)
    with pytest.raises(SpoolError, match="cannot be reached"):
        spool.append(captures(1))
    SqliteSpool(path).close()
    with pytest.raises(SpoolError, match="was replaced"):
        spool.append(captures(1))
    with pytest.raises(SpoolError, match="was replaced"):
        spool.probe()
    spool.close()


def test_a_writer_that_holds_the_lock_too_long_is_named(path):
    spool = SqliteSpool(path, busy_timeout_seconds=0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(SpoolError, match="is locked"):
        spool.append(captures(1))

    other.execute("ROLLBACK")
    spool.append(captures(1))
    other.close()
    spool.close()


def test_a_probe_writes_and_leaves_no_capture(path):
    spool = SqliteSpool(path)
    spool.probe()
    spool.probe()

    assert spool.depth().captures == 0
    assert spool._connection.execute("SELECT value FROM meta WHERE key = 'probes'").fetchone() == (2,)
    spool.close()


def test_a_backlog_that_was_drained_gives_its_space_back(path):
    spool = SqliteSpool(path)
    spool.append(captures(20_000, size=500))
    spool.close()
    full_bytes = path.stat().st_size
    spool = SqliteSpool(path)

    spool.discard(through=20_000)
    spool.close()

    assert full_bytes > 10_000_000
    assert path.stat().st_size < 100_000


def test_space_of_discarded_captures_is_used_again(path):
    spool = SqliteSpool(path)
    for round_number in range(1, 30):
        spool.append(captures(500, size=500))
        spool.discard(through=500 * round_number)
    spool.close()

    assert path.stat().st_size < 1_000_000


WRITER = """
import sys
from pathlib import Path
from archiver.model.capture import Capture
from archiver.spool.sqlite import SqliteSpool
spool = SqliteSpool(Path(sys.argv[1]))
number = 0
while True:
    spool.append([Capture("general", "webhook", n, "webhook-token", b"%d" % n) for n in range(number, number + 3)])
    number += 3
    print(number, flush=True)
"""


@pytest.mark.parametrize("acknowledged_min", [3, 60, 400])
def test_every_append_that_returned_survives_a_killed_process(path, acknowledged_min):
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    ) as writer:
        assert writer.stdout is not None
        acknowledged = 0
        while acknowledged < acknowledged_min:
            acknowledged = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged = max([acknowledged, *map(int, writer.stdout.read().split())])

    spool = SqliteSpool(path)
    found = spool.read(after=0, captures_max=1_000_000, bytes_max=1_000_000_000)
    spool.close()

    assert len(found) >= acknowledged
    # A batch is there as a whole or not at all, and nothing is there twice.
    assert len(found) % 3 == 0
    assert [spooled.capture.body for spooled in found] == [b"%d" % n for n in range(len(found))]
    assert [spooled.sequence for spooled in found] == list(range(1, len(found) + 1))
