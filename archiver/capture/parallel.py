"""Doing many independent pieces of work in threads, with no more of them under way than the reader can take."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Final, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# Finished results that wait for the reader, and items that wait for a thread, are this many times the threads together.
AHEAD_PER_THREAD: Final = 2


def map_unordered(
    work: Callable[[_Item], _Result],
    items: Iterable[_Item],
    *,
    threads: int,
    discard: Callable[[_Result], None] | None = None,
) -> Generator[_Result, None, None]:
    """Yield ``work(item)`` for every item as they finish, reading ``items`` only as far as there is room.

    The first exception of ``work`` is raised to the reader. When the reader stops early (closes the generator), for
    whatever reason, what has not begun is dropped, what has begun is waited for, and ``discard`` is given each result
    that nobody will read.
    """
    under_way: set[Future[_Result]] = set()
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="capture") as pool:
        try:
            for item in items:
                under_way.add(pool.submit(work, item))
                if len(under_way) >= threads * AHEAD_PER_THREAD:
                    yield from _take_finished(under_way)
            while under_way:
                yield from _take_finished(under_way)
        finally:
            for future in under_way:
                future.cancel()
            wait(under_way)
            if discard is not None:
                for future in under_way:
                    if not future.cancelled() and future.exception() is None:
                        discard(future.result())


def _take_finished(under_way: set[Future[_Result]]) -> Iterator[_Result]:
    """Wait for at least one result and yield what is there; a future leaves the set as its result is handed over."""
    for future in wait(under_way, return_when=FIRST_COMPLETED).done:
        under_way.remove(future)
        yield future.result()
