"""Which data objects a view needs to answer what is asked of its columns, told by what the ledger says of each object.

A *condition* on a column says of an object's least and greatest value there whether some row may meet it. For a table, an object whose rows
cannot meet all conditions is not needed. What is derived from ``messages`` follows one of three rules:

- Row by row: each row of the view is one row of ``messages``, so what holds for the table holds for the view. `unread_flockml` is so
  always, `identified_messages` and what counts or chooses its rows as long as no message is archived under a provisional uid.
- Whole messages: a view that shows one row of each message must see all its rows to choose, and another version may lie under any day, for
  an edit may carry the time of the edit. All rows of a message have its uid. So the objects that may have a row which is asked for are
  needed, and every object whose range of uids meets one of theirs. Flock's uids begin with the time, so these are few. Then of each message
  with a row that is asked for every row is read, and what is chosen is what would be chosen among all; of other messages a wrong row may be
  chosen, which does not meet the conditions, or it would have been among the first.
- Whole: where anything lies under a provisional uid, which message it turned out to be rests on what all captures around it say, and the
  range of uids of the object that holds it says nothing. What a reply quotes may have been said at any time before. The days of a time zone
  are not those of the partitions. States and observations have no day of a message, and are few beside messages.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from archiver.archive import layout
from archiver.archive.ledger import FileRecord
from archiver.archive.reader import Head, files_of
from archiver.archive.schema import FILES, MESSAGES, TABLES
from archiver.query import views

DAY = "dt"
# Columns of instants whose ranges the ledger keeps; the others are texts.
INSTANTS = frozenset(
    column
    for table in TABLES.values()
    for column in table.range_columns
    if pa.types.is_timestamp(table.schema.field(column).type)
)

# Tells whether an object whose least and greatest value these are may have a row that is meant: days, texts, or microseconds since 1970.
May = Callable[[Any, Any], bool]
Conditions = Mapping[str, Sequence[May]]

_UID = "message_uid"
_SAME = {column: column for column in (*MESSAGES.range_columns, DAY)}
_OF_ROWS_ALWAYS = frozenset({"provisional_messages", "unread_flockml"})
_OF_ROWS = {
    "identified_messages": _SAME,
    "notifications": _SAME,
    "conversation_day": {"chat_id": "chat_id", "day_on": DAY},
}
_OF_WHOLE_MESSAGES = {
    **dict.fromkeys(
        (
            "current_messages",
            "transcript",
            "message_audience",
            "deleted_or_missing",
            "messages_as_of",
            "audience_as_of",
            "as_of",
        ),
        _SAME,
    ),
    # An absence ends with a capture of the message, whose day is not that of the absence.
    "message_absences": {"chat_id": "chat_id", _UID: _UID},
}


def columns_of(name: str) -> Mapping[str, str]:
    """Return the columns of a table, view or macro on which conditions help, each with that of the table which it is."""
    if table := TABLES.get(name):
        return {column: column for column in (*table.range_columns, DAY)}
    if name in _OF_ROWS_ALWAYS:
        return _SAME
    return _OF_ROWS.get(name) or _OF_WHOLE_MESSAGES.get(name) or {}


def needed(head: Head, name: str, conditions: Conditions) -> Iterator[FileRecord]:
    """Yield the objects that a table, view or macro needs to answer conditions on the columns of its table; all for no condition."""
    tables = [table for table in views.with_needed([name]) if table in TABLES]
    found = {table: files_of(head, table) for table in tables}
    if conditions and name in TABLES.keys() | _OF_ROWS_ALWAYS:
        found = {table: [one for one in records if _may_meet(one, conditions)] for table, records in found.items()}
    elif conditions and not any(map(views.may_be_provisional, found[MESSAGES.name])):
        asked = [record for record in found[MESSAGES.name] if _may_meet(record, conditions)]
        if name in _OF_WHOLE_MESSAGES:
            found[MESSAGES.name] = _with_uids_of(asked, found[MESSAGES.name])
        else:
            found[MESSAGES.name] = asked
        if FILES.name in found:
            # They are counted by the uid of their message, on whatever day they lie.
            found[FILES.name] = _with_uids_of(asked, found[FILES.name])
    for records in found.values():
        yield from records


def _may_meet(record: FileRecord, conditions: Conditions) -> bool:
    for column, asked in conditions.items():
        bounds = _bounds(record, column)
        if bounds is not None and not all(may(*bounds) for may in asked):
            return False
    return True


def _bounds(record: FileRecord, column: str) -> tuple[Any, Any] | None:
    """Return the least and greatest value of a column as conditions are held against them, None where the ledger does not say."""
    if column == DAY:
        day = layout.partition_of(record.key)[1]
        return day, day
    least, greatest = record.ranges.get(column, (None, None))
    if column in INSTANTS:
        return (least * 1_000, greatest * 1_000) if isinstance(least, int) and isinstance(greatest, int) else None
    return (least, greatest) if isinstance(least, str) and isinstance(greatest, str) else None


def _with_uids_of(asked: Iterable[FileRecord], records: Sequence[FileRecord]) -> list[FileRecord]:
    """Return those of ``records`` that may hold a row about a message of which ``asked`` hold any."""
    spans = [_bounds(record, _UID) for record in asked]
    if None in spans:
        return list(records)
    starts: list[str] = []
    ends: list[str] = []
    for least, greatest in sorted(filter(None, spans)):
        if ends and least <= ends[-1]:
            ends[-1] = max(ends[-1], greatest)
        else:
            starts.append(least)
            ends.append(greatest)

    def meets(span: tuple[Any, Any] | None) -> bool:
        if span is None:
            return True
        place = bisect_right(starts, span[1])  # the spans before it begin at or before this one's end, and end in order
        return place > 0 and ends[place - 1] >= span[0]

    return [record for record in records if meets(_bounds(record, _UID))]
