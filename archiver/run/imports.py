"""Bringing a file into the archive: batch by batch into commits, each of which says in its cursor how far it came.

What a file brings goes the way of everything else (`archiver.run.batch`), so what the archive holds already adds nothing. The cursor is
named by what the file is and how it is read: the same file again is at its end at once, and one that was stopped goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

import msgspec

from archiver.archive.commit import Author, Draft
from archiver.archive.ledger import Gap
from archiver.archive.reader import Head
from archiver.archive.recover import recover
from archiver.archive.schema import EVENTS, TABLES
from archiver.archive.tables import rows_to_table
from archiver.capture.drain import Batch
from archiver.capture.imports import directory_rows
from archiver.capture.imports.records import Item, Noted, Said, Source, Tally, Unreadable, Wanted
from archiver.capture.imports.survey import Survey
from archiver.capture.versions import find_archived
from archiver.errors import EXIT_DONE, EXIT_GAPS, RefusedError
from archiver.model.message import Message
from archiver.normalise.content import canonical_json
from archiver.normalise.imported import to_message
from archiver.run import last_head
from archiver.run.batch import prepare
from archiver.run.result import Silent
from archiver.run.session import Limits, Ports, Session

CURSOR_PREFIX: Final = "import/"
FEED: Final = "import"
# A row that names wanted uids names so many at most.
UIDS_PER_ROW_MAX: Final = 1_000
_MESSAGES_PER_BLOCK: Final = 2_000
_OPENING: Final = -1
_DIRECTORY: Final[dict[str, Callable[..., Iterator[dict[str, Any]]]]] = {
    "users": directory_rows.people_rows,
    "channels": directory_rows.channel_rows,
    "groups": directory_rows.group_rows,
    "conversations": directory_rows.conversation_rows,
}

Progress = Callable[[int], None]


class Place(msgspec.Struct, frozen=True):
    """How far an import came, as its cursor says it: how many items are in the archive, since when, and whether these are all.

    ``file`` is the file's name, for whoever reads the ledger.
    """

    items: int
    began_ms: int
    file: str
    is_done: bool = False


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did. ``sequence`` and ``digest`` name the head that it left, ``commits`` how many it added."""

    sequence: int
    digest: str
    commits: int
    counts: Mapping[str, int] = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()

    @property
    def exit_code(self) -> int:
        """Done, or done with gaps."""
        return EXIT_GAPS if self.gaps else EXIT_DONE


def open_session(ports: Ports, *, author: Author, limits: Limits) -> Session:
    """Begin an import as a run begins: what a crash left is cleared, and a ledger that lost its end is refused.

    Call it while holding this machine's run lock.
    """
    if ports.state is not None:
        last_head.check(ports.state, ports.archive)
    recover(ports.archive, writer=author.writer, now_ms=ports.clock.now_ms())
    return Session(ports, author=author, limits=limits, progress=Silent())


def place_of(head: Head | None, source: Source, *, now_ms: int) -> Place:
    """Return how far this file was imported in this way, from its beginning if it never was."""
    known = None if head is None else _place_from(head.cursors.get(_cursor_of(source)))
    return known or Place(items=0, began_ms=now_ms, file=source.file.name)


def bring(session: Session, source: Source, found: Survey, place: Place, *, progress: Progress) -> ImportResult:
    """Archive what a source has beyond ``place``; ``found`` is the survey of it."""
    work = _Import(session, source, found, place)
    try:
        if not place.is_done:
            work.go(progress)
    finally:
        if session.ports.state is not None:
            last_head.remember(session.ports.state, session.ports.archive, session.head)
    return ImportResult(
        session.head.sequence, session.head.digest, session.commits, dict(work.counts), _gaps(work.counts)
    )


@dataclass(slots=True)
class _Rows:
    """What is on its way into one commit."""

    batch: Batch = field(default_factory=Batch)
    waiting: list[Message] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    wanted: dict[tuple[str, str], dict[str, None]] = field(default_factory=dict)
    items: int = 0
    bytes: int = 0

    def finished(self) -> Batch:
        """Return the messages as one batch."""
        if self.waiting:
            self.batch.add_messages(self.waiting)
            self.waiting = []
        return self.batch


