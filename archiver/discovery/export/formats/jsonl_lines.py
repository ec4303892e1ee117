"""Lines of plain messages out of their rows: whole columns at a time, so that no message is made and other threads go on meanwhile.

A line is text that all of them share and, between, a value of each. What is shared is taken from how `msgspec` encodes one message, and
every value is written as it writes it, so that nobody can tell by a line which way it was made.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive import layout
from archiver.discovery.export.formats.instants import zoned_column
from archiver.discovery.export.formats.pieces import Piece, chosen, joined
from archiver.discovery.export.order import FIRST
from archiver.discovery.export.plain import CONTROL_DIGITS, Block
from archiver.discovery.export.record import Conversation, Message, Version
from archiver.discovery.export.selection import IS_CONTEXT
from archiver.discovery.export.stretches import OBJECT

# Of so many messages at once what is made stays in the processor's cache, and memory is used again instead of asked for.
LINES_AT_ONCE_MAX: Final = 8192

encode: Final = msgspec.json.Encoder().encode


def _mark(name: str) -> Any:
    return f"@{name}@"


# A plain message with the names of its values in their places.
_SAMPLE: Final = Message(
    **{name: _mark(name) for name in ("chat_id", "message_uid", "control_number", "sent_at_ms", "sent_at_basis")},
    sender=_mark("sender"),
    versions=(Version(**{field.name: _mark(field.name) for field in msgspec.structs.fields(Version)}),),
    send_as_name=_mark("send_as_name"),
    app_id=_mark("app_id"),
    is_context=_mark("is_context"),
)
# What all lines share, and between two pieces of it the name of a value.
_SHARED: Final = re.split(r'"@(\w+)@"', encode(_SAMPLE).decode())
_SIGNS: Final = tuple(
    (sign, encode(sign)[1:-1].decode())
    for sign in ("\\", '"', *map(chr, range(32)))  # the backslash comes first
)


_SHOWN_MIN: Final = ord(" ")


def opening(conversation: Conversation, day: str) -> str:
    """Return how all lines of a slice begin, as far as the instant that each was sent at."""
    head = {"conversation": conversation.shown, "conversation_kind": conversation.kind, "day": day}
    return encode(head)[:-1].decode() + ',"sent_at":"'


class PlainLines:
    """Gives the lines of the plain messages of a block, which are asked for in order.

    They are made so many at once; beside what goes on, and from now on, where there is an ``executor``.
    """

    def __init__(self, block: Block, zone: ZoneInfo, executor: Executor | None = None) -> None:
        self.block = block
        messages = len(block.starts) - 1
        self._size = -(-messages // -(-messages // LINES_AT_ONCE_MAX))
        making = [partial(_lines_of, block, first, self._size, zone) for first in range(0, messages, self._size)]
        self._making: Iterator[Callable[[], pa.Array]] = iter(
            making if executor is None else [executor.submit(each).result for each in making]
        )
        self._number = -1
        self._lines: pa.Array

    def between(self, first: int, end: int, others: Others) -> Iterator[Mixed]:
        """Yield the lines of the messages from one to before another; ``others`` stand in the place of their rows'."""
        place = first
        while place < end:
            number = place // self._size
            while self._number < number:
                self._lines = next(self._making)()
                self._number += 1
            many = min(end, (number + 1) * self._size) - place
            starts = self.block.starts
            row, end_row = starts[place], starts[place + many]
            lines = self._lines.slice(row - starts[number * self._size], end_row - row)
            yield Mixed(lines, row, others)
            place += many


@dataclass(frozen=True, slots=True)
class Others:
    """Texts for some rows of a block, which are given in order."""

    rows: Sequence[int]
    texts: pa.StringArray


