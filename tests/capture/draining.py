"""A session over a store and a spool, with Flock out of reach: captures go in, rows come out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from archiver.archive.commit import Draft
from archiver.archive.reader import Archive, files_of, read_rows
from archiver.archive.schema import TABLES
from archiver.archive.tables import rows_of
from archiver.capture.drain import Batch
from archiver.capture.files import Downloader, WantedFile
from archiver.capture.token_pool import TokenPool
from archiver.model.capture import Capture, SpooledCapture
from archiver.model.message import Message
from archiver.normalise.message import Observed, read_message
from archiver.run.batch import prepare
from archiver.run.drain import drain
from archiver.run.result import Silent, StageResult
from archiver.run.session import Limits, Ports, Session
from archiver.spool import SpoolDepth, SpooledBlock, frame
from archiver.store import Store
from archiver.store.memory import MemoryStore
from tests.archive.archive_steps import AUTHOR, InlineExecutor, found
from tests.manual_clock import ManualClock

SENT_AT_MS = 1_700_000_000_123
NOW_MS = SENT_AT_MS + 60_000

_attempts = count(1)


class NoDownloads(Downloader):
    """No file can be fetched: what this part of the archiver does with files is tested elsewhere."""

    def __init__(self) -> None:
        pass

    def download_all(self, wanted: Any) -> Iterator[Any]:
        files: list[WantedFile] = list(wanted)
        yield from ()
        del files


class MemorySpool:
    """A spool that forgets everything with the test."""

    def __init__(self) -> None:
        self.waiting: list[SpooledCapture] = []
        self._last = 0

    @property
    def spool_id(self) -> str:
        return "spool-of-this-test"

    def append(self, captures: Sequence[Capture]) -> None:
        for capture in captures:
            self._last += 1
            self.waiting.append(SpooledCapture(self._last, capture))

    def read(self, *, after: int, captures_max: int, bytes_max: int) -> list[SpooledCapture]:
        taken: list[SpooledCapture] = []
        for spooled in self.waiting:
            if spooled.sequence > after and len(taken) < captures_max and (bytes_max > 0 or not taken):
                taken.append(spooled)
                bytes_max -= len(spooled.capture.body)
        return taken

    def read_blocks(self, *, after: int, captures_max: int, bytes_max: int) -> list[SpooledBlock]:
        found = self.read(after=after, captures_max=captures_max, bytes_max=bytes_max)
        return [
            SpooledBlock(spooled.sequence, 1, len(spooled.capture.body), frame.encoded([spooled.capture]))
            for spooled in found
        ]

    def discard(self, *, through: int) -> None:
        self.waiting = [spooled for spooled in self.waiting if spooled.sequence > through]

    def scrub(self) -> bool:
        return True

    def depth(self) -> SpoolDepth:
        bodies = [len(spooled.capture.body) for spooled in self.waiting]
        return SpoolDepth(len(bodies), sum(bodies), min((s.capture.received_at_ms for s in self.waiting), default=None))

    def close(self) -> None:
        pass


def raw_of(uid: str | None = "1700000000123-aBc-m201", text: str | None = "hello", **changed: Any) -> bytes:
    """Return a message as JSON; what is None is left out."""
    fields = {"uid": uid, "from": "u:ann", "to": "g:1", "text": text, "timestampInMillis": SENT_AT_MS, **changed}
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def webhook(raw: bytes, at_ms: int = NOW_MS) -> Capture:
    return Capture("general", "webhook", at_ms, "webhook-token", raw)


def event(fields: dict[str, Any] | bytes, at_ms: int = NOW_MS) -> Capture:
    body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return Capture("events", "event", at_ms, "event-token", body)


class Draining:
    """An archive that grows night by night."""

    def __init__(self, store: Store | None = None) -> None:
        self.store = store or MemoryStore()
        self.spool = MemorySpool()
        self.archive = found(self.store)
        self.executor = InlineExecutor()

    def reopen(self, store: Store) -> None:
        """Go on with another store, as after the power came back; the spool is where it was."""
        self.store = store
        self.archive = Archive.open(store)

    def night(self, pushes: Sequence[Capture] = (), *, per_commit: int = 50_000) -> StageResult:
        """Spool these pushes and archive all that waits."""
        self.spool.append(pushes)
        return drain(self._session(per_commit))

    def fetched(self, *raws: bytes, at_ms: int = NOW_MS) -> None:
        """Archive messages that Flock returned when asked by uid."""
        self.brought(*(read_message(raw, Observed(at_ms, "fetch", "u:reader")) for raw in raws), at_ms=at_ms)

    def brought(self, *messages: Message, at_ms: int = NOW_MS) -> None:
        """Archive messages that no push brought, in one commit."""
        session = self._session()
        batch = Batch()
        batch.add_messages(messages)

        def draft_for(head: Any) -> Draft:
            with session.file_fetches() as fetches:
                return Draft(at_ms=at_ms, tables=prepare(session, head, batch, fetches, at_ms=at_ms).tables)

        session.commit(draft_for)

    def rows(self, table: str, *columns: str) -> list[Any]:
        """Return what is in a table, in the order in which it was committed; of one column only the values."""
        head = self.archive.head()
        records = sorted(files_of(head, table), key=lambda record: record.key.rpartition("/")[2])
        rows = [
            row
            for batch in read_rows(self.store, records, columns or TABLES[table].schema.names)
            for row in rows_of(batch)
        ]
        if not columns:
            return rows
        return [row[columns[0]] if len(columns) == 1 else tuple(row[name] for name in columns) for row in rows]

    def versions(self, *columns: str) -> list[Any]:
        """Return the message rows by chat, uid and version, then by when they were observed."""
        order = ("chat_id", "message_uid", "version", "observed_at")
        rows = sorted(self.rows("messages"), key=lambda row: tuple(row[name] for name in order))
        return [row[columns[0]] if len(columns) == 1 else tuple(row[name] for name in columns) for row in rows]

    def _session(self, per_commit: int = 50_000) -> Session:
        ports = Ports(
            archive=Archive.open(self.store),
            spool=self.spool,
            client=None,
            tokens=TokenPool([]),
            downloader=NoDownloads(),
            clock=ManualClock(now_ms=NOW_MS),
            executor=self.executor,
            threads=1,
            new_attempt=lambda: f"{next(_attempts):08x}",
        )
        return Session(ports, author=AUTHOR, limits=Limits(messages_per_commit=per_commit), progress=Silent())
