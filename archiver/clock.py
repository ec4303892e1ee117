"""Time: UTC inside, the zone named outside, no hidden clock in logic.

Instants are timezone-aware `datetime` values where people read them, and whole milliseconds since 1970 UTC (``…_ms``)
on the hot path and on disk, which is the precision Flock gives (flock-api.md 6.1). Rules take the time as an
argument; only the edges hold a `Clock`.
"""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
DAY_MS = 86_400_000

# What a partition name and a Parquet timestamp can both carry: the years 0001 to 9999.
EARLIEST_MS = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // _MILLISECOND
LATEST_MS = (datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC) - _EPOCH) // _MILLISECOND


class Clock(Protocol):
    """Tells the time and waits; tests bring their own."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary moment that never go back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 UTC."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds from an arbitrary moment that never go back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


def from_ms(milliseconds: int) -> datetime:
    """Return the aware UTC instant; raises `OverflowError` outside the years 0001 to 9999."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


def to_ms(instant: datetime) -> int:
    """Return whole milliseconds since 1970 UTC, rounded down; raises `ValueError` for a naive instant."""
    if instant.tzinfo is None:
        raise ValueError("a naive instant has no meaning here: name its zone")
    return (instant - _EPOCH) // _MILLISECOND


def to_text(milliseconds: int) -> str:
    """Return ISO 8601 in UTC with milliseconds and a trailing Z, as ``2026-11-22T18:05:00.123Z``."""
    return from_ms(milliseconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_text(text: str) -> int:
    """Return the milliseconds since 1970 UTC of an ISO 8601 instant; raises `ValueError` for anything else."""
    return to_ms(datetime.fromisoformat(text))


def day_of(milliseconds: int) -> date:
    """Return the UTC day an instant falls on."""
    return from_ms(milliseconds).date()