@dataclass(frozen=True, slots=True)
class Mixed:
    """The lines of some rows of a block from ``first_row`` on, a text for each; ``others`` stand in the place of their rows'."""

    lines: pa.StringArray
    first_row: int
    others: Others

    def pieces(self) -> list[memoryview]:
        """Return all bytes, in order, without copying them."""
        signs, ends = _signs_and_ends(self.lines)
        others, ends_of_others = _signs_and_ends(self.others.texts)
        found: list[memoryview] = []
        place = ends[0]
        for number, row in self._other_rows():
            begin, end = ends_of_others[number], ends_of_others[number + 1]
            # Others that stand one behind another make two pieces of nothing, which nobody need take.
            found += (signs[place : ends[row]], others[begin:end])
            place = ends[row + 1]
        found.append(signs[place : ends[len(self.lines)]])
        return [piece for piece in found if piece]

    def begins(self, rows: Sequence[int]) -> list[int]:
        """Return how many bytes all lines before each of some rows take."""
        _, ends = _signs_and_ends(self.lines)
        _, ends_of_others = _signs_and_ends(self.others.texts)
        sizes = [end - begin for begin, end in pairwise(ends[: len(self.lines) + 1])]
        for number, row in self._other_rows():
            sizes[row] = ends_of_others[number + 1] - ends_of_others[number]
        begins = list(accumulate(sizes, initial=0))
        return [begins[row - self.first_row] for row in rows]

    def _other_rows(self) -> Iterator[tuple[int, int]]:
        """Yield the number of each text that is in the place of a line, and the place of that among the lines."""
        rows = self.others.rows
        start, end = bisect_left(rows, self.first_row), bisect_left(rows, self.first_row + len(self.lines))
        return ((number, rows[number] - self.first_row) for number in range(start, end))


def _lines_of(block: Block, first: int, many: int, zone: ZoneInfo) -> pa.Array:
    """Return the lines of the rows of a block's messages from one on, as if each were a plain message."""
    return joined(_Values(block, first, many, zone).line())


class _Values:
    """The values of some lines of a block, those of the rows of at most so many messages from the ``first``-th on."""

    def __init__(self, block: Block, first: int, many: int, zone: ZoneInfo) -> None:
        self._block = block
        self._first = first
        self._end = min(first + many, len(block.starts) - 1)
        self._start_row = block.starts[first]
        self._end_row = block.starts[self._end]
        self._rows = block.whole.slice(self._start_row, self._end_row - self._start_row)
        self._zone = zone

    def line(self) -> Iterator[Piece]:
        """Yield all pieces of the lines, in order."""
        sent = self._column(FIRST)
        yield from self._of_slices(opening)
        yield from zoned_column(sent, self._zone)
        yield '",'
        keys, senders = self._block.keys, self._block.senders
        which = senders.which.slice(self._start_row, self._rows.num_rows)
        commits = {place: layout.sequence_of_data(keys[place]) for place in pc.unique(self._column(OBJECT)).to_pylist()}
        pieces: dict[str, Callable[[], Iterator[Piece]]] = {
            "chat_id": lambda: self._of_slices(lambda conversation, _: encode(conversation.chat_id).decode()),
            "control_number": self._control_numbers,
            "sent_at_ms": lambda: iter([_numbers(sent)]),
            "sender": lambda: chosen([encode(person).decode() for person in senders.people], which),
            "number": lambda: _few(self._column("version")),
            "observed_at_ms": lambda: iter([_numbers(self._column("observed_at"))]),
            "text": lambda: _texts(self._column("plain_text")),
            "mentions": self._mentions,
            "object_key": lambda: _few(self._column(OBJECT), lambda place: keys[place]),
            "commit": lambda: _few(self._column(OBJECT), lambda place: commits[place]),
            **{
                name: partial(self._few, name)
                for name in ("sent_at_basis", "source", "captured_by", "send_as_name", "app_id", IS_CONTEXT)
            },
        }
        # The object of a message is never empty, so its brace goes with the comma before it.
        yield _SHARED[0][1:]
        for name, shared in zip(_SHARED[1::2], _SHARED[2::2], strict=True):
            made = pieces.get(name)
            yield from _texts(self._column(name)) if made is None else made()
            yield shared
        yield "\n"

    def _column(self, name: str) -> pa.Array:
        return self._rows.column(name)

    def _of_slices(self, value: Callable[[Conversation, str], str]) -> Iterator[Piece]:
        """Yield the piece of each line that is the same for all of its slice."""
        ends, values = [], []
        for conversation, day, end in self._block.parts:
            if end > self._first:
                values.append(value(conversation, day))
                ends.append(self._block.starts[min(end, self._end)] - self._start_row)
            if end >= self._end:
                break
        if len(set(values)) == 1:
            yield values[0]
        else:
            runs = pa.RunEndEncodedArray.from_arrays(pa.array(ends, pa.int32()), pa.array(values, pa.string()))
            yield pc.run_end_decode(runs)

    def _few(self, name: str) -> Iterator[Piece]:
        return _few(self._column(name))

    def _control_numbers(self) -> Iterator[Piece]:
        number = self._block.numbered_from + self._first + 1
        numbers = pa.arange(number, number + self._end - self._first)
        if len(numbers) < self._rows.num_rows:
            ends = pc.subtract(
                pa.array(self._block.starts[self._first + 1 : self._end + 1], pa.int64()), self._start_row
            )
            numbers = pc.run_end_decode(pa.RunEndEncodedArray.from_arrays(ends, numbers))
        yield encode(f"{self._block.prefix}-")[:-1].decode()
        yield pc.utf8_lpad(_numbers(numbers), CONTROL_DIGITS, "0")
        yield '"'

    def _mentions(self) -> Iterator[Piece]:
        listed = self._column("mentions")
        if listed.null_count == len(listed):
            yield "[]"
        else:
            named = self._block.mentions[self._start_row : self._end_row]
            yield pa.array([encode(each).decode() for each in named], pa.string())


