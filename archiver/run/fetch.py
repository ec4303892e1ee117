"""The fetch stage: messages that an event named without bringing them are asked for, 25 a call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive import layout
from archiver.archive.commit import Draft
from archiver.archive.ledger import FileRecord, Gap
from archiver.archive.reader import Head, files_of, open_files, read_rows
from archiver.archive.schema import EVENTS, OBSERVATIONS
from archiver.archive.tables import rows_of, rows_to_table
from archiver.capture.fetch import NO_USABLE_ANSWER, FetchedBatch, UidOutcome, WantedMessages, fetch
from archiver.capture.fetched_rows import FetchedRows
from archiver.errors import FlockError, FlockUnreachableError
from archiver.flock.client import FlockClient
from archiver.run.batch import prepare
from archiver.run.directory import every_token_refused
from archiver.run.result import StageResult
from archiver.run.session import Session

# The listener that received an event and the run that asks may be machines whose clocks are not quite the same.
CLOCK_DIFFERENCE_MAX = timedelta(days=1)
_UNASKED = "events name messages that could not be asked for: no token works"
_WANTED = pa.array(["wanted"])


@dataclass(slots=True)
class _Answers:
    """What came of the uids that one data object of events names; ``missing`` counts by outcome and chat."""

    rows: FetchedRows = field(default_factory=FetchedRows)
    observations: list[dict[str, Any]] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    missing: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)
    unreachable: int = 0

    @property
    def is_final(self) -> bool:
        """Tell whether nothing is left to ask again: not what we could not ask, nor what no token may read yet."""
        return not (self.outcomes["failed"] or self.outcomes["unknown_chat"])

    def take_missing(self, other: _Answers) -> None:
        """Add what other answers did not bring, for the report."""
        self.outcomes["unparsed"] += other.outcomes["unparsed"]
        self.missing += other.missing
        self.reasons = {**other.reasons, **self.reasons}


def fetch_wanted(session: Session) -> StageResult:
    """Ask for every message that is wanted and not settled, and commit what came and what did not."""
    records = open_files(session.head, "events")
    if not records:
        return StageResult("fetch")
    client = session.ports.client
    if client is None or not session.tokens.usable_users():
        wanted = sum(record.open_rows for record in records)
        gap = Gap(kind="message-failed", count=wanted, evidence=_UNASKED)
        return StageResult("fetch", gaps=(gap,), asked=False)
    counts: Counter[str] = Counter()
    missed = _Answers()
    unreachable = 0
    session.progress.start("fetch", total=len(records))
    for record in records:
        if session.out_of_time:
            return StageResult("fetch", counts=dict(counts), gaps=_gaps(missed), unfinished=True)
        answers = _ask(session, client, _wanted_of(session, record))
        counts += answers.outcomes
        missed.take_missing(answers)
        unreachable += answers.unreachable
        counts += _commit(session, record, answers)
        session.progress.advance(1)
    return StageResult("fetch", counts=dict(counts), gaps=_gaps(missed), error=_error(session, unreachable))


def _error(session: Session, unreachable: int) -> FlockError | None:
    """Return what kept us from asking at all; what Flock refuses for one chat or uid is a gap and no error."""
    if unreachable:
        return FlockUnreachableError(
            f"Flock gave no usable answer about {unreachable} messages that are wanted",
            next_step="run again later; what is wanted stays so",
        )
    return every_token_refused(session)


def _wanted_of(session: Session, record: FileRecord) -> list[WantedMessages]:
    columns = ("outcome", "chat_id", "user_id", "wanted_uids")

    def keep(batch: pa.RecordBatch) -> pa.Array:
        return pc.is_in(batch.column("outcome"), value_set=_WANTED)

    return [
        WantedMessages(chat=row["chat_id"], user_id=row["user_id"] or "", uids=tuple(row["wanted_uids"]))
        for batch in read_rows(session.ports.archive.store, [record], columns, keep=keep)
        for row in batch.to_pylist()
    ]


def _ask(session: Session, client: FlockClient, wanted: Sequence[WantedMessages]) -> _Answers:
    answers = _Answers()
    for batch in fetch(client, session.tokens, wanted, readers=known_readers(session), threads=session.ports.threads):
        at_ms = session.ports.clock.now_ms()
        for outcome in batch.outcomes:
            answers.outcomes[outcome.outcome] += 1
            if outcome.raw is not None:
                answers.rows.add(outcome, outcome.raw, at_ms=at_ms)
            else:
                answers.missing[outcome.outcome, batch.chat_id] += 1
                answers.reasons.setdefault(outcome.outcome, outcome.reason)
                answers.unreachable += outcome.reason == NO_USABLE_ANSWER
                if outcome.outcome != "failed":
                    answers.observations.append(_observation(batch, outcome, at_ms))
    answers.outcomes["unparsed"] = len(answers.rows.unread())
    return answers


def _observation(batch: FetchedBatch, outcome: UidOutcome, at_ms: int) -> dict[str, Any]:
    return {
        "observed_at": at_ms,
        "chat_id": batch.chat_id,
        "message_uid": outcome.uid,
        "asked_as": outcome.asked_as,
        "outcome": outcome.outcome,
        "reason": outcome.reason or None,
    }


def _commit(session: Session, record: FileRecord, answers: _Answers) -> Mapping[str, int]:
    """Commit the answers about one data object of events; it is settled if there is nothing left to ask."""
    batch = answers.rows.batch()
    since = layout.partition_of(record.key)[1] - CLOCK_DIFFERENCE_MAX
    counts: dict[str, int] = {}
    with session.file_fetches() as fetches:

        def draft_for(head: Head) -> Draft:
            at_ms = session.ports.clock.now_ms()
            prepared = prepare(session, head, batch, fetches, at_ms=at_ms)
            observations = _new_observations(session, head, answers.observations, since=since)
            counts.update(messages=prepared.counts["messages"], files_stored=prepared.counts["files_stored"])
            tables = {
                **prepared.tables,
                "events": rows_to_table(EVENTS, answers.rows.unread()),
                "observations": rows_to_table(OBSERVATIONS, observations),
            }
            settled = (record.key,) if answers.is_final and record.key not in head.settled else ()
            return Draft(at_ms=at_ms, tables=tables, blobs=prepared.blobs, settled=settled, gaps=_gaps(answers))

        session.commit(draft_for)
    return counts


def _new_observations(
    session: Session, head: Head, observed: Sequence[dict[str, Any]], *, since: date
) -> list[dict[str, Any]]:
    """Return the observations that say something new: being refused again tonight is no news.

    ``since`` is the day from which on these events can have been asked about: what was observed before is not read.
    """
    if not observed:
        return []
    uids = pa.array({row["message_uid"] for row in observed}, type=pa.string())

    def keep(batch: pa.RecordBatch) -> pa.Array:
        return pc.is_in(batch.column("message_uid"), value_set=uids)

    columns = ("chat_id", "message_uid", "outcome", "observed_at")
    last: dict[tuple[str, str], tuple[int, str]] = {}
    records = [item for item in files_of(head, "observations") if layout.partition_of(item.key)[1] >= since]
    for rows in read_rows(session.ports.archive.store, records, columns, keep=keep):
        for row in rows_of(rows):
            key = (row["chat_id"], row["message_uid"])
            last[key] = max(last.get(key, (row["observed_at"], row["outcome"])), (row["observed_at"], row["outcome"]))
    return [row for row in observed if last.get((row["chat_id"], row["message_uid"]), (0, ""))[1] != row["outcome"]]


def known_readers(session: Session) -> Mapping[str, Collection[str]]:
    """Return who is in which channel, as far as the directory tells."""
    readers: dict[str, list[str]] = {}
    for (channel_id, user_id), row in session.states("groups").items():
        if row["state"] == "member":
            readers.setdefault(channel_id, []).append(user_id)
    return readers


def _gaps(answers: _Answers) -> tuple[Gap, ...]:
    evidence = {
        "not_returned": "asked for by uid and not returned by Flock; rows in observations",
        "unknown_chat": "no user whose token we have may read the chat; rows in observations",
        "failed": f"could not be asked for: {answers.reasons.get('failed', '')}",
    }
    missing = [
        Gap(kind=f"message-{outcome.replace('_', '-')}", count=count, evidence=evidence[outcome], chat_id=chat_id)
        for (outcome, chat_id), count in sorted(answers.missing.items())
    ]
    if unparsed := answers.outcomes["unparsed"]:
        text = "returned by Flock and unreadable; kept in events with the error"
        missing.append(Gap(kind="message-unparsed", count=unparsed, evidence=text))
    return tuple(missing)
