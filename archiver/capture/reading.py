"""Reading captures into columns: a pure function of what was spooled, so that any process may do it.

A few thousand messages are read at a time and become Arrow arrays before the next few thousand come: that halves the
time, because they stay in the processor's cache, and keeps memory to the size of the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import msgspec
import pyarrow as pa

from archiver.archive.schema import EVENTS
from archiver.archive.tables import messages_to_table
from archiver.errors import UnparseableError
from archiver.model.capture import NO_ATTRIBUTES, Capture, FeedKind, SpooledCapture
from archiver.model.message import Message
from archiver.normalise.push import Push, read_push
from archiver.normalise.redact import without_secrets

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


@dataclass(frozen=True, slots=True)
class PackedCaptures:
    """Captures in a form that crosses to another process quickly: facts that many share stand once, in ``origins``."""

    spool_id: str
    origins: list[tuple[str, FeedKind, str, dict[str, str]]]
    rows: list[tuple[int, int, int, bytes]]


@dataclass(frozen=True, slots=True)
class PackedReading:
    """A `ReadCaptures` whose tables are Arrow streams: five times as quick to hand over as the tables themselves."""

    messages: bytes
    events: bytes
    capture_of_row: list[int]
    with_files: list[int]
    unread: int


def read_captures(captures: Sequence[SpooledCapture], *, spool_id: str) -> ReadCaptures:
    """Read captures one by one; what cannot be read keeps its bytes and its reason, and harms no other."""
    pushes: list[Push | str] = []
    messages: list[Message] = []
    capture_of_row: list[int] = []
    unread = 0
    for number, spooled in enumerate(captures):
        try:
            push = read_push(spooled.capture)
        except UnparseableError as error:
            pushes.append(error.what)
            unread += 1
        else:
            pushes.append(push)
            messages += push.messages
            capture_of_row += [number] * len(push.messages)
            unread += push.error is not None
    rows = messages_to_table(messages)
    if unread or any(spooled.capture.feed_kind != "webhook" for spooled in captures):
        said = _said_one_by_one(captures, pushes)
    else:
        said = _said_by_webhooks(rows)
    return ReadCaptures(
        messages=rows,
        events=_events_table(captures, said, spool_id=spool_id),
        capture_of_row=capture_of_row,
        with_files=[row for row, message in enumerate(messages) if message.files],
        unread=unread,
    )


def pack(captures: Sequence[SpooledCapture], *, spool_id: str) -> PackedCaptures:
    """Return captures in a form for another process."""
    numbers: dict[tuple[str, str, str, int], int] = {}
    origins: list[tuple[str, FeedKind, str, dict[str, str]]] = []
    rows = []
    for spooled in captures:
        capture = spooled.capture
        # Captures share a few mappings of attributes; all of them live as long as this loop.
        origin = (capture.feed, capture.feed_kind, capture.verified, id(capture.attributes))
        number = numbers.setdefault(origin, len(origins))
        if number == len(origins):
            origins.append((capture.feed, capture.feed_kind, capture.verified, dict(capture.attributes)))
        rows.append((spooled.sequence, number, capture.received_at_ms, capture.body))
    return PackedCaptures(spool_id, origins, rows)


def read_packed(packed: PackedCaptures) -> PackedReading:
    """Do what `read_captures` does, with captures that came from another process and for one."""
    captures = [
        SpooledCapture(sequence, Capture(feed, kind, received_at_ms, verified, body, attributes))
        for sequence, number, received_at_ms, body in packed.rows
        for feed, kind, verified, attributes in (packed.origins[number],)
    ]
    read = read_captures(captures, spool_id=packed.spool_id)
    return PackedReading(
        messages=_to_stream(read.messages),
        events=_to_stream(read.events),
        capture_of_row=read.capture_of_row,
        with_files=read.with_files,
        unread=read.unread,
    )


def unpack(packed: PackedReading) -> ReadCaptures:
    """Return what another process read; its tables stay in the bytes that came."""
    return ReadCaptures(
        messages=pa.ipc.open_stream(packed.messages).read_all(),
        events=pa.ipc.open_stream(packed.events).read_all(),
        capture_of_row=packed.capture_of_row,
        with_files=packed.with_files,
        unread=packed.unread,
    )


def _to_stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    stream: bytes = sink.getvalue().to_pybytes()
    return stream


def digest_of(spooled: SpooledCapture) -> str:
    """Return the SHA-256 of a push's body as Flock sent it, also where the listener replaced a secret in it."""
    stated = spooled.capture.attributes.get(BODY_DIGEST_ATTRIBUTE)
    return stated or sha256(spooled.capture.body).hexdigest()


