"""Other processes that read captures. They take a second to start, and until then whoever waits for them reads itself."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, Executor, Future

from archiver.capture.reading import PackedReading, read_packed
from archiver.spool import SpooledBlock


class ReadingPool:
    """Processes that read captures; ``waker`` has a thread to start them in, because starting one waits for it."""

    def __init__(self, processes: Executor, *, waker: Executor) -> None:
        self._processes = processes
        self._awake = waker.submit(_wake, processes)

    def start(self, blocks: Sequence[SpooledBlock], *, spool_id: str) -> Future[PackedReading] | None:
        """Let a process read captures; None if none is ready for it, or one has gone and took the others with it.

        The future raises `BrokenExecutor` if a process goes while it reads.
        """
        if not self._awake.done() or not self._awake.result():
            return None
        try:
            return self._processes.submit(read_packed, blocks, spool_id)
        except BrokenExecutor:
            return None


def _wake(processes: Executor) -> bool:
    """Return when the first process is there, and whether it is."""
    try:
        processes.submit(read_packed, (), "").result()
    except (BrokenExecutor, OSError):
        return False
    return True
