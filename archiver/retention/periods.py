"""Periods as people write them (``7y``, ``90d``, ``6m``, ``2w``, ``1y6m``) and calendars as zones have them.

A period is counted in whole local days of a named zone: what belongs to local day D runs until the *end* of local day D + period.
Years and months keep the day of the month, or take the last one where the month is shorter: 29 February and one year is 28
February. `Calendar` is all that knows a zone; the machine's own is never asked. Days are proleptic ordinals
(`datetime.date.toordinal`), instants are milliseconds since 1970 UTC.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from archiver.clock import DAY_MS, EARLIEST_MS, LATEST_MS, from_ms, to_ms

# Object Lock takes 36,500 days at most, and nobody is bound for longer.
PERIOD_YEARS_MAX = 100
PERIOD_DAYS_MAX = 36_525

# The end of a period that has not begun, or that ends beyond every calendar: no date of a plan reaches it.
OPEN_END_MS = LATEST_MS

_PERIOD = re.compile(r"(?:(?P<y>[0-9]{1,6})y)?(?:(?P<m>[0-9]{1,6})m)?(?:(?P<w>[0-9]{1,6})w)?(?:(?P<d>[0-9]{1,6})d)?")
# Where a system keeps them among the zones, these are the machine's own.
_MACHINE_ZONES = frozenset({"localtime", "posixrules"})
_ORDINAL_MAX = date.max.toordinal()
_CALENDAR_DAYS_MAX = 65_536


@dataclass(frozen=True, slots=True)
class Period:
    """A length of time by the calendar: so many months, and then so many days. One of both at least is positive."""

    months: int = 0
    days: int = 0

    def __str__(self) -> str:
        """Return the one way in which this period is written, whatever the user wrote: ``12m`` is ``1y``, ``2w`` is ``14d``."""
        years, months = divmod(self.months, 12)
        return "".join(f"{count}{unit}" for count, unit in ((years, "y"), (months, "m"), (self.days, "d")) if count)

    @property
    def days_min(self) -> int:
        """The fewest days that this period can last, wherever it begins."""
        return _days_of_months(self.months) - 4 * bool(self.months) + self.days

    @property
    def days_max(self) -> int:
        """The most days that this period can last, wherever it begins."""
        return _days_of_months(self.months) + 4 * bool(self.months) + self.days

    def is_never_longer_than(self, other: Period) -> bool:
        """Tell whether this period ends no later than the other, whichever day both begin on."""
        return (self.months <= other.months and self.days <= other.days) or self.days_max <= other.days_min

    def after(self, ordinal: int) -> int:
        """Return the day that is a period after this one; beyond the calendar's last day it is that day."""
        day = date.fromordinal(ordinal)
        months = day.year * 12 + day.month - 1 + self.months
        year, month = months // 12, months % 12 + 1
        if year > date.max.year:
            return _ORDINAL_MAX
        last = calendar.monthrange(year, month)[1]
        return min(date(year, month, min(day.day, last)).toordinal() + self.days, _ORDINAL_MAX)


def parse_period(text: str) -> Period:
    """Read a period; raises `ValueError` that ends a sentence which begins with the key."""
    found = _PERIOD.fullmatch(text.strip().lower())
    if found is None or not any(found.groups()):
        raise ValueError("must be a period such as 7y, 6m, 2w, 90d or 1y6m")
    years, months, weeks, days = (int(found[unit] or 0) for unit in "ymwd")
    period = Period(months=years * 12 + months, days=weeks * 7 + days)
    if not period.months and not period.days:
        raise ValueError("must be longer than nothing")
    if period.days_max > PERIOD_DAYS_MAX + 4:
        raise ValueError(f"must be no longer than {PERIOD_YEARS_MAX} years")
    return period


def _days_of_months(months: int) -> int:
    # 400 years of the Gregorian calendar are 146,097 days; no run of months is further from this than 4 days.
    return months * 146_097 // 4_800


