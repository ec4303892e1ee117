"""Rows that belong together: the versions of a message, the rows of a file, the files of a message.

Nearly every message has one row, so what is to be done for those with several is done for them alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_, or_

import pyarrow as pa
import pyarrow.compute as pc

from archiver.retention.answers import Answered, distinct
from archiver.retention.crossing import Crossing, flat, taken

# Ids hold no null character; with it two texts become one key and no two pairs the same.
_BETWEEN = "\0"


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows by item: for each row the number of its item, from 0 to ``count`` - 1."""

    numbers: pa.Array
    count: int

    def greatest(self, *columns: pa.Array) -> list[pa.Array]:
        """Return for each item the greatest value of each column."""
        if not columns or self.count == len(self.numbers):
            return list(columns)  # Each row is an item of its own, and so they are in order already.
        names = [str(place) for place in range(len(columns))]
        table = pa.table([self.numbers, *columns], names=["item", *names])
        # One thread keeps items in the order of their first row, which is that of their numbers.
        grouped = table.group_by("item", use_threads=False).aggregate([(name, "max") for name in names])
        return [flat(grouped.column(f"{name}_max")) for name in names]

    def union(self, answered: Answered) -> Answered:
        """Return for each item all that any of its rows answers."""
        if self.count == len(self.numbers):
            return answered
        if len(answered.answers) == 1:
            return Answered(taken([0], pa.nulls(self.count)), answered.answers)
        every, common = reduce(or_, answered.answers), reduce(and_, answered.answers)
        bits = [1 << place for place in range(every.bit_length()) if every & ~common & (1 << place)]
        flags = [taken([int(bool(answer & bit)) for answer in answered.answers], answered.codes) for bit in bits]
        crossing = Crossing(self.count)
        for flag in self.greatest(*flags):
            crossing.add(flag, 2)
        crossed = crossing.crossed()
        answers = [
            (every & common) | sum(bit for bit, flag in zip(bits, combination, strict=True) if flag)
            for combination in crossed.combinations
        ]
        return Answered(crossed.codes, answers)


@dataclass(frozen=True, slots=True)
class Repeated:
    """Those rows whose item has several: ``mask`` says which they are, ``groups`` which belong together."""

    mask: pa.Array
    groups: Groups

    def greatest(self, values: pa.Array) -> pa.Array:
        """Return values in which every row has the greatest of its item."""
        (greatest,) = self.groups.greatest(values.filter(self.mask))
        return pc.replace_with_mask(values, self.mask, self._spread(greatest))

    def union(self, answered: Answered) -> Answered:
        """Return answers in which every row has all that any row of its item answers."""
        if len(answered.answers) == 1:
            return answered
        united = self.groups.union(Answered(answered.codes.filter(self.mask), answered.answers))
        places = {answer: place for place, answer in enumerate(answered.answers)}
        numbers = [places.setdefault(answer, len(places)) for answer in united.answers]
        codes = self._spread(taken(numbers, united.codes))
        return Answered(pc.replace_with_mask(answered.codes, self.mask, codes), list(places))

    def _spread(self, by_item: pa.Array) -> pa.Array:
        return pc.take(by_item, self.groups.numbers)


def repeated_messages(rows: pa.Table) -> Repeated | None:
    """Return the rows of messages that have several, None if none has.

    Of several rows of a message all but one at least are of a version above 1, which costs far less to see than equal uids.
    Of rows that the archive keeps under one version, because one completes the other, the later ones must have been numbered on
    before (`archiver.retention.leaving.numbered_by_uid`).
    """
    uids = rows.column("message_uid")
    candidates = pc.unique(uids.filter(pc.greater(rows.column("version"), 1)))
    if not len(candidates):
        return None
    mask = flat(pc.is_in(uids, value_set=candidates))
    return Repeated(mask, groups_of(rows.select(["chat_id", "message_uid"]).filter(mask), "chat_id", "message_uid"))


def groups_of(rows: pa.Table, *columns: str) -> Groups:
    """Return rows by the values of these columns together."""
    crossing = Crossing(rows.num_rows)
    for column in columns:
        indices, values = distinct(rows.column(column))
        crossing.add(indices, max(len(values), 1))
    return Groups(*crossing.numbered())


@dataclass(frozen=True, slots=True)
class Messages:
    """The messages that rows of one table belong to, to be looked up by rows of another."""

    keys: pa.Array
    uids: pa.Array
    groups: Groups

    def places_of(self, rows: pa.Table) -> pa.Array:
        """Return for each row of another table the number of its message, null where it is none of these."""
        mask = flat(pc.is_in(rows.column("message_uid"), value_set=self.uids))
        places = pc.index_in(message_keys(rows.filter(mask)), value_set=self.keys)
        return pc.replace_with_mask(pa.nulls(rows.num_rows, pa.int32()), mask, places)


def messages_of(rows: pa.Table) -> Messages:
    """Return the messages that rows belong to."""
    encoded = pc.dictionary_encode(message_keys(rows))
    groups = Groups(encoded.indices.cast(pa.int64()), len(encoded.dictionary))
    return Messages(encoded.dictionary, pc.unique(rows.column("message_uid")), groups)


def messages_among(messages: pa.Table, rows: pa.Table) -> pa.Table:
    """Return those rows of ``messages`` to which rows of another table could belong, by their uid alone."""
    return messages.filter(pc.is_in(messages.column("message_uid"), value_set=pc.unique(rows.column("message_uid"))))


def message_keys(rows: pa.Table) -> pa.Array:
    """Return the key of each row's message: its chat and uid as one text."""
    columns: Sequence[pa.ChunkedArray] = [rows.column("chat_id"), rows.column("message_uid")]
    texts = [flat(column.cast(pa.string())) for column in columns]
    return pc.binary_join_element_wise(*texts, _BETWEEN)
