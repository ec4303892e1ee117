"""Reading captures into columns: a pure function of what was spooled.

A few thousand messages are read at a time and become Arrow arrays before the next few thousand come: that keeps memory
to the size of the data. Plain messages go from their bytes to columns without becoming a `Message` each
(`archiver.normalise.plain`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from types import MappingProxyType
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.schema import EVENTS
from archiver.archive.tables import messages_to_table, plain_rows_to_table
from archiver.errors import UnparseableError
from archiver.model.capture import Capture, FeedKind, SpooledCapture
from archiver.model.message import Message, Source
from archiver.normalise.message import Observed, read_message
from archiver.normalise.plain import PlainRows, read_plain
from archiver.normalise.push import Push, read_push
from archiver.normalise.redact import without_secrets
from archiver.spool import SpooledBlock
from archiver.spool.frame import decoded_columns

# An attribute that the listener sets where it replaced a secret: the digest of the body as Flock sent it.
BODY_DIGEST_ATTRIBUTE = "body-digest"

_SAID_COLUMNS = ("name", "user_id", "chat_id", "message_uid", "wanted_uids", "outcome", "error", "body_digest", "body")


@dataclass(frozen=True, slots=True)
class ReadCaptures:
    """What captures say, as if every message in them were new.

    ``messages`` has the rows of `archiver.archive.tables.messages_to_table`, first those of plain messages, then all others, each in
    the order of their captures; ``capture_of_row`` gives the capture of each. ``events`` has one row for each capture, in order.
    ``with_files`` are the message rows whose messages have files; ``unread`` counts captures that could not be read, or not whole.
    """

    messages: pa.Table
    events: pa.Table
    capture_of_row: list[int]
    with_files: list[int]
    unread: int


def read_blocks(blocks: Iterable[SpooledBlock], *, spool_id: str) -> ReadCaptures:
    """Read captures; what cannot be read keeps its bytes and its reason, and harms no other."""
    captures = _Captures.of(blocks)
    plain = _read_plain(captures)
    others = _read_others(captures, plain.places)
    rows = _Rows.of(plain, others)
    messages = _messages_table(captures, plain, rows.others)
    first_other = len(plain.places)
    return ReadCaptures(
        messages=messages,
        events=_events_table(captures, others, messages, rows, spool_id=spool_id),
        capture_of_row=rows.capture_of_row,
        with_files=[row for row, message in enumerate(rows.others, first_other) if message.files],
        unread=sum(isinstance(push, str) or push.error is not None for push in others.values()),
    )


@dataclass(frozen=True, slots=True)
class ShownPage:
    """Messages that Flock showed together, on a page of history or by uid, exactly as received: when, and the user who was shown them."""

    raws: Sequence[bytes]
    at_ms: int
    asked_as: str


@dataclass(frozen=True, slots=True)
class ReadItems:
    """What items say.

    ``messages`` has a row for each that could be read, first those of plain messages, then those of ``others``; ``item_of_row``
    gives the item of each. ``unread`` has the others by their numbers, and why they could not be read.
    """

    messages: pa.Table
    others: Sequence[Message]
    item_of_row: Sequence[int]
    unread: Mapping[int, str]


def read_shown(
    pages: Sequence[ShownPage],
    uid_of: Callable[[bytes], str | None] | None = None,
    *,
    source: Source = "history",
    without_uid: str = "the item has no uid",
) -> ReadItems:
    """Read the items of pages of history, or of what was fetched by uid; they are numbered through all pages.

    ``uid_of`` returns the uid that an item's source declares, where that is not Flock's own. An item without a uid is not read
    as a message, because it would be another one each time that its page is read; ``without_uid`` is then the reason.
    """
    raws = [raw for page in pages for raw in page.raws]
    at_ms = [at_ms for page in pages for at_ms in [page.at_ms] * len(page.raws)]
    askers = [asker for page in pages for asker in [page.asked_as] * len(page.raws)]
    plain = PlainRows([], {}) if uid_of else read_plain(raws, at_ms)
    messages: dict[int, Message] = {}
    unread: dict[int, str] = {}
    for number in _missing(plain.places, len(raws)):
        try:
            message = read_message(raws[number], Observed(at_ms[number], source, askers[number]))
        except UnparseableError as error:
            unread[number] = error.what
            continue
        if uid_of is not None:
            declared = uid_of(raws[number])
            message = msgspec.structs.replace(
                message, message_uid=declared or message.message_uid, uid_provisional=declared is None
            )
        if message.uid_provisional:
            unread[number] = without_uid
        else:
            messages[number] = message
    numbers = pa.array(plain.places, pa.int32())
    table = plain_rows_to_table(
        plain,
        observed_at_ms=pa.array(at_ms, pa.int64()).take(numbers),
        source=source,
        captured_by=pa.array(askers, pa.string()).take(numbers),
    )
    others = list(messages.values())
    if others:
        table = pa.concat_tables([table, messages_to_table(others)])
    return ReadItems(table, others, [*plain.places, *messages], unread)


def digest_of(spooled: SpooledCapture) -> str:
    """Return the SHA-256 of a push's body as Flock sent it, also where the listener replaced a secret in it."""
    return _body_digest(spooled.capture)