class _Import:
    """One import under way: what it reads is in ``_rows``, what is committed is up to ``_place``."""

    def __init__(self, session: Session, source: Source, found: Survey, place: Place) -> None:
        self._session = session
        self._source = source
        self._found = found
        self._place = place
        self._rows = _Rows()
        self._begun = session.ports.clock.monotonic()
        self.counts: Counter[str] = Counter()

    def go(self, progress: Progress) -> None:
        """Read on from the place and commit whenever there is enough."""
        if _place_from(self._session.head.cursors.get(_cursor_of(self._source))) is None:
            self._open()
        position = 0
        for item in self._source.items(Tally()):
            position += 1
            if position <= self._place.items:
                continue
            self._take(item, position)
            if self._is_enough():
                self._commit(is_last=False)
                progress(position)
        self._source.check_unchanged()
        self._commit(is_last=True)
        progress(position)

    def _open(self) -> None:
        """Say what is imported, and bring in people and chats, whose names the messages' rows then have."""
        source, by = self._source, self._source.captured_by
        as_of_ms = min(self._found.as_of_ms or self._place.began_ms, self._place.began_ms)
        said = {**source.facts(), "not_read": self._found.tally.not_read}
        body = source.mapping
        opening = {
            **self._event(_OPENING),
            "outcome": "noted",
            "body_digest": sha256(body or b"").hexdigest(),
            "body": body,
            "attributes": canonical_json(said).decode(),
        }
        told = self._found.directory

        def draft_for(head: Head) -> Draft:
            self._refuse_if_moved(head, None)
            rows: dict[str, list[dict[str, Any]]] = {"events": [opening]}
            for name, told_by in _DIRECTORY.items():
                known = self._session.states(name)
                what: Any = told.people if name == "users" else told.rooms
                rows[name] = list(told_by(what, known, as_of_ms=as_of_ms, captured_by=by))
            tables = {name: rows_to_table(TABLES[name], found) for name, found in rows.items()}
            self._count({name: table.num_rows for name, table in tables.items() if name != "events"})
            return self._draft(self._place, tables=tables)

        self._try(draft_for)

    def _take(self, item: Item, position: int) -> None:
        rows = self._rows
        rows.items = position
        if isinstance(item, Said):
            message = to_message(
                item.message, observed_at_ms=self._place.began_ms, captured_by=self._source.captured_by
            )
            rows.waiting.append(message)
            rows.bytes += len(message.raw)
            if len(rows.waiting) >= _MESSAGES_PER_BLOCK:
                rows.finished()
        elif isinstance(item, Wanted):
            rows.wanted.setdefault((item.chat_id, item.user_id), {})[item.uid] = None
            rows.bytes += len(item.uid)
        else:
            rows.events.append(self._kept(item, position))
            rows.bytes += len(item.raw)

    def _is_enough(self) -> bool:
        limits, rows = self._session.limits, self._rows
        seconds = self._session.ports.clock.monotonic() - self._begun
        return (
            rows.items - self._place.items >= limits.messages_per_commit
            or rows.bytes >= limits.bytes_per_commit
            or seconds >= limits.seconds_per_commit
        )

    def _commit(self, *, is_last: bool) -> None:
        rows, start = self._rows, self._place
        after = msgspec.structs.replace(start, items=max(rows.items, start.items), is_done=is_last)
        batch = rows.finished()
        at_ms = start.began_ms
        with self._session.file_fetches() as fetches:

            def draft_for(head: Head) -> Draft:
                self._refuse_if_moved(head, start)
                prepared = prepare(self._session, head, batch, fetches, at_ms=at_ms)
                wanted = list(self._wanted(head, rows.wanted))
                events = [*rows.events, *wanted]
                counts = {
                    name: count for name, count in prepared.counts.items() if name not in ("captures", "unparsed")
                }
                outcomes = Counter(row["outcome"] for row in rows.events)
                counts |= {"unparsed": outcomes["unparsed"], "noted": outcomes["noted"]}
                counts["wanted"] = sum(len(row["wanted_uids"]) for row in wanted)
                counts["wanted_archived"] = sum(map(len, rows.wanted.values())) - counts["wanted"]
                self._count(counts)
                tables = {**prepared.tables, "events": rows_to_table(EVENTS, events)}
                return self._draft(after, tables=tables, blobs=prepared.blobs, gaps=_gaps(counts))

            self._try(draft_for)
        self._rows, self._place = _Rows(), after
        self._begun = self._session.ports.clock.monotonic()

    def _draft(self, place: Place, **what: Any) -> Draft:
        cursor = {_cursor_of(self._source): msgspec.json.encode(place).decode()}
        return Draft(at_ms=self._session.ports.clock.now_ms(), inputs=self._source.inputs, cursors=cursor, **what)

    def _refuse_if_moved(self, head: Head, place: Place | None) -> None:
        """Raise `RefusedError` if the cursor is not where this import left it: then somebody else imports this file too."""
        if _place_from(head.cursors.get(_cursor_of(self._source))) != place:
            raise RefusedError(
                f"{self._source.file.name} is being imported on another machine too",
                next_step="let that import come to its end, then import the file again",
            )

    def _try(self, draft_for: Callable[[Head], Draft]) -> None:
        """Commit, and count what the draft counted that became the commit."""
        self._counted: Mapping[str, int] = {}
        self._session.commit(draft_for)
        self.counts.update(self._counted)

    def _count(self, counts: Mapping[str, int]) -> None:
        self._counted = counts

    def _wanted(self, head: Head, wanted: Mapping[tuple[str, str], Mapping[str, None]]) -> Iterator[dict[str, Any]]:
        """Yield rows of events that name the uids which the archive does not hold yet, by chat and user."""
        keys = {(chat_id, uid) for (chat_id, _), uids in wanted.items() for uid in uids}
        archived = find_archived(self._session.ports.archive.store, head, keys)
        for (chat_id, user_id), uids in wanted.items():
            missing = [uid for uid in uids if (chat_id, uid) not in archived]
            for first in range(0, len(missing), UIDS_PER_ROW_MAX):
                part = missing[first : first + UIDS_PER_ROW_MAX]
                body = "\n".join(part).encode()
                yield {
                    **self._event(self._rows.items),
                    "chat_id": chat_id,
                    "user_id": user_id or None,
                    "wanted_uids": part,
                    "outcome": "wanted",
                    "body_digest": sha256(body).hexdigest(),
                }

    def _kept(self, item: Noted | Unreadable, position: int) -> dict[str, Any]:
        """Return the row of events that keeps a record which is no message, or none that can be read."""
        if isinstance(item, Noted):
            own: dict[str, Any] = {"name": item.name, "chat_id": item.chat_id, "outcome": "noted"}
        else:
            own = {"outcome": "unparsed", "error": item.error}
        return {
            **self._event(position),
            **own,
            "body_digest": sha256(item.raw).hexdigest(),
            "body": item.raw,
            "attributes": canonical_json({"file": self._source.file.name, "place": item.place}).decode(),
        }

    def _event(self, position: int) -> dict[str, Any]:
        return {
            "received_at": self._place.began_ms,
            "spool_id": self._source.captured_by,
            "sequence": position + 1,
            "feed": FEED,
            "feed_kind": FEED,
            "verified": "file",
            "name": FEED,
        }


def _cursor_of(source: Source) -> str:
    return f"{CURSOR_PREFIX}{source.digest}"


def _place_from(text: str | None) -> Place | None:
    """Read a cursor; one that cannot be read is none, and then the file is read from its beginning and repeats what is known."""
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=Place)
    except (msgspec.MsgspecError, UnicodeError):
        return None


def _gaps(counts: Mapping[str, int]) -> tuple[Gap, ...]:
    texts = {
        "unparsed": ("unparsed", "records of an imported file, kept in events with their error"),
        "files_not_stored": ("file-not-stored", "rows in files with their status and reason"),
    }
    return tuple(
        Gap(kind=kind, count=counts[name], evidence=evidence)
        for name, (kind, evidence) in texts.items()
        if counts.get(name)
    )
