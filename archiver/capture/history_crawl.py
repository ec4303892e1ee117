"""Reading many chats at once: walks in threads, their steps handed over one by one, and no more of them than can be taken.

A chat's steps come in their order, because one thread walks through it; those of different chats come as they come.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Full, Queue
from threading import Event, Lock
from typing import Final

from archiver.capture.history import Budget, Chat, Depth, Step, World, read_chat

# So many steps a thread may be ahead of whoever takes them.
STEPS_AHEAD_PER_THREAD: Final = 4
_PATIENCE_SECONDS: Final = 0.2


def read_chats(
    world: World, chats: Iterable[Chat], depth: Depth, budget: Budget, *, threads: int
) -> Generator[Step, None, None]:
    """Walk through chats in so many threads and yield every step; the first exception of a walk is raised to the reader.

    When the reader stops early, walks end after the page that they are at.
    """
    crawl = _Crawl(world, chats, depth, budget, threads=threads)
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="history") as pool:
        for _ in range(threads):
            pool.submit(crawl.work)
        try:
            yield from crawl.steps(threads)
        finally:
            crawl.stop()


class _Crawl:
    """Chats to walk through, and the steps that were made and not taken yet."""

    def __init__(self, world: World, chats: Iterable[Chat], depth: Depth, budget: Budget, *, threads: int) -> None:
        self._world = world
        self._chats = iter(chats)
        self._depth: Depth = depth
        self._budget = budget
        self._steps: Queue[Step | BaseException | None] = Queue(maxsize=threads * STEPS_AHEAD_PER_THREAD)
        self._lock = Lock()
        self._stopped = Event()

    def work(self) -> None:
        """Walk through one chat after the other; what one thread runs."""
        try:
            while not self._stopped.is_set() and (chat := self._next_chat()) is not None:
                for step in read_chat(self._world, chat, self._depth, self._budget):
                    if not self._put(step):
                        return
        except BaseException as error:  # noqa: BLE001 -- the reader raises it
            self._put(error)
        finally:
            self._put(None)

    def steps(self, threads: int) -> Generator[Step, None, None]:
        """Yield steps until every thread is done."""
        at_work = threads
        while at_work:
            step = self._steps.get()
            if step is None:
                at_work -= 1
            elif isinstance(step, BaseException):
                raise step
            else:
                yield step

    def stop(self) -> None:
        """Let every thread end after the page that it is at."""
        self._stopped.set()

    def _next_chat(self) -> Chat | None:
        with self._lock:
            return next(self._chats, None)

    def _put(self, step: Step | BaseException | None) -> bool:
        """Hand over a step and tell whether anybody is there to take it."""
        while not self._stopped.is_set():
            with suppress(Full):
                self._steps.put(step, timeout=_PATIENCE_SECONDS)
                return True
        return False
