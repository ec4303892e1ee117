"""The days of messages that a sweep works through: how far each was read again, what is next, and how far the answers bring it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive import layout
from archiver.archive.ledger import FileRecord, read_entry
from archiver.archive.reader import Archive, Head, files_of, read_rows
from archiver.capture.fetch import UidOutcome
from archiver.capture.sweep import (
    DAY_CURSOR,
    ArchivedDay,
    Conversation,
    Place,
    SweepRules,
    believable,
    cut,
    place_from,
)
from archiver.capture.swept import SweptConversation, settled_part
from archiver.capture.versions import Key
from archiver.clock import from_text
from archiver.ids import IMPORT_PREFIX, is_foreign
from archiver.normalise.message import PROVISIONAL_PREFIX
from archiver.store import Store


def archived_days(archive: Archive, head: Head, *, now_ms: int, rules: SweepRules) -> list[ArchivedDay]:
    """Return every day of messages with how far it was read again; of one never read, when its first message was archived.

    Reads the ledger entries that brought days which no sweep has met yet, and nothing else.
    """
    rows: Counter[date] = Counter()
    firsts: dict[date, int] = {}
    for record in _of_flock(head):
        day = layout.partition_of(record.key)[1]
        rows[day] += record.rows
        sequence = layout.sequence_of_data(record.key)
        firsts[day] = min(firsts.get(day, sequence), sequence)
    archived_at_ms: dict[int, int] = {}
    found = []
    for day, count in rows.items():
        text = head.cursors.get(f"{DAY_CURSOR}{day}")
        place = None if text is None else place_from(text)
        if place is None:
            first = firsts[day]
            if first not in archived_at_ms:
                archived_at_ms[first] = from_text(read_entry(archive.store, first)[0].at)
            place = Place(archived_at_ms[first])
        found.append(ArchivedDay(day, count, believable(day, place, now_ms=now_ms, rules=rules)))
    return found


@dataclass(slots=True)
class Reading:
    """One day under way: the rows that name its messages, in order, and how many of them were handed out."""

    day: date
    place: Place
    keys: pa.Table
    handed_out: int = 0

    def window(self, uids_max: int) -> tuple[list[Conversation], bool]:
        """Return the next conversations of at most so many uids, and whether the last of them may go on after that."""
        rows = self.keys.slice(self.handed_out, uids_max + 1)
        by_chat: dict[str, list[str]] = {}
        for chat_id, uid in zip(rows.column(0).to_pylist(), rows.column(1).to_pylist(), strict=True):
            by_chat.setdefault(chat_id, []).append(uid)
        return [Conversation(chat_id, tuple(uids)) for chat_id, uids in by_chat.items()], rows.num_rows > uids_max

    @property
    def is_handed_out(self) -> bool:
        """Tell whether everything that there is to ask for was handed out."""
        return self.handed_out >= len(self.keys)


@dataclass(slots=True)
class Slice:
    """Conversations of one day that are asked for together; ``is_end`` if nothing of the day comes after them."""

    reading: Reading
    conversations: deque[Conversation]
    is_end: bool


class DueDays:
    """The days that are due, in their order; the first may be handed out in part."""

    def __init__(self, store: Store, head: Head, due: Iterable[ArchivedDay], *, began_ms: int) -> None:
        self._store = store
        self._due = deque(due)
        self._began_ms = began_ms
        self._records = records_by_day(head)
        self._reading: Reading | None = None

    def __bool__(self) -> bool:
        return bool(self._due) or self._reading is not None

    def __len__(self) -> int:
        return len(self._due) + (self._reading is not None)

    def give_up(self, day: date) -> None:
        """Hand out nothing more of a day: nothing of it may be passed over, so with a hole in it, it waits for another night."""
        if self._reading is not None and self._reading.day == day:
            self._reading = None

    def next_slices(self, *, uids_max: int, requests_max: int) -> list[Slice]:
        """Return what is asked for until the next commit: whole conversations' days, as far as they fit."""
        chunk: list[Slice] = []
        while uids_max > 0 and requests_max > 0 and self:
            reading = self._reading = self._reading or self._open(self._due.popleft())
            window, is_cut = reading.window(uids_max)
            if is_cut:  # the last one may go on; a single one is split only where nothing else would move
                whole = window[:-1]
                window = whole or (window if not chunk else [])
            taken = cut(window, uids_max=uids_max, requests_max=requests_max, may_split=not chunk)
            if not taken and not reading.is_handed_out:
                break
            count = sum(len(conversation.uids) for conversation in taken)
            reading.handed_out += count
            chunk.append(Slice(reading, deque(taken), reading.is_handed_out))
            uids_max -= count
            requests_max -= sum(conversation.requests for conversation in taken)
            if not reading.is_handed_out:
                break
            self._reading = None
        return chunk

    def _open(self, item: ArchivedDay) -> Reading:
        """Read which uids a day has, without those that were asked for before this reading was interrupted."""
        place = item.place
        if place.began_ms is None:
            place = msgspec.structs.replace(place, began_ms=self._began_ms, after=None)
        keys = _keys_of(self._store, self._records[item.day])
        if place.after is not None:
            chat_id, uid = place.after
            same_chat = pc.and_(pc.equal(keys.column(0), chat_id), pc.greater(keys.column(1), uid))
            keys = keys.filter(pc.or_(pc.greater(keys.column(0), chat_id), same_chat))
        return Reading(item.day, place, keys)


