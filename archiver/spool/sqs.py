"""The spool of several listeners: a queue of Amazon SQS that they send to, and that one machine's runs drain.

**In: at least once.** `SqsSpool.append` returns after SQS answered that it holds every message. One batch of captures is one
message (`sqs_message`), cut into several only where it is larger than the queue takes. If an answer was lost the client sends
again, under the same name.

**Out: exactly once.** A receive brings messages in any order, again and again, to whoever asks. So a run first takes them into a
journal on its machine (`sqs_journal`), which tells a message that came again by the name its sender gave it, puts them in the order
in which they were sent, and gives each capture a sequence that stays. From there the drain reads as from any spool. A message is
deleted from the queue only after the commit that holds it, when `discard` is called. So at every moment a push is in the queue,
or in the archive, or in both, and what comes again is known by its name:

=================================  ==================================================================================
a crash                            what the next run finds
=================================  ==================================================================================
after a receive                    the messages, once their time of hiding is over: `HIDDEN_SECONDS`
after they are in the journal      their sequences and bodies in the journal, at once
after the commit                   the watermark in the archive, as with any spool; it discards what lies below
after the discard                  receipts of what may be deleted; it deletes, and if that is too late the message
                                   comes again and is deleted then, for the journal remembers it for 30 days
=================================  ==================================================================================

A push that Flock sends twice is two captures with two names, and both leave an event; that they say the same is decided later
(`archiver.capture.versions`). A message that the queue delivers twice is one.

**One drains.** Only one journal can tell what came before, so the first one writes its name on the queue, as the tag
`DRAINED_BY_TAG`, and another one refuses to receive.
"""

from __future__ import annotations

import dataclasses
import re
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import structlog

from archiver.clock import Clock
from archiver.errors import SpoolError, SpoolTakenError, UnparseableError
from archiver.model.capture import Capture, SpooledCapture
from archiver.spool import QueueDepth, SpoolDepth, SpooledBlock, Uptime, frame
from archiver.spool.sqs_journal import SqsJournal
from archiver.spool.sqs_message import FORMAT, Kind, Part, captures_payload, read_text, text_of, texts_of
from archiver.spool.sqs_queue import BATCH_ENTRIES_MAX, RETENTION_SECONDS_MAX, Received, SqsQueue

DRAINED_BY_TAG: Final = "flock-archiver-drained-by"

# Longer than most commits take; what a run holds longer than this comes again, and is known.
HIDDEN_SECONDS: Final = 3_600
# A receive that waits asks every server of the queue, and so finds what is there; it returns as soon as it has something.
WAIT_SECONDS: Final = 1
CONNECTIONS_AT_ONCE: Final = 4
# SQS lets about 120,000 be under way; so much more of the disk is never taken either.
UNDER_WAY_MAX: Final = 100_000
HELD_BYTES_MAX: Final = 2_147_483_648
# While something was sent so lately, a probe need not send anything.
PROBE_SECONDS: Final = 20.0

_UNREADABLE_NAMED_MAX: Final = 5
_TAG_CHARACTERS_MAX: Final = 256
_NO_TAG_CHARACTER: Final = re.compile(r"[^A-Za-z0-9 _.:/=+@-]")
_SECOND_MS: Final = 1_000

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

log = structlog.get_logger(__name__)


