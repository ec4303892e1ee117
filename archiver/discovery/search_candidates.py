"""Which rows of which data objects an expression could be true of, for whoever would rather not read whole days.

    found = candidates(places, expression)
    rows = None if found is None else found.rows_of(record.key)

It is never too few and may be too many: whoever uses it still asks `archiver.expression.matching_rows`. Who reads whole days asks for
those (`likely_days`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from archiver.archive.layout import partition_of
from archiver.discovery.search_places import Places
from archiver.expression import Expression

# What more rows than these could be true of is better read as a whole: it is said on most days, and each row takes 200 bytes of memory.
ROWS_MAX: Final = 200_000


@dataclass(frozen=True, slots=True)
class Candidates:
    """Row numbers by the key of the data object, in order; ``unread`` are the objects of which the index knows nothing."""

    rows: Mapping[str, Sequence[int]]
    unread: frozenset[str]

    def rows_of(self, key: str) -> Sequence[int] | None:
        """Return the rows of a data object of ``messages`` of which the expression could be true; None if it could be of any."""
        return None if key in self.unread else self.rows.get(key, ())


def candidates(places: Places, expression: Expression) -> Candidates | None:
    """Return where an expression could be true, None if the index narrows nothing, or little; raises `ShardBrokenError`.

    The versions of a message stand each by itself: one that is not among them may belong to a message of which another is.
    """
    asked = [(shard, places.asking(shard, expression).asked(expression.root).query) for shard in places.index.shards]
    left = ROWS_MAX
    rows: dict[str, list[int]] = {}
    for shard, query in asked:
        if query is None:
            return None
        left -= shard.count(query)
        if left < 0:
            return None
        for _, key, row in shard.find(query):
            rows.setdefault(key, []).append(row)
    if not asked:
        return None
    unread = frozenset(record.key for record in places.others("messages", expression))
    return Candidates({key: sorted(found) for key, found in rows.items()}, unread)


def likely_days(places: Places, expression: Expression) -> frozenset[date] | None:
    """Return the days under which rows lie of which an expression could be true, None if it could be of any; raises `ShardBrokenError`.

    Of a message under one of them rows may lie under other days: whoever reads days knows of those (`archiver.discovery.export.scattered`).
    """
    found = candidates(places, expression)
    if found is None:
        return None
    return frozenset(partition_of(key)[1] for key in (*found.rows, *found.unread))
