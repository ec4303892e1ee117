"""Runs that end while files are under way, and links that expire: in the end each file is stored once, and nothing else is left."""

from __future__ import annotations

import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver.archive import layout
from archiver.store.local import LocalStore
from tests.archive.archive_steps import unnamed
from tests.run import truth
from tests.run.installation import DEADLINE_SECONDS, Installation, install
from tests.run.nights import NIGHT_SECONDS, channel_of, workplace
from tests.run.station import Station, station

HOUR_SECONDS = 3_600
FILES = 24
KILLS = 2


@pytest.fixture
def home(tmp_path: Path) -> Iterator[tuple[Station, Installation]]:
    """A machine with messages in its spool, many with files, and the program."""
    with station(tmp_path, store=LocalStore(tmp_path / "archive"), seed=7, messages=150) as machine:
        machine.flock.play_all(connections=1)
        machine.take_pushes()
        yield machine, install(machine.flock, tmp_path, listener_url=machine.url, token_key=machine.token_key.reveal())


def until_files_are_under_way(machine: Station, process: subprocess.Popen[str], *, more: int) -> bool:
    """Wait until so many files more were asked for; tell whether that came before the run ended."""
    enough = machine.flock.counters()["file_requests"] + more
    deadline = time.monotonic() + DEADLINE_SECONDS
    while machine.flock.counters()["file_requests"] < enough:
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return True


def test_a_run_that_is_killed_while_files_are_under_way_stores_each_once_in_the_end(
    home: tuple[Station, Installation],
) -> None:
    machine, archiver = home
    downloads = archiver.state / "downloads"
    killed = 0
    for number in range(KILLS):
        # Bodies that come in drops, so that the end comes in the middle of some.
        machine.flock.inject("slow", "files", probability=0.5, seed=number, seconds=0.2)
        process = archiver.start("run", "--json")
        is_under_way = until_files_are_under_way(machine, process, more=2 + 6 * number)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=DEADLINE_SECONDS)
        killed += is_under_way and process.returncode == -signal.SIGKILL
        machine.flock.clear_faults()
        machine.flock.settle()
    assert killed, "no run was killed while files were under way"
    assert archiver.call("run").code == 3
    truth.check(machine)
    assert unnamed(machine.store) == set()
    assert list(downloads.iterdir()) == []
    stored = {row["blob_digest"] for row in machine.rows("files") if row["status"] == "stored"}
    blobs = Counter(info.key for info in machine.store.list("blobs/"))
    assert stored
    assert blobs == Counter(layout.blob_key(digest) for digest in stored)


class TestLinksThatExpire:
    """What a message points to leads to a signed URL that lives for minutes (flock-api.md 13)."""

    @pytest.fixture
    def machine(self, tmp_path: Path) -> Iterator[Station]:
        with workplace(tmp_path, messages=60) as running:
            yield running

    def redirected(self, machine: Station) -> list[str]:
        """Let every file answer with a redirect to a signed URL; return the files' URLs."""
        urls = [row["url"] for row in machine.flock.truth("file")]
        for url in urls:
            machine.flock.set_file_mode(url, "redirect")
        assert urls
        return urls

    def test_are_followed_by_the_run_that_archives_their_message(self, machine: Station) -> None:
        urls = self.redirected(machine)
        machine.run()
        rows = [row for row in machine.rows("files") if row["url"] in urls]
        assert {(row["status"], row["attempts"]) for row in rows} == {("stored", 1)}
        assert all("Signature" not in row["final_url"] for row in rows)
        truth.check(machine)

    def test_are_renewed_from_the_message_when_the_file_is_due_again(self, machine: Station) -> None:
        urls = self.redirected(machine)
        machine.flock.configure(file_url_seconds=-60)
        machine.run()
        failed = [row for row in machine.rows("files") if row["url"] in urls]
        assert {(row["status"], row["reason"], row["http_status"]) for row in failed} == {
            ("failed", "http_status", 403)
        }
        assert all(row["retry_at"] - row["observed_at"] <= 2 * HOUR_SECONDS * 1000 for row in failed)
        machine.flock.configure(file_url_seconds=60)
        machine.flock.reset_counters()
        machine.run()
        assert machine.flock.counters()["file_requests"] == 0, "it was not their time yet"
        machine.clock.sleep(3 * HOUR_SECONDS)
        machine.run()
        newest = {}
        for row in sorted(machine.rows("files"), key=lambda row: row["attempts"]):
            newest[row["message_uid"], row["version"], row["ordinal"]] = row
        assert {row["status"] for row in newest.values() if row["url"] in urls} == {"stored"}
        truth.check(machine)

    def test_of_one_content_are_one_blob(self, machine: Station) -> None:
        url = self.redirected(machine)[0]
        channel, (one, *_) = channel_of(machine)
        for number in range(FILES):
            attachment = {"downloads": [{"src": url, "filename": f"{number}.png"}]}
            machine.flock.send(one, channel, text=f"{number}", attachments=[attachment])
        machine.flock.reset_counters()
        machine.run()
        rows = [row for row in machine.rows("files") if row["url"] == url]
        assert len(rows) >= FILES
        assert len({row["blob_digest"] for row in rows}) == 1
        machine.clock.sleep(NIGHT_SECONDS)
        machine.run()
        truth.check(machine)
