"""Many pushes, one sync: what the group committer owes to those who wait, and to the disk."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from archiver.errors import SpoolError
from archiver.model.capture import Capture, SpooledCapture
from archiver.spool import SpoolDepth
from archiver.spool.group_commit import GroupCommitter
from archiver.spool.sqlite import SqliteSpool

DEADLINE_SECONDS = 10


class GatedSpool:
    """A spool in memory whose writing waits for `gate`, and fails while `failure` is set."""

    spool_id = "gated"

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.writing = threading.Event()
        self.failure: Exception | None = None
        self.batches: list[list[bytes]] = []
        self.probes = 0

    def append(self, captures: Sequence[Capture]) -> None:
        self._write()
        self.batches.append([capture.body for capture in captures])

    def probe(self) -> None:
        self._write()
        self.probes += 1

    def _write(self) -> None:
        self.writing.set()
        assert self.gate.wait(DEADLINE_SECONDS)
        if self.failure is not None:
            raise self.failure

    def read(self, *, after: int, captures_max: int, bytes_max: int) -> list[SpooledCapture]:
        raise NotImplementedError

    def discard(self, *, through: int) -> None:
        raise NotImplementedError

    def depth(self) -> SpoolDepth:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def capture(number: int, *, size: int = 1) -> Capture:
    return Capture("general", "webhook", number, "webhook-token", (b"%d" % number).ljust(size))


async def until_writing(spool: GatedSpool) -> None:
    assert await asyncio.to_thread(spool.writing.wait, DEADLINE_SECONDS)


def test_an_append_returns_only_when_the_spool_has_it(tmp_path: Path):
    async def scenario() -> None:
        spool = SqliteSpool(tmp_path / "spool.sqlite")
        async with GroupCommitter(spool) as committer:
            for n in range(3):
                await committer.append(capture(n))
                assert spool.depth().captures == n + 1
        spool.close()

    asyncio.run(scenario())


def test_pushes_that_arrive_during_a_sync_share_the_next_one():
    async def scenario() -> GatedSpool:
        spool = GatedSpool()
        spool.gate.clear()
        async with GroupCommitter(spool) as committer:
            first = asyncio.ensure_future(committer.append(capture(0)))
            await until_writing(spool)
            others = [asyncio.ensure_future(committer.append(capture(n))) for n in range(1, 6)]
            await asyncio.sleep(0)
            assert not first.done()
            spool.gate.set()
            await asyncio.gather(first, *others)
        return spool

    assert asyncio.run(scenario()).batches == [[b"0"], [b"1", b"2", b"3", b"4", b"5"]]


def test_a_failed_batch_fails_for_each_of_its_pushes_and_the_next_is_tried_anew():
    async def scenario() -> GatedSpool:
        spool = GatedSpool()
        spool.gate.clear()
        spool.failure = SpoolError("no space")
        async with GroupCommitter(spool) as committer:
            first = asyncio.ensure_future(committer.append(capture(0)))
            await until_writing(spool)
            others = [asyncio.ensure_future(committer.append(capture(n))) for n in (1, 2)]
            await asyncio.sleep(0)
            spool.gate.set()
            results = await asyncio.gather(first, *others, return_exceptions=True)
            assert [type(result) for result in results] == [SpoolError] * 3
            spool.failure = None
            await committer.append(capture(3))
        return spool

    assert asyncio.run(scenario()).batches == [[b"3"]]


def test_even_an_unforeseen_failure_reaches_who_waits():
    async def scenario() -> None:
        spool = GatedSpool()
        async with GroupCommitter(spool) as committer:
            spool.failure = ValueError("a bug")
            with pytest.raises(ValueError, match="a bug"):
                await committer.append(capture(0))
            spool.failure = None
            await committer.append(capture(1))

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("limits", "size"),
    [({"captures_waiting_max": 3}, 1), ({"bytes_waiting_max": 350}, 100)],
    ids=["captures", "bytes"],
)
def test_more_than_may_wait_is_refused_and_room_comes_back(limits, size):
    async def scenario() -> GatedSpool:
        spool = GatedSpool()
        spool.gate.clear()
        async with GroupCommitter(spool, **limits) as committer:
            waiting = [asyncio.ensure_future(committer.append(capture(n, size=size))) for n in range(3)]
            await asyncio.sleep(0)
            with pytest.raises(SpoolError, match="wait to be written already"):
                await committer.append(capture(3, size=size))
            spool.gate.set()
            await asyncio.gather(*waiting)
            await committer.append(capture(4, size=size))
        return spool

    batches = asyncio.run(scenario()).batches
    assert [int(body) for batch in batches for body in batch] == [0, 1, 2, 4]


def test_leaving_writes_what_still_waits_and_takes_nothing_more():
    async def scenario() -> GatedSpool:
        spool = GatedSpool()
        spool.gate.clear()
        async with GroupCommitter(spool) as committer:
            waiting = [asyncio.ensure_future(committer.append(capture(n))) for n in range(4)]
            await until_writing(spool)
            asyncio.get_running_loop().call_soon(spool.gate.set)
        await asyncio.gather(*waiting)
        with pytest.raises(SpoolError, match="is stopping"):
            await committer.append(capture(9))
        return spool

    batches = asyncio.run(scenario()).batches
    assert [body for batch in batches for body in batch] == [b"0", b"1", b"2", b"3"]


def test_who_gives_up_waiting_disturbs_nobody_else():
    async def scenario() -> GatedSpool:
        spool = GatedSpool()
        spool.gate.clear()
        async with GroupCommitter(spool) as committer:
            impatient = asyncio.ensure_future(committer.append(capture(0)))
            await until_writing(spool)
            patient = asyncio.ensure_future(committer.append(capture(1)))
            await asyncio.sleep(0)
            impatient.cancel()
            spool.gate.set()
            await patient
        return spool

    assert asyncio.run(scenario()).batches == [[b"0"], [b"1"]]


def test_a_probe_writes_by_itself_or_rests_on_the_append_beside_it():
    async def scenario() -> GatedSpool:
        spool = GatedSpool()
        async with GroupCommitter(spool) as committer:
            await committer.probe()
            assert spool.probes == 1
            spool.gate.clear()
            spool.writing.clear()
            first = asyncio.ensure_future(committer.append(capture(0)))
            await until_writing(spool)
            both = [asyncio.ensure_future(committer.probe()), asyncio.ensure_future(committer.append(capture(1)))]
            await asyncio.sleep(0)
            spool.gate.set()
            await asyncio.gather(first, *both)
            spool.failure = SpoolError("read-only")
            with pytest.raises(SpoolError, match="read-only"):
                await committer.probe()
        return spool

    spool = asyncio.run(scenario())
    assert (spool.probes, spool.batches) == (1, [[b"0"], [b"1"]])
