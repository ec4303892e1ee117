"""A clock that moves only when somebody sleeps on it or a test turns it."""

from __future__ import annotations

from threading import Lock


class ManualClock:
    def __init__(self, *, now_ms: int = 1_700_000_000_000) -> None:
        self._lock = Lock()
        self._start_ms = now_ms
        self._elapsed = 0.0
        self.slept: list[float] = []

    def now_ms(self) -> int:
        with self._lock:
            return self._start_ms + int(self._elapsed * 1000)

    def monotonic(self) -> float:
        with self._lock:
            return self._elapsed

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        with self._lock:
            self._elapsed += seconds
            self.slept.append(seconds)

    def turn(self, seconds: float) -> None:
        """Let time pass without anybody sleeping."""
        with self._lock:
            self._elapsed += seconds