def _texts(column: pa.Array) -> Iterator[Piece]:
    """Yield texts as JSON has them, null where there is none."""
    if column.null_count == len(column):
        yield "null"
        return
    escaped = _escaped(column)
    if column.null_count:
        yield pc.fill_null(joined(['"', escaped, '"']), "null")
    else:
        yield from ('"', escaped, '"')


def _escaped(texts: pa.Array) -> pa.Array:
    """Return texts as they stand within the quotes of JSON."""
    first, end = _ends(texts)
    if first == end:
        return texts
    signs = texts.buffers()[2].slice(first, end - first)
    least = pc.min(pa.Array.from_buffers(pa.uint8(), len(signs), [None, signs])).as_py()
    looked_for = _SIGNS if least < _SHOWN_MIN else _SIGNS[:2]
    said = signs.to_pybytes()
    for sign, escape in looked_for:
        if sign.encode() in said:
            texts = pc.replace_substring(texts, sign, escape)
    return texts


def _few(column: pa.Array, value: Callable[[Any], Any] | None = None) -> Iterator[Piece]:
    """Yield values of which there are few different ones, each encoded once."""
    if column.null_count == len(column):
        yield "null"
        return
    one = column[0]
    # Nearly always there is only one, and seeing that takes a fraction of telling them apart.
    if one.is_valid and pc.equal(column, one).true_count == len(column):
        yield encode(one.as_py() if value is None else value(one.as_py())).decode()
        return
    encoded = column.dictionary_encode(null_encoding="encode")
    found = encoded.dictionary.to_pylist()
    yield from chosen([encode(each if value is None else value(each)).decode() for each in found], encoded.indices)


def _numbers(numbers: pa.Array) -> pa.Array:
    return pc.cast(pc.cast(numbers, pa.int64()), pa.string())


def _signs_and_ends(texts: pa.StringArray) -> tuple[memoryview, memoryview]:
    """Return the bytes of texts, and where in them each begins and, behind it, the last one ends."""
    _, ends, signs = texts.buffers()
    return memoryview(signs or b"").toreadonly(), memoryview(ends).cast("i")[
        texts.offset : texts.offset + len(texts) + 1
    ]


def _ends(texts: pa.Array) -> tuple[int, int]:
    """Return where the bytes of texts begin and end in their buffer."""
    ends = memoryview(texts.buffers()[1]).cast("i")
    return ends[texts.offset], ends[texts.offset + len(texts)]
