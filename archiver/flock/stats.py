"""What calling Flock cost, by method: for the report of a run, and to learn Flock's unpublished limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from threading import Lock


@dataclass(frozen=True, slots=True)
class MethodStats:
    """Counts of one method: calls, further tries of a call, answers 429, calls that brought nothing usable."""

    calls: int = 0
    retries: int = 0
    throttled: int = 0
    failed: int = 0


class CallCounter:
    """Counts calls from several threads."""

    def __init__(self) -> None:
        self._by_method: dict[str, MethodStats] = {}
        self._lock = Lock()

    def add(self, method: str, *, calls: int = 0, retries: int = 0, throttled: int = 0, failed: int = 0) -> None:
        """Add to the counts of one method."""
        with self._lock:
            before = self._by_method.get(method, MethodStats())
            self._by_method[method] = replace(
                before,
                calls=before.calls + calls,
                retries=before.retries + retries,
                throttled=before.throttled + throttled,
                failed=before.failed + failed,
            )

    def snapshot(self) -> Mapping[str, MethodStats]:
        """Return the counts so far by method, in the order of their names."""
        with self._lock:
            return dict(sorted(self._by_method.items()))
