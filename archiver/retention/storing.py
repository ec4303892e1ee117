"""Storing objects beside the work on the next ones: who encodes does not wait for a disk or a network to have taken what it made."""

from __future__ import annotations

import threading
from concurrent.futures import Executor, Future, wait
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from archiver.archive import blobs
from archiver.errors import KeyExistsError
from archiver.store import Store

# So many objects are stored at once, and no more wait in memory for it.
AT_ONCE: Final = 4


class Storing:
    """Stores objects in the threads of ``writers``, or at once where there are none; all of them are stored when the block ends.

    The block ends only when nothing is being stored any more, also after an error; the first one of storing is raised by whatever comes
    next: another object, or the block's end. Safe to share between threads.
    """

    def __init__(self, store: Store, writers: Executor | None) -> None:
        self._store = store
        self._writers = writers
        self._free = threading.BoundedSemaphore(AT_ONCE)
        self._tasks: list[Future[None]] = []
        self._failed: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        wait(self._tasks)
        if error is None:
            self._require_stored()

    def add(self, key: str, data: bytes | Path, *, digest: str) -> None:
        """Store an object under a key that nobody else uses; one in a file is stored when this returns, one in memory soon after."""
        if self._writers is None or isinstance(data, Path):
            create_own(self._store, key, data, digest=digest)
            return
        self._free.acquire()  # given back by the task, in another thread
        try:
            self._require_stored()
            task = self._writers.submit(create_own, self._store, key, data, digest=digest)
        except BaseException:
            self._free.release()
            raise
        self._tasks.append(task)
        task.add_done_callback(self._done)

    def _done(self, task: Future[None]) -> None:
        self._failed = self._failed or task.exception()
        self._free.release()

    def _require_stored(self) -> None:
        if self._failed is not None:
            raise self._failed


def create_own(store: Store, key: str, data: bytes | Path, *, digest: str) -> None:
    """Create an object whose key nobody else writes, so that what is there already is our own first try."""
    try:
        store.create(key, data)
    except KeyExistsError:
        with store.open(key) as there:
            if blobs.digest_of(there)[0] != digest:
                raise
