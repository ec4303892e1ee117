"""Many pushes, one sync: concurrent appends are gathered and made durable together.

A single thread owns the writing. While it waits for the disk, the pushes that arrive form the next batch, so batches grow with
the load and an idle spool is written at once. A bounded number of captures and bytes waits; beyond that an append is refused
rather than remembered, because memory is not durable.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from types import TracebackType
from typing import Final, Self, TypeAlias

from archiver.errors import SpoolError
from archiver.model.capture import Capture
from archiver.spool import Spool
from archiver.spool.frame import BATCH_CAPTURES_MAX

CAPTURES_WAITING_MAX: Final = 10_000
BYTES_WAITING_MAX: Final = 67_108_864

_OVERLOADED: Final = (
    "if this does not pass, look for what slows the spool down: the disk under `state`, or the way to its queue"
)
_STOPPING: Final = "start the listener again"


# A capture (None: a probe) and who waits for it.
_Waiting: TypeAlias = tuple[Capture | None, asyncio.Future[None]]


class GroupCommitter:
    """The listener's way into a spool: `append` returns when the capture is durable.

    An asynchronous context manager, used from the one event loop that entered it; leaving it writes what still waits and
    keeps the spool itself open. A batch that fails fails for each of its captures, and the next one is tried anew.
    """

    def __init__(
        self,
        spool: Spool,
        *,
        captures_waiting_max: int = CAPTURES_WAITING_MAX,
        bytes_waiting_max: int = BYTES_WAITING_MAX,
    ) -> None:
        self._spool = spool
        self._captures_waiting_max = captures_waiting_max
        self._bytes_waiting_max = bytes_waiting_max
        self._captures_waiting = 0
        self._bytes_waiting = 0
        self._arrived: list[_Waiting] = []
        # A batch is being written, or is about to be handed to the thread that writes.
        self._is_busy = False
        self._batches: queue.SimpleQueue[list[_Waiting] | None] = queue.SimpleQueue()
        self._is_open = False
        self._loop: asyncio.AbstractEventLoop
        self._stopped: asyncio.Future[None]

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._stopped = self._loop.create_future()
        self._is_open = True
        # A daemon, so that a caller who dies without leaving the context does not keep the process alive.
        threading.Thread(target=self._write_batches, name="spool-writer", daemon=True).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        self._hand_over()
        self._batches.put(None)
        await self._stopped

    async def append(self, capture: Capture) -> None:
        """Return when the capture is durable; raises `SpoolError` if it cannot be, or if too much waits already."""
        body_bytes = len(capture.body)
        if (
            self._captures_waiting >= self._captures_waiting_max
            or self._bytes_waiting + body_bytes > self._bytes_waiting_max
        ):
            raise SpoolError(
                f"{self._captures_waiting_max} captures or {self._bytes_waiting_max} bytes wait to be written already",
                next_step=_OVERLOADED,
            )
        self._captures_waiting += 1
        self._bytes_waiting += body_bytes
        try:
            await self._arrive(capture)
        finally:
            self._captures_waiting -= 1
            self._bytes_waiting -= body_bytes

    async def probe(self) -> None:
        """Return if the spool can be written just now; raises `SpoolError` if not."""
        await self._arrive(None)

    async def beat(self, listener: str, *, at_ms: int) -> None:
        """Note in the spool that a listener is alive; a thread beside the writing one does it. Raises `SpoolError`."""
        await asyncio.to_thread(self._spool.beat, listener, at_ms=at_ms)

    def _arrive(self, capture: Capture | None) -> asyncio.Future[None]:
        if not self._is_open:
            raise SpoolError("the spool takes nothing more: the listener is stopping", next_step=_STOPPING)
        durable = self._loop.create_future()
        self._arrived.append((capture, durable))
        if not self._is_busy:
            self._is_busy = True
            self._loop.call_soon(self._gather, 0)
        return durable

    def _gather(self, seen: int) -> None:
        """Hand over once a turn of the loop brought nothing new: no time passes, but what is on its way comes along.

        A larger batch saves more than a sync. While the loop still has pushes to read, the writing thread and it would take
        the interpreter lock from each other at every step, which costs more than the steps themselves.
        """
        arrived = len(self._arrived)
        if arrived in (0, seen) or arrived >= BATCH_CAPTURES_MAX:
            self._hand_over()
        else:
            self._loop.call_soon(self._gather, arrived)

    def _hand_over(self) -> None:
        batch, self._arrived = self._arrived, []
        self._is_busy = bool(batch)
        if batch:
            self._batches.put(batch)

    def _settle(self, batch: list[_Waiting], error: Exception | None) -> None:
        for _, durable in batch:
            # Whoever gave up waiting has cancelled; what was written for them stays written.
            if durable.done():
                continue
            if error is None:
                durable.set_result(None)
            else:
                durable.set_exception(error)
        self._gather(0)

    def _write_batches(self) -> None:
        while (batch := self._batches.get()) is not None:
            self._loop.call_soon_threadsafe(self._settle, batch, self._write(batch))
        self._loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        if not self._stopped.done():
            self._stopped.set_result(None)

    def _write(self, batch: list[_Waiting]) -> Exception | None:
        captures = [capture for capture, _ in batch if capture is not None]
        try:
            if captures:
                self._spool.append(captures)
            else:
                self._spool.probe()
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of any failure, and this thread must go on
            return error
        return None
