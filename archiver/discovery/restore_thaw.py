"""What of a restore lies cold, and waiting until it can be read.

The store keeps how far it came (`Store.thaw`), so an interrupted wait goes on with the next call, and asks for nothing twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final

from archiver.clock import Clock
from archiver.errors import KeyMissingError
from archiver.store import Store, ThawSpeed

# Thawing takes minutes at best, and each look is a request for each object.
LOOK_EVERY_SECONDS: Final = 300.0

# Hours until a cold object can be read, from and to, by class and speed (S3 user guide, "Understanding archive retrieval options").
HOURS: Final[dict[tuple[str, ThawSpeed], tuple[float, float]]] = {
    ("GLACIER", "expedited"): (0.02, 0.1),
    ("GLACIER", "standard"): (3, 5),
    ("GLACIER", "bulk"): (5, 12),
    ("DEEP_ARCHIVE", "standard"): (12, 12),
    ("DEEP_ARCHIVE", "bulk"): (48, 48),
    ("INTELLIGENT_TIERING", "standard"): (3, 12),
    ("INTELLIGENT_TIERING", "bulk"): (5, 48),
}

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Stored:
    """An object that is to be read, and its size in bytes."""

    key: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Cold:
    """What lies cold, and how much of it by class: objects and bytes."""

    objects: tuple[Stored, ...]
    by_class: dict[str, tuple[int, int]]

    def hours(self, speed: ThawSpeed) -> tuple[float, float] | None:
        """Return from and to how many hours it takes, None where nobody says."""
        known = [HOURS[name, speed] for name in self.by_class if (name, speed) in HOURS]
        if not known or len(known) < len(self.by_class):
            return None
        return max(least for least, _ in known), max(most for _, most in known)


def find_cold(store: Store, objects: Sequence[Stored], *, executor: Executor) -> Cold:
    """Return which of these objects cannot be read now; raises `KeyMissingError` for none: what is missing is not cold."""
    cold = [
        item
        for item, is_cold in zip(objects, executor.map(lambda it: _is_cold(store, it), objects), strict=True)
        if is_cold
    ]
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for item, name in zip(cold, executor.map(lambda it: store.storage_class(it.key) or "", cold), strict=True):
        counts[name] += 1
        sizes[name] += item.bytes
    return Cold(tuple(cold), {name: (counts[name], sizes[name]) for name in sorted(counts)})


def thaw(
    store: Store,
    objects: Iterable[Stored],
    *,
    days: int,
    speed: ThawSpeed,
    waits: bool,
    executor: Executor,
    clock: Clock,
    progress: Progress,
) -> int:
    """Ask for cold objects, and wait until all can be read unless told not to; returns how many cannot yet.

    Raises `StoreRefusedError` if the store does not let us ask, or not at that speed.
    """
    left = list(objects)
    total = len(left)
    while left:
        states = executor.map(lambda item: store.thaw(item.key, days=days, speed=speed), left)
        left = [item for item, state in zip(left, states, strict=True) if state != "readable"]
        progress("thawing", total - len(left), total)
        if not left or not waits:
            break
        clock.sleep(LOOK_EVERY_SECONDS)
    return len(left)


def _is_cold(store: Store, item: Stored) -> bool:
    try:
        return store.is_cold(item.key)
    except KeyMissingError:
        return False
