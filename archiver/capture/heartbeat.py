"""The listener's heartbeat: a few bytes in the spool every few seconds, so that a run can tell when nobody listened.

It is no part of any push's way: a thread of its own writes it, a few times a minute, beside the thread that writes pushes. A beat
that cannot be written is missing, and rightly so: a push could not have been kept either.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog

from archiver.clock import Clock
from archiver.errors import SpoolError
from archiver.spool.group_commit import GroupCommitter

# Four beats fit into what a spool takes for one uptime, so one slow sync is no hole.
BEAT_SECONDS: Final = 15.0

log = structlog.get_logger(__name__)


@asynccontextmanager
async def beating(
    committer: GroupCommitter, clock: Clock, *, listener: str, every_seconds: float = BEAT_SECONDS
) -> AsyncIterator[None]:
    """Beat at the beginning, every few seconds, and at the end; ``listener`` names this process."""
    heart = _Heart(committer, clock, listener)
    await heart.beat()
    beats = asyncio.create_task(heart.beat_every(every_seconds))
    try:
        yield
    finally:
        beats.cancel()
        with suppress(asyncio.CancelledError):
            await beats
        await heart.beat()


class _Heart:
    def __init__(self, committer: GroupCommitter, clock: Clock, listener: str) -> None:
        self._committer = committer
        self._clock = clock
        self._listener = listener
        self._failed = False

    async def beat_every(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            await self.beat()

    async def beat(self) -> None:
        """Beat once; a spool that cannot be written is said in the log once, until it can be again."""
        try:
            await self._committer.beat(self._listener, at_ms=self._clock.now_ms())
        except SpoolError as error:
            if not self._failed:
                log.warning("the listener's heartbeat is not written", reason=error.what, next_step=error.next_step)
            self._failed = True
        else:
            self._failed = False