def progress(
    chunk: Iterable[Slice], replies: Mapping[Key, UidOutcome], *, is_last: bool
) -> tuple[list[SweptConversation], dict[date, Place]]:
    """Take what is settled off the slices, and return it with the new place of each day that it moved."""
    swept: list[SweptConversation] = []
    places: dict[date, Place] = {}
    for part in chunk:
        reading, moved = part.reading, False
        while part.conversations:
            conversation = part.conversations[0]
            settled = settled_part(conversation, replies)
            is_whole = len(settled.uids) == len(conversation.uids)
            # A conversation's day is told of as one, unless it is so large that a whole night brings only a part of it.
            if not is_whole and (moved or not is_last or not settled.uids):
                break
            part.conversations.popleft()
            if not is_whole:
                left = Conversation(conversation.chat_id, conversation.uids[len(settled.uids) :])
                part.conversations.appendleft(left)
            own = {uid: replies[conversation.chat_id, uid] for uid in settled.uids}
            swept.append(SweptConversation(reading.day, settled, own))
            reading.place = msgspec.structs.replace(reading.place, after=(settled.chat_id, settled.uids[-1]))
            moved = True
            if not is_whole:
                break
        if part.is_end and not part.conversations and reading.place.began_ms is not None:
            reading.place = Place(reading.place.began_ms, is_swept=True)
            moved = True
        if moved:
            places[reading.day] = reading.place
    return swept, places


def records_by_day(head: Head) -> dict[date, list[FileRecord]]:
    """Return the data objects of messages by day."""
    found: dict[date, list[FileRecord]] = {}
    for record in _of_flock(head):
        found.setdefault(layout.partition_of(record.key)[1], []).append(record)
    return found


def _of_flock(head: Head) -> Iterator[FileRecord]:
    """Yield the data objects of messages, without those that hold nothing but imported chats of another system."""
    for record in files_of(head, "messages"):
        # What lies between two texts with one beginning begins so too.
        if not all(is_foreign(str(chat_id)) for chat_id in record.ranges["chat_id"]):
            yield record


def _keys_of(store: Store, records: list[FileRecord]) -> pa.Table:
    """Return the chat and uid of each message of a day, once and in order, without uids and chats that are only ours."""

    def keep(batch: pa.RecordBatch) -> pa.Array:
        ours = pc.or_(
            pc.starts_with(batch.column("message_uid"), pattern=PROVISIONAL_PREFIX),
            pc.starts_with(batch.column("chat_id"), pattern=IMPORT_PREFIX),
        )
        return pc.invert(ours)

    columns = ("chat_id", "message_uid")
    schema = pa.schema([(name, pa.string()) for name in columns])
    batches = [
        pa.RecordBatch.from_arrays([batch.column(name).cast(pa.string()) for name in columns], schema=schema)
        for batch in read_rows(store, records, columns, keep=keep)
    ]
    keys = pa.Table.from_batches(batches, schema=schema).group_by(list(columns)).aggregate([])
    return keys.select(list(columns)).sort_by([(name, "ascending") for name in columns])
