"""Read many messages at once, column by column: nearly all are plain, and so a message costs a third of the time.

A plain message goes to a channel, has a uid and a plausible sending time, and holds texts and lists of texts, but no attachment
and no sendAs. Whatever is out of the ordinary, however little, is left to `archiver.normalise.message.read_message`; what is read
here is exactly what that would say.

Arrow's parser reads a block of messages in one go. It refuses a block in which anything is not of the type that it should be, holds
a member twice, or is not JSON; the block is then halved, until what it refuses stands among a few. Members that are not asked for it
skips, so no message can make it build columns of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import compress, repeat
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from archiver.ids import CHANNEL_PREFIX
from archiver.normalise.content import digest_of_flat, digest_of_text
from archiver.normalise.flockml import to_plain_text
from archiver.normalise.message import (
    IDENTIFIER_LENGTH_MAX_CHARACTERS,
    NESTING_MAX,
    PLAUSIBLE_AHEAD_MS,
    PLAUSIBLE_FROM_MS,
)

# A block that is refused is halved down to this many; they are then left to be read one by one.
BLOCK_MESSAGES_MIN: Final = 32

_TEXT: Final = pa.string()
_TEXTS: Final = pa.list_(pa.field("element", pa.string(), nullable=False))
_DIGEST_DIGITS: Final = 64
# The canonical form of a message that says a text alone; an empty text says nothing, and some characters JSON escapes.
_BEFORE_TEXT: Final = '{"text":"'
_AFTER_TEXT: Final = '"}'
_EMPTY_OR_ESCAPED: Final = r'^$|["\\\x00-\x1f]'

# The times that Flock gives, in the order in which they are believed: the first one that a message has must be plausible.
_TIMES: Final = ("timestampInMillis", "timestamp")
# What content is made of beside the text, by Flock's name.
_FURTHER: Final = {
    "appId": "app_id",
    "flockml": "flockml",
    "mentions": "mentions",
    "notification": "notification",
    "onBehalfOf": "on_behalf_of",
    "visibleTo": "visible_to",
}
_CONTENT: Final = sorted([*_FURTHER, "text"])
_LISTS: Final = frozenset({"mentions", "visibleTo"})
_MEMBERS: Final = {
    "uid": _TEXT,
    "from": _TEXT,
    "to": _TEXT,
    "id": _TEXT,
    "text": _TEXT,
    **{name: pa.list_(_TEXT) if name in _LISTS else _TEXT for name in _FURTHER},
    # Of these it is enough to know that they are there: a message that has them is not plain.
    "attachments": pa.list_(pa.struct([])),
    "sendAs": pa.struct([]),
}


@dataclass(frozen=True, slots=True)
class PlainRows:
    """What plain messages say: ``places`` are theirs among all that were given; ``columns`` are named as in the table messages.

    ``sent_at`` is in milliseconds since 1970 UTC.
    """

    places: list[int]
    columns: Mapping[str, pa.Array]


def read_plain(raws: Sequence[bytes], observed_at_ms: Sequence[int]) -> PlainRows:
    """Read those of these messages that are plain, given when each was received."""
    given = _Block(list(range(len(raws))), raws, pa.array(raws, pa.binary()), pa.array(observed_at_ms, pa.int64()))
    given = given.where(_is_object(given.raw))
    if deep := _nests_deep(given.raws):
        given = given.where(pc.invert(pa.array(deep)))
    parts = sorted(_read(given, _TIMES), key=lambda part: part.places[0])
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return PlainRows([], {})
    places = [place for part in parts for place in part.places]
    columns = {name: pa.concat_arrays([part.columns[name] for part in parts]) for name in parts[0].columns}
    order = pc.array_sort_indices(pa.array(places))
    return PlainRows(sorted(places), {name: column.take(order) for name, column in columns.items()})


def hex_column(digests: Sequence[bytes]) -> pa.Array:
    """Return SHA-256 digests as texts of 64 hex digits."""
    offsets = pa.array(range(0, _DIGEST_DIGITS * len(digests) + 1, _DIGEST_DIGITS), pa.int32())
    digits = b"".join(digests).hex().encode()
    return pa.StringArray.from_buffers(len(digests), offsets.buffers()[1], pa.py_buffer(digits))


@dataclass(frozen=True, slots=True)
class _Block:
    """Messages on their way to be parsed in one go: their places among all that were given, their bytes, when they were received."""

    places: list[int]
    raws: Sequence[bytes]
    raw: pa.Array
    observed_at_ms: pa.Array

    def where(self, mask: pa.Array) -> _Block:
        """Return those of which the mask says true."""
        if pc.all(mask, min_count=0).as_py():
            return self
        chosen = mask.to_pylist()
        return _Block(
            list(compress(self.places, chosen)),
            list(compress(self.raws, chosen)),
            self.raw.filter(mask),
            self.observed_at_ms.filter(mask),
        )

    def part(self, start: int, end: int) -> _Block:
        """Return those from one number to before another."""
        return _Block(self.places[start:end], self.raws[start:end], self.raw[start:end], self.observed_at_ms[start:end])


def _is_object(raw: pa.Array) -> pa.Array:
    """Tell of each message whether it is one object.

    Where every message begins with a brace and ends with one, none can end where another begins and be taken for it.
    """
    return pc.and_(pc.starts_with(raw, pattern="{"), pc.ends_with(raw, pattern="}"))


def _nests_deep(raws: Sequence[bytes]) -> list[bool]:
    """Tell of each message whether it might nest too deep, by the number of its brackets."""
    if not raws:
        return []
    curly, square = (list(map(bytes.count, raws, repeat(bracket))) for bracket in (b"{", b"["))
    if max(curly) + max(square) <= NESTING_MAX:  # nearly always, and quick to tell
        return []
    return [opened + more > NESTING_MAX for opened, more in zip(curly, square, strict=True)]


def _read(block: _Block, times: tuple[str, ...]) -> Iterator[PlainRows]:
    """Yield the plain messages of a block: those that have the first of ``times``, then those that have the next."""
    count = len(block.places)
    if not count:
        return
    table = _parse(block, times)
    if table is None:
        if count > BLOCK_MESSAGES_MIN:
            yield from _read(block.part(0, count // 2), times)
            yield from _read(block.part(count // 2, count), times)
        return
    at = _member(table, times[0])
    if len(times) > 1 and at.null_count:
        yield from _read(block.where(pc.is_null(at)), times[1:])
    is_plain = _is_plain(table, at, block.observed_at_ms)
    plain = block.where(is_plain)
    if plain.places:
        yield PlainRows(
            plain.places, _columns(table if plain is block else table.filter(is_plain), plain, time=times[0])
        )


def _parse(block: _Block, times: tuple[str, ...]) -> pa.Table | None:
    """Return a row for each message, None if one of them is not what it should be."""
    data = b"\n".join(block.raws)
    try:
        block.raw.view(_TEXT).validate(full=True)  # what the parser skips, it does not look at
        table = pyarrow.json.read_json(
            pa.BufferReader(data),
            read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=_options(times),
        )
    except pa.ArrowException:
        return None
    return table if table.num_rows == len(block.places) else None


@functools.cache
def _options(times: tuple[str, ...]) -> pyarrow.json.ParseOptions:
    # A time that is asked for later is not looked at yet: it may be a text beside one that is a number.
    shape = pa.schema({**_MEMBERS, times[0]: pa.int64()})
    return pyarrow.json.ParseOptions(explicit_schema=shape, unexpected_field_behavior="ignore")


def _is_plain(table: pa.Table, at: pa.Array, observed_at_ms: pa.Array) -> pa.Array:
    """Tell of each row whether it is plain."""
    conditions = [
        pc.greater_equal(at, PLAUSIBLE_FROM_MS),
        pc.less_equal(at, pc.add(observed_at_ms, PLAUSIBLE_AHEAD_MS)),
        pc.starts_with(_member(table, "to"), CHANNEL_PREFIX),
        pc.invert(pc.match_substring(_member(table, "to"), "@")),
        pc.invert(pc.match_substring(_member(table, "from"), "@")),
    ]
    for name in ("uid", "from", "to"):
        length = pc.utf8_length(_member(table, name))
        conditions += [pc.greater(length, 0), pc.less_equal(length, IDENTIFIER_LENGTH_MAX_CHARACTERS)]
    send_as, attachments = _member(table, "sendAs"), _member(table, "attachments")
    if send_as.null_count < len(send_as):
        conditions.append(pc.is_null(send_as))
    if attachments.null_count < len(attachments):
        conditions.append(_is_empty(attachments))
    for name in _LISTS:
        members = _member(table, name)
        if members.null_count < len(members) and pc.list_flatten(members).null_count:
            conditions.append(_is_empty(members))  # a list with a null in it is not what it should be, and never comes
    return pc.fill_null(functools.reduce(pc.and_, conditions), fill_value=False)


def _is_empty(lists: pa.Array) -> pa.Array:
    return pc.fill_null(pc.equal(pc.list_value_length(lists), 0), fill_value=True)


def _columns(table: pa.Table, block: _Block, *, time: str) -> dict[str, pa.Array]:
    text = pc.fill_null(_member(table, "text"), "")
    columns = {
        "message_uid": _member(table, "uid"),
        "chat_id": _member(table, "to"),
        "sender_id": _member(table, "from"),
        "client_id": _member(table, "id"),
        "sent_at": _member(table, time),
        "sent_at_basis": pa.repeat(time, len(block.places)),
        "text": text,
        **{column: _said(_member(table, name)) for name, column in _FURTHER.items()},
        "raw": block.raw.view(_TEXT),
        "raw_digest": hex_column([sha256(raw).digest() for raw in block.raws]),
    }
    digests = _digests_of_texts(text)
    plain_texts: dict[int, str] = {}
    for row, said in _further_of(columns):
        digests[row] = bytes.fromhex(digest_of_flat({name: said[name] for name in _CONTENT}))
        if said["flockml"]:
            plain_texts[row] = to_plain_text(said["flockml"])
    columns["content_digest"] = hex_column(digests)
    columns["plain_text"] = text
    if plain_texts:
        shown = pa.array([row in plain_texts for row in range(len(text))])
        columns["plain_text"] = pc.replace_with_mask(text, shown, pa.array(plain_texts.values(), _TEXT))
    return columns


def _digests_of_texts(texts: pa.Array) -> list[bytes]:
    """Return what `archiver.normalise.content.digest_of_text` says of every text, as bytes.

    The canonical form of a text that JSON does not escape is the text between quotes, which Arrow writes for all at once.
    """
    canonical = pc.binary_join_element_wise(_BEFORE_TEXT, texts, _AFTER_TEXT, "").cast(pa.binary())
    digests = [sha256(form).digest() for form in canonical.to_pylist()]
    others = pc.indices_nonzero(pc.match_substring_regex(texts, _EMPTY_OR_ESCAPED)).to_pylist()
    for row in others:
        digests[row] = bytes.fromhex(digest_of_text(texts[row].as_py()))
    return digests


def _further_of(columns: Mapping[str, pa.Array]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each row that says more than its text, with what it says by Flock's names."""
    further = [columns[column] for column in _FURTHER.values()]
    rows = pc.indices_nonzero(functools.reduce(pc.or_, map(pc.is_valid, further)))
    values = [column.take(rows).to_pylist() for column in (*further, columns["text"])]
    for row, *said in zip(rows.to_pylist(), *values, strict=True):
        yield row, dict(zip((*_FURTHER, "text"), said, strict=True))


def _member(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name)
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _said(column: pa.Array) -> pa.Array:
    """Return a column in which what is empty is absent, as Flock means both alike."""
    if column.null_count == len(column):
        return pa.nulls(len(column), _TEXTS if pa.types.is_list(column.type) else column.type)
    if not pa.types.is_list(column.type):
        return pc.if_else(pc.equal(column, ""), pa.scalar(None, _TEXT), column)
    if pc.all(_is_empty(column)).as_py():
        return pa.nulls(len(column), _TEXTS)
    return pa.array([said or None for said in column.to_pylist()], _TEXTS)
