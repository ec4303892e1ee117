"""A store that fails on purpose and always in the same way: at a chosen operation, or at many that a seed chooses.

To stop a run at every operation of its store, count them first, then stop at each::

    counting = FaultyStore(MemoryStore())
    run(counting)
    for number in range(1, counting.operations + 1):
        for effect in ("before", "after"):
            store = MemoryStore()
            with pytest.raises(Stopped):
                run(FaultyStore(store, stop_at=number, effect=effect))
            ...  # reopen `store`, which holds what a machine would hold after the power came back
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

from archiver.errors import StoreUnreachableError
from archiver.store import Batch, ObjectInfo, ObjectLock, Store, ThawSpeed, ThawState
from archiver.store.batches import PlainBatch

# Whether a failing operation takes effect: who asked for it cannot tell.
Effect = Literal["before", "after"]
Counted = Literal["all", "writes"]

EFFECTS: tuple[Effect, ...] = ("before", "after")

WRITES = frozenset(
    {"create", "replace", "delete", "erase", "move_to_class", "thaw", "set_legal_hold", "can_hold", "probe", "sweep"}
)

_Result = TypeVar("_Result")


class Stopped(BaseException):
    """The process is gone, so nothing may catch it but the test."""


class FaultyStore:
    """Passes every call on to another store, numbered from 1, and fails at some. Safe to share between threads.

    At ``stop_at`` the process ends: that operation and all later ones raise `Stopped`. At each of ``fail_at``, and at a
    share ``fail_rate`` of all that ``seed`` chooses, the operation raises `StoreUnreachableError` and later ones work again.
    The failing operation is not carried out (``effect="before"``) or is (``"after"``); None lets the seed choose for each.
    ``counted="writes"`` numbers only what changes the store. The choice for an operation depends on the seed and its number
    alone, so one thread's faults do not move another's. Printing the store tells all this, and how far it came.
    """

    def __init__(
        self,
        store: Store,
        *,
        stop_at: int | None = None,
        fail_at: Collection[int] = (),
        fail_rate: float = 0.0,
        effect: Effect | None = None,
        counted: Counted = "all",
        seed: int = 0,
    ) -> None:
        self.inner = store
        self.operations = 0
        self.failures: list[str] = []
        self._stop_at = stop_at
        self._fail_at = frozenset(fail_at)
        self._fail_rate = fail_rate
        self._effect = effect
        self._counted = counted
        self._seed = seed
        self._is_stopped = False
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return (
            f"FaultyStore({self.inner.url}, stop_at={self._stop_at}, fail_at={sorted(self._fail_at)}, "
            f"fail_rate={self._fail_rate}, effect={self._effect}, counted={self._counted!r}, seed={self._seed}; "
            f"{self.operations} operations, failed: {', '.join(self.failures) or 'none'})"
        )

    @property
    def url(self) -> str:
        return self.inner.url

    def create(self, key: str, data: bytes | Path) -> None:
        self._do("create", key, lambda: self.inner.create(key, data))

    def batch(self, folder: Path) -> contextlib.AbstractContextManager[Batch]:
        return contextlib.nullcontext(PlainBatch(self.create, folder))

    def replace(self, key: str, data: bytes) -> None:
        self._do("replace", key, lambda: self.inner.replace(key, data))

    def read(self, key: str) -> bytes:
        return self._do("read", key, lambda: self.inner.read(key))

    def open(self, key: str) -> BinaryIO:
        return self._do("open", key, lambda: self.inner.open(key))

    def stat(self, key: str) -> ObjectInfo:
        return self._do("stat", key, lambda: self.inner.stat(key))

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        return self._do("list", prefix, lambda: self.inner.list(prefix, after=after))

    def delete(self, key: str) -> None:
        self._do("delete", key, lambda: self.inner.delete(key))

    def erase(self, key: str) -> None:
        self._do("erase", key, lambda: self.inner.erase(key))

    def lock(self, key: str) -> ObjectLock | None:
        return self._do("lock", key, lambda: self.inner.lock(key))

    def can_hold(self) -> bool:
        return self._do("can_hold", "", self.inner.can_hold)

    def set_legal_hold(self, key: str, *, on: bool) -> bool:
        return self._do("set_legal_hold", key, lambda: self.inner.set_legal_hold(key, on=on))

    def storage_class(self, key: str) -> str | None:
        return self._do("storage_class", key, lambda: self.inner.storage_class(key))

    def move_to_class(self, key: str, storage_class: str) -> bool:
        return self._do("move_to_class", key, lambda: self.inner.move_to_class(key, storage_class))

    def is_cold(self, key: str) -> bool:
        return self._do("is_cold", key, lambda: self.inner.is_cold(key))

    def thaw(self, key: str, *, days: int, speed: ThawSpeed) -> ThawState:
        return self._do("thaw", key, lambda: self.inner.thaw(key, days=days, speed=speed))

    def list_hidden(self, prefix: str) -> Iterator[ObjectInfo]:
        return self._do("list_hidden", prefix, lambda: self.inner.list_hidden(prefix))

    def probe(self) -> None:
        self._do("probe", "", self.inner.probe)

    def sweep(self) -> int:
        return self._do("sweep", "", self.inner.sweep)

    def _do(self, name: str, key: str, call: Callable[[], _Result]) -> _Result:
        failure, effect = self._next_failure(name, key)
        if failure is None:
            return call()
        if effect == "after":
            call()
        raise failure

    def _next_failure(self, name: str, key: str) -> tuple[BaseException | None, Effect]:
        with self._lock:
            if self._is_stopped:
                return Stopped("earlier"), "before"
            if self._counted == "writes" and name not in WRITES:
                return None, "before"
            self.operations += 1
            place = f"{name} {key}, operation {self.operations}"
            chance = random.Random(f"{self._seed}:{self.operations}")
            fails = chance.random() < self._fail_rate or self.operations in self._fail_at
            effect = chance.choice(EFFECTS) if self._effect is None else self._effect
            self._is_stopped = self.operations == self._stop_at
            if self._is_stopped or fails:
                self.failures.append(f"{place}, {effect}")
            if self._is_stopped:
                return Stopped(place), effect
            return (StoreUnreachableError(f"no answer to {place}", next_step="ask again") if fails else None), effect
