"""Messages as rows: nearly all are plain, and are made of their rows only where somebody asks for one of them.

A plain message is all in one row: it was captured once, and has no files, nobody for whom alone it was or on whose behalf. Of a *block*,
which is the rows of a few slices, each column that is asked for becomes one list, and the messages are made of the lists without a line of
Python for each. Who writes the rows themselves, as JSON lines are, makes no message at all. Whatever is out of the ordinary, however
little, is *odd*: `archiver.discovery.export.assembly` makes it by itself and with care, and what is made here is exactly what that would
make.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise, repeat
from typing import Any, Final, TypeVar, overload

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive import layout
from archiver.discovery.export.order import FIRST, numbers_of
from archiver.discovery.export.record import Conversation, Message, Person, Version
from archiver.discovery.export.redaction import HAS_NO_DIGESTS, MARK
from archiver.discovery.export.selection import IS_CONTEXT
from archiver.discovery.export.stretches import OBJECT

CONTROL_DIGITS: Final = 8
# A message that has any of these is not plain.
_ODD: Final = ("visible_to", "on_behalf_of")

T = TypeVar("T")


class Columns:
    """Rows as lists by column, each made when it is first asked for, instants in milliseconds: quicker than a mapping for each row."""

    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows
        self._lists: dict[str, list[Any]] = {}

    def __getitem__(self, name: str) -> list[Any]:
        found = self._lists.get(name)
        if found is None:
            column = self._rows.column(name)
            is_instant = pa.types.is_timestamp(column.type)
            found = self._lists[name] = (pc.cast(column, pa.int64()) if is_instant else column).to_pylist()
        return found

    @cached_property
    def black(self) -> list[int]:
        """How many places of each row are black; empty where nothing is to be."""
        marks = [self[name] for name in self._rows.column_names if name.startswith(MARK)]
        return [sum(found) for found in zip(*marks, strict=True)]

    @cached_property
    def without_digests(self) -> list[bool]:
        """Of which rows digests are left out; empty where nothing is to be black."""
        return self[HAS_NO_DIGESTS] if HAS_NO_DIGESTS in self._rows.column_names else []

    def logged(self, place: int) -> dict[str, Any]:
        """Return what the log of what is black tells of a row."""
        marks = [name for name in self._rows.column_names if name.startswith(MARK)]
        return {name: self[name][place] for name in ("message_uid", "version", *marks)}


@dataclass(frozen=True, slots=True)
class Senders:
    """Who sent the rows of a block: each of the ``people`` once, and for each row which of them."""

    people: list[Person]
    which: pa.Array


class Block:
    """The rows of a few slices. ``keys`` are the data objects that `OBJECT` counts.

    ``starts`` are the first rows of its messages, and behind them the number of rows. ``numbered_from`` is how many messages came before,
    and ``prefix`` what control numbers begin with. ``parts`` are its slices: conversation, day, and behind which message each ends.
    """

    def __init__(
        self,
        rows: pa.Table,
        starts: Sequence[int],
        *,
        keys: Sequence[str],
        person: Callable[[str, str | None], Person],
        shown_id: Callable[[str], str],
        prefix: str = "",
        numbered_from: int = 0,
        parts: Sequence[tuple[Conversation, str, int]] = (),
    ) -> None:
        self.rows = rows
        self.starts = starts
        self.columns = Columns(rows)
        self.keys = keys
        self.prefix = prefix
        self.numbered_from = numbered_from
        self.parts = parts
        self._person = person
        self._shown_id = shown_id

    @cached_property
    def people(self) -> list[Person]:
        """The sender of each row."""
        called = list(zip(self.columns["sender_id"], self.columns["sender_name"], strict=True))
        found = {each: self._person(*each) for each in set(called)}
        return [found[each] for each in called]

    @cached_property
    def mentions(self) -> list[tuple[str, ...]]:
        """Whom each row names, as they are shown."""
        return [() if listed is None else tuple(map(self._shown_id, listed)) for listed in self.columns["mentions"]]

    @cached_property
    def versions(self) -> list[Version]:
        """The version that each row is."""
        columns = self.columns
        digests, raw_digests = columns["content_digest"], columns["raw_digest"]
        if columns.without_digests:
            digests, raw_digests = (
                [
                    "" if is_left_out else digest
                    for digest, is_left_out in zip(of_rows, columns.without_digests, strict=True)
                ]
                for of_rows in (digests, raw_digests)
            )
        objects = columns[OBJECT]
        commits = {place: layout.sequence_of_data(self.keys[place]) for place in set(objects)}
        return list(
            map(
                Version,
                *(columns[name] for name in ("version", "observed_at", "plain_text", "source", "captured_by")),
                digests,
                raw_digests,
                *(columns[name] for name in ("flockml", "notification", "attachments")),
                self.mentions,
                columns["raw"],
                [self.keys[place] for place in objects],
                [commits[place] for place in objects],
            )
        )

    @cached_property
    def odd(self) -> list[int]:
        """Which messages, by their places and in order, have several rows, or something in their row that no plain message has."""
        rows, starts = self.rows, self.starts
        odd: set[int] = set()
        if len(starts) - 1 < rows.num_rows:
            odd.update(place for place, (start, end) in enumerate(pairwise(starts)) if end - start > 1)
        further = [name for name in _ODD if rows.column(name).null_count < rows.num_rows]
        if further:
            place_of = {start: place for place, start in enumerate(starts)}
            for name in further:
                has_any = pc.indices_nonzero(pc.is_valid(rows.column(name))).to_pylist()
                # A row that is not the first of its message is of one that is odd already.
                odd.update(place_of[row] for row in has_any if row in place_of)
        return sorted(odd)

    @cached_property
    def whole(self) -> pa.RecordBatch:
        """The rows, in one piece."""
        (rows,) = self.rows.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], self.rows.schema)]
        return rows

    def get_ready(self) -> None:
        """Work out now what is asked of every block, so that nobody waits for it later."""
        self.odd, self.marked, self.first_sent  # noqa: B018 - they are kept

    @cached_property
    def senders(self) -> Senders:
        """Who sent each row."""
        ids, names = (
            self.whole.column(name).dictionary_encode(null_encoding="encode") for name in ("sender_id", "sender_name")
        )
        user_ids, called, many = ids.dictionary.to_pylist(), names.dictionary.to_pylist(), len(names.dictionary)
        pairs = pc.add(pc.multiply(pc.cast(ids.indices, pa.int64()), many), names.indices).dictionary_encode()
        people = [self._person(user_ids[pair // many], called[pair % many]) for pair in pairs.dictionary.to_pylist()]
        return Senders(people, pairs.indices)

    @property
    def uids(self) -> pa.StringArray:
        """The uid of each message."""
        return self.of_firsts(self.whole.column("message_uid"))

    @cached_property
    def first_sent(self) -> memoryview:
        """When each message was first sent, as numbers that are looked up in no time."""
        return numbers_of(self.of_firsts(self.whole.column(FIRST)))

    @cached_property
    def marked(self) -> tuple[list[int], list[int], list[int]]:
        """The places, in order, of the messages that are context, and of those that, if they are plain, are edited and are by an app."""
        senders = self.senders
        is_bot = pc.take(pa.array([person.is_bot for person in senders.people], pa.bool_()), senders.which)
        context, edited, by_app = (
            pc.indices_nonzero(self.of_firsts(marks)).to_pylist()
            for marks in (
                self.whole.column(IS_CONTEXT),
                pc.greater(self.whole.column("version"), 1),
                pc.or_(pc.is_valid(self.whole.column("app_id")), is_bot),
            )
        )
        return context, edited, by_app

    def of_firsts(self, column: pa.Array) -> pa.Array:
        """Return of a column the values of the first row of each message."""
        return column if len(self.starts) - 1 == self.starts[-1] else column.take(self._first_rows)

    @cached_property
    def _first_rows(self) -> pa.Int64Array:
        return pa.array(self.starts[:-1], pa.int64())

    def of(self, column: list[T], first: int, end: int) -> list[T]:
        """Return of a column the values of the first rows of messages from one to before another: of a plain one all there is."""
        if len(self.starts) - 1 == self.starts[-1]:
            return column[first:end]
        return [column[row] for row in self.starts[first:end]]

    def apart(self, places: Sequence[int]) -> Apart:
        """Return the rows of some messages, given in order, by themselves: of few messages columns are made into lists in no time."""
        numbers = {place: number for number, place in enumerate(places)}
        if len(places) == len(self.starts) - 1:
            return Apart(self, numbers)
        rows: list[int] = []
        starts = [0]
        for place in places:
            rows.extend(range(self.starts[place], self.starts[place + 1]))
            starts.append(len(rows))
        few = pa.Table.from_batches([self.whole.take(pa.array(rows, pa.int64()))])
        return Apart(Block(few, starts, keys=self.keys, person=self._person, shown_id=self._shown_id), numbers)

    def control_number(self, place: int) -> str:
        """Return the control number of a message."""
        return f"{self.prefix}-{self.numbered_from + place + 1:0{CONTROL_DIGITS}d}"

    def plain_messages(self, first: int, end: int, *, chat_id: str) -> list[Message]:
        """Return the messages from one to before another as if all of them were plain."""
        of, columns = partial(self.of, first=first, end=end), self.columns
        return list(
            map(
                Message,
                repeat(chat_id),
                of(columns["message_uid"]),
                map(self.control_number, range(first, end)),
                of(columns[FIRST]),
                of(columns["sent_at_basis"]),
                of(self.people),
                zip(of(self.versions), strict=True),
                repeat(()),
                of(columns["send_as_name"]),
                repeat(None),
                of(columns["app_id"]),
                repeat(()),
                repeat(None),
                repeat(None),
                of(columns[IS_CONTEXT]),
            )
        )


@dataclass(frozen=True, slots=True)
class Apart:
    """Some messages of a block as a block of these alone, and by their places in the one their places in the other."""

    block: Block
    places: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Plain:
    """What the plain messages of a slice come to: how many, how many of them are context, are edited, are by an app."""

    messages: int = 0
    context: int = 0
    edited: int = 0
    by_app: int = 0


class Messages(Sequence[Message]):
    """The messages of a slice, which are those of a block from one to before another: the odd ones are made, by their places in the slice.

    The plain ones are made, all at once, when one of them is first asked for.
    """

    __slots__ = ("_made", "block", "chat_id", "end", "first", "odd")

    def __init__(self, block: Block, first: int, end: int, *, chat_id: str, odd: Mapping[int, Message]) -> None:
        self.block = block
        self.first = first
        self.end = end
        self.chat_id = chat_id
        self.odd = odd
        self._made: tuple[Message, ...] | None = None

    def __len__(self) -> int:
        return self.end - self.first

    @overload
    def __getitem__(self, place: int) -> Message: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Message, ...]: ...
    def __getitem__(self, place: int | slice) -> Message | tuple[Message, ...]:
        return self.made[place]

    def __iter__(self) -> Iterator[Message]:
        return iter(self.made)

    def __eq__(self, other: object) -> bool:
        return self.made == tuple(other) if isinstance(other, Sequence) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.made)

    @property
    def made(self) -> tuple[Message, ...]:
        """All of them."""
        if self._made is None:
            messages = self.block.plain_messages(self.first, self.end, chat_id=self.chat_id)
            for place, message in self.odd.items():
                messages[place] = message
            self._made = tuple(messages)
        return self._made

    @property
    def bounds_ms(self) -> tuple[int, int]:
        """When the first and the last of them were sent."""
        sent = self.block.first_sent
        return sent[self.first], sent[self.end - 1]

    @property
    def plain(self) -> Plain:
        """What those that are not odd come to."""
        block, count = self.block, len(self) - len(self.odd)
        if not count:
            return Plain()
        return Plain(count, *map(self._plain_of, block.marked))

    def with_odd(self, odd: Mapping[int, Message]) -> Messages:
        """Return these messages with others in the places of the odd ones."""
        return Messages(self.block, self.first, self.end, chat_id=self.chat_id, odd=odd)

    def _plain_of(self, marked: list[int]) -> int:
        """Return how many of those that are not odd are marked, given the places of those in the block that are."""
        start, end = bisect_left(marked, self.first), bisect_left(marked, self.end)
        return end - start - sum(place - self.first in self.odd for place in marked[start:end])


def made_of(messages: Sequence[Message]) -> Collection[Message]:
    """Return the messages of a slice that are made: of one of rows those that are odd."""
    return messages.odd.values() if isinstance(messages, Messages) else messages


def plain_of(messages: Sequence[Message]) -> Plain:
    """Return what those messages of a slice come to that are not made."""
    return messages.plain if isinstance(messages, Messages) else Plain()


def changed(messages: Sequence[Message], change: Callable[[Message], Message]) -> Sequence[Message]:
    """Return the messages of a slice with what changes of those that are made."""
    if isinstance(messages, Messages):
        return messages.with_odd({place: change(message) for place, message in messages.odd.items()})
    return tuple(map(change, messages))


def bounds_ms(messages: Sequence[Message]) -> tuple[int, int]:
    """Return when the first and the last of the messages of a slice were sent; there is at least one."""
    if isinstance(messages, Messages):
        return messages.bounds_ms
    return messages[0].sent_at_ms, messages[-1].sent_at_ms