@dataclass(frozen=True, slots=True)
class _Captures:
    """Captures column by column; ``origin_of`` gives each one's place in ``origins``."""

    sequences: list[int]
    received_at_ms: list[int]
    bodies: list[bytes]
    origins: list[_Origin]
    origin_of: list[int]

    @classmethod
    def of(cls, blocks: Iterable[SpooledBlock]) -> _Captures:
        captures = cls([], [], [], [], [])
        numbers: dict[tuple[str, str, str, tuple[tuple[str, str], ...]], int] = {}
        for block in blocks:
            columns = decoded_columns(block.frame)
            captures.sequences.extend(range(block.first_sequence, block.first_sequence + block.captures))
            captures.received_at_ms.extend(columns.received_at_ms)
            captures.bodies.extend(columns.bodies)
            places = []
            for origin in columns.origins:
                key = (origin.feed, origin.feed_kind, origin.verified, tuple(origin.attributes.items()))
                place = numbers.setdefault(key, len(captures.origins))
                if place == len(captures.origins):
                    attributes = MappingProxyType(origin.attributes)
                    captures.origins.append(_Origin(origin.feed, origin.feed_kind, origin.verified, attributes))
                places.append(place)
            captures.origin_of.extend(
                [places[at] for at in columns.origin_of] if columns.origin_of else places * len(columns.bodies)
            )
        return captures

    def capture(self, number: int) -> Capture:
        """Return one capture by its place."""
        origin = self.origins[self.origin_of[number]]
        return Capture(
            origin.feed,
            origin.feed_kind,
            self.received_at_ms[number],
            origin.verified,
            self.bodies[number],
            origin.attributes,
        )

    @property
    def are_webhooks(self) -> bool:
        """Tell whether all of them came by webhook."""
        return all(origin.feed_kind == "webhook" for origin in self.origins)

    def by_origin(self, values: Sequence[str | None]) -> pa.Array:
        """Return for each capture what is given for each origin."""
        if len(values) == 1 and values[0] is not None:
            return pa.repeat(values[0], len(self.bodies))
        return pa.array(values, pa.string()).take(pa.array(self.origin_of, pa.int32()))


@dataclass(frozen=True, slots=True)
class _Origin:
    """What the captures of a feed have in common."""

    feed: str
    feed_kind: FeedKind
    verified: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Rows:
    """Which capture each message row comes from: first those of plain messages, then ``others``, the messages that are not plain."""

    capture_of_row: list[int]
    others: list[Message]

    @classmethod
    def of(cls, plain: PlainRows, others: Mapping[int, Push | str]) -> _Rows:
        carried = [
            (number, message)
            for number, push in others.items()
            if not isinstance(push, str)
            for message in push.messages
        ]
        return cls(plain.places + [number for number, _ in carried], [message for _, message in carried])


def _read_plain(captures: _Captures) -> PlainRows:
    """Read what came by webhook and is plain."""
    if captures.are_webhooks:
        return read_plain(captures.bodies, captures.received_at_ms)
    places = [
        place for place, origin in enumerate(captures.origin_of) if captures.origins[origin].feed_kind == "webhook"
    ]
    read = read_plain(
        [captures.bodies[place] for place in places], [captures.received_at_ms[place] for place in places]
    )
    return PlainRows([places[at] for at in read.places], read.columns)


def _read_others(captures: _Captures, plain: Sequence[int]) -> dict[int, Push | str]:
    """Read all other captures one by one, in order."""
    return {number: _read_other(captures.capture(number)) for number in _missing(plain, len(captures.bodies))}


def _missing(numbers: Sequence[int], count: int) -> Iterable[int]:
    """Return the numbers below a count that are not among some, in order."""
    if len(numbers) == count:
        return ()
    missing = dict.fromkeys(range(count))
    for number in numbers:
        del missing[number]
    return missing


def _read_other(capture: Capture) -> Push | str:
    """Return what a capture says, or why it could not be read."""
    try:
        return read_push(capture)
    except UnparseableError as error:
        return error.what


