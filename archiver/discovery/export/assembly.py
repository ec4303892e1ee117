"""Rows to slices: messages with their versions and files, numbered, in order of conversation, day and time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive import layout
from archiver.clock import DAY_MS, EARLIEST_MS, LATEST_MS, from_ms, to_ms
from archiver.discovery.export.absences import ANSWERS, Absences
from archiver.discovery.export.attached import file_facts
from archiver.discovery.export.missing import Gaps
from archiver.discovery.export.people import People, path_name
from archiver.discovery.export.record import Conversation, File, Message, Slice, Version
from archiver.discovery.export.redaction import Redaction
from archiver.discovery.export.replies import Replies
from archiver.discovery.export.runs import Piece, Runs
from archiver.discovery.export.selection import IS_CONTEXT
from archiver.discovery.export.stretches import OBJECT

# Viewers of RSMF take no more at once, and nobody reads more on one page.
SLICE_MESSAGES_MAX: Final = 10_000
CONTROL_DIGITS: Final = 8
FILE_DIGITS: Final = 3
WITHHELD: Final = "withheld"

MESSAGE_COLUMNS: Final = (
    "chat_id",
    "chat_kind",
    "message_uid",
    "version",
    "sent_at",
    "sent_at_basis",
    "observed_at",
    "source",
    "captured_by",
    "sender_id",
    "sender_name",
    "send_as_name",
    "on_behalf_of",
    "app_id",
    "flockml",
    "notification",
    "plain_text",
    "mentions",
    "visible_to",
    "attachments",
    "raw",
    "raw_digest",
    "content_digest",
)
_FIRST: Final = "first_sent"
_DAY: Final = "day_on"


@dataclass(frozen=True, slots=True)
class Assembly:
    """Makes slices of rows; what it needs to know of everything but the rows.

    ``withheld`` says why no file's bytes are wanted, None if they are. A stored file has no ``path`` yet: who encloses it says where it
    lies.
    """

    people: People
    absences: Absences
    gaps: Gaps
    zone: ZoneInfo
    keys: Sequence[str]
    prefix: str
    is_last_only: bool = False
    redaction: Redaction = field(default_factory=Redaction)
    withheld: str | None = None
    replies: Replies | None = None

    def slices(self, runs: Runs) -> Iterator[Slice]:
        """Yield everything that the runs hold, sorted by conversation, day and part."""
        number = 0
        for first, last in runs.groups():
            for messages, files in self._whole_days(runs.pieces(first, last)):
                for chat_id, day, part in _by_day(messages):
                    conversation = self.people.conversation(chat_id, part.column("chat_kind")[0].as_py())
                    for made in self._slices(conversation, chat_id, day, part, files=files, number=number):
                        number += len(made.messages)
                        yield made

    def _whole_days(
        self, pieces: Iterator[Piece]
    ) -> Iterator[tuple[pa.Table, Mapping[tuple[str, str], list[dict[str, Any]]]]]:
        """Yield rows in order, no day of a conversation over two of them, and the rows of their files by message."""
        rest: pa.Table | None = None
        rest_files: pa.Table | None = None
        for piece in pieces:
            messages = piece.messages if rest is None else pa.concat_tables([rest, piece.messages])
            files = piece.files if rest_files is None else pa.concat_tables([rest_files, piece.files])
            ordered = _in_order(messages, self.zone)
            if piece.nothing_before_ms is not None:
                # Clocks that go back may bring a day back, so a day more stays.
                open_from = (
                    from_ms(max(piece.nothing_before_ms - DAY_MS, EARLIEST_MS + 2 * DAY_MS))
                    .astimezone(self.zone)
                    .date()
                )
                is_open = pc.greater_equal(ordered.column(_DAY), pa.scalar(open_from, pa.date32()))
                rest = ordered.filter(is_open).drop_columns([_FIRST, _DAY])
                ordered = ordered.filter(pc.invert(is_open))
                uids = pc.unique(rest.column("message_uid"))
                is_open_file = pc.is_in(files.column("message_uid"), value_set=uids)
                rest_files, files = files.filter(is_open_file), files.filter(pc.invert(is_open_file))
            yield ordered, _by_message(files)

    def _slices(
        self,
        conversation: Conversation,
        chat_id: str,
        day: date,
        rows: pa.Table,
        *,
        files: Mapping[tuple[str, str], list[dict[str, Any]]],
        number: int,
    ) -> Iterator[Slice]:
        starts = _starts(rows)
        gaps = self.gaps.of(chat_id, *_bounds_ms(day, self.zone))
        parts = -(-len(starts) // SLICE_MESSAGES_MAX)
        for part in range(parts):
            chosen = starts[part * SLICE_MESSAGES_MAX : (part + 1) * SLICE_MESSAGES_MAX + 1]
            end = chosen[SLICE_MESSAGES_MAX] if len(chosen) > SLICE_MESSAGES_MAX else rows.num_rows
            table = self.redaction.apply(rows.slice(chosen[0], end - chosen[0]))
            originals = self._originals(chat_id, table)
            numbered = number + part * SLICE_MESSAGES_MAX
            messages = tuple(self._messages(conversation, _records(table), files, originals, numbered))
            yield Slice(conversation, day.isoformat(), part + 1, parts, messages, gaps)

    def _originals(self, chat_id: str, rows: pa.Table) -> Mapping[str, str]:
        """Return by uid which message each of these replies to, as far as one is certain."""
        if self.replies is None:
            return {}
        return self.replies.of(self.redaction.true_chat(chat_id), rows.column("message_uid").unique().to_pylist())

    def _messages(
        self,
        conversation: Conversation,
        rows: Iterator[dict[str, Any]],
        files: Mapping[tuple[str, str], list[dict[str, Any]]],
        originals: Mapping[str, str],
        number: int,
    ) -> Iterator[Message]:
        group: list[dict[str, Any]] = []
        uid: str | None = None
        for row in rows:
            if row["message_uid"] != uid and group:
                number += 1
                yield self._message(conversation, group, files, originals, number)
                group = []
            uid = row["message_uid"]
            group.append(row)
        if group:
            yield self._message(conversation, group, files, originals, number + 1)

    def _message(
        self,
        conversation: Conversation,
        rows: list[dict[str, Any]],
        files: Mapping[tuple[str, str], list[dict[str, Any]]],
        originals: Mapping[str, str],
        number: int,
    ) -> Message:
        first, last = rows[0], rows[-1]
        uid, chat_id = first["message_uid"], first["chat_id"]
        control_number = f"{self.prefix}-{number:0{CONTROL_DIGITS}d}"
        person = self.people.person
        since = None
        # Most exports have millions of messages and nothing black, and this is asked of each.
        is_active = self.redaction.is_active
        key = (self.redaction.true_chat(chat_id) if is_active else chat_id, uid)
        if key in self.absences.answers:
            since = self.absences.since(*key, (row["observed_at"] for row in rows if row["source"] in ANSWERS))
        kept = [last] if self.is_last_only else _distinct(rows) if len(rows) > 1 else rows
        attached = files.get((chat_id, uid))
        versions = tuple(map(self._version, kept))
        if is_active:
            self.redaction.note(control_number, chat_id, kept)
        return Message(
            conversation.chat_id,
            uid,
            control_number,
            first[_FIRST],
            first["sent_at_basis"],
            person(last["sender_id"], last["sender_name"]),
            versions,
            () if attached is None else self._files(attached, kept, control_number),
            last["send_as_name"],
            None if last["on_behalf_of"] is None else person(last["on_behalf_of"]),
            last["app_id"],
            () if last["visible_to"] is None else tuple(person(each) for each in last["visible_to"]),
            originals.get(uid),
            since,
            first[IS_CONTEXT],
            sum(self.redaction.count(row) for row in kept) if is_active else 0,
        )

    def _version(self, row: dict[str, Any]) -> Version:
        key = self.keys[row[OBJECT]]
        is_black = self.redaction.is_active and self.redaction.count(row) > 0
        return Version(
            row["version"],
            row["observed_at"],
            row["plain_text"],
            row["source"],
            row["captured_by"],
            "" if is_black else row["content_digest"],
            "" if is_black else row["raw_digest"],
            row["flockml"],
            row["notification"],
            row["attachments"],
            () if row["mentions"] is None else tuple(map(self.redaction.shown_id, row["mentions"])),
            row["raw"],
            key,
            layout.sequence_of_data(key),
        )

    def _files(
        self, rows: list[dict[str, Any]], versions: Sequence[dict[str, Any]], control_number: str
    ) -> tuple[File, ...]:
        numbers = {row["version"] for row in versions} if self.is_last_only else None
        found = []
        for ordinal, facts in enumerate(file_facts(rows, numbers)):
            is_stored = facts.digest is not None
            is_withheld = is_stored and self.withheld is not None
            found.append(
                File(
                    ordinal,
                    self.redaction.shown(facts.name),
                    f"{control_number}.{ordinal + 1:0{FILE_DIGITS}d}",
                    facts.kind,
                    facts.mime,
                    facts.size,
                    None if self.redaction.withholds_files else facts.digest,
                    path_name=path_name(self.redaction.shown(facts.name).removesuffix(facts.extension), of=facts.name)
                    + facts.extension,
                    status=WITHHELD if is_withheld else facts.status,
                    reason=self.withheld if is_withheld else facts.reason,
                )
            )
        return tuple(found)


def _in_order(rows: pa.Table, zone: ZoneInfo) -> pa.Table:
    """Return rows with when their message was first sent and on which local day, sorted by that, each message's rows together."""
    rows = rows.sort_by(
        [(name, "ascending") for name in ("chat_id", "message_uid", "version", "observed_at", "content_digest")]
    )
    starts = pa.array(_starts(rows), pa.int64())
    sent_at = rows.column("sent_at").combine_chunks() if rows.num_rows else rows.column("sent_at")
    first = pc.take(sent_at, starts)
    marks = pc.is_in(pa.arange(0, rows.num_rows), value_set=starts)
    group = pc.subtract(pc.cumulative_sum(pc.cast(marks, pa.int64())), 1)
    of_rows = pc.take(first, group)
    local = pc.local_timestamp(pc.cast(of_rows, pa.timestamp("ms", tz=zone.key)))
    days = pc.cast(pc.floor_temporal(local, unit="day"), pa.date32())
    rows = rows.append_column(_FIRST, pc.cast(of_rows, pa.int64())).append_column(_DAY, days)
    return rows.sort_by(
        [
            (name, "ascending")
            for name in ("chat_id", _DAY, _FIRST, "message_uid", "version", "observed_at", "content_digest")
        ]
    )