@dataclass(frozen=True, slots=True)
class DayShape:
    """How one UTC day lies in a zone: the offset from UTC before and after the instant at which it changes, in milliseconds.

    On most days nothing changes; then ``changes_at_ms`` is beyond every instant.
    """

    offset_before_ms: int
    changes_at_ms: int
    offset_after_ms: int


class Calendar:
    """The calendar of one named zone: which local day an instant falls on, and when a local day ends."""

    LAST_DAY = _ORDINAL_MAX

    def __init__(self, zone: str) -> None:
        """Open a zone of the IANA database; raises `ValueError` that ends a sentence about the zone."""
        try:
            if zone in _MACHINE_ZONES:
                raise ZoneInfoNotFoundError(zone)  # noqa: TRY301 - it is refused like one that is not there
            self._zone = ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("must be a time zone of the IANA database such as Europe/Berlin or UTC") from None
        self.name = zone
        # A policy asks the same few thousand days again and again.
        self.day_end_ms = lru_cache(_CALENDAR_DAYS_MAX)(self._day_end_ms)
        self.shape = lru_cache(_CALENDAR_DAYS_MAX)(self._shape)

    def __reduce__(self) -> tuple[type[Calendar], tuple[str]]:
        """Travel to another process as the name of the zone."""
        return Calendar, (self.name,)

    def day_of(self, instant_ms: int) -> int:
        """Return the local day, as an ordinal, that an instant falls on by the clock on the wall."""
        shape = self.shape((instant_ms - EARLIEST_MS) // DAY_MS)
        offset = shape.offset_after_ms if instant_ms >= shape.changes_at_ms else shape.offset_before_ms
        return min(max((instant_ms + offset - EARLIEST_MS) // DAY_MS + 1, 1), _ORDINAL_MAX)

    def _day_end_ms(self, ordinal: int) -> int:
        """Return the first instant after a local day, from which on no instant of that day follows.

        Where the clock is put back over midnight the day ends twice, and the second time counts. Where it is put forward over
        midnight, the next day begins at that moment.
        """
        if ordinal >= _ORDINAL_MAX - 1:
            return OPEN_END_MS
        midnight = datetime.combine(date.fromordinal(ordinal + 1), datetime.min.time())
        first = to_ms(midnight.replace(tzinfo=self._zone, fold=0))
        second = to_ms(midnight.replace(tzinfo=self._zone, fold=1))
        if first <= second:
            return second
        return self._first_instant_after(ordinal, before_ms=second, by_ms=first)

    def _first_instant_after(self, ordinal: int, *, before_ms: int, by_ms: int) -> int:
        while by_ms - before_ms > 1:
            between = (before_ms + by_ms) // 2
            if self._wall_day(between) > ordinal:
                by_ms = between
            else:
                before_ms = between
        return by_ms

    def _wall_day(self, instant_ms: int) -> int:
        return from_ms(instant_ms).astimezone(self._zone).toordinal()

    def _shape(self, utc_day: int) -> DayShape:
        """Return how a UTC day, counted from that of `EARLIEST_MS`, lies in the zone; zones change at most once a day."""
        start_ms = EARLIEST_MS + utc_day * DAY_MS
        end_ms = start_ms + DAY_MS
        before, after = self._offset_ms(start_ms), self._offset_ms(end_ms)
        if before == after:
            return DayShape(before, LATEST_MS + 1, before)
        low, high = start_ms, end_ms
        while high - low > 1:
            between = (low + high) // 2
            low, high = (between, high) if self._offset_ms(between) == before else (low, between)
        return DayShape(before, high, after)

    def _offset_ms(self, instant_ms: int) -> int:
        # At both ends of what a date can be the local time would be none; no message was sent there.
        instant_ms = min(max(instant_ms, EARLIEST_MS + 2 * DAY_MS), LATEST_MS - 2 * DAY_MS)
        offset = from_ms(instant_ms).astimezone(self._zone).utcoffset()
        return int((offset or timedelta()).total_seconds() * 1_000)