def _said_by_webhooks(rows: pa.Table) -> dict[str, object]:
    """Return `_SAID_COLUMNS` of webhooks that were all read: each body is one message, whose facts stand in its row."""
    columns: dict[str, object] = {
        name: pa.nulls(rows.num_rows, EVENTS.schema.field(name).type) for name in _SAID_COLUMNS
    }
    columns |= {name: rows.column(name).combine_chunks() for name in ("chat_id", "message_uid")}
    columns["body_digest"] = rows.column("raw_digest").combine_chunks()
    columns["outcome"] = pa.repeat("archived", rows.num_rows)
    return columns


def _said_one_by_one(captures: Sequence[SpooledCapture], pushes: Sequence[Push | str]) -> dict[str, object]:
    """Return `_SAID_COLUMNS` of any captures."""
    said = [
        _unread(spooled, push) if isinstance(push, str) else _said(spooled, push)
        for spooled, push in zip(captures, pushes, strict=True)
    ]
    return dict(zip(_SAID_COLUMNS, zip(*said, strict=True), strict=True))


def _events_table(captures: Sequence[SpooledCapture], said: Mapping[str, object], *, spool_id: str) -> pa.Table:
    pushes = [spooled.capture for spooled in captures]
    columns = dict(said)
    columns["received_at"] = [push.received_at_ms for push in pushes]
    columns["spool_id"] = pa.repeat(spool_id, len(pushes))
    columns["sequence"] = [spooled.sequence for spooled in captures]
    columns["feed"] = [push.feed for push in pushes]
    columns["feed_kind"] = [push.feed_kind for push in pushes]
    columns["verified"] = [push.verified for push in pushes]
    columns["attributes"] = _encode_all([push.attributes for push in pushes])
    return pa.table([pa.array(columns[field.name], type=field.type) for field in EVENTS.schema], schema=EVENTS.schema)


def _said(spooled: SpooledCapture, push: Push) -> tuple[object, ...]:
    """Return the values of `_SAID_COLUMNS` for a push that could be read, as if all its messages were new."""
    capture = spooled.capture
    if capture.feed_kind == "webhook":  # its body is the message, whose digest is known already
        message = push.messages[0]
        return (None, None, message.chat_id, message.message_uid, None, "archived", None, message.raw_digest, None)
    uid = push.messages[0].message_uid if push.messages else None
    body = without_secrets(capture.body) if push.keep_body else None
    wanted = list(push.wanted_uids) or None
    return (push.name, push.user_id, push.chat_id, uid, wanted, _outcome(push), push.error, digest_of(spooled), body)


def _unread(spooled: SpooledCapture, reason: str) -> tuple[object, ...]:
    """Return the values of `_SAID_COLUMNS` for a capture that could not be read."""
    body = without_secrets(spooled.capture.body)
    return (None, None, None, None, None, "unparsed", reason, digest_of(spooled), body)


def _outcome(push: Push) -> str:
    if push.wanted_uids:
        return "wanted"
    if push.messages:
        return "archived"
    return "unparsed" if push.error else "noted"


def _encode_all(attributes: Sequence[Mapping[str, str]]) -> list[str | None]:
    """Return attributes as JSON; captures share a few mappings, so each distinct one is encoded once."""
    encoded: dict[int, str | None] = {id(NO_ATTRIBUTES): None}
    for mapping in attributes:
        if id(mapping) not in encoded:
            text = msgspec.json.encode(dict(mapping), order="deterministic").decode() if mapping else None
            encoded[id(mapping)] = text
    return [encoded[id(mapping)] for mapping in attributes]