def _messages_table(captures: _Captures, plain: PlainRows, others: Sequence[Message]) -> pa.Table:
    numbers = pa.array(plain.places, pa.int32())
    table = plain_rows_to_table(
        plain,
        observed_at_ms=pa.array(captures.received_at_ms, pa.int64()).take(numbers),
        source="webhook",
        captured_by=captures.by_origin([origin.feed for origin in captures.origins]).take(numbers),
    )
    return pa.concat_tables([table, messages_to_table(others)]) if others else table


def _events_table(
    captures: _Captures, others: Mapping[int, Push | str], messages: pa.Table, rows: _Rows, *, spool_id: str
) -> pa.Table:
    count = len(captures.bodies)
    if captures.are_webhooks and messages.num_rows == count:
        columns = _said_by_webhooks(messages, rows.capture_of_row)
    else:
        columns = _said_one_by_one(captures, others, messages, rows)
    origins = captures.origins
    columns["received_at"] = captures.received_at_ms
    columns["spool_id"] = pa.repeat(spool_id, count)
    columns["sequence"] = captures.sequences
    columns["feed"] = captures.by_origin([origin.feed for origin in origins])
    columns["feed_kind"] = captures.by_origin([origin.feed_kind for origin in origins])
    columns["verified"] = captures.by_origin([origin.verified for origin in origins])
    columns["attributes"] = captures.by_origin([_attributes_text(origin.attributes) for origin in origins])
    return pa.table([pa.array(columns[field.name], type=field.type) for field in EVENTS.schema], schema=EVENTS.schema)


def _said_by_webhooks(messages: pa.Table, capture_of_row: Sequence[int]) -> dict[str, Any]:
    """Return `_SAID_COLUMNS` of webhooks that were all read: each body is one message, whose facts stand in its row."""
    count = messages.num_rows
    facts = messages.select(["chat_id", "message_uid", "raw_digest"]).combine_chunks()
    facts = facts.take(pc.array_sort_indices(pa.array(capture_of_row, pa.int32())))
    columns: dict[str, Any] = {name: pa.nulls(count, EVENTS.schema.field(name).type) for name in _SAID_COLUMNS}
    columns |= {name: facts.column(name).combine_chunks() for name in ("chat_id", "message_uid")}
    columns["body_digest"] = facts.column("raw_digest").combine_chunks()
    columns["outcome"] = pa.repeat("archived", count)
    return columns


def _said_one_by_one(
    captures: _Captures, others: Mapping[int, Push | str], messages: pa.Table, rows: _Rows
) -> dict[str, Any]:
    """Return `_SAID_COLUMNS` of any captures."""
    told = messages.select(["chat_id", "message_uid", "raw_digest"]).to_pydict()
    plain_rows = len(rows.capture_of_row) - len(rows.others)
    plain = {number: row for row, number in enumerate(rows.capture_of_row[:plain_rows])}
    said: list[tuple[object, ...]] = []
    for number in range(len(captures.bodies)):
        row = plain.get(number)
        if row is not None:
            chat_id, uid, digest = told["chat_id"][row], told["message_uid"][row], told["raw_digest"][row]
            said.append((None, None, chat_id, uid, None, "archived", None, digest, None))
            continue
        push, capture = others[number], captures.capture(number)
        said.append(_unread(capture, push) if isinstance(push, str) else _said(capture, push))
    return dict(zip(_SAID_COLUMNS, zip(*said, strict=True), strict=True))


def _said(capture: Capture, push: Push) -> tuple[object, ...]:
    """Return the values of `_SAID_COLUMNS` for a push that could be read, as if all its messages were new."""
    if capture.feed_kind == "webhook":  # its body is the message, whose digest is known already
        message = push.messages[0]
        return (None, None, message.chat_id, message.message_uid, None, "archived", None, message.raw_digest, None)
    uid = push.messages[0].message_uid if push.messages else None
    body = without_secrets(capture.body) if push.keep_body else None
    wanted = list(push.wanted_uids) or None
    return (
        push.name, push.user_id, push.chat_id, uid, wanted, _outcome(push), push.error, _body_digest(capture), body,
    )  # fmt: skip


def _unread(capture: Capture, reason: str) -> tuple[object, ...]:
    """Return the values of `_SAID_COLUMNS` for a capture that could not be read."""
    body = without_secrets(capture.body)
    return (None, None, None, None, None, "unparsed", reason, _body_digest(capture), body)


def _outcome(push: Push) -> str:
    if push.wanted_uids:
        return "wanted"
    if push.messages:
        return "archived"
    return "unparsed" if push.error else "noted"


def _body_digest(capture: Capture) -> str:
    return capture.attributes.get(BODY_DIGEST_ATTRIBUTE) or sha256(capture.body).hexdigest()


def _attributes_text(attributes: Mapping[str, str]) -> str | None:
    return msgspec.json.encode(dict(attributes), order="deterministic").decode() if attributes else None
