"""A store in this process's memory: for tests, and the shortest reading of the contract."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from archiver.errors import KeyExistsError, KeyMissingError, StoreRefusedError
from archiver.store import Batch, ObjectInfo, ObjectLock, ThawSpeed, ThawState
from archiver.store.batches import PlainBatch
from archiver.store.classes import no_classes
from archiver.store.keys import check_key, check_prefix


class MemoryStore:
    """Keeps the `Store` contract as long as the process lives."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """``memory:``; there is nothing that another engine could open."""
        return "memory:"

    def create(self, key: str, data: bytes | Path) -> None:
        """Keep the bytes unless the key is taken; raises `KeyExistsError`."""
        check_key(key)
        content = data.read_bytes() if isinstance(data, Path) else bytes(data)
        with self._lock:
            if key in self._objects:
                raise KeyExistsError(f"{self.url} already has {key}")
            self._objects[key] = content

    def batch(self, folder: Path) -> contextlib.AbstractContextManager[Batch]:
        """Create one by one."""
        return contextlib.nullcontext(PlainBatch(self.create, folder))

    def replace(self, key: str, data: bytes) -> None:
        """Keep the bytes, taken or not."""
        check_key(key)
        with self._lock:
            self._objects[key] = bytes(data)

    def read(self, key: str) -> bytes:
        """Return the bytes; raises `KeyMissingError`."""
        check_key(key)
        try:
            return self._objects[key]
        except KeyError:
            raise KeyMissingError(f"{self.url} has no {key}") from None

    def open(self, key: str) -> BinaryIO:
        """Return a reader over the bytes as they are now; raises `KeyMissingError`."""
        return io.BytesIO(self.read(key))

    def stat(self, key: str) -> ObjectInfo:
        """Return key and size; raises `KeyMissingError`."""
        return ObjectInfo(key, len(self.read(key)))

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """Yield what is there at the first step, in key order."""
        check_prefix(prefix)
        check_prefix(after)
        return self._list(prefix, after)

    def delete(self, key: str) -> None:
        """Forget the key."""
        check_key(key)
        with self._lock:
            self._objects.pop(key, None)

    def erase(self, key: str) -> None:
        """Forget the key: a dictionary keeps nothing else."""
        self.delete(key)

    def lock(self, key: str) -> ObjectLock | None:
        """Return None: nothing is ever locked; raises `KeyMissingError`."""
        self.stat(key)
        return None

    def can_hold(self) -> bool:
        """Return False: a dictionary has no legal holds."""
        return False

    def set_legal_hold(self, key: str, *, on: bool) -> bool:
        """Raise `StoreRefusedError`: a dictionary has no legal holds."""
        del on
        self.stat(key)
        raise StoreRefusedError(
            f"{self.url} has no legal holds to put on {key}",
            next_step="keep the archive in a bucket with Object Lock enabled, or set `holds.mirror: false`",
        )

    def storage_class(self, key: str) -> str | None:
        """Return None: there are no classes; raises `KeyMissingError`."""
        self.stat(key)
        return None

    def move_to_class(self, key: str, storage_class: str) -> bool:
        """Refuse: there are no classes."""
        self.stat(key)
        raise no_classes(self.url, storage_class)

    def is_cold(self, key: str) -> bool:
        """Return False: there are no classes; raises `KeyMissingError`."""
        self.stat(key)
        return False

    def thaw(self, key: str, *, days: int, speed: ThawSpeed) -> ThawState:
        """Return that it can be read, as everything here; raises `KeyMissingError`."""
        del days, speed
        self.stat(key)
        return "readable"

    def list_hidden(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield nothing: there are no versions."""
        check_prefix(prefix)
        return iter(())

    def probe(self) -> None:
        """Do nothing: a dictionary under a lock keeps the contract wherever it runs."""

    def sweep(self) -> int:
        """Return 0: nothing is ever half written."""
        return 0

    def _list(self, prefix: str, after: str) -> Iterator[ObjectInfo]:
        with self._lock:
            infos = [
                ObjectInfo(key, len(content))
                for key, content in self._objects.items()
                if key.startswith(prefix) and key > after
            ]
        infos.sort(key=lambda info: info.key)
        yield from infos
