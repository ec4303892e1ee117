"""A store in memory with old versions, locks, legal holds and storage classes as S3 has them, and a list of all that was done to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from archiver.errors import KeyMissingError, ObjectLockedError
from archiver.store import ObjectInfo, ObjectLock
from archiver.store.memory import MemoryStore


class LockingStore(MemoryStore):
    """Keeps what ``locks`` names from being erased, and hides it; ``done`` has a line for each change, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.locks: dict[str, ObjectLock] = {}
        self.hidden: set[str] = set()
        self.classes: dict[str, str] = {}
        self.done: list[str] = []

    def create(self, key: str, data: bytes | Path) -> None:
        super().create(key, data)
        self.done.append(f"create {key}")

    def replace(self, key: str, data: bytes) -> None:
        super().replace(key, data)
        self.done.append(f"replace {key}")

    def delete(self, key: str) -> None:
        super().delete(key)
        self.done.append(f"delete {key}")

    def erase(self, key: str) -> None:
        is_there = key in self._objects
        super().delete(key)
        lock = self.locks.get(key)
        if lock is not None and (is_there or key in self.hidden):
            self.hidden.add(key)
            self.done.append(f"hide {key}")
            raise ObjectLockedError(f"{key} is locked", until_ms=lock.until_ms, legal_hold=lock.legal_hold)
        self.hidden.discard(key)
        self.done.append(f"erase {key}")

    def lock(self, key: str) -> ObjectLock | None:
        self.stat(key)
        return self.locks.get(key)

    def can_hold(self) -> bool:
        return True

    def set_legal_hold(self, key: str, *, on: bool) -> bool:
        if key not in self.hidden:
            self.stat(key)
        elif on:
            raise KeyMissingError(f"{self.url} has no {key}")
        before = self.locks.get(key, ObjectLock(None, legal_hold=False))
        after = ObjectLock(before.until_ms, legal_hold=on)
        if after == before:
            return False
        self.locks.pop(key, None)
        if on or after.until_ms is not None:
            self.locks[key] = after
        self.done.append(f"{'hold' if on else 'lift'} {key}")
        return True

    def list_hidden(self, prefix: str) -> Iterator[ObjectInfo]:
        return iter([ObjectInfo(key, 1) for key in sorted(self.hidden) if key.startswith(prefix)])

    def storage_class(self, key: str) -> str:
        self.stat(key)
        return self.classes.get(key, "STANDARD")

    def move_to_class(self, key: str, storage_class: str) -> bool:
        if self.storage_class(key) == storage_class:
            return False
        if lock := self.locks.get(key):
            raise ObjectLockedError(f"{key} is locked", until_ms=lock.until_ms, legal_hold=lock.legal_hold)
        self.classes[key] = storage_class
        self.done.append(f"move {key}")
        return True