def _starts(rows: pa.Table) -> list[int]:
    """Return where each message begins among rows of which those of one message stand together."""
    if not rows.num_rows:
        return []
    uids, chats = (rows.column(name).combine_chunks() for name in ("message_uid", "chat_id"))
    changes = pc.or_(pc.not_equal(uids[1:], uids[:-1]), pc.not_equal(chats[1:], chats[:-1]))
    return [0, *(place + 1 for place in pc.indices_nonzero(changes).to_pylist())]


def _by_day(rows: pa.Table) -> Iterator[tuple[str, date, pa.Table]]:
    """Yield each conversation's day of rows that are in order."""
    if not rows.num_rows:
        return
    chats, days = (rows.column(name).combine_chunks() for name in ("chat_id", _DAY))
    changes = pc.or_(pc.not_equal(chats[1:], chats[:-1]), pc.not_equal(days[1:], days[:-1]))
    starts = [0, *(place + 1 for place in pc.indices_nonzero(changes).to_pylist())]
    for start, end in zip(starts, [*starts[1:], rows.num_rows], strict=True):
        yield chats[start].as_py(), days[start].as_py(), rows.slice(start, end - start)


def _records(rows: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield rows as mappings with instants as milliseconds, column by column, which is the quickest."""
    names = [name for name in rows.column_names if name not in ("sent_at", "text", "client_id", _DAY)]
    columns = [
        (pc.cast(rows.column(name), pa.int64()) if name == "observed_at" else rows.column(name)).to_pylist()
        for name in names
    ]
    for values in zip(*columns, strict=True):
        yield dict(zip(names, values, strict=True))


def _distinct(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each version: of several captures of one, the first that was received."""
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for row in rows:
        found.setdefault((row["version"], row["content_digest"]), row)
    return list(found.values())


def _by_message(files: pa.Table) -> dict[tuple[str, str], list[dict[str, Any]]]:
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in files.to_pylist():
        found.setdefault((row["chat_id"], row["message_uid"]), []).append(row)
    return found


def _bounds_ms(day: date, zone: ZoneInfo) -> tuple[int, int]:
    """Return the first instant of a local day and the first after it."""
    try:
        starts = [datetime.combine(on, time(), tzinfo=zone) for on in (day, day + timedelta(days=1))]
        return to_ms(starts[0]), to_ms(starts[1])
    except OverflowError:  # the first or the last day that there is
        return EARLIEST_MS, LATEST_MS
