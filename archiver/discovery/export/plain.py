"""Messages made of rows column by column: nearly all are plain, and so a message costs a fifth of the time.

A plain message is all in one row: it was captured once, and has no files, nobody for whom alone it was or on whose behalf. Of a *block*,
which is the rows of a few slices, each column becomes one list, and the messages are made of the lists without a line of Python for each.
Whatever is out of the ordinary, however little, is *odd*: `archiver.discovery.export.assembly` makes it by itself and with care, and what
is made here is exactly what that would make.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, repeat
from typing import Any, Final, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive import layout
from archiver.discovery.export.order import DAY, FIRST
from archiver.discovery.export.record import Message, Person, Version
from archiver.discovery.export.redaction import HAS_NO_DIGESTS, MARK
from archiver.discovery.export.selection import IS_CONTEXT
from archiver.discovery.export.stretches import OBJECT

CONTROL_DIGITS: Final = 8
# A message that has any of these is not plain.
_ODD: Final = ("visible_to", "on_behalf_of")
# What no message needs of its row: all rows of a slice have it in common, or the order was all that it was for.
_UNNEEDED: Final = frozenset({"chat_id", "chat_kind", "sent_at", "text", "client_id", DAY})


T = TypeVar("T")


class Columns:
    """Rows as lists by column, instants in milliseconds: quicker than a mapping for each row."""

    def __init__(self, rows: pa.Table) -> None:
        self._columns: dict[str, list[Any]] = {
            name: (pc.cast(rows.column(name), pa.int64()) if name == "observed_at" else rows.column(name)).to_pylist()
            for name in rows.column_names
            if name not in _UNNEEDED
        }
        marks = [found for name, found in self._columns.items() if name.startswith(MARK)]
        self.black = [sum(found) for found in zip(*marks, strict=True)]
        """How many places of each row are black; empty where nothing is to be."""
        self.without_digests: list[bool] = self._columns.get(HAS_NO_DIGESTS, [])
        """Of which rows digests are left out; empty where nothing is to be black."""

    def __getitem__(self, name: str) -> list[Any]:
        return self._columns[name]

    def row(self, place: int) -> dict[str, Any]:
        """Return one row as a mapping."""
        return {name: found[place] for name, found in self._columns.items()}


@dataclass(frozen=True, slots=True)
class Block:
    """The rows of a few slices: columns, and beside each row its version and its sender.

    ``starts`` are the first rows of its messages, and behind them the number of rows. ``odd`` are the messages, by their places among
    those, that are not plain as far as their rows tell.
    """

    columns: Columns
    versions: list[Version]
    senders: list[Person]
    starts: list[int]
    odd: frozenset[int]

    def of(self, column: list[T], first: int, end: int) -> list[T]:
        """Return of a column the values of the first rows of messages from one to before another: of a plain one all there is."""
        if len(self.starts) - 1 == self.starts[-1]:
            return column[first:end]
        return [column[row] for row in self.starts[first:end]]


def block_of(
    rows: pa.Table,
    starts: list[int],
    *,
    keys: Sequence[str],
    person: Callable[[str, str | None], Person],
    shown_id: Callable[[str], str],
) -> Block:
    """Return rows as a block; ``starts`` as it has them, ``keys`` the data objects that `OBJECT` counts."""
    columns = Columns(rows)
    called = list(zip(columns["sender_id"], columns["sender_name"], strict=True))
    people = {each: person(*each) for each in set(called)}
    return Block(
        columns, _versions(columns, keys, shown_id), [people[each] for each in called], starts, _odd(rows, starts)
    )


def plain_messages(
    block: Block, first: int, end: int, *, chat_id: str, control_numbers: Sequence[str]
) -> list[Message]:
    """Return the messages of a block from one to before another as if all of them were plain."""
    of, columns = partial(block.of, first=first, end=end), block.columns
    return list(
        map(
            Message,
            repeat(chat_id),
            of(columns["message_uid"]),
            control_numbers,
            of(columns[FIRST]),
            of(columns["sent_at_basis"]),
            of(block.senders),
            zip(of(block.versions), strict=True),
            repeat(()),
            of(columns["send_as_name"]),
            repeat(None),
            of(columns["app_id"]),
            repeat(()),
            repeat(None),
            repeat(None),
            of(columns[IS_CONTEXT]),
        )
    )


def _versions(columns: Columns, keys: Sequence[str], shown_id: Callable[[str], str]) -> list[Version]:
    """Return a version for each row."""
    objects = columns[OBJECT]
    found: Mapping[int, str] = {place: keys[place] for place in set(objects)}
    commits = {place: layout.sequence_of_data(key) for place, key in found.items()}
    digests, raw_digests = columns["content_digest"], columns["raw_digest"]
    if columns.without_digests:
        digests, raw_digests = (
            [
                "" if is_left_out else digest
                for digest, is_left_out in zip(of_rows, columns.without_digests, strict=True)
            ]
            for of_rows in (digests, raw_digests)
        )
    return list(
        map(
            Version,
            *(columns[name] for name in ("version", "observed_at", "plain_text", "source", "captured_by")),
            digests,
            raw_digests,
            *(columns[name] for name in ("flockml", "notification", "attachments")),
            [() if listed is None else tuple(map(shown_id, listed)) for listed in columns["mentions"]],
            columns["raw"],
            [found[place] for place in objects],
            [commits[place] for place in objects],
        )
    )


def _odd(rows: pa.Table, starts: list[int]) -> frozenset[int]:
    """Return which messages have several rows, or something in their row that no plain message has."""
    if len(starts) - 1 == rows.num_rows and not any(rows.column(name).null_count < rows.num_rows for name in _ODD):
        return frozenset()
    odd = {place for place, (start, end) in enumerate(pairwise(starts)) if end - start > 1}
    further = [name for name in _ODD if rows.column(name).null_count < rows.num_rows]
    if further:
        place_of = {start: place for place, start in enumerate(starts)}
        for name in further:
            has_any = pc.indices_nonzero(pc.is_valid(rows.column(name))).to_pylist()
            # A row that is not the first of its message is of one that is odd already.
            odd.update(place_of[row] for row in has_any if row in place_of)
    return frozenset(odd)
