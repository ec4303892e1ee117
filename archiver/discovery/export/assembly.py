"""Rows to slices: messages with their versions and files, numbered, in order of conversation, day and time."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

import pyarrow as pa

from archiver.archive.memory import trim_above
from archiver.archive.tables import rows_of
from archiver.discovery.export.absences import ANSWERS, Absences
from archiver.discovery.export.attached import file_facts
from archiver.discovery.export.by_uid import ByUid
from archiver.discovery.export.given import Given
from archiver.discovery.export.local_days import Days, by_local_day
from archiver.discovery.export.missing import Gaps
from archiver.discovery.export.order import FIRST, Part, bounds_ms, parts_of, starts_of
from archiver.discovery.export.people import People, path_name
from archiver.discovery.export.plain import Apart, Block, Columns, Messages
from archiver.discovery.export.record import Conversation, File, Message, Slice
from archiver.discovery.export.redaction import REDACTED, Redaction
from archiver.discovery.export.replies import Replies
from archiver.discovery.export.runs import RESIDENT_BYTES
from archiver.discovery.export.selection import IS_CONTEXT

# Viewers of RSMF take no more at once, and nobody reads more on one page.
SLICE_MESSAGES_MAX: Final = 10_000
# Slices are made of so many rows at once, or of one slice more: enough that a day of a few messages costs no more than they do, and that
# what is read at once, some megabytes, is mostly one block. Each step of it is one in which threads wait for each other.
BLOCK_ROWS: Final = 32_768
# Of forms that make every message: those of a block are in memory as long as it is.
MADE_BLOCK_ROWS: Final = 4_096
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

# Why something of what was chosen is not in the export, by the names under which the report counts it.
CAPTURED_AGAIN: Final = "captures_of_the_same_version"
WITHOUT_UID: Final = "captures_without_uid_of_the_same_message"
EARLIER_VERSIONS: Final = "earlier_versions"
EARLIER_FILES: Final = "files_of_earlier_versions"
FILES_WITHHELD: Final = "files_withheld"

T = TypeVar("T")

_Files = Mapping[tuple[str, str], list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class _Ready:
    """A block of which slices can be made: its rows before anything was made black, its slices, their conversations and files.

    ``named`` are by their places the uids of the messages of which something may be known by uid. ``apart`` are the messages that may be
    odd, if they are looked for ahead.
    """

    rows: pa.Table
    block: Block
    parts: Sequence[Part]
    conversations: Mapping[str, Conversation]
    files: _Files
    named: Mapping[int, str]
    apart: Apart | None


@dataclass(frozen=True, slots=True)
class _Beside:
    """What belongs to the messages of a slice beside their rows.

    The id of their chat as the rows have it and as the archive does, by their places in the block the uids of those of which anything
    may be known by uid, files and originals of replies; and what is left out.
    """

    chat_id: str
    true_chat_id: str
    uids: Mapping[int, str]
    files: _Files
    originals: Mapping[str, str]
    left_out: Counter[str]


@dataclass(frozen=True, slots=True)
class Assembly:
    """Makes slices of rows; what it needs to know of everything but the rows.

    ``withheld`` says why no file's bytes are wanted, None if they are. A stored file has no ``path`` yet: who encloses it says where it
    lies. ``unnamed`` counts by chat and uid the rows left out before that came without a uid and turned out to be that message.
    ``executor`` reads and sorts ahead where one is given, and gets blocks ready: it has two threads at least, as one waits for the other.
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
    block_rows: int = BLOCK_ROWS
    slice_messages_max: int = SLICE_MESSAGES_MAX
    resident_bytes: int = RESIDENT_BYTES
    executor: Executor | None = None

    def slices(self, given: Given, chats: Sequence[str] | None = None, *, numbered_from: int = 0) -> Iterator[Slice]:
        """Yield everything that is given, sorted by conversation, day and part.

        With ``chats`` only of these, which stand together in that order; ``numbered_from`` is how many messages those before them have.
        """
        for ready in self._ahead(self._blocks_of(given, chats, numbered_from)):
            places = list(ready.named)
            parts = [(part, self._beside(ready, part, places)) for part in ready.parts]
            yield from self._slices(ready, parts)

    def _blocks_of(self, given: Given, chats: Sequence[str] | None, number: int) -> Iterator[_Ready]:
        known: dict[str, Conversation] = {}
        by_uid = ByUid(chain(self.absences.answers, self.unnamed))
        for days, files in self._ahead(self._ordered(given, chats)):
            for rows, starts, parts in self._blocks(days):
                # They come in order, so that of the conversations before these none comes again.
                firsts = {part.chat_id: starts[part.first] for part in parts}
                of_chats = rows.column("chat_kind").take(pa.array(firsts.values(), pa.int64())).to_pylist()
                kinds = dict(zip(firsts, of_chats, strict=True))
                known = {
                    chat_id: known.get(chat_id) or self.people.conversation(chat_id, kind)
                    for chat_id, kind in kinds.items()
                }
                block = Block(
                    self.redaction.apply(rows),
                    starts,
                    keys=self.keys,
                    person=self.people.person,
                    shown_id=self.redaction.shown_id,
                    prefix=self.prefix,
                    numbered_from=number,
                    parts=[(known[part.chat_id], part.day.isoformat(), part.end) for part in parts],
                )
                true_chats = [self.redaction.true_chat(chat_id) for chat_id in kinds]
                named = by_uid.among(block.uids, true_chats, (uid for _, uid in files))
                apart = None
                if not self.redaction.is_active:
                    block.get_ready()
                    apart = block.apart(sorted({*block.odd, *named}))
                yield _Ready(rows, block, parts, known, files, named, apart)
                trim_above(self.resident_bytes)
                number += parts[-1].end

    def _ahead(self, source: Iterator[T]) -> Iterator[T]:
        """Yield what is given, the next one made while this one is worked on."""
        if self.executor is None:
            yield from source
            return
        waiting = self.executor.submit(next, source, None)
        while (found := waiting.result()) is not None:
            waiting = self.executor.submit(next, source, None)
            yield found

    def _ordered(self, given: Given, chats: Sequence[str] | None) -> Iterator[tuple[Days, _Files]]:
        for first, last in given.groups(chats):
            again = partial(given.pieces, first, last)
            for days in by_local_day(again(), again, self.zone, messages_max=self.slice_messages_max):
                yield days, _by_message(days.files)

    def _blocks(self, days: Days) -> Iterator[tuple[pa.Table, list[int], list[Part]]]:
        """Yield rows that are in order as those of a few slices at once, each with the starts of its messages and its slices."""
        rows = days.messages
        starts = starts_of(rows)
        ends = [*starts, rows.num_rows]
        waiting: list[Part] = []
        for part in parts_of(rows, starts, messages_max=self.slice_messages_max, long_days=days.long_days):
            waiting.append(part)
            first, end = waiting[0].first, part.end
            if ends[end] - ends[first] < self.block_rows and end < len(starts):
                continue
            yield (
                rows.slice(ends[first], ends[end] - ends[first]).combine_chunks(),
                [row - ends[first] for row in ends[first : end + 1]],
                [replace(each, first=each.first - first, end=each.end - first) for each in waiting],
            )
            waiting = []

    def _beside(self, ready: _Ready, part: Part, places: Sequence[int]) -> _Beside:
        """Return what belongs to the messages of a part of a block; ``places`` are in order those that are named."""
        block = ready.block
        true_chat = self.redaction.true_chat(part.chat_id)
        left_out: Counter[str] = Counter()
        if self.redaction.is_active:
            of_part = range(block.starts[part.first], block.starts[part.end])
            left_out.update(self.redaction.leaves_out(ready.rows.slice(of_part.start, len(of_part))))
            left_out[f"{REDACTED}digests"] += sum(block.columns.without_digests[each] for each in of_part)
        named = places[bisect_left(places, part.first) : bisect_left(places, part.end)]
        uids = {place: ready.named[place] for place in named}
        originals: Mapping[str, str] = {}
        if self.replies is not None and self.replies.has(true_chat):
            uids = dict(enumerate(block.of(block.columns["message_uid"], part.first, part.end), part.first))
            originals = self.replies.of(true_chat, uids.values())
        if self.unnamed:
            left_out[WITHOUT_UID] = sum(self.unnamed.get((true_chat, uid), 0) for uid in uids.values())
        return _Beside(part.chat_id, true_chat, uids, ready.files, originals, left_out)

    def _slices(self, ready: _Ready, parts: Sequence[tuple[Part, _Beside]]) -> Iterator[Slice]:
        """Yield the slices of a block."""
        block, apart = ready.block, ready.apart
        odd = [self._odd(block, part, beside) for part, beside in parts]
        if apart is None or not apart.places.keys() >= {place for places in odd for place in places}:
            apart = block.apart([place for places in odd for place in places])
        for (part, beside), places in zip(parts, odd, strict=True):
            messages = {
                place - part.first: self._message(apart.block, apart.places[place], block.control_number(place), beside)
                for place in places
            }
            left_out = beside.left_out
            yield Slice(
                ready.conversations[part.chat_id],
                part.day.isoformat(),
                part.part,
                part.parts,
                Messages(block, part.first, part.end, chat_id=part.chat_id, odd=messages),
                self.gaps.of(beside.true_chat_id, *bounds_ms(part.day, self.zone)),
                block.starts[part.end] - block.starts[part.first] + left_out[WITHOUT_UID],
                +left_out,
            )

    def _odd(self, block: Block, part: Part, beside: _Beside) -> Sequence[int]:
        """Return the places in their block of the messages of a part that are not plain, in order."""
        if self.redaction.is_active:
            return range(part.first, part.end)
        odd = set(block.odd[bisect_left(block.odd, part.first) : bisect_left(block.odd, part.end)])
        for place, uid in beside.uids.items():
            if (
                (beside.chat_id, uid) in beside.files
                or (beside.true_chat_id, uid) in self.absences.answers
                or uid in beside.originals
            ):
                odd.add(place)
        return sorted(odd)

    def _message(self, block: Block, place: int, control_number: str, beside: _Beside) -> Message:
        """Return one message of a block with all that may be out of the ordinary in it; the newest of its rows is the last."""
        columns, person = block.columns, self.people.person
        first, end = block.starts[place], block.starts[place + 1]
        last, uid = end - 1, columns["message_uid"][first]
        kept: Sequence[int] = (last,) if end - first == 1 else self._kept(columns, first, end, beside.left_out)
        attached = beside.files.get((beside.chat_id, uid))
        principal, visible_to = columns["on_behalf_of"][last], columns["visible_to"][last]
        if self.redaction.is_active:
            self.redaction.note(control_number, beside.chat_id, [columns.logged(row) for row in kept])
        return Message(
            beside.chat_id,
            uid,
            control_number,
            columns[FIRST][first],
            columns["sent_at_basis"][first],
            block.people[last],
            tuple([block.versions[row] for row in kept]),
            () if attached is None else self._files(attached, columns, kept, control_number, beside.left_out),
            columns["send_as_name"][last],
            None if principal is None else person(principal),
            columns["app_id"][last],
            () if visible_to is None else tuple(map(person, visible_to)),
            beside.originals.get(uid),
            self._since((beside.true_chat_id, uid), columns, range(first, end)),
            columns[IS_CONTEXT][first],
            sum(columns.black[row] for row in kept) if self.redaction.is_active else 0,
        )

    def _since(self, key: tuple[str, str], columns: Columns, rows: range) -> int | None:
        """Return since when a message was not returned, None if it is."""
        if key not in self.absences.answers:
            return None
        observed, sources = columns["observed_at"], columns["source"]
        return self.absences.since(*key, (observed[place] for place in rows if sources[place] in ANSWERS))

    def _kept(self, columns: Columns, first: int, end: int, left_out: Counter[str]) -> Sequence[int]:
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

    def _files(
        self,
        rows: list[dict[str, Any]],
        columns: Columns,
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


def _by_message(files: pa.Table) -> _Files:
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows_of(files):
        found.setdefault((row["chat_id"], row["message_uid"]), []).append(row)
    return found
