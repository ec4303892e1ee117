"""How many messages an expression finds, exactly.

Of most messages there is one row, so that counting rows is nearly counting messages: every row is counted that is the first of its
message, and of the messages whose later versions are hits only those whose first row is none. Where the index answers exactly, it counts;
where it only narrows, what is left is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.reader import read_columns
from archiver.discovery.index_shard import Shard
from archiver.discovery.search_facts import Key, true_of
from archiver.discovery.search_places import Place, Places
from archiver.expression import Expression

# Counting along the way must not cost what a page does not: so many rows are looked at in the index, and so many are read.
INDEXED_ROWS_MAX: Final = 500_000
READ_ROWS_MAX: Final = 2_000

BATCH_ROWS: Final = 16_384
BATCH_MESSAGES: Final = 2_000

_ROW_COLUMNS: Final = ("chat_id", "message_uid", "version", "supersedes")


class TooMuchError(Exception):
    """It cannot be told at a small cost."""


@dataclass(slots=True)
class _Count:
    """Hits that are the first row of their message, and the messages of other hits; ``left`` is what may still be looked at, or None."""

    firsts: int = 0
    later: set[Key] = field(default_factory=set)
    indexed_left: int | None = None
    read_left: int | None = None

    def look_at(self, rows: int) -> None:
        if self.indexed_left is not None:
            self.indexed_left -= rows
            if self.indexed_left < 0:
                raise TooMuchError

    def read(self, rows: int) -> None:
        if self.read_left is not None:
            self.read_left -= rows
            if self.read_left < 0:
                raise TooMuchError


def count_messages(places: Places, expression: Expression, *, at_any_cost: bool) -> int | None:
    """Return how many messages an expression finds; None if it may not cost much and would. What is None hangs on no clock."""
    count = _Count() if at_any_cost else _Count(indexed_left=INDEXED_ROWS_MAX, read_left=READ_ROWS_MAX)
    try:
        for shard in places.index.shards:
            _count_shard(places, shard, expression, count)
        for record in places.others("messages", expression):
            count.read(record.rows)
            columns = tuple({*_ROW_COLUMNS, *expression.columns})
            _count_rows(places, expression, read_columns(places.store, record, columns), count)
        return count.firsts + len(count.later) - _with_first(places, expression, sorted(count.later))
    except TooMuchError:
        return None


def _count_shard(places: Places, shard: Shard, expression: Expression, count: _Count) -> None:
    asking = places.asking(shard, expression)
    asked = asking.rows(expression.root)
    assert asked.query is not None
    count.look_at(asked.weight)
    if not asked.is_exact:
        count.read(shard.count(asked.query))
        for batch in _batches(shard.find(asked.query)):
            _count_rows(places, expression, places.read(batch, tuple({*_ROW_COLUMNS, *expression.columns})), count)
        return
    later = asking.later(asked)
    number = shard.count(later)
    count.read(number)
    count.firsts += shard.count(asked.query) - number
    for batch in _batches(shard.find(later)):
        count.later.update(_keys(places.read(batch, _ROW_COLUMNS)))


def _count_rows(places: Places, expression: Expression, rows: pa.Table, count: _Count) -> None:
    rows = rows.filter(true_of(expression, rows, places.knowledge))
    later = _are_later(rows)
    count.firsts += rows.num_rows - later.true_count
    count.later.update(_keys(rows.filter(later)))


def _with_first(places: Places, expression: Expression, keys: Sequence[Key]) -> int:
    """Return of how many of these messages the first row is a hit, too."""
    with_first = set[Key]()
    columns = tuple({*_ROW_COLUMNS, *expression.columns})
    for first in range(0, len(keys), BATCH_MESSAGES):
        some = keys[first : first + BATCH_MESSAGES]
        rows = places.read(places.of_messages([uid for _, uid in some]), columns)
        rows = rows.filter(pc.invert(_are_later(rows)))
        rows = rows.filter(true_of(expression, rows, places.knowledge))
        with_first |= set(some).intersection(_keys(rows))
    return len(with_first)


def _are_later(rows: pa.Table) -> pa.BooleanArray:
    """Return which rows are not the first of their message: a later version, or one that completes another."""
    later = pc.or_(pc.greater(rows.column("version"), 1), pc.is_valid(rows.column("supersedes")))
    return later.combine_chunks()


def _keys(rows: pa.Table) -> Iterator[Key]:
    return zip(rows.column("chat_id").to_pylist(), rows.column("message_uid").to_pylist(), strict=True)


def _batches(found: Sequence[tuple[int, str, int]]) -> Iterator[list[Place]]:
    """Yield places in batches; those of one data object stand together, so that each is read a few times at most."""
    places = sorted((Place(*place) for place in found), key=lambda place: (place.key, place.row))
    for first in range(0, len(places), BATCH_ROWS):
        yield places[first : first + BATCH_ROWS]
