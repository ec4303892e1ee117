"""Days of very many messages, read by conversation: so that memory follows the largest conversation of such a day, and not the day.

Every object of the archive is sorted by conversation (`archiver.archive.schema`). So the objects of a day are read side by side, and a
conversation is whole as soon as all of them have come to one behind it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Iterator, Sequence
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

# Rows of messages and of files, in tables one behind another.
Found: TypeAlias = tuple[list[pa.Table], list[pa.Table]]


def by_conversation(
    messages: Sequence[Iterator[pa.Table]], files: Sequence[Iterator[pa.Table]], *, rows_min: int
) -> Generator[Found, None, None]:
    """Yield the rows of objects that are read in tables: all those of some conversations, so many of messages or, at the end, fewer.

    An object that turns out not to be sorted is read to its end, and sorted, before any more is yielded.
    """
    found: Found = ([], [])
    fronts = [
        (_Front(source), of_kind)
        for sources, of_kind in ((messages, found[0]), (files, found[1]))
        for source in sources
    ]
    while open_fronts := [front for front, _ in fronts if not front.is_at_end]:
        until = min(front.last for front in open_fronts)
        for front, of_kind in fronts:
            of_kind.extend(front.take(until))
        if sum(rows.num_rows for rows in found[0]) >= rows_min:
            yield list(found[0]), list(found[1])
            found[0].clear()
            found[1].clear()
        for front in open_fronts:
            if front.last == until:
                front.read_on()
    for front, of_kind in fronts:
        of_kind.extend(front.take(None))
    if found[0] or found[1]:
        yield found


class _Front:
    """What was read of an object and not taken yet. ``last`` is the conversation of its last row, which may go on."""

    def __init__(self, source: Iterator[pa.Table]) -> None:
        self.is_at_end = False
        self.last = ""
        self._source = source
        self._is_sorted = True
        self._tables: list[pa.Table] = []
        self.read_on()

    def read_on(self) -> None:
        """Read the next rows."""
        table = next((rows for rows in self._source if rows.num_rows), None)
        if table is None:
            self.is_at_end = True
            if not self._is_sorted:
                self._tables = [pa.concat_tables(self._tables).combine_chunks().sort_by("chat_id")]
            return
        chats = table.column("chat_id").combine_chunks()
        ascends = pc.all(pc.greater_equal(chats[1:], chats[:-1]), min_count=0).as_py()
        self._is_sorted = self._is_sorted and ascends and self.last <= chats[0].as_py()
        # Before the empty text there is no conversation, so that nothing is taken until the end.
        self.last = chats[-1].as_py() if self._is_sorted else ""
        self._tables.append(table)

    def take(self, until: str | None) -> list[pa.Table]:
        """Return the rows of conversations before one, all rows if none is given."""
        taken = []
        while self._tables:
            rows = self._tables[0]
            chats = rows.column("chat_id")
            if until is None or chats[-1].as_py() < until:
                taken.append(self._tables.pop(0))
                continue
            if chats[0].as_py() < until:
                count = bisect_left(range(rows.num_rows), until, key=lambda place: chats[place].as_py())
                taken.append(rows.slice(0, count))
                self._tables[0] = rows.slice(count)
            break
        return taken
