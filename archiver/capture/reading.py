"""Reading captures into columns: a pure function of what was spooled.

A few thousand messages are read at a time and become Arrow arrays before the next few thousand come: that halves the
time, because they stay in the processor's cache, and keeps memory to the size of the data. Messages that say nothing but
a text go from their bytes to columns without becoming a `Message` each (`archiver.normalise.plain`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import compress
from types import MappingProxyType
from typing import Any

import msgspec
import pyarrow as pa

from archiver.archive.schema import EVENTS
from archiver.archive.tables import messages_to_table, plain_messages_to_table
from archiver.errors import UnparseableError
from archiver.model.capture import Capture, FeedKind, SpooledCapture
from archiver.model.message import Message
from archiver.normalise.content import digest_of_text
from archiver.normalise.plain import PlainMessage, read_plain_messages
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

    ``messages`` has the rows of `archiver.archive.tables.messages_to_table`, ``events`` one row for each capture;
    ``capture_of_row`` gives the capture of each message row, ``with_files`` the rows whose messages have files;
    ``unread`` counts captures that could not be read, or not whole.
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
    others: dict[int, Push | str] = {}
    for number, message in enumerate(plain):
        if message is None:
            others[number] = _read_other(captures.capture(number))
    rows = _Rows.of(plain, others)
    messages = _messages_table(captures, rows)
    return ReadCaptures(
        messages=messages,
        events=_events_table(captures, others, messages, rows, spool_id=spool_id),
        capture_of_row=rows.capture_of_row,
        with_files=[row for row, message in rows.others.items() if message.files],
        unread=sum(isinstance(push, str) or push.error is not None for push in others.values()),
    )


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
    """Message rows in order: what each says and which capture it comes from; ``others`` are those that are not plain."""

    messages: list[PlainMessage | Message]
    capture_of_row: list[int]
    others: dict[int, Message]

    @classmethod
    def of(cls, plain: Sequence[PlainMessage | None], others: Mapping[int, Push | str]) -> _Rows:
        rows = cls([], [], {})
        for number, message in enumerate(plain):
            if message is not None:
                rows.messages.append(message)
                rows.capture_of_row.append(number)
                continue
            push = others[number]
            for carried in () if isinstance(push, str) else push.messages:
                rows.others[len(rows.messages)] = carried
                rows.messages.append(carried)
                rows.capture_of_row.append(number)
        return rows


def _read_plain(captures: _Captures) -> list[PlainMessage | None]:
    """Read what came by webhook and says nothing but a text; None for all else."""
    if captures.are_webhooks:
        return read_plain_messages(captures.bodies, captures.received_at_ms)
    is_pushed = [captures.origins[origin].feed_kind == "webhook" for origin in captures.origin_of]
    read = iter(read_plain_messages(compress(captures.bodies, is_pushed), compress(captures.received_at_ms, is_pushed)))
    return [next(read) if pushed else None for pushed in is_pushed]


def _read_other(capture: Capture) -> Push | str:
    """Return what a capture says, or why it could not be read."""
    try:
        return read_push(capture)
    except UnparseableError as error:
        return error.what


def _messages_table(captures: _Captures, rows: _Rows) -> pa.Table:
    messages, others, numbers = rows.messages, rows.others, rows.capture_of_row
    if len(others) == len(messages):
        return messages_to_table(list(others.values()))
    raws = [captures.bodies[number] for number in numbers]
    for row, message in others.items():  # what an event carries is only a part of its body
        raws[row] = message.raw.encode()
    texts = [message.text for message in messages]
    content_digests = [digest_of_text(text) for text in texts]
    further = others | {
        row: message
        for row, message in enumerate(messages)
        if row not in others
        and (message.app_id or message.mentions or message.notification or message.on_behalf_of or message.visible_to)
    }
    for row, said in further.items():
        content_digests[row] = said.content_digest
    columns = {
        "chat_id": [message.chat_id for message in messages],
        "message_uid": [message.message_uid for message in messages],
        "sent_at": [message.sent_at_ms for message in messages],
        "observed_at": [captures.received_at_ms[number] for number in numbers],
        "captured_by": captures.by_origin([origin.feed for origin in captures.origins]).take(
            pa.array(numbers, pa.int32())
        ),
        "sender_id": [message.sender_id for message in messages],
        "text": texts,
        "client_id": [message.client_id for message in messages],
        "raw": raws,
        "raw_digest": [sha256(raw).hexdigest() for raw in raws],
        "content_digest": content_digests,
    }
    return plain_messages_to_table(columns, further=further)


def _events_table(
    captures: _Captures, others: Mapping[int, Push | str], messages: pa.Table, rows: _Rows, *, spool_id: str
) -> pa.Table:
    count = len(captures.bodies)
    if captures.are_webhooks and messages.num_rows == count:
        columns = _said_by_webhooks(messages)
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


def _said_by_webhooks(rows: pa.Table) -> dict[str, Any]:
    """Return `_SAID_COLUMNS` of webhooks that were all read: each body is one message, whose facts stand in its row."""
    columns: dict[str, Any] = {name: pa.nulls(rows.num_rows, EVENTS.schema.field(name).type) for name in _SAID_COLUMNS}
    columns |= {name: rows.column(name).combine_chunks() for name in ("chat_id", "message_uid")}
    columns["body_digest"] = rows.column("raw_digest").combine_chunks()
    columns["outcome"] = pa.repeat("archived", rows.num_rows)
    return columns


def _said_one_by_one(
    captures: _Captures, others: Mapping[int, Push | str], messages: pa.Table, rows: _Rows
) -> dict[str, Any]:
    """Return `_SAID_COLUMNS` of any captures."""
    digests = dict(zip(rows.capture_of_row, messages.column("raw_digest").to_pylist(), strict=True))
    plain = {
        number: message
        for number, message in zip(rows.capture_of_row, rows.messages, strict=True)
        if isinstance(message, PlainMessage)
    }
    said: list[tuple[object, ...]] = []
    for number in range(len(captures.bodies)):
        message = plain.get(number)
        if message is not None:
            uid = message.message_uid
            said.append((None, None, message.chat_id, uid, None, "archived", None, digests[number], None))
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
