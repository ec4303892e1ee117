"""Which rows belong to the items of a plan, wherever they lie.

An item is known by its chat and its message uid, a file by its ordinal besides, a user by the user id. Rows are found by the uid first: the
ledger knows the least and the greatest uid of nearly every data object, so most objects that hold nothing of a plan are never opened.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

# Of values looked up among many others, a table is built of the fewer if these are so many times as many.
_FEWER_TIMES: Final = 4
# How a kept push names a message that it carries, also where it is no JSON as a whole.
_CARRIED_UID = re.compile(rb'"uid"\s*:\s*(?:"([^"\\]{1,512})"|(-?[0-9]{1,40}))')


class Targets:
    """Items of one kind: ``uids`` say what a row is looked up by, ``chats`` and ``ordinals`` what must fit besides, where given.

    A row's match is the number of its item, its place among the arrays given here; no two items may be the same.
    """

    def __init__(self, uids: pa.Array, *, chats: pa.Array | None = None, ordinals: pa.Array | None = None) -> None:
        self.size = len(uids)
        by_uid = pc.cast(pc.array_sort_indices(uids), pa.int64())
        in_order = pc.take(uids, by_uid)
        # Where no two items share a uid, which is nearly always, the place of a uid is that of its item.
        self._is_told_by_uid = ordinals is None and _all_differ(in_order)
        if self._is_told_by_uid:
            self._distinct: pa.StringArray = in_order
            self._places = by_uid
            self._sorted_chats = None if chats is None else pc.take(chats, by_uid)
            return
        self._distinct = pc.unique(in_order)
        codes = pc.cast(pc.index_in(uids, value_set=self._distinct), pa.int64())
        distinct_chats = [] if chats is None else pc.unique(chats).to_pylist()
        self._chat_numbers = {chat: number for number, chat in enumerate(distinct_chats)}
        self._has_chats = chats is not None
        self._ordinal_count = 1 if ordinals is None else (pc.max(ordinals).as_py() or 0) + 1
        self._has_ordinals = ordinals is not None
        keys = self._keys(codes, None if chats is None else self._numbers_of(chats), ordinals)
        # Sorted by their keys, items are sorted by their uids as well, because a key begins with the uid's place.
        self._places = pc.cast(pc.array_sort_indices(keys), pa.int64())
        self._sorted_keys = pc.take(keys, self._places)
        self._sorted_codes = pc.take(codes, self._places)

    def meets(self, least: str, greatest: str) -> bool:
        """Tell whether any uid lies between these two, both included."""
        start, end = self._span(least, greatest)
        return start < end

    def match(self, uids: pa.Array, *, chats: pa.Array | None = None, ordinals: pa.Array | None = None) -> pa.Array:
        """Return for each row the number of its item (int64), null where it belongs to none.

        Where this kind of item has a chat, a row without one fits the first item of its uid.
        """
        if not self.size or not len(uids):
            return pa.nulls(len(uids), pa.int64())
        start, near_codes = self._codes_of(uids)
        if self._is_told_by_uid:
            return self._told_by_uid(start, near_codes, chats)
        codes = pc.add(pc.cast(near_codes, pa.int64()), start)
        is_hit = pc.is_valid(codes)
        hit_codes = codes.filter(is_hit)
        if not len(hit_codes):
            return pa.nulls(len(uids), pa.int64())
        hit_chats = None if chats is None else chats.filter(is_hit)
        keys = self._keys(
            hit_codes,
            None if hit_chats is None else self._numbers_of(hit_chats),
            None if ordinals is None else ordinals.filter(is_hit),
        )
        near = self._near(hit_codes)
        found = pc.take(self._places, pc.take(near, pc.index_in(keys, value_set=pc.take(self._sorted_keys, near))))
        if hit_chats is not None and hit_chats.null_count:
            of_uid = pc.take(near, pc.index_in(hit_codes, value_set=pc.take(self._sorted_codes, near)))
            found = pc.if_else(pc.is_null(hit_chats), pc.take(self._places, of_uid), found)
        return pc.replace_with_mask(pa.nulls(len(uids), pa.int64()), is_hit, found)

    def _told_by_uid(self, start: int, codes: pa.Array, chats: pa.Array | None) -> pa.Array:
        found = pc.take(self._places.slice(start), codes)
        if chats is None or self._sorted_chats is None:
            return found
        fits = pc.fill_null(pc.equal(pc.take(self._sorted_chats.slice(start), codes), chats), fill_value=True)
        return pc.if_else(fits, found, None)

    def _near(self, codes: pa.Array) -> pa.Array:
        """Return where among the sorted items those with these uids stand."""
        bounds = pc.min_max(codes).as_py()
        places = range(self.size)
        start = bisect_left(places, bounds["min"], key=lambda place: self._sorted_codes[place].as_py())
        end = bisect_right(places, bounds["max"], key=lambda place: self._sorted_codes[place].as_py())
        is_asked = pc.is_in(self._sorted_codes.slice(start, end - start), value_set=pc.unique(codes))
        return pc.add(pc.cast(pc.indices_nonzero(is_asked), pa.int64()), start)

    def _span(self, least: str, greatest: str) -> tuple[int, int]:
        places = range(len(self._distinct))
        return (
            bisect_left(places, least, key=lambda place: self._distinct[place].as_py()),
            bisect_right(places, greatest, key=lambda place: self._distinct[place].as_py()),
        )

    def _codes_of(self, uids: pa.Array) -> tuple[int, pa.Array]:
        """Return the place of each uid among the distinct ones that begin with a certain one, and the place of that; null for others."""
        bounds = pc.min_max(uids).as_py()
        if bounds["min"] is None:
            return 0, pa.nulls(len(uids), pa.int64())
        start, end = self._span(bounds["min"], bounds["max"])
        span = self._distinct.slice(start, end - start)
        if len(span) <= _FEWER_TIMES * len(uids):
            return start, pc.index_in(uids, value_set=span)
        present = pc.indices_nonzero(pc.is_in(span, value_set=uids))
        among = pc.index_in(uids, value_set=pc.take(span, present))
        return start, pc.take(present, among)

    def _numbers_of(self, chats: pa.Array) -> pa.Array:
        encoded = chats.dictionary_encode()
        numbers = [self._chat_numbers.get(chat) for chat in encoded.dictionary.to_pylist()]
        return pc.take(pa.array(numbers, pa.int64()), encoded.indices)

    def _keys(self, codes: pa.Array, chats: pa.Array | None, ordinals: pa.Array | None) -> pa.Array:
        """Return one number for each combination, null where a part fits no item."""
        keys = pc.cast(codes, pa.int64())
        if self._has_chats:
            keys = pc.add(pc.multiply_checked(keys, max(len(self._chat_numbers), 1)), chats)
        if self._has_ordinals:
            fits = pc.and_(pc.less(ordinals, self._ordinal_count), pc.greater_equal(ordinals, 0))
            ordinal = pc.if_else(fits, pc.cast(ordinals, pa.int64()), None)
            keys = pc.add_checked(pc.multiply_checked(keys, self._ordinal_count), ordinal)
        return keys


def _all_differ(ordered: pa.Array) -> bool:
    differs = pc.not_equal(ordered.slice(1), ordered.slice(0, max(len(ordered) - 1, 0)))
    return bool(pc.all(differs, min_count=0).as_py())


def uids_carried(bodies: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return the uids of messages that bodies of pushes carry, and beside each the row of its body."""
    rows: list[int] = []
    uids: list[str] = []
    for row in pc.indices_nonzero(pc.is_valid(bodies)).to_pylist():
        for uid in _carried(bodies[row].as_py()):
            rows.append(row)
            uids.append(uid)
    return pa.array(uids, pa.string()), pa.array(rows, pa.int64())


def _carried(body: bytes) -> Iterator[str]:
    for match in _CARRIED_UID.finditer(body):
        yield (match[1] if match[1] is not None else match[2]).decode(errors="replace")


def whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return a column as one array."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def joined(arrays: Sequence[pa.Array]) -> pa.Array:
    """Return arrays of numbers one after the other."""
    return pa.concat_arrays(arrays) if arrays else pa.array([], pa.int64())
