"""Days in a time zone, as people say them, and the instants that they stand for."""

from __future__ import annotations

from datetime import date, datetime, time
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from archiver.clock import EARLIEST_MS, LATEST_MS, to_ms
from archiver.errors import UsageError


def zone_called(name: str) -> ZoneInfo:
    """Return a time zone of the IANA database; raises `UsageError` for one that nobody knows."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(
            f"there is no time zone {name!r}", next_step="name one of the IANA database, such as Europe/Berlin or UTC"
        ) from None


def days_in_zone(first_on: date | None, last_on: date | None, *, zone: str) -> tuple[int | None, int | None]:
    """Return the instants from the start of the first local day to the end of the last, in milliseconds since 1970 UTC.

    Where a midnight comes twice or never, the longer span is returned. Raises `UsageError` for a zone that nobody knows.
    """
    found = zone_called(zone)
    if last_on == date.max:
        last_on = None
    following = None if last_on is None else date.fromordinal(last_on.toordinal() + 1)
    return (
        None if first_on is None else max(min(_midnights_ms(first_on, found)), EARLIEST_MS),
        None if following is None else min(max(_midnights_ms(following, found)), LATEST_MS),
    )


def _midnights_ms(day: date, zone: ZoneInfo) -> list[int]:
    return [to_ms(datetime.combine(day, time(fold=fold), tzinfo=zone)) for fold in (0, 1)]
