"""The sweep stage: what is known is asked for again, so that edits and disappearances are seen within a stated time.

What was edited is a new version, what does not come back is an observation, and nothing is ever removed. It works through the days
that are due (`archiver.capture.sweep`), a commit's worth of uids at a time, and each commit says in its cursors how far it came: a
sweep that is stopped, by its budget, its time or a kill, goes on from there the next night. Its cost follows from its rules and its
budget: of messages it reads the two columns that name them, of the days that are due; of observations the days since these were read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive import layout
from archiver.archive.commit import Draft
from archiver.archive.ledger import FileRecord, Gap
from archiver.archive.reader import Head, files_of, read_rows
from archiver.archive.schema import EVENTS, OBSERVATIONS
from archiver.archive.tables import rows_of, rows_to_table
from archiver.capture.fetch import (
    NO_USABLE_ANSWER,
    TOKENS_REFUSED,
    FetchedBatch,
    RequestBudget,
    UidOutcome,
    WantedMessages,
    fetch,
)
from archiver.capture.fetched_rows import FetchedRows
from archiver.capture.sweep import (
    DAY_CURSOR,
    NIGHT_CURSOR,
    ArchivedDay,
    Night,
    Place,
    bound_gaps,
    cursor_text,
    due_days,
    night_from,
    sweep_bound,
    tonight,
)
from archiver.capture.swept import SweptRows, gone_after, observe
from archiver.capture.versions import Key
from archiver.clock import day_of
from archiver.errors import FlockError, FlockUnreachableError
from archiver.flock.client import FlockClient
from archiver.ids import is_channel, parties_of
from archiver.run.batch import prepare
from archiver.run.directory import every_token_refused
from archiver.run.fetch import known_readers
from archiver.run.result import StageResult
from archiver.run.session import Session
from archiver.run.sweep_days import DueDays, Slice, archived_days, progress

# After so many calls in a row that Flock did not answer, what is left waits for another night.
UNANSWERED_IN_A_ROW_MAX: Final = 10
# The directory was crawled a moment ago, so a chat that so many users do not know is one that nobody of ours may read.
STRANGERS_MAX: Final = 10
_NO_CHAT: Final = "this is no chat that Flock could be asked for"

_OBSERVED_COLUMNS: Final = ("observed_at", "chat_id", "message_uid", "outcome", "not_returned")


def sweep(session: Session) -> StageResult:
    """Read again what is due, inside the night's budget, and commit what changed and what did not come back."""
    rules = session.limits.sweep
    client = session.ports.client
    work = _Sweep(session)
    can_ask = client is not None and bool(session.tokens.usable_users())
    if client is not None and can_ask:
        work.go(client)
    now_ms = session.ports.clock.now_ms()
    bound = sweep_bound(work.days(), now_ms=now_ms, rules=rules, hot_unread_ms=rules.between_ms)
    counts = {**work.counts, "requests": work.requests, "overdue": len(bound.overdue) + len(bound.hot_unread)}
    return StageResult(
        "sweep",
        counts=counts,
        gaps=(*work.gaps(), *bound_gaps(bound, rules=rules)),
        error=work.error(),
        unfinished=work.stopped_by_time,
        asked=can_ask,
    )


@dataclass(slots=True)
class _Answers:
    """What came since the last commit, and what became of every uid that was asked for."""

    rows: FetchedRows = field(default_factory=FetchedRows)
    replies: dict[Key, UidOutcome] = field(default_factory=dict)

    def drop_messages(self) -> None:
        """Forget what is committed now."""
        self.rows = FetchedRows()


