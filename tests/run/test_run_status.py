"""`archiver status` says how things stand, at a cost that does not grow with the archive."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from archiver.archive.ledger import Gap
from archiver.archive.reader import Archive, Head
from archiver.run.status import ENTRIES_READ_MAX, RUNS_SHOWN_MAX, read_status
from archiver.spool import SpoolDepth
from archiver.store.memory import MemoryStore
from tests.archive.archive_steps import AUTHOR, add, event, found, message
from tests.conftest import ROOT
from tests.faulty_store import FaultyStore
from tests.run.installation import Installation
from tests.run.station import Station


@pytest.fixture
def archive() -> Archive:
    return found(MemoryStore())


def commit(archive: Archive, head: Head, run: str, number: int) -> Head:
    """Commit one message in the name of a run."""
    rows = {"messages": [message(f"m-{number}")], "events": [event(number)]}
    return add(archive, head, rows, author=replace(AUTHOR, run=run), gaps=(Gap(kind="unparsed", count=2, evidence=""),))


def test_of_an_archive_that_was_just_founded_is_nothing_yet(archive: Archive) -> None:
    status = read_status(archive, None)
    assert (status.sequence, status.at, status.rows, status.objects, status.runs, status.spool) == (
        0, None, {}, 0, (), None,
    )  # fmt: skip


def test_names_the_head_and_counts_what_the_archive_holds(archive: Archive) -> None:
    head = commit(archive, commit(archive, archive.head(), "one", 1), "one", 2)
    waiting = SpoolDepth(captures=3, body_bytes=30, oldest_at_ms=1)
    status = read_status(archive, waiting)
    assert (status.sequence, status.digest, status.at) == (2, head.digest, head.at)
    assert status.rows == {"events": 2, "messages": 2}
    assert status.objects == 4
    assert status.object_bytes == sum(info.size for info in archive.store.list("") if info.key.endswith(".parquet"))
    assert status.spool == waiting


def test_counts_what_awaits_work_until_it_is_settled(archive: Archive) -> None:
    head = add(archive, archive.head(), {"events": [event(1, outcome="wanted"), event(2)]})
    assert read_status(archive, None).open_rows == 1
    add(archive, head, {}, settled=tuple(head.files))
    assert read_status(archive, None).open_rows == 0


def test_shows_the_last_runs_with_all_their_commits_the_newest_first(archive: Archive) -> None:
    head = archive.head()
    for number in range(3 * (RUNS_SHOWN_MAX + 2)):
        head = commit(archive, head, f"run-{number // 3}", number)
    runs = read_status(archive, None).runs
    assert [run.run for run in runs] == [f"run-{number}" for number in range(RUNS_SHOWN_MAX + 1, 1, -1)]
    assert {(run.commits, run.rows["messages"], run.gaps) for run in runs} == {(3, 3, 6)}


def test_shows_a_run_once_where_two_machines_committed_in_turn(archive: Archive) -> None:
    head = archive.head()
    for number, run in enumerate(["one", "other", "one", "other", "one"]):
        head = commit(archive, head, run, number)
    assert [(run.run, run.commits) for run in read_status(archive, None).runs] == [("one", 3), ("other", 2)]


def test_reads_so_many_entries_and_leaves_out_the_run_that_they_cut(archive: Archive) -> None:
    head = archive.head()
    for number in range(10):
        head = commit(archive, head, "long ago", number)
    for number in range(ENTRIES_READ_MAX - 5):
        head = commit(archive, head, "last night", number + 10)
    counting = FaultyStore(archive.store)
    status = read_status(Archive(counting, archive.facts, archive.facts_digest), None)
    assert [(run.run, run.commits) for run in status.runs] == [("last night", ENTRIES_READ_MAX - 5)]
    # Each entry is read once for the runs, the head comes from a checkpoint and what follows it.
    assert counting.operations < ENTRIES_READ_MAX + 100


class TestTheCommand:
    def test_shows_what_waits_then_what_was_archived(self, home: tuple[Station, Installation]) -> None:
        machine, archiver = home
        pushes = machine.waiting()
        assert archiver.call("status").code == 2  # there is no archive yet
        machine.run(only=["directory"])
        before = archiver.call("status", "--json").document
        assert before["spool"]["captures"] == pushes
        assert "messages" not in before["rows"]
        run = archiver.call("run", "--json").document
        after = archiver.call("status", "--json").document
        assert after["spool"]["captures"] == 0
        assert after["rows"]["events"] == pushes
        assert (after["sequence"], after["digest"]) == (run["head"]["sequence"], run["head"]["digest"])
        assert after["runs"][0]["run"] == run["run"]
        assert sum(after["runs"][0]["rows"].values()) > pushes


NAMELESS = """
import os, pwd, sys
from archiver.wiring import user_name
os.setuid(54_321)
print(user_name())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user without a name")
def test_a_user_without_a_name_commits_under_a_number() -> None:
    """Containers run as a number that no file of the image names."""
    environment = {
        name: value for name, value in os.environ.items() if name not in ("LOGNAME", "USER", "LNAME", "USERNAME")
    }
    done = subprocess.run(
        [sys.executable, "-c", NAMELESS], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "uid 54321\n"
