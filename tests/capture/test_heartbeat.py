"""The listener's heartbeat: a run can tell from the spool when nobody listened."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from archiver.capture.heartbeat import beating
from archiver.clock import SystemClock
from archiver.errors import SpoolError
from archiver.spool import Uptime
from archiver.spool.group_commit import GroupCommitter
from archiver.spool.sqlite import SqliteSpool
from tests.capture.running_listener import DEADLINE_SECONDS, MESSAGE, PATH_SECRET, WEBHOOK_TOKEN, running_on_sqlite
from tests.manual_clock import ManualClock

REPOSITORY = Path(__file__).resolve().parents[2]


class FailingSpool(SqliteSpool):
    """A spool that takes no beat while `is_full`."""

    is_full = False

    def beat(self, listener: str, *, at_ms: int) -> None:
        if self.is_full:
            raise SpoolError("full")
        super().beat(listener, at_ms=at_ms)


def uptimes(path: Path) -> list[Uptime]:
    with contextlib.closing(SqliteSpool(path)) as spool:
        return spool.uptimes()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for is written by a thread
        await asyncio.sleep(0.001)


def test_a_listener_beats_when_it_starts_while_it_runs_and_when_it_ends(tmp_path):
    clock = ManualClock()
    spool = SqliteSpool(tmp_path / "spool.sqlite")
    seen: list[list[Uptime]] = []

    async def scenario() -> None:
        started_at = clock.now_ms()
        async with GroupCommitter(spool) as committer, beating(committer, clock, listener="one", every_seconds=0.001):
            seen.append(spool.uptimes())
            clock.sleep(10)
            await until(lambda: spool.uptimes()[0].to_at_ms == started_at + 10_000)
            clock.sleep(10)
        seen.append(spool.uptimes())

    started_at = clock.now_ms()
    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_SECONDS))
    spool.close()

    assert seen == [[Uptime("one", started_at, started_at)], [Uptime("one", started_at, started_at + 20_000)]]


def test_a_beat_that_cannot_be_written_stops_nothing_and_leaves_a_hole(tmp_path):
    clock = ManualClock()
    spool = FailingSpool(tmp_path / "spool.sqlite")

    async def scenario() -> None:
        async with GroupCommitter(spool) as committer, beating(committer, clock, listener="one", every_seconds=0.001):
            spool.is_full = True
            clock.sleep(3_600)
            await asyncio.sleep(0.02)
            spool.is_full = False
            await until(lambda: len(spool.uptimes()) == 2)

    started_at = clock.now_ms()
    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_SECONDS))

    assert spool.uptimes() == [
        Uptime("one", started_at, started_at),
        Uptime("one", started_at + 3_600_000, started_at + 3_600_000),
    ]
    spool.close()


def test_the_running_listener_beats(tmp_path):
    with running_on_sqlite(tmp_path) as listener:
        (uptime,) = uptimes(listener.spool_path)
    (whole,) = uptimes(tmp_path / "spool.sqlite")

    assert whole.listener == uptime.listener
    assert uptime.to_at_ms <= whole.to_at_ms <= SystemClock().now_ms()


def test_a_listener_that_was_killed_and_one_that_came_after_it_leave_two_uptimes_with_the_hole_between(tmp_path):
    path = tmp_path / "spool.sqlite"
    first = start(path)
    killed_at_ms = SystemClock().now_ms()
    first.send_signal(signal.SIGKILL)
    first.wait(DEADLINE_SECONDS)
    time.sleep(0.01)
    restarted_at_ms = SystemClock().now_ms()
    second = start(path)
    second.send_signal(signal.SIGTERM)
    assert second.wait(DEADLINE_SECONDS) == 0

    before, after = uptimes(path)
    assert before.listener != after.listener
    assert before.to_at_ms <= killed_at_ms
    assert restarted_at_ms <= after.from_at_ms <= after.to_at_ms


def start(path: Path) -> subprocess.Popen[str]:
    """Start a listener as a process of its own, and return once it has taken a push."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.capture.listener_process", str(path)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    url = process.stdout.readline().strip()
    answer = httpx.post(
        f"{url}/hooks/{PATH_SECRET}/general", params={"token": WEBHOOK_TOKEN}, content=MESSAGE, trust_env=False
    )
    assert answer.status_code == 200
    return process
