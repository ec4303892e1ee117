"""Under which day the captures of one message are found again.

A message lies under the UTC day of its sending time, which is what *one* capture said. Another capture of the same
message may tell no time, or another one: an edit may carry the time of the edit. Flock's uids begin with the
milliseconds of the sending (flock-api.md 6.1), and that every capture agrees upon. So a message is at home under the
day of its uid; where the uid tells none, under the day of its own sending time; and where that was not told either,
nowhere. Rows that lie elsewhere are *astray*: the ledger counts them for each object, so that a search which looks at
home and among the strays misses nothing, however large the archive is.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from archiver.normalise.message import PROVISIONAL_PREFIX

# Twelve or thirteen digits: the years 1973 to 2286.
_UID_TIME = r"^(?P<ms>\d{12,13})(?:-|$)"
_USUAL_DIGITS = 13
_ENDS = pa.array(["-", ""])
_TOLD = pa.array(["timestampInMillis", "timestamp", "uid"])


def days_at_home(rows: pa.Table) -> pa.ChunkedArray:
    """Return the days under which every capture of the same message is looked for, null where that is every day."""
    uids = rows.column("message_uid")
    stated = days_stated(uids)
    if not stated.null_count:
        return stated
    told = pc.or_(
        pc.is_in(rows.column("sent_at_basis"), value_set=_TOLD), pc.starts_with(uids, pattern=PROVISIONAL_PREFIX)
    )
    sent = _days(rows.column("sent_at"))
    return pc.coalesce(stated, pc.if_else(told, sent, pa.scalar(None, pa.date32())))


def days_stated(uids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the days that uids state by themselves, null where one states none."""
    return _days(pc.cast(_stated_ms(uids), pa.timestamp("ms", tz="UTC")))


def count_astray(rows: pa.Table) -> int:
    """Return how many message rows do not lie where they are at home."""
    at_home = pc.equal(_days(rows.column("sent_at")), days_at_home(rows))
    return int(rows.num_rows - (pc.sum(at_home).as_py() or 0))


def _stated_ms(uids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the milliseconds that uids begin with, null where they begin with none."""
    start, next_character = (
        pc.utf8_slice_codeunits(uids, 0, _USUAL_DIGITS),
        pc.utf8_slice_codeunits(uids, _USUAL_DIGITS, _USUAL_DIGITS + 1),
    )
    usual = pc.and_(
        pc.and_(pc.ascii_is_decimal(start), pc.equal(pc.binary_length(start), _USUAL_DIGITS)),
        pc.is_in(next_character, value_set=_ENDS),
    )
    if pc.all(usual, min_count=0).as_py():  # five times as quick as the expression, which knows the rest too
        return pc.cast(start, pa.int64())
    return pc.cast(pc.struct_field(pc.extract_regex(uids, _UID_TIME), [0]), pa.int64())


def _days(instants: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.cast(pc.floor_temporal(instants, unit="day"), pa.date32())
