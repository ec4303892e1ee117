"""From spooled captures to rows: every push leaves an event row, and each new message version a message row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import msgspec
import pyarrow as pa

from archiver.archive.schema import EVENTS
from archiver.capture.versions import NewVersion
from archiver.errors import UnparseableError
from archiver.model.capture import SpooledCapture
from archiver.model.message import Message
from archiver.normalise.message import carries_unknown_fields
from archiver.normalise.push import Push, read_push, without_secrets

# Attributes that speak of the body itself and have columns of their own.
BODY_DIGEST_ATTRIBUTE = "body-digest"


@dataclass(frozen=True, slots=True)
class Reading:
    """Captures, with what each says or the reason why it could not be read, and all their messages in order."""

    spool_id: str
    captures: Sequence[SpooledCapture]
    pushes: Sequence[Push | str]
    messages: Sequence[Message]

    @property
    def watermark(self) -> int:
        """The sequence of the last capture."""
        return self.captures[-1].sequence


def read_captures(captures: Sequence[SpooledCapture], *, spool_id: str) -> Reading:
    """Read captures one by one; what cannot be read keeps its reason and harms no other."""
    pushes: list[Push | str] = []
    messages: list[Message] = []
    for spooled in captures:
        try:
            push = read_push(spooled.capture)
        except UnparseableError as error:
            pushes.append(error.what)
            continue
        pushes.append(push)
        messages += push.messages
    return Reading(spool_id, captures, pushes, messages)


def events_table(reading: Reading, decisions: Sequence[NewVersion | None]) -> pa.Table:
    """Return one event row for each capture; ``decisions`` stand beside ``reading.messages``.

    The outcome is ``archived`` if the push added a version, ``duplicate`` if all its messages repeat, ``wanted`` if
    it names uids that are to be fetched, ``noted`` if it carries no message at all, ``unparsed`` if it could not be
    read.
    """
    columns: dict[str, list[object]] = {field.name: [] for field in EVENTS.schema}
    encoded_attributes: dict[int, str | None] = {}
    upcoming = iter(decisions)
    rows: list[tuple[object, ...]] = []
    for spooled, push in zip(reading.captures, reading.pushes, strict=True):
        capture = spooled.capture
        attributes = encoded_attributes.get(id(capture.attributes))
        if attributes is None:
            attributes = encoded_attributes[id(capture.attributes)] = _encode_attributes(capture.attributes)
        common = (
            capture.received_at_ms,
            reading.spool_id,
            spooled.sequence,
            capture.feed,
            capture.feed_kind,
            capture.verified,
        )
        if isinstance(push, str):
            digest, body = _digest(spooled), without_secrets(capture.body)
            rows.append((*common, None, None, None, None, None, "unparsed", push, digest, body, attributes))
            continue
        added = [next(upcoming) is not None for _ in push.messages]
        first = push.messages[0] if push.messages else None
        rows.append(
            (
                *common,
                push.name,
                push.user_id,
                push.chat_id,
                first.message_uid if first else None,
                list(push.wanted_uids) or None,
                _outcome(push, added),
                None,
                first.raw_digest if first and capture.feed_kind == "webhook" else _digest(spooled),
                _body(spooled, push, added),
                attributes,
            )
        )
    for column, values in zip(columns, zip(*rows, strict=True), strict=True):
        columns[column] = list(values)
    arrays = [pa.array(columns[field.name], type=field.type) for field in EVENTS.schema]
    return pa.table(arrays, schema=EVENTS.schema)


def _outcome(push: Push, added: Sequence[bool]) -> str:
    if push.wanted_uids:
        return "wanted"
    if any(added):
        return "archived"
    return "duplicate" if added else "noted"


def _body(spooled: SpooledCapture, push: Push, added: Sequence[bool]) -> bytes | None:
    """Return the body if no message row will hold what it says, its tokens replaced."""
    repeats = bool(added) and not all(added)
    if push.keep_body or (repeats and any(carries_unknown_fields(message.raw.encode()) for message in push.messages)):
        return without_secrets(spooled.capture.body)
    return None


def _digest(spooled: SpooledCapture) -> str:
    stated = spooled.capture.attributes.get(BODY_DIGEST_ATTRIBUTE)
    return stated or sha256(spooled.capture.body).hexdigest()


def _encode_attributes(attributes: Mapping[str, str]) -> str | None:
    return msgspec.json.encode(dict(attributes), order="deterministic").decode() if attributes else None
