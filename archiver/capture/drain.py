"""A batch on its way into one commit: columns of messages and events.

What needs a second look, a repeated uid or a message with files, is read again from its own raw bytes; reading is a
pure function, so it says the same again. What was imported is read again from its columns (`archiver.normalise.imported`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.schema import EVENTS
from archiver.archive.tables import UNDECIDED_MESSAGES, messages_to_table, rows_of
from archiver.capture.reading import ReadCaptures, ReadItems
from archiver.capture.versions import Key
from archiver.model.message import Message
from archiver.normalise.imported import IMPORT, message_of_row
from archiver.normalise.message import Observed, carries_unknown_fields, read_message
from archiver.normalise.redact import without_secrets

_NO_CAPTURE = -1


class Batch:
    """Captures and messages of one commit; ``with_files`` are the message rows whose messages have files.

    ``unread`` counts captures that could not be read, or not whole.
    """

    def __init__(self) -> None:
        self.with_files: list[int] = []
        self.unread = 0
        self.capture_count = 0
        self._messages: list[pa.Table] = []
        self._events: list[pa.Table] = []
        self._capture_of_row: list[int] = []
        self._arrival_of_row: list[int] = []

    @property
    def message_count(self) -> int:
        """The number of message rows, repetitions included."""
        return len(self._capture_of_row)

    def add_captures(self, read: ReadCaptures) -> None:
        """Take captures that were read."""
        first_row, first_capture = self.message_count, self.capture_count
        self.with_files += [first_row + row for row in read.with_files]
        self.unread += read.unread
        self.capture_count += read.events.num_rows
        captures = [first_capture + capture for capture in read.capture_of_row]
        self._capture_of_row += captures
        self._arrival_of_row += captures
        self._messages.append(read.messages)
        self._events.append(read.events)

    def add_messages(self, messages: Sequence[Message]) -> None:
        """Take messages that no push brought, such as fetched ones; they leave no event row."""
        self._add_rows(messages_to_table(messages), messages, range(len(messages)))

    def add_shown(self, read: ReadItems) -> None:
        """Take messages that a page of history brought; they leave no event row."""
        self._add_rows(read.messages, read.others, read.item_of_row)

    def _add_rows(self, rows: pa.Table, last: Sequence[Message], arrival: Sequence[int]) -> None:
        """Take rows, the last of which are those of these messages; ``arrival`` says in which order they came."""
        first_row = self.message_count + rows.num_rows - len(last)
        first = len(self._arrival_of_row)
        self.with_files += [row for row, message in enumerate(last, first_row) if message.files]
        self._capture_of_row += [_NO_CAPTURE] * rows.num_rows
        self._arrival_of_row += [first + place for place in arrival]
        self._messages.append(rows)

    def messages(self) -> pa.Table:
        """Return all message rows, without the columns that the archive decides; `in_order` knows in which order they came."""
        return pa.concat_tables(self._messages) if self._messages else UNDECIDED_MESSAGES.empty_table()

    def in_order(self, rows: Iterable[int]) -> list[int]:
        """Return message rows in the order in which they came."""
        return sorted(rows, key=self._arrival_of_row.__getitem__)

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
            if capture == _NO_CAPTURE:
                continue
            if outcomes[capture] == "archived" and capture not in archived:
                outcomes[capture] = "duplicate"
            raw = rows.column("raw")[row].as_py().encode()
            if bodies[capture] is None and carries_unknown_fields(raw):
                bodies[capture] = without_secrets(raw)
        for name, values in (("outcome", outcomes), ("body", bodies)):
            index = EVENTS.schema.get_field_index(name)
            events = events.set_column(
                index, EVENTS.schema.field(index), pa.array(values, type=EVENTS.schema.field(index).type)
            )
        return events


def repeated_keys(rows: pa.Table) -> set[Key]:
    """Return the keys that stand in more than one message row."""
    if pc.count_distinct(rows.column("message_uid")).as_py() == rows.num_rows:
        return set()  # nearly always, and ten times as quick to tell
    counts = rows.group_by(["chat_id", "message_uid"]).aggregate([([], "count_all")])
    repeated = counts.filter(pc.greater(counts.column("count_all"), 1))
    return set(zip(repeated.column("chat_id").to_pylist(), repeated.column("message_uid").to_pylist(), strict=True))


def message_at(rows: pa.Table, row: int) -> Message:
    """Return the message that a row was made of."""
    source, captured_by, raw = (rows.column(name)[row].as_py() for name in ("source", "captured_by", "raw"))
    if source == IMPORT:
        [said] = rows_of(rows.slice(row, 1))
        return message_of_row(said, observed_at_ms=said["observed_at"], sent_at_ms=said["sent_at"])
    observed_at_ms = pc.cast(rows.column("observed_at")[row], pa.int64()).as_py()
    return read_message(raw.encode(), Observed(observed_at_ms, source, captured_by))