class _Sweep:
    """One night's sweep under way."""

    def __init__(self, session: Session) -> None:
        self.counts: Counter[str] = Counter()
        self.stopped_by_time = False
        self._session = session
        self._rules = session.limits.sweep
        self._began_ms = session.ports.clock.now_ms()
        days = archived_days(session.ports.archive, session.head, now_ms=self._began_ms, rules=self._rules)
        self._places: dict[date, ArchivedDay] = {item.day: item for item in days}
        # What each day's cursor says as far as we know: if it says anything else, another machine has moved it.
        self._texts = {day: session.head.cursors.get(f"{DAY_CURSOR}{day}") for day in self._places}
        self._unmet = {day for day, text in self._texts.items() if text is None}
        self._night = tonight(
            night_from(session.head.cursors.get(NIGHT_CURSOR)), now_ms=self._began_ms, rules=self._rules
        )
        self._budget = RequestBudget(max(0, self._rules.requests_max - self._night.requests))
        self._gone: set[Key] = set()
        self._gone_as_of = ""
        self._gone_since = self._began_ms
        self._unreadable: dict[str, UidOutcome] = {}
        self._reasons: dict[str, None] = {}
        self._unanswered = 0
        self._unanswered_in_a_row = 0

    @property
    def requests(self) -> int:
        """The calls of this run."""
        return self._budget.spent

    def days(self) -> list[ArchivedDay]:
        """Return every day with how far it is read by now."""
        return list(self._places.values())

    def go(self, client: FlockClient) -> None:
        """Work through the days that are due until they, the budget or the time come to their end."""
        due = due_days(self._places.values(), now_ms=self._began_ms, rules=self._rules)
        if not due or not self._budget.left:
            return
        session = self._session
        session.progress.start("sweep", total=len(due))
        readers = known_readers(session)
        days = DueDays(session.ports.archive.store, session.head, due, began_ms=self._began_ms)
        while days and self._can_go_on():
            chunk = days.next_slices(uids_max=session.limits.messages_per_commit, requests_max=self._budget.left)
            if not chunk:
                break
            self._reach_back(min(part.reading.place.since_ms for part in chunk))
            left: list[Slice] = chunk
            while left and self._can_go_on():
                # Again only where a token was refused meanwhile: somebody else may know the chat.
                left = self._ask(client, left, readers)
            for part in chunk:
                if part.conversations:
                    days.give_up(part.reading.day)
        self.stopped_by_time = session.out_of_time and bool(days)

    def _can_go_on(self) -> bool:
        session = self._session
        is_answered = self._unanswered_in_a_row < UNANSWERED_IN_A_ROW_MAX
        return bool(self._budget.left and is_answered and session.tokens.usable_users() and not session.out_of_time)

    def error(self) -> FlockError | None:
        """Return what kept us from asking at all."""
        if self._unanswered:
            return FlockUnreachableError(
                f"Flock gave no usable answer about {self._unanswered} messages that are read again",
                next_step="run again later; the sweep goes on where it stopped",
            )
        return every_token_refused(self._session)

    def gaps(self) -> tuple[Gap, ...]:
        """Return what Flock would not answer, or answered in a way that cannot be read."""
        found = []
        if failed := self.counts["failed"]:
            found.append(
                Gap(kind="sweep-failed", count=failed, evidence=f"re-reading refused: {', '.join(self._reasons)}")
            )
        if unparsed := self.counts["unparsed"]:
            evidence = "returned by Flock and unreadable; kept in events with the error"
            found.append(Gap(kind="message-unparsed", count=unparsed, evidence=evidence))
        return tuple(found)

    def _ask(self, client: FlockClient, chunk: list[Slice], readers: Mapping[str, Collection[str]]) -> list[Slice]:
        """Ask for a chunk and commit what came; return what is left of it because every token that could ask was refused."""
        session, limits, clock = self._session, self._session.limits, self._session.ports.clock
        answers = _Answers()
        deadline = clock.monotonic() + limits.seconds_per_commit
        asking = fetch(
            client,
            session.tokens,
            self._wanted(chunk, answers),
            readers=readers,
            threads=session.ports.threads,
            budget=self._budget,
            strangers_max=STRANGERS_MAX,
        )
        try:
            for batch in asking:
                self._take(answers, batch)
                if not self._can_go_on():
                    break
                if answers.rows.bytes >= limits.bytes_per_commit or clock.monotonic() >= deadline:
                    self._commit(chunk, answers, is_last=False)
                    deadline = clock.monotonic() + limits.seconds_per_commit
        finally:
            asking.close()
        self._commit(chunk, answers, is_last=True)
        refused = {key for key, reply in answers.replies.items() if reply.reason == TOKENS_REFUSED}
        return [
            part
            for part in chunk
            if part.conversations and (part.conversations[0].chat_id, part.conversations[0].uids[0]) in refused
        ]

    def _wanted(self, chunk: list[Slice], answers: _Answers) -> Iterator[WantedMessages]:
        """Yield what is asked for, by chat; a chat that nobody may read is asked for once a night."""
        uids: dict[str, dict[str, None]] = {}
        for part in chunk:
            for conversation in part.conversations:
                chat_id = conversation.chat_id
                known = self._unreadable.get(chat_id)
                if known is None and not is_channel(chat_id) and parties_of(chat_id) is None:
                    known = UidOutcome("", "failed", "", _NO_CHAT)
                if known is None:
                    uids.setdefault(chat_id, {}).update(dict.fromkeys(conversation.uids))
                    continue
                for uid in conversation.uids:
                    answers.replies[chat_id, uid] = UidOutcome(uid, known.outcome, known.asked_as, known.reason)
        for chat_id in sorted(uids):
            yield WantedMessages(chat=chat_id, user_id="", uids=tuple(uids[chat_id]))

    def _take(self, answers: _Answers, batch: FetchedBatch) -> None:
        at_ms = self._session.ports.clock.now_ms()
        unanswered = 0
        for outcome in batch.outcomes:
            if outcome.raw is not None:
                answers.rows.add(outcome, outcome.raw, at_ms=at_ms)
            unanswered += outcome.reason == NO_USABLE_ANSWER
            if outcome.outcome == "unknown_chat":
                self._unreadable[batch.chat_id] = outcome
            # The bytes are not needed twice.
            answers.replies[batch.chat_id, outcome.uid] = UidOutcome(
                outcome.uid, outcome.outcome, outcome.asked_as, outcome.reason
            )
        self._unanswered += unanswered
        self._unanswered_in_a_row = self._unanswered_in_a_row + 1 if unanswered else 0

    def _commit(self, chunk: list[Slice], answers: _Answers, *, is_last: bool) -> None:
        """Commit what came, with how far each day was read by it; what came beyond that is archived and asked for again."""
        swept, places = progress(chunk, answers.replies, is_last=is_last)
        batch = answers.rows.batch()
        done: SweptRows = SweptRows()
        counts: Counter[str] = Counter()
        with self._session.file_fetches() as fetches:

            def draft_for(head: Head) -> Draft:
                nonlocal done
                at_ms = self._session.ports.clock.now_ms()
                self._learn_gone(head)
                prepared = prepare(self._session, head, batch, fetches, at_ms=at_ms)
                unread = self._new_unread(head, answers.rows.unread())
                done = observe(swept, gone=self._gone, at_ms=at_ms)
                counts.clear()
                counts.update(messages=prepared.counts["messages"], unparsed=len(unread))
                return Draft(
                    at_ms=at_ms,
                    tables={
                        **prepared.tables,
                        "events": rows_to_table(EVENTS, unread),
                        "observations": rows_to_table(OBSERVATIONS, done.rows),
                    },
                    blobs=prepared.blobs,
                    cursors=self._cursors(head, places),
                )

            self._session.commit(draft_for)
        self._settle(places, done, counts)
        answers.drop_messages()

    def _settle(self, places: Mapping[date, Place], done: SweptRows, counts: Counter[str]) -> None:
        gone_after(self._gone, done.rows)
        self._gone_as_of = self._session.head.digest
        self._reasons |= done.reasons
        met = {day: self._places[day].place for day in self._unmet} | dict(places)
        self._texts |= {day: cursor_text(place) for day, place in met.items()}
        self._unmet.clear()
        finished = 0
        for day, place in places.items():
            finished += place.began_ms is None
            self._places[day] = ArchivedDay(day, self._places[day].rows, place)
        self.counts += counts + done.counts + Counter(days=finished)
        self._session.progress.advance(finished)

    def _cursors(self, head: Head, places: Mapping[date, Place]) -> dict[str, str]:
        """Return the cursors that move; where another machine has moved one since this sweep began, its word stands."""
        if not places:
            return {}
        moved = {day: self._places[day].place for day in self._unmet} | dict(places)
        cursors = {}
        for day, place in moved.items():
            key = f"{DAY_CURSOR}{day}"
            if head.cursors.get(key) == self._texts[day]:
                cursors[key] = cursor_text(place)
        night = Night(self._night.began_ms, self._night.requests + self._budget.spent)
        return {**cursors, NIGHT_CURSOR: cursor_text(night)}

    def _reach_back(self, since_ms: int) -> None:
        """See to it that what was observed since an instant will be known; what waits for another night need not be."""
        if since_ms < self._gone_since:
            self._gone_since, self._gone_as_of = since_ms, ""

    def _learn_gone(self, head: Head) -> None:
        """Read which uids did not come back when last asked for; again only if somebody else has committed meanwhile."""
        if self._gone_as_of == head.digest:
            return
        since = day_of(self._gone_since)
        records = [item for item in files_of(head, "observations") if layout.partition_of(item.key)[1] >= since]
        rows = (row for batch in _read_gone(self._session, records) for row in rows_of(batch))
        self._gone = set()
        gone_after(self._gone, sorted(rows, key=lambda row: (row["observed_at"], row["message_uid"] is not None)))
        self._gone_as_of = head.digest

    def _new_unread(self, head: Head, unread: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return those of the unreadable messages that are not kept since the days were read last."""
        if not unread:
            return []
        digests = pa.array({row["body_digest"] for row in unread}, type=pa.string())

        def keep(batch: pa.RecordBatch) -> pa.Array:
            return pc.is_in(batch.column("body_digest"), value_set=digests)

        since = day_of(self._gone_since)
        records = [item for item in files_of(head, "events") if layout.partition_of(item.key)[1] >= since]
        kept = {
            digest
            for batch in read_rows(self._session.ports.archive.store, records, ("body_digest",), keep=keep)
            for digest in batch.column(0).to_pylist()
        }
        return list({row["body_digest"]: row for row in unread if row["body_digest"] not in kept}.values())


def _read_gone(session: Session, records: list[FileRecord]) -> Iterator[pa.RecordBatch]:
    """Yield the rows that tell of uids which did not come back, or came back."""
    told = pa.array(["not_returned", "returned"])

    def keep(batch: pa.RecordBatch) -> pa.Array:
        of_uids = pc.and_(pc.is_valid(batch.column("message_uid")), pc.is_in(batch.column("outcome"), value_set=told))
        if "not_returned" not in batch.schema.names:  # older than sweeps
            return of_uids
        return pc.or_(of_uids, pc.is_valid(batch.column("not_returned")))

    return read_rows(session.ports.archive.store, records, _OBSERVED_COLUMNS, keep=keep)
