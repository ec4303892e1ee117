"""Nights by the clock: a Flock that lives today, and runs a night apart."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from archiver.clock import to_ms
from archiver.run.result import RunResult
from tests.run.station import Row, Station, station

NIGHT_SECONDS = 24 * 3_600
SMALL = {"seed": 11, "people": 6, "channels": 3, "messages": 0}
# The same evening whenever a test runs, so that no midnight comes between two of its steps; the script is over by then.
DAY = date(2026, 3, 1)
EVENING_MS = to_ms(datetime(2026, 3, 2, 19, tzinfo=UTC))


@contextlib.contextmanager
def workplace(folder: Path, **how: Any) -> Iterator[Station]:
    with station(folder, **{**SMALL, "day": DAY, "at_ms": EVENING_MS, **how}) as running:
        pass_time(running)
        yield running


def pass_time(machine: Station, *, nights: int = 0) -> None:
    """Let nights go by, for us and for Flock."""
    machine.clock.sleep(nights * NIGHT_SECONDS)
    machine.flock.play_until(machine.clock.now_ms() - 3_600_000)


def night(machine: Station, **how: Any) -> RunResult:
    """Let a night go by, then run."""
    pass_time(machine, nights=1)
    return machine.run(**how)


def channel_of(machine: Station) -> tuple[str, list[str]]:
    """Return the channel with the most members, and these."""
    channel = max(machine.flock.channels.values(), key=lambda item: len(item.members))
    return channel.channel_id, list(channel.members)


def calls(machine: Station, method: str = "chat.fetchMessages") -> int:
    """Return how many calls of a method there were since the counters were reset."""
    return sum(machine.flock.counters()["methods"].get(method, {}).values())


def truth_of(machine: Station, uid: str) -> Row:
    return next(row for row in machine.flock.truth("message") if row["uid"] == uid)
