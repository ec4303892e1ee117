"""From captures to rows, many at once: every push leaves an event row, and each message in it a message row.

A `Batch` keeps columns, not objects: a few thousand messages are read at a time and become Arrow arrays before the
next few thousand come, which halves the time and keeps memory to the size of the data. What needs a second look, a
repeated uid or a message with files, is read again from its own raw bytes; reading is a pure function, so it says the
same again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.schema import EVENTS
from archiver.archive.tables import UNDECIDED_MESSAGES, messages_to_table
from archiver.capture.versions import Key
from archiver.errors import UnparseableError
from archiver.model.capture import NO_ATTRIBUTES, SpooledCapture
from archiver.model.message import Message
from archiver.normalise.message import Observed, carries_unknown_fields, read_message
from archiver.normalise.push import Push, read_push
from archiver.normalise.redact import without_secrets

# An attribute that the listener sets where it replaced a secret: the digest of the body as Flock sent it.
BODY_DIGEST_ATTRIBUTE = "body-digest"

_SAID_COLUMNS = ("name", "user_id", "chat_id", "message_uid", "wanted_uids", "outcome", "error", "body_digest", "body")


class Batch:
    """Captures and messages on their way into one commit, as columns in the order they came.

    ``repeated`` holds the keys that occur more than once, ``with_files`` the rows whose messages have files, and
    ``unread`` counts captures that could not be read.
    """

    def __init__(self) -> None:
        self.repeated: set[Key] = set()
        self.with_files: list[int] = []
        self.unread = 0
        self._keys: set[Key] = set()
        self._messages: list[pa.Table] = []
        self._events: list[pa.Table] = []
        self._capture_of_row: list[int] = []
        self._captures = 0

    @property
    def message_count(self) -> int:
        """The number of message rows, repetitions included."""
        return len(self._capture_of_row)

    @property
    def capture_count(self) -> int:
        """The number of captures."""
        return self._captures

    def add_captures(self, captures: Sequence[SpooledCapture], *, spool_id: str) -> None:
        """Read captures one by one; what cannot be read keeps its bytes and its reason, and harms no other."""
        said: list[tuple[object, ...]] = []
        messages: list[Message] = []
        for spooled in captures:
            try:
                push = read_push(spooled.capture)
            except UnparseableError as error:
                said.append(_unread(spooled, error.what))
                self.unread += 1
            else:
                said.append(_said(spooled, push))
                messages += push.messages
                self._capture_of_row += [self._captures] * len(push.messages)
                self.unread += push.error is not None
            self._captures += 1
        self._events.append(_events_table(captures, said, spool_id=spool_id))
        self._add_rows(messages)

    def add_messages(self, messages: Sequence[Message]) -> None:
        """Take messages that no push brought, such as fetched ones; they leave no event row."""
        self._capture_of_row += [-1] * len(messages)
        self._add_rows(messages)

    def messages(self) -> pa.Table:
        """Return all message rows, without the columns that the archive decides."""
        return pa.concat_tables(self._messages) if self._messages else UNDECIDED_MESSAGES.empty_table()

    def events(self, *, added: Sequence[bool], rows: pa.Table) -> pa.Table:
        """Return one event row for each capture, given which message rows add a version.

        The outcome is ``archived`` if the push added a version, ``duplicate`` if all its messages repeat, ``wanted`` if
        it names uids that are to be fetched, ``noted`` if it carries no message, ``unparsed`` if it could not be read.
        A repetition that has fields of which we know nothing keeps them in ``body``.
        """
        if not self._events:
            return EVENTS.schema.empty_table()
        events = pa.concat_tables(self._events)
        if all(added):
            return events
        outcomes = events.column("outcome").to_pylist()
        bodies = events.column("body").to_pylist()
        archived = {capture for capture, adds in zip(self._capture_of_row, added, strict=True) if adds}
        for row in pc.indices_nonzero(pc.invert(pa.array(added))).to_pylist():
            capture = self._capture_of_row[row]
            if capture < 0:
                continue
            if outcomes[capture] == "archived" and capture not in archived:
                outcomes[capture] = "duplicate"
            raw = rows.column("raw")[row].as_py().encode()
            if bodies[capture] is None and carries_unknown_fields(raw):
                bodies[capture] = raw
        for name, values in (("outcome", outcomes), ("body", bodies)):
            index = EVENTS.schema.get_field_index(name)
            events = events.set_column(
                index, EVENTS.schema.field(index), pa.array(values, type=EVENTS.schema.field(index).type)
            )
        return events

    def _add_rows(self, messages: Sequence[Message]) -> None:
        if not messages:
            return
        first_row = sum(table.num_rows for table in self._messages)
        for row, message in enumerate(messages, first_row):
            if message.files:
                self.with_files.append(row)
        keys = [(message.chat_id, message.message_uid) for message in messages]
        before = len(self._keys)
        self.repeated |= self._keys.intersection(keys)
        self._keys.update(keys)
        if len(self._keys) - before < len(keys):
            self.repeated |= _repeated(keys)
        self._messages.append(messages_to_table(messages))


def message_at(rows: pa.Table, row: int) -> Message:
    """Return the message that a row was made of."""
    source, captured_by, raw = (rows.column(name)[row].as_py() for name in ("source", "captured_by", "raw"))
    observed_at_ms = pc.cast(rows.column("observed_at")[row], pa.int64()).as_py()
    return read_message(raw.encode(), Observed(observed_at_ms, source, captured_by))


def _repeated(keys: Sequence[Key]) -> set[Key]:
    seen: set[Key] = set()
    return {key for key in keys if key in seen or seen.add(key)}  # type: ignore[func-returns-value]


def _events_table(captures: Sequence[SpooledCapture], said: Sequence[tuple[object, ...]], *, spool_id: str) -> pa.Table:
    pushes = [spooled.capture for spooled in captures]
    columns: dict[str, object] = dict(zip(_SAID_COLUMNS, zip(*said, strict=True), strict=True))
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
    return (push.name, push.user_id, push.chat_id, uid, wanted, _outcome(push), push.error, _digest(spooled), body)


def _unread(spooled: SpooledCapture, reason: str) -> tuple[object, ...]:
    """Return the values of `_SAID_COLUMNS` for a capture that could not be read."""
    body = without_secrets(spooled.capture.body)
    return (None, None, None, None, None, "unparsed", reason, _digest(spooled), body)


def _outcome(push: Push) -> str:
    if push.wanted_uids:
        return "wanted"
    if push.messages:
        return "archived"
    return "unparsed" if push.error else "noted"


def _digest(spooled: SpooledCapture) -> str:
    stated = spooled.capture.attributes.get(BODY_DIGEST_ATTRIBUTE)
    return stated or sha256(spooled.capture.body).hexdigest()


def _encode_all(attributes: Sequence[Mapping[str, str]]) -> list[str | None]:
    """Return attributes as JSON; captures share a few mappings, so each distinct one is encoded once."""
    encoded: dict[int, str | None] = {id(NO_ATTRIBUTES): None}
    for mapping in attributes:
        if id(mapping) not in encoded:
            text = msgspec.json.encode(dict(mapping), order="deterministic").decode() if mapping else None
            encoded[id(mapping)] = text
    return [encoded[id(mapping)] for mapping in attributes]
