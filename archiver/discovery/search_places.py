"""Where rows lie that an expression could be true of, in the order in which they were sent; and where the rows of a message lie.

A *place* is a row of a data object. Places come from shards of the index and from data objects that no shard has, each a stream of its
own; `Places.in_order` merges them, and begins a stream only when its turn comes, so that the first page of a search looks at what was sent
last and at nothing else.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.ledger import FileRecord
from archiver.archive.reader import Head, read_columns, read_rows_at
from archiver.archive.schema import MESSAGES, OBSERVATIONS
from archiver.clock import to_ms
from archiver.discovery import index_words as words
from archiver.discovery.index import OpenIndex
from archiver.discovery.index_asking import UIDS_MAX, Asking, about, between
from archiver.discovery.index_shard import Shard, ShardBrokenError
from archiver.discovery.search_facts import Knowledge, true_of
from archiver.expression import Expression
from archiver.expression.matching import span_of
from archiver.expression.nodes import And, Chat, Days, Node, Or
from archiver.store import Store

if TYPE_CHECKING:
    from tantivy import Query

Order = Literal["newest", "oldest"]

# Columns of rows that were read by their places: the key of the data object, and the row's number in it.
KEY: Final = "__key"
ROW: Final = "__row"

# So many are asked of a shard at first, and each time so many times more.
FIRST_ROWS: Final = 64
ROWS_GROW_BY: Final = 4
ROWS_MAX: Final = 65_536

_READ: Final = (MESSAGES, OBSERVATIONS)


class Place(NamedTuple):
    """A row: when it was sent, the key of its data object, and its number in that."""

    at_ms: int
    key: str
    row: int


@dataclass(frozen=True, slots=True)
class Places:
    """The rows of one head, by the index as far as there is one."""

    store: Store
    head: Head
    index: OpenIndex
    knowledge: Knowledge
    executor: Executor

    def read(self, places: Sequence[Place], columns: Sequence[str]) -> pa.Table:
        """Return the rows at these places in their order, read from the archive itself; raises `DamageFoundError`.

        Beside the columns, which are all of one table, stand `KEY` and `ROW`.
        """
        by_key: dict[str, list[int]] = {}
        for place in places:
            by_key.setdefault(place.key, []).append(place.row)
        by_key = {key: sorted(set(rows)) for key, rows in by_key.items()}
        records = {key: self.head.files[key] for key in by_key}

        def read(key: str) -> pa.Table:
            try:
                return read_rows_at(self.store, records[key], by_key[key], columns)
            except IndexError as error:
                raise ShardBrokenError(f"the index names a row of {key} that is not there: {error}") from error

        parts = list(self.executor.map(read, by_key))
        if not parts:
            return pa.table({name: pa.nulls(0, _type_of(name)) for name in (*columns, KEY, ROW)})
        named = [
            part.append_column(KEY, pa.repeat(key, part.num_rows)).append_column(ROW, pa.array(by_key[key], pa.int64()))
            for key, part in zip(by_key, parts, strict=True)
        ]
        read_in = {
            (key, row): number for number, (key, row) in enumerate((key, row) for key in by_key for row in by_key[key])
        }
        order = pa.array([read_in[place.key, place.row] for place in places], pa.int64())
        # In one piece, for whoever looks for words begins anew with each.
        return pa.concat_tables(named).take(order).combine_chunks()

    def in_order(self, expression: Expression, *, order: Order, from_ms: int | None = None) -> Iterator[Place]:
        """Yield where an expression could be true, in the order of sending; of those sent at one instant in any order.

        ``from_ms`` is where to begin, included. Raises `ShardBrokenError` if the index turns out to be unusable.
        """
        sign = -1 if order == "newest" else 1
        streams: list[_ShardRows | _ObjectRows] = [
            _ShardRows(self, shard, expression, order, from_ms) for shard in self.index.shards
        ]
        streams += [
            _ObjectRows(self, record, expression, order, from_ms) for record in self.others("messages", expression)
        ]
        # A stream's bound stands for it until it is begun: nothing in it comes before that.
        waiting: list[tuple[int, int, Place | None, Iterator[Place] | None]] = [
            (sign * stream.bound_ms, number, None, None)
            for number, stream in enumerate(streams)
            if stream.bound_ms is not None
        ]
        heapq.heapify(waiting)
        while waiting:
            _, number, place, rows = heapq.heappop(waiting)
            if place is not None:
                yield place
            rows = streams[number].places() if rows is None else rows
            following = next(rows, None)
            if following is not None:
                heapq.heappush(waiting, (sign * following.at_ms, number, following, rows))

    def others(self, table: str, expression: Expression | None = None) -> list[FileRecord]:
        """Return the data objects of a table that no shard has, without those of which an expression cannot be true."""
        return [
            record
            for record in self.index.others
            if record.table == table
            and record.rows
            and (expression is None or could_hold(expression.root, record, self.knowledge, expression))
        ]

    def asking(self, shard: Shard, expression: Expression) -> Asking:
        """Return what asks a shard on behalf of an expression."""
        return Asking(shard, directory=self.knowledge.directory, zone=expression.zone, uids=self.knowledge.uids_meant)

    def of_messages(self, uids: Sequence[str]) -> list[Place]:
        """Return where rows of ``messages`` with one of these uids lie, all versions."""
        return self._about(uids, table="messages", kind=words.UID)

    def of_observations(self, uids: Sequence[str]) -> list[Place]:
        """Return where rows of ``observations`` lie that tell whether messages with these uids came back."""
        return self._about(uids, table="observations", kind=words.OBSERVED_UID)

    def _about(self, uids: Sequence[str], *, table: str, kind: str) -> list[Place]:
        found: list[Place] = []
        wanted = sorted(set(uids))
        for first in range(0, len(wanted), UIDS_MAX):
            some = wanted[first : first + UIDS_MAX]
            for shard in self.index.shards:
                found += (Place(*place) for place in shard.find(about(shard, kind, some)))
            for record in self.others(table):
                found += self._about_in(record, some)
        return found

    def _about_in(self, record: FileRecord, uids: Sequence[str]) -> Iterator[Place]:
        least, greatest = record.ranges["message_uid"]
        here = [uid for uid in uids if str(least) <= uid <= str(greatest)]
        if not here:
            return
        at = "sent_at" if record.table == "messages" else "observed_at"
        rows = read_columns(self.store, record, ("message_uid", at))
        numbers = pc.indices_nonzero(pc.is_in(rows.column("message_uid"), value_set=pa.array(here, pa.string())))
        instants = pc.cast(rows.column(at).take(numbers), pa.int64()).to_pylist()
        for row, at_ms in zip(numbers.to_pylist(), instants, strict=True):
            yield Place(at_ms, record.key, row)


class _ShardRows:
    """The rows of a shard that an expression could be true of."""

    def __init__(self, places: Places, shard: Shard, expression: Expression, order: Order, from_ms: int | None) -> None:
        self._places = places
        self._shard = shard
        self._expression = expression
        self._is_newest = order == "newest"
        bound = shard.record.last_ms if self._is_newest else shard.record.first_ms
        if bound is not None and from_ms is not None:
            bound = min(bound, from_ms) if self._is_newest else max(bound, from_ms)
        self.bound_ms = bound

    def places(self) -> Iterator[Place]:
        """Yield them in order."""
        assert self.bound_ms is not None
        query = self._places.asking(self._shard, self._expression).rows(self._expression.root).query
        assert query is not None
        bound, step = self.bound_ms, -1 if self._is_newest else 1
        size = FIRST_ROWS
        while True:
            first, last = (None, bound) if self._is_newest else (bound, None)
            found = self._found(query, first, last, limit=size)
            if len(found) < size:
                yield from found
                return
            # How many more were sent at the last instant is not known, so those are asked for by themselves.
            edge = found[-1].at_ms
            yield from (place for place in found if place.at_ms != edge)
            yield from self._found(query, edge, edge, limit=None)
            bound, size = edge + step, min(size * ROWS_GROW_BY, ROWS_MAX)

    def _found(self, query: Query, first_ms: int | None, last_ms: int | None, *, limit: int | None) -> list[Place]:
        asked = between(query, self._shard, first_ms, last_ms)
        found = self._shard.find(asked, limit=limit, is_newest=self._is_newest)
        return [Place(*place) for place in found]


class _ObjectRows:
    """The rows of a data object that an expression is true of; the object is read when the first is asked for."""

    def __init__(
        self, places: Places, record: FileRecord, expression: Expression, order: Order, from_ms: int | None
    ) -> None:
        self._places = places
        self._record = record
        self._expression = expression
        self._is_newest = order == "newest"
        self._from_ms = from_ms
        first, last = map(int, record.ranges["sent_at"])
        is_behind = from_ms is not None and (first > from_ms if self._is_newest else last < from_ms)
        self.bound_ms = None if is_behind else last if self._is_newest else first

    def places(self) -> Iterator[Place]:
        """Yield them in order."""
        columns = sorted({*self._expression.columns, *("chat_id", "message_uid", "sent_at", "version")})
        rows = read_columns(self._places.store, self._record, columns)
        at_ms = pc.cast(rows.column("sent_at"), pa.int64())
        found = true_of(self._expression, rows, self._places.knowledge)
        if self._from_ms is not None:
            is_in = pc.less_equal if self._is_newest else pc.greater_equal
            found = pc.and_(found, is_in(at_ms, self._from_ms).combine_chunks())
        numbers = pc.indices_nonzero(found)
        pairs = zip(at_ms.take(numbers).to_pylist(), numbers.to_pylist(), strict=True)
        for instant, row in sorted(pairs, reverse=self._is_newest):
            yield Place(instant, self._record.key, row)


def _type_of(name: str) -> pa.DataType:
    if name in (KEY, ROW):
        return pa.string() if name == KEY else pa.int64()
    return next(table.schema.field(name).type for table in _READ if name in table.schema.names)


def could_hold(node: Node, record: FileRecord, knowledge: Knowledge, expression: Expression) -> bool:
    """Tell whether a data object could hold a row of which a node is true, as far as the ledger knows."""
    match node:
        case And(nodes):
            return all(could_hold(inner, record, knowledge, expression) for inner in nodes)
        case Or(nodes):
            return any(could_hold(inner, record, knowledge, expression) for inner in nodes)
        case Days(relation=relation):
            begin, end = map(to_ms, span_of(node, expression.zone))
            first, last = map(int, record.ranges["sent_at"])
            return (relation == "after" or first < (begin if relation == "before" else end)) and (
                relation == "before" or last >= (end if relation == "after" else begin)
            )
        case Chat(pattern) if "*" not in pattern:
            least, greatest = map(str, record.ranges["chat_id"])
            chats = {pattern, *knowledge.directory.chats_like(pattern)}
            return any(least <= chat <= greatest for chat in chats)
        case _:
            return True
