"""Rows to slices: messages with their versions and files, numbered, in order of conversation, day and time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from itertools import pairwise
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
from archiver.discovery.export.redaction import HAS_NO_DIGESTS, MARK, REDACTED, Redaction
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


# Why something of what was chosen is not in the export, by the names under which the report counts it.
CAPTURED_AGAIN: Final = "captures_of_the_same_version"
WITHOUT_UID: Final = "captures_without_uid_of_the_same_message"
EARLIER_VERSIONS: Final = "earlier_versions"
EARLIER_FILES: Final = "files_of_earlier_versions"
FILES_WITHHELD: Final = "files_withheld"

_Files = Mapping[tuple[str, str], list[dict[str, Any]]]


class _Columns:
    """Rows as lists by column, instants in milliseconds: quicker than a mapping for each row."""

    def __init__(self, rows: pa.Table) -> None:
        self._columns: dict[str, list[Any]] = {
            name: (pc.cast(rows.column(name), pa.int64()) if name == "observed_at" else rows.column(name)).to_pylist()
            for name in rows.column_names
            if name not in ("chat_id", "chat_kind", "sent_at", "text", "client_id", _DAY)
        }
        marks = [found for name, found in self._columns.items() if name.startswith(MARK)]
        self.black = [sum(found) for found in zip(*marks, strict=True)]
        """How many places of each row are black; empty where nothing is to be."""

    def __getitem__(self, name: str) -> list[Any]:
        return self._columns[name]

    def row(self, place: int) -> dict[str, Any]:
        """Return one row as a mapping."""
        return {name: found[place] for name, found in self._columns.items()}


@dataclass(frozen=True, slots=True)
class _Beside:
    """What belongs to the messages of a slice beside their rows.

    The id of their chat as it is shown, as the rows have it and as the archive does; files and originals of replies; and what is left out.
    """

    shown_chat_id: str
    chat_id: str
    true_chat_id: str
    files: _Files
    originals: Mapping[str, str]
    left_out: Counter[str]


@dataclass(frozen=True, slots=True)
class Assembly:
    """Makes slices of rows; what it needs to know of everything but the rows.

    ``withheld`` says why no file's bytes are wanted, None if they are. A stored file has no ``path`` yet: who encloses it says where it
    lies. ``unnamed`` counts by chat and uid the rows left out before that came without a uid and turned out to be that message.
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
    unnamed: Mapping[tuple[str, str], int] = field(default_factory=dict)

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

    def _whole_days(self, pieces: Iterator[Piece]) -> Iterator[tuple[pa.Table, _Files]]:
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
        files: _Files,
        number: int,
    ) -> Iterator[Slice]:
        starts = _starts(rows)
        true_chat = self.redaction.true_chat(chat_id)
        gaps = self.gaps.of(true_chat, *_bounds_ms(day, self.zone))
        parts = -(-len(starts) // SLICE_MESSAGES_MAX)
        for part in range(parts):
            after = (part + 1) * SLICE_MESSAGES_MAX
            chosen = starts[part * SLICE_MESSAGES_MAX : after]
            end = starts[after] if len(starts) > after else rows.num_rows
            table = rows.slice(chosen[0], end - chosen[0])
            left_out = Counter(self.redaction.leaves_out(table))
            columns = _Columns(self.redaction.apply(table))
            spans = [(one - chosen[0], other - chosen[0]) for one, other in pairwise([*chosen, end])]
            uids = [columns["message_uid"][first] for first, _ in spans]
            if self.unnamed:
                left_out[WITHOUT_UID] = sum(self.unnamed.get((true_chat, uid), 0) for uid in uids)
            originals = {} if self.replies is None else self.replies.of(true_chat, uids)
            beside = _Beside(conversation.chat_id, chat_id, true_chat, files, originals, left_out)
            messages = tuple(self._messages(columns, spans, beside, number + part * SLICE_MESSAGES_MAX))
            captures = table.num_rows + left_out[WITHOUT_UID]
            yield Slice(conversation, day.isoformat(), part + 1, parts, messages, gaps, captures, +left_out)

    def _messages(
        self, columns: _Columns, spans: Sequence[tuple[int, int]], beside: _Beside, number: int
    ) -> Iterator[Message]:
        """Yield the messages of rows, each from a first row to before another; the newest row is the last."""
        versions = self._versions(columns, beside.left_out)
        person = self.people.person
        # Most exports have millions of messages and nothing black, and this is asked of each.
        is_active = self.redaction.is_active
        uids, sent_at, bases = columns["message_uid"], columns[_FIRST], columns["sent_at_basis"]
        senders, names, aliases = columns["sender_id"], columns["sender_name"], columns["send_as_name"]
        principals, apps, visible = columns["on_behalf_of"], columns["app_id"], columns["visible_to"]
        contexts = columns[IS_CONTEXT]
        originals, files, answers = beside.originals, beside.files, self.absences.answers
        for first, end in spans:
            number += 1
            last, uid = end - 1, uids[first]
            kept: Sequence[int] = (last,) if end - first == 1 else self._kept(columns, first, end, beside.left_out)
            control_number = f"{self.prefix}-{number:0{CONTROL_DIGITS}d}"
            attached = files.get((beside.chat_id, uid))
            if is_active:
                self.redaction.note(control_number, beside.chat_id, [columns.row(place) for place in kept])
            yield Message(
                beside.shown_chat_id,
                uid,
                control_number,
                sent_at[first],
                bases[first],
                person(senders[last], names[last]),
                tuple([versions[place] for place in kept]),
                () if attached is None else self._files(attached, columns, kept, control_number, beside.left_out),
                aliases[last],
                None if principals[last] is None else person(principals[last]),
                apps[last],
                () if visible[last] is None else tuple(person(each) for each in visible[last]),
                originals.get(uid),
                self._since((beside.true_chat_id, uid), columns, range(first, end)) if answers else None,
                contexts[first],
                sum(columns.black[place] for place in kept) if is_active else 0,
            )

    def _since(self, key: tuple[str, str], columns: _Columns, rows: range) -> int | None:
        """Return since when a message was not returned, None if it is."""
        if key not in self.absences.answers:
            return None
        observed, sources = columns["observed_at"], columns["source"]
        return self.absences.since(*key, (observed[place] for place in rows if sources[place] in ANSWERS))

    def _kept(self, columns: _Columns, first: int, end: int, left_out: Counter[str]) -> Sequence[int]:
        """Return the rows of a message that stand for its versions: of several captures of one, the first that was received."""
        found: dict[tuple[int, str], int] = {}
        numbers, digests = columns["version"], columns["content_digest"]
        for place in range(first, end):
            found.setdefault((numbers[place], digests[place]), place)
        left_out[CAPTURED_AGAIN] += end - first - len(found)
        if not self.is_last_only:
            return list(found.values())
        left_out[EARLIER_VERSIONS] += len(found) - 1
        return (end - 1,)

    def _versions(self, columns: _Columns, left_out: Counter[str]) -> list[Version]:
        """Return a version for each row."""
        objects = columns[OBJECT]
        keys = {place: self.keys[place] for place in set(objects)}
        commits = {place: layout.sequence_of_data(key) for place, key in keys.items()}
        digests, raw_digests = columns["content_digest"], columns["raw_digest"]
        if self.redaction.is_active:
            without = columns[HAS_NO_DIGESTS]
            digests, raw_digests = (
                ["" if is_left_out else digest for digest, is_left_out in zip(found, without, strict=True)]
                for found in (digests, raw_digests)
            )
            left_out[f"{REDACTED}digests"] += sum(without)
        shown = self.redaction.shown_id
        return list(
            map(
                Version,
                *(columns[name] for name in ("version", "observed_at", "plain_text", "source", "captured_by")),
                digests,
                raw_digests,
                *(columns[name] for name in ("flockml", "notification", "attachments")),
                [() if found is None else tuple(map(shown, found)) for found in columns["mentions"]],
                columns["raw"],
                [keys[place] for place in objects],
                [commits[place] for place in objects],
            )
        )

    def _files(
        self,
        rows: list[dict[str, Any]],
        columns: _Columns,
        kept: Sequence[int],
        control_number: str,
        left_out: Counter[str],
    ) -> tuple[File, ...]:
        numbers = None
        if self.is_last_only:
            numbers = {columns["version"][place] for place in kept}
            left_out[EARLIER_FILES] += len(file_facts(rows)) - len(file_facts(rows, numbers))
        found = []
        for ordinal, facts in enumerate(file_facts(rows, numbers)):
            is_stored = facts.digest is not None
            is_withheld = is_stored and self.withheld is not None
            left_out[FILES_WITHHELD] += is_withheld
            name = self.redaction.shown(facts.name)
            # What was made black may have been the end of the name.
            extension = facts.extension if name.lower().endswith(facts.extension) else ""
            found.append(
                File(
                    ordinal,
                    name,
                    f"{control_number}.{ordinal + 1:0{FILE_DIGITS}d}",
                    facts.kind,
                    facts.mime,
                    facts.size,
                    None if self.redaction.withholds_files else facts.digest,
                    path_name=path_name(name.removesuffix(extension), of=name) + extension,
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


def _by_message(files: pa.Table) -> _Files:
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
