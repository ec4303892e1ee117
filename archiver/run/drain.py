"""The drain: what waits in the spool becomes rows, commit by commit, and only then leaves the spool.

While one batch is being committed, which is mostly work that leaves the interpreter free, the next one is read.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from archiver.archive.commit import Draft
from archiver.archive.ledger import Gap
from archiver.archive.reader import Head
from archiver.capture.drain import Batch
from archiver.capture.leftovers import count_archived
from archiver.capture.reading import ReadCaptures, read_blocks
from archiver.run.batch import prepare
from archiver.run.interpreter import quick_turns
from archiver.run.result import StageResult
from archiver.run.session import Session
from archiver.spool import SpooledBlock

# What Arrow's parser takes in one go: a quarter of a commit, so that two at a time come out even.
CAPTURES_PER_READ = 5_120
BLOCKS_UNDER_WAY = 2  # the parser leaves the interpreter free, so that another block can be read meanwhile

_SET_BACK = (
    "spool {} gives numbers again that the archive holds up to {}: it was restored from a copy, and what arrived "
    "between that copy and the restoration and no run had archived is lost"
)


def drain(session: Session) -> StageResult:
    """Archive what waits in the spool now and discard it from there; what arrives meanwhile is for the next run."""
    spool = session.ports.spool
    counts: Counter[str] = Counter()
    after, set_back = _forget_archived(session)
    news = set_back  # what the first commit has to say beside its own gaps
    waiting = spool.depth().captures
    session.progress.start("drain", total=waiting)
    with quick_turns(), ThreadPoolExecutor(max_workers=1, thread_name_prefix="commit") as committer:
        under_way: Future[Counter[str]] | None = None
        while waiting > 0 and not session.out_of_time:
            batch, watermark = _read_batch(session, after, captures_max=waiting)
            if under_way is not None:
                counts += under_way.result()
                under_way = None
            if batch is None:
                waiting = 0
                break
            under_way = committer.submit(_commit, session, batch, watermark, gaps=news)
            news = ()
            after = watermark
            waiting -= batch.capture_count
        if under_way is not None:
            counts += under_way.result()
    return StageResult("drain", counts=dict(counts), gaps=(*set_back, *_gaps(counts)), unfinished=waiting > 0)


def _forget_archived(session: Session) -> tuple[int, tuple[Gap, ...]]:
    """Discard what a crash between commit and discard left, and return after which sequence the drain goes on.

    In a spool that was set back, what stands below the watermark and is not archived is new. What it had taken since
    the copy was made, and no run had archived, is gone; that is the gap.
    """
    spool, store = session.ports.spool, session.ports.archive.store
    watermark = session.head.watermarks.get(spool.spool_id, 0)
    after = 0
    while True:
        captures = spool.read(after=after, captures_max=CAPTURES_PER_READ, bytes_max=session.limits.bytes_per_commit)
        below = [spooled for spooled in captures if spooled.sequence <= watermark]
        archived = count_archived(store, session.head, below, spool_id=spool.spool_id) if below else 0
        if archived:
            after = below[archived - 1].sequence
            spool.discard(through=after)
        if archived < len(below):
            return after, (Gap(kind="spool-set-back", count=1, evidence=_SET_BACK.format(spool.spool_id, watermark)),)
        if not below or len(below) < len(captures):
            return max(after, watermark), ()


def _read_batch(session: Session, after: int, *, captures_max: int) -> tuple[Batch | None, int]:
    """Read up to one commit's worth of captures and the sequence of the last; None if none wait.

    While some captures become columns, the spool already hands out the next, and they begin to.
    """
    spool, limits, clock = session.ports.spool, session.limits, session.ports.clock
    captures_left = min(captures_max, limits.messages_per_commit)
    bytes_left = limits.bytes_per_commit
    deadline = clock.monotonic() + limits.seconds_per_commit
    batch = Batch()
    reading: deque[Future[ReadCaptures]] = deque()

    def next_blocks() -> Future[list[SpooledBlock]]:
        return session.ports.executor.submit(
            spool.read_blocks,
            after=after,
            captures_max=min(CAPTURES_PER_READ, captures_left),
            bytes_max=bytes_left,
        )

    under_way: Future[list[SpooledBlock]] | None = next_blocks()
    while under_way is not None:
        blocks = under_way.result()
        under_way = None
        if not blocks:
            break
        after = blocks[-1].last_sequence
        captures_left -= sum(block.captures for block in blocks)
        bytes_left -= sum(block.body_bytes for block in blocks)
        if captures_left > 0 and bytes_left > 0 and clock.monotonic() < deadline:
            under_way = next_blocks()
        reading.append(session.ports.executor.submit(read_blocks, blocks, spool_id=spool.spool_id))
        if len(reading) == BLOCKS_UNDER_WAY:
            batch.add_captures(reading.popleft().result())
    for read in reading:
        batch.add_captures(read.result())
    return (batch, after) if batch.capture_count else (None, after)


def _commit(session: Session, batch: Batch, watermark: int, *, gaps: tuple[Gap, ...]) -> Counter[str]:
    """Commit one batch, then let the spool forget it; returns what it added."""
    spool, clock = session.ports.spool, session.ports.clock
    counts: Counter[str] = Counter()
    with session.file_fetches() as fetches:

        def draft_for(head: Head) -> Draft:
            at_ms = clock.now_ms()
            prepared = prepare(session, head, batch, fetches, at_ms=at_ms)
            counts.clear()
            counts.update(prepared.counts)
            return Draft(
                at_ms=at_ms,
                tables=prepared.tables,
                blobs=prepared.blobs,
                watermarks={spool.spool_id: watermark},
                gaps=(*gaps, *_gaps(prepared.counts)),
            )

        session.commit(draft_for)
    spool.discard(through=watermark)
    session.progress.advance(batch.capture_count)
    return counts


def _gaps(counts: Mapping[str, int]) -> tuple[Gap, ...]:
    gaps = []
    if unparsed := counts.get("unparsed", 0):
        gaps.append(
            Gap(
                kind="unparsed",
                count=unparsed,
                evidence="kept in events with outcome 'unparsed', its error and its body",
            )
        )
    if files := counts.get("files_not_stored", 0):
        gaps.append(Gap(kind="file-not-stored", count=files, evidence="rows in files with their status and reason"))
    return tuple(gaps)
