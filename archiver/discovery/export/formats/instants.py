"""Instants in the export's zone, as ISO 8601 with milliseconds and the offset: one, many, or a whole column.

A zone's clock is changed a few times a year. So its offset is asked for once a day, on the days of a change once a quarter of an hour, and
for each instant alone only where it changes within one, as it did in the local times of long ago.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from archiver.clock import DAY_MS, EARLIEST_MS, LATEST_MS, from_ms
from archiver.discovery.export.formats.pieces import Piece, chosen

_QUARTER_MS: Final = 15 * 60_000
_CLOCK: Final = tuple(
    f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}." for second in range(DAY_MS // 1000)
)
_MILLISECONDS: Final = tuple(f"{number:03d}" for number in range(1000))


@dataclass(frozen=True, slots=True)
class Offset:
    """By how many milliseconds a zone's clock is ahead of UTC, how that is written, and from when until when (not included) it is so."""

    from_ms: int
    until_ms: int
    ahead_ms: int
    text: str


def zoned(at_ms: int, zone: ZoneInfo) -> str:
    """Return an instant as ISO 8601 with milliseconds and the offset of its zone, as ``2026-11-22T19:05:00.123+01:00``.

    At the two ends of the calendar, where the zone's clock would show a year that there is not, it is told in UTC.
    """
    return _told(at_ms, offset_at(at_ms, zone))


def zoned_each(instants_ms: Iterable[int], zone: ZoneInfo) -> list[str]:
    """Return many instants as `zoned` does; quickest where neighbours are of one day."""
    found = []
    offset = Offset(0, 0, 0, "")
    for at_ms in instants_ms:
        if not offset.from_ms <= at_ms < offset.until_ms:
            offset = offset_at(at_ms, zone)
        found.append(_told(at_ms, offset))
    return found


def zoned_column(at_ms: pa.Int64Array, zone: ZoneInfo) -> Iterator[Piece]:
    """Yield the pieces of what `zoned_each` returns of a column, in order."""
    bounds = pc.min_max(at_ms).as_py()
    offsets = None
    # What is rounded down by whole numbers is so only from 1970 on, and at its end the calendar is left to `zoned_each`.
    if bounds["min"] >= DAY_MS and bounds["max"] <= LATEST_MS - DAY_MS:
        offsets = _offsets_of(at_ms, zone)
    if offsets is None:
        yield pa.array(zoned_each(at_ms.to_pylist(), zone), pa.string())
        return
    each, which = offsets
    local_ms = pc.add(at_ms, pc.take(pa.array([offset.ahead_ms for offset in each], pa.int64()), which))
    day = pc.divide(local_ms, DAY_MS)
    rest = pc.subtract(local_ms, pc.multiply(day, DAY_MS))
    second = pc.divide(rest, 1000)
    of_day = day.dictionary_encode()
    yield from chosen([_day(number) for number in of_day.dictionary.to_pylist()], of_day.indices)
    yield pc.take(_CLOCKS, second)
    yield pc.take(_THOUSANDTHS, pc.subtract(rest, pc.multiply(second, 1000)))
    yield from chosen([offset.text for offset in each], which)


def _told(at_ms: int, offset: Offset) -> str:
    day, rest = divmod(at_ms + offset.ahead_ms, DAY_MS)
    return f"{_day(day)}{_CLOCK[rest // 1000]}{_MILLISECONDS[rest % 1000]}{offset.text}"


def offset_at(at_ms: int, zone: ZoneInfo) -> Offset:
    """Return the offset at an instant, and for how long around it that holds at least."""
    return (
        _offset_of(at_ms // DAY_MS, DAY_MS, zone)
        or _offset_of(at_ms // _QUARTER_MS, _QUARTER_MS, zone)
        or Offset(at_ms, at_ms + 1, *_offset(at_ms, zone))
    )


def _offsets_of(at_ms: pa.Int64Array, zone: ZoneInfo) -> tuple[list[Offset], pa.Array] | None:
    """Return the offsets of a column's instants and beside each instant which is its own; None if that takes asking for each."""
    of_day = pc.divide(at_ms, DAY_MS).dictionary_encode()
    offsets = [_offset_of(day, DAY_MS, zone) for day in of_day.dictionary.to_pylist()]
    whole = [offset for offset in offsets if offset is not None]
    if len(whole) == len(offsets):
        return whole, of_day.indices
    # Numbers of quarters stand below zero, those of days above.
    is_whole = pc.take(pa.array([offset is not None for offset in offsets], pa.bool_()), of_day.indices)
    quarters = pc.subtract(-1, pc.divide(at_ms, _QUARTER_MS))
    of_span = pc.if_else(is_whole, pc.divide(at_ms, DAY_MS), quarters).dictionary_encode()
    offsets = [
        _offset_of(span, DAY_MS, zone) if span >= 0 else _offset_of(-1 - span, _QUARTER_MS, zone)
        for span in of_span.dictionary.to_pylist()
    ]
    whole = [offset for offset in offsets if offset is not None]
    return (whole, of_span.indices) if len(whole) == len(offsets) else None


@lru_cache(maxsize=16_384)
def _offset_of(number: int, size_ms: int, zone: ZoneInfo) -> Offset | None:
    """Return the offset of a span by its size and number since 1970, None if it changes within it.

    It does not change twice within a day: of all zones of the IANA's data, none has two changes within two days.
    """
    start, until = number * size_ms, (number + 1) * size_ms
    first, last = _offset(start, zone), _offset(until - 1000, zone)
    return Offset(start, until, *first) if first == last else None


def _offset(at_ms: int, zone: ZoneInfo) -> tuple[int, str]:
    """Return by how many milliseconds a zone's clock is ahead of UTC at an instant, and how that is written."""
    instant = from_ms(min(max(at_ms, EARLIEST_MS), LATEST_MS))
    try:
        local = instant.astimezone(zone)
    except OverflowError:
        local = instant.astimezone(UTC)
    ahead = local.utcoffset()
    assert ahead is not None
    return ahead.days * DAY_MS + ahead.seconds * 1000, local.isoformat(timespec="milliseconds")[23:]


@lru_cache(maxsize=16_384)
def _day(number: int) -> str:
    """Return a day by its number since 1970, with the letter that goes before the time."""
    return f"{from_ms(number * DAY_MS).date().isoformat()}T"


_CLOCKS: Final = pa.array(_CLOCK, pa.string())
_THOUSANDTHS: Final = pa.array(_MILLISECONDS, pa.string())