class SqsSpool:
    """A `Spool` in a queue. Listeners append; one machine's runs read and discard, through a journal in ``folder``.

    ``folder`` is touched only by who reads. ``machine`` is what the queue's tag says of it, for people. One object may be used
    from several threads. Beside `SpoolError`, whoever reads may meet `SpoolTakenError`.
    """

    def __init__(
        self,
        queue: SqsQueue,
        folder: Path,
        *,
        clock: Clock,
        machine: str = "",
        wait_seconds: int = WAIT_SECONDS,
        hidden_seconds: int = HIDDEN_SECONDS,
        connections_at_once: int = CONNECTIONS_AT_ONCE,
        under_way_max: int = UNDER_WAY_MAX,
    ) -> None:
        self._queue = queue
        self._folder = folder
        self._clock = clock
        self._machine = machine
        self._wait_seconds = wait_seconds
        self._hidden_seconds = hidden_seconds
        self._under_way_max = under_way_max
        self._receivers = connections_at_once
        self._lock = threading.Lock()
        self._receiving = threading.Lock()
        self._pool = ThreadPoolExecutor(connections_at_once, thread_name_prefix="queue")
        self._is_closed = False
        self._sender = uuid.uuid4().hex
        self._number = 0
        self._sent_at_ms = 0
        self._alive_until: float | None = None
        self._opened_journal: SqsJournal | None = None
        self._is_full = False
        _warn_of(queue)

    @property
    def spool_id(self) -> str:
        """Name of this machine's journal of the queue, a UUID; a new journal gets a new one."""
        return self._journal().spool_id

    def append(self, captures: Sequence[Capture]) -> None:
        """Return when the queue holds all these captures. One that raises may have kept some of them nevertheless."""
        texts: list[str] = []
        for batch in frame.batches_of(captures):
            whole = self._part("captures", captures_payload(batch))
            texts += texts_of(whole, bytes_max=self._queue.message_bytes_max)
        self._send(texts)

    def probe(self) -> None:
        """Send something that is no capture, unless something was sent within `PROBE_SECONDS`."""
        self._check_open()
        if self._alive_until is None or self._clock.monotonic() >= self._alive_until:
            self._send([text_of(self._part("probe", b""))])

    def beat(self, listener: str, *, at_ms: int) -> None:
        """Send that a listener is alive; whoever drains the queue knows its uptimes."""
        part = self._part("beat", listener.encode("utf-8", errors="replace"))
        self._send([text_of(msgspec.structs.replace(part, sent_at_ms=at_ms))])

    def read(self, *, after: int, captures_max: int, bytes_max: int) -> list[SpooledCapture]:
        """Return the next captures above ``after``, in order."""
        return [
            SpooledCapture(sequence, capture)
            for block in self.read_blocks(after=after, captures_max=captures_max, bytes_max=bytes_max)
            for sequence, capture in enumerate(frame.decoded(block.frame), block.first_sequence)
        ]

    def read_blocks(self, *, after: int, captures_max: int, bytes_max: int) -> list[SpooledBlock]:
        """Return what `read` returns, in blocks as they were appended; the queue is asked only if the journal has too few."""
        journal = self._journal()
        last = journal.last_sequence()
        blocks = journal.read_blocks(after=after, captures_max=captures_max, bytes_max=bytes_max)
        has_all = not blocks or blocks[-1].last_sequence == last
        if has_all and sum(block.captures for block in blocks) < captures_max:
            self._receive()
            if journal.last_sequence() > last:
                return journal.read_blocks(after=after, captures_max=captures_max, bytes_max=bytes_max)
        return blocks

    def discard(self, *, through: int) -> None:
        """Forget the captures up to a sequence that a durable commit holds, and delete from the queue what is archived whole.

        A message that cannot be deleted now is deleted later: its place is the archive already.
        """
        journal = self._journal()
        journal.discard(through=through, at_ms=self._clock.now_ms())
        self._delete(journal)

    def depth(self) -> SpoolDepth:
        """Receive what waits, as much as may be under way at once, and return how much that is.

        Where the queue has more than that, the captures in the rest are counted as the most that they can be.
        """
        self._receive()
        depth = self._journal().depth()
        if not self._is_full:
            return depth
        more = self._queue.depth().messages * frame.BATCH_CAPTURES_MAX
        return dataclasses.replace(depth, captures=depth.captures + more)

    def queue_depth(self) -> QueueDepth:
        """Return how much the queue says that it has; nothing is received."""
        self._check_open()
        return self._queue.depth()

    def uptimes(self) -> list[Uptime]:
        """Return when listeners were alive, in order of their beginning, as far as their beats have come."""
        self._receive()
        return self._journal().uptimes()

    def forget_uptimes(self, *, before_ms: int) -> None:
        """Forget the uptimes that ended before an instant."""
        self._receive()
        self._journal().forget_uptimes(before_ms=before_ms)

    def scrub(self) -> bool:
        """Scrub the journal; what left the queue is gone from it."""
        return self._journal().scrub()

    def close(self) -> None:
        """Release the spool; twice is fine."""
        self._is_closed = True
        self._pool.shutdown()
        with self._lock:
            if self._opened_journal is not None:
                self._opened_journal.close()

    def _part(self, kind: Kind, payload: bytes) -> Part:
        """Return a message with a name of its own, sent not before the one before it."""
        with self._lock:
            self._number += 1
            self._sent_at_ms = max(self._sent_at_ms, self._clock.now_ms())
            return Part(
                format=FORMAT,
                kind=kind,
                sender=self._sender,
                number=self._number,
                sent_at_ms=self._sent_at_ms,
                payload=payload,
            )

    def _send(self, texts: Sequence[str]) -> None:
        self._check_open()
        try:
            self._each(self._queue.send, texts)
        except SpoolError:
            self._alive_until = None
            raise
        if texts:
            self._alive_until = self._clock.monotonic() + PROBE_SECONDS

    def _receive(self) -> None:
        """Take what waited in the queue when this began into the journal, as far as there is room, and give it its places.

        What is sent meanwhile is for another time, or this would never end beside busy listeners. Whether a message is older is
        told by the queue's own clock, in whole seconds.
        """
        journal = self._journal()
        with self._receiving:
            began_at_ms = oldest_at_ms = self._claim(journal)
            self._delete(journal)
            unreadable: list[str] = []
            count, size = journal.held()
            while True:
                self._is_full = count >= self._under_way_max or size >= HELD_BYTES_MAX
                if self._is_full:
                    break
                received = [message for some in self._each(self._some, range(self._receivers)) for message in some]
                taken = list(_readable(received, unreadable))
                journal.take(taken, at_ms=self._clock.now_ms())
                self._delete(journal)
                count += len(taken)
                size += sum(len(part.payload) for part, _ in taken)
                oldest_at_ms = min([oldest_at_ms, *(message.sent_at_ms for message in received if message.sent_at_ms)])
                if not any(message.sent_at_ms <= began_at_ms + _SECOND_MS for message in received):
                    break
            unreadable += journal.give_places()
            incomplete = journal.forget_old(now_ms=self._clock.now_ms())
        self._report(unreadable, incomplete, waited_ms=began_at_ms - oldest_at_ms)

    def _some(self, _: int) -> list[Received]:
        return self._queue.receive(wait_seconds=self._wait_seconds, hidden_seconds=self._hidden_seconds)

    def _claim(self, journal: SqsJournal) -> int:
        """Make sure that this journal is the one that drains the queue; returns what time it is at the queue.

        A tag is no lock: two that begin in the same second both see none. So it is read again after it was written, and before
        every receive.
        """
        holder, at_ms = self._queue.tag(DRAINED_BY_TAG)
        if holder is None:
            name = _NO_TAG_CHARACTER.sub("_", f"{journal.spool_id} {self._machine}".strip())
            self._queue.set_tag(DRAINED_BY_TAG, name[:_TAG_CHARACTERS_MAX])
            holder, at_ms = self._queue.tag(DRAINED_BY_TAG)
        if holder is not None and holder.split()[:1] != [journal.spool_id]:
            raise SpoolTakenError(
                f"the queue {self._queue.name} is drained from another state folder: {holder}",
                next_step=f"run there, or copy that state folder to here; if it is lost, take the tag {DRAINED_BY_TAG} from the "
                "queue (docs/operations.md, «Several listeners», says what that means)",
            )
        return at_ms

    def _delete(self, journal: SqsJournal) -> None:
        """Let the queue forget what it may; what fails is tried again next time."""
        receipts = journal.deletions()
        batches = [receipts[at : at + BATCH_ENTRIES_MAX] for at in range(0, len(receipts), BATCH_ENTRIES_MAX)]
        failures: list[SpoolError] = []

        def delete(batch: Sequence[str]) -> list[str]:
            try:
                return [] if failures else self._queue.delete(batch)
            except SpoolError as error:
                failures.append(error)
                return []

        done = [receipt for some in self._each(delete, batches) for receipt in some]
        if done:
            journal.deleted(done)
        if failures:
            log.warning(
                "the queue does not delete what is archived; it is tried again",
                queue=self._queue.name,
                reason=failures[0].what,
                next_step=failures[0].next_step,
            )

    def _report(self, unreadable: Sequence[str], incomplete: int, *, waited_ms: int) -> None:
        if waited_ms * 2 > self._queue.retention_seconds * _SECOND_MS:
            log.warning(
                "pushes waited long for a run, and the queue drops what waits longer than its retention; run every night",
                queue=self._queue.name,
                waited_seconds=waited_ms // _SECOND_MS,
                retention_seconds=self._queue.retention_seconds,
            )
        if unreadable:
            log.error(
                "messages in the queue cannot be read, and the queue drops them when its retention is over",
                queue=self._queue.name,
                count=len(unreadable),
                messages="; ".join(unreadable[:_UNREADABLE_NAMED_MAX]),
            )
        if incomplete:
            log.warning(
                "pushes came only in part, because a listener did not get to their end; none of them was answered 200",
                queue=self._queue.name,
                count=incomplete,
            )

    def _each(self, task: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
        """Do a task for every item, several at once, and return when none is under way any more, also where one failed."""
        chosen = list(items)
        if len(chosen) == 1:
            return [task(chosen[0])]
        self._check_open()
        futures = [self._pool.submit(task, item) for item in chosen]
        wait(futures)
        return [future.result() for future in futures]

    def _journal(self) -> SqsJournal:
        self._check_open()
        with self._lock:
            if self._opened_journal is None:
                name = f"queue-{sha256(self._queue.arn.encode()).hexdigest()[:16]}.sqlite"
                self._opened_journal = SqsJournal(self._folder / name)
            return self._opened_journal

    def _check_open(self) -> None:
        if self._is_closed:
            raise SpoolError(f"the spool in the queue {self._queue.name} is closed", next_step="open it again")


def _readable(received: Iterable[Received], unreadable: list[str]) -> Iterable[tuple[Part, str]]:
    for message in received:
        try:
            yield read_text(message.text), message.receipt
        except UnparseableError as error:
            unreadable.append(f"{message.message_id}: {error.what}")


def _warn_of(queue: SqsQueue) -> None:
    """Say what is set at the queue that may lose pushes."""
    if queue.retention_seconds < RETENTION_SECONDS_MAX:
        log.warning(
            "the queue drops what no run has archived before its time; set MessageRetentionPeriod to 1209600, which is 14 days",
            queue=queue.name,
            retention_seconds=queue.retention_seconds,
        )
    if queue.moves_messages:
        log.warning(
            "the queue moves messages that come several times to a dead-letter queue, where no run finds them; take its "
            "RedrivePolicy away",
            queue=queue.name,
        )
