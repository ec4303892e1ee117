"""How often we may ask: one token bucket per Flock token, slowed by 429 and recovering by itself.

Flock publishes no limits and no headers (flock-api.md 4), so the rate is a guess that learns: a 429 halves it, quiet
time brings it back to the configured one, and a ``Retry-After``, should one ever come, is honoured. Times come from a
`Clock`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from threading import Lock
from typing import Final

from archiver.clock import Clock, to_ms

# From its lowest a rate climbs back to the configured one in this time, in a straight line.
RECOVERY_SECONDS: Final = 600.0
# However often Flock refuses, one request in this many times the usual interval still goes out.
SLOWDOWN_MAX: Final = 64
# A longer wait is cut to this: a run that sleeps for hours on one header is worse than one refused request.
RETRY_AFTER_SECONDS_MAX: Final = 900.0
# Below this, rounding could make a wait that passes no time at all.
_WAIT_SECONDS_MIN: Final = 0.001
_WHOLE_TOKEN: Final = 1 - 1e-9


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to send one request under ``key``; ``slowdowns`` is how often the key had been slowed when it was given."""

    key: str
    slowdowns: int


class RateLimiter:
    """Token buckets by key, shared by all threads; over any time of ``t`` seconds a key gets at most ``burst`` + ``t`` times its rate.

    ``requests_per_second`` is the configured rate of each key (a finite number above 0) and ``burst`` how many requests
    an idle key may send at once.
    """

    def __init__(self, *, requests_per_second: float, clock: Clock, burst: int = 1) -> None:
        if not (math.isfinite(requests_per_second) and requests_per_second > 0):
            raise ValueError(f"requests_per_second must be a finite number above 0, not {requests_per_second}")
        if burst < 1:
            raise ValueError(f"burst must be at least 1, not {burst}")
        self._rate = requests_per_second
        self._burst = burst
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._lock = Lock()

    def try_acquire(self, key: str) -> Permit | float:
        """Take leave for one request under ``key``, or return the seconds (above 0) after which to try again.

        Nobody sleeps in here, so whoever waits for one key can work for another. After a wait the answer may be to wait
        once more: somebody else was first, or Flock asked for silence meanwhile.
        """
        with self._lock:
            bucket = self._bucket(key)
            wait_seconds = bucket.take(self._clock.monotonic())
            return Permit(key, bucket.slowdowns) if wait_seconds == 0 else wait_seconds

    def refused(self, permit: Permit, *, retry_after_seconds: float | None = None) -> None:
        """Slow a key down after a 429: halve its rate, and be silent for as long as Flock asked.

        Several requests under way are refused together; only the first halves the rate, because the others say
        nothing about the rate that came of it.
        """
        with self._lock:
            bucket = self._bucket(permit.key)
            if permit.slowdowns == bucket.slowdowns:
                bucket.slow_down(self._clock.monotonic())
        self.pause(permit, retry_after_seconds=retry_after_seconds)

    def pause(self, permit: Permit, *, retry_after_seconds: float | None) -> None:
        """Let a key be silent for as long as Flock asked, at most `RETRY_AFTER_SECONDS_MAX`, without slowing it."""
        if retry_after_seconds is None:
            return
        seconds = min(max(retry_after_seconds, 0.0), RETRY_AFTER_SECONDS_MAX)
        with self._lock:
            bucket = self._bucket(permit.key)
            bucket.silent_until = max(bucket.silent_until, self._clock.monotonic() + seconds)

    def rate(self, key: str) -> float:
        """Return the requests a second that a key may send now."""
        with self._lock:
            bucket = self._bucket(key)
            bucket.refill(self._clock.monotonic())
            return bucket.rate

    def _bucket(self, key: str) -> _Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = _Bucket(self._rate, self._burst, self._rate, float(self._burst), self._clock.monotonic())
            self._buckets[key] = bucket
        return bucket


def parse_retry_after(value: str | None, *, now_ms: int) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for (RFC 9110, 10.2.3: seconds or a date), None if unusable.

    Not capped: `RateLimiter` does that. A date in the past is 0.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) <= len("86400000") else RETRY_AFTER_SECONDS_MAX
    try:
        return max((to_ms(parsedate_to_datetime(text)) - now_ms) / 1000, 0.0)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


@dataclass(slots=True)
class _Bucket:
    """The state of one key; only touched under the limiter's lock. Times are the clock's monotonic seconds."""

    rate_configured: float
    burst: int
    rate: float
    tokens: float
    filled_at: float
    silent_until: float = field(default=-math.inf)
    slowdowns: int = 0

    def take(self, now: float) -> float:
        """Take a token and return 0, or return the seconds to wait before another try."""
        self.refill(now)
        if now < self.silent_until:
            return self.silent_until - now
        if self.tokens >= _WHOLE_TOKEN:
            self.tokens -= 1
            return 0
        return max((1 - self.tokens) / self.rate, _WAIT_SECONDS_MIN)

    def refill(self, now: float) -> None:
        """Bring tokens and rate up to now."""
        elapsed = max(now - self.filled_at, 0.0)
        self.filled_at = now
        self.tokens = min(self.tokens + elapsed * self.rate, float(self.burst))
        self.rate = min(self.rate + self.rate_configured * elapsed / RECOVERY_SECONDS, self.rate_configured)

    def slow_down(self, now: float) -> None:
        """Halve the rate and spend what was saved, since Flock sees it as too much already."""
        self.refill(now)
        self.rate = max(self.rate / 2, self.rate_configured / SLOWDOWN_MAX)
        self.tokens = min(self.tokens, 0.0)
        self.slowdowns += 1
