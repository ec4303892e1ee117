"""The rate limiter: a bucket per token and, where a method has its own limit, per token and method (flock-api.md 4)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from email.utils import formatdate

from archiver.clock import Clock
from archiver.simulator.switches import Switches


@dataclass(slots=True)
class _Bucket:
    """Calls left, and when that was true."""

    left: float
    at: float


class RateLimiter:
    """Counts calls against the switches of the moment; a bucket holds at most ``calls_burst`` calls."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def wait_for(self, token: str, method: str, switches: Switches) -> float:
        """Take one call; return 0.0, or how many seconds are missing until this call would be let through."""
        own = switches.method_calls_per_second.get(method)
        wanted = [((token, method), own)] if own is not None else []
        if switches.calls_per_second is not None:
            wanted.append(((token, ""), switches.calls_per_second))
        now = self._clock.monotonic()
        buckets = [(self._filled(key, rate, now, switches.calls_burst), rate) for key, rate in wanted]
        missing = max(((1.0 - bucket.left) / rate if rate > 0 else math.inf for bucket, rate in buckets), default=0.0)
        if missing > 0.0:
            return missing
        for bucket, _ in buckets:
            bucket.left -= 1.0
        return 0.0

    def retry_after(self, seconds: float, switches: Switches) -> str | None:
        """Return the value of the `Retry-After` header, or None where this Flock sends none."""
        if not switches.retry_after:
            return None
        whole = math.ceil(min(seconds, 3600.0))
        if switches.retry_after_form == "date":
            # A whole second more, because the date has no fractions and must not lie before the moment meant.
            return formatdate(self._clock.now_ms() / 1000 + whole + 1, usegmt=True)
        return str(max(1, whole))

    def _filled(self, key: tuple[str, str], rate: float, now: float, burst: int) -> _Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(float(burst), now)
        bucket.left = min(float(burst), bucket.left + (now - bucket.at) * rate)
        bucket.at = now
        return bucket
