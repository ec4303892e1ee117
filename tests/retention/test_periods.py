"""Periods are counted by whole local days of a named zone, and end with the day."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.clock import EARLIEST_MS, LATEST_MS, from_ms, to_ms
from archiver.retention.answers import local_days
from archiver.retention.periods import OPEN_END_MS, Calendar, Period, parse_period

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Pacific/Apia",
    "Australia/Lord_Howe",
    "Africa/Cairo",
)


@pytest.mark.parametrize(
    ("text", "period", "written"),
    [
        ("7y", Period(84, 0), "7y"),
        ("90d", Period(0, 90), "90d"),
        ("6m", Period(6, 0), "6m"),
        ("18m", Period(18, 0), "1y6m"),
        ("2w", Period(0, 14), "14d"),
        ("1y6m", Period(18, 0), "1y6m"),
        (" 1Y2M3W4D ", Period(14, 25), "1y2m25d"),
        ("100y", Period(1200, 0), "100y"),
        ("36500d", Period(0, 36500), "36500d"),
    ],
)
def test_a_period_is_read_and_written_in_one_way(text: str, period: Period, written: str) -> None:
    assert parse_period(text) == period
    assert str(period) == written
    assert parse_period(written) == period


@pytest.mark.parametrize(
    "text", ["", "y", "7", "7 y", "-1y", "1.5y", "6m1y", "1y1y", "0d", "0y0m", "101y", "1201m", "40000d", "7y!", "٣y"]
)
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        parse_period(text)


@pytest.mark.parametrize(
    ("day", "period", "then"),
    [
        (date(2024, 2, 29), "1y", date(2025, 2, 28)),
        (date(2024, 2, 29), "4y", date(2028, 2, 29)),
        (date(2023, 2, 28), "1y", date(2024, 2, 28)),
        (date(2024, 1, 31), "1m", date(2024, 2, 29)),
        (date(2023, 12, 31), "2m", date(2024, 2, 29)),
        (date(2023, 8, 31), "1y6m", date(2025, 2, 28)),
        (date(2024, 1, 31), "1m1d", date(2024, 3, 1)),
        (date(2024, 2, 28), "2w", date(2024, 3, 13)),
        (date(1900, 2, 28), "1d", date(1900, 3, 1)),
    ],
)
def test_months_keep_the_day_or_take_the_last_one(day: date, period: str, then: date) -> None:
    assert date.fromordinal(parse_period(period).after(day.toordinal())) == then


def test_a_period_beyond_the_calendar_has_no_end() -> None:
    last = Period(1200).after(date(9950, 1, 1).toordinal())
    assert Calendar("UTC").day_end_ms(last) == OPEN_END_MS


@pytest.mark.parametrize(
    ("zone", "day", "end"),
    [
        ("UTC", date(2026, 11, 22), datetime(2026, 11, 23, tzinfo=UTC)),
        ("Europe/Berlin", date(2026, 3, 28), datetime(2026, 3, 28, 23, tzinfo=UTC)),
        ("Europe/Berlin", date(2026, 3, 29), datetime(2026, 3, 29, 22, tzinfo=UTC)),
        ("Europe/Berlin", date(2026, 10, 25), datetime(2026, 10, 25, 23, tzinfo=UTC)),
        # Midnight did not happen: the day began at one.
        ("America/Sao_Paulo", date(2018, 11, 3), datetime(2018, 11, 4, 3, tzinfo=UTC)),
        # The clock was put back over midnight: the day ended twice.
        ("America/Sao_Paulo", date(2018, 2, 17), datetime(2018, 2, 18, 3, tzinfo=UTC)),
        ("America/St_Johns", date(2010, 11, 6), datetime(2010, 11, 7, 3, 30, tzinfo=UTC)),
        # The 30th of December 2011 was left out.
        ("Pacific/Apia", date(2011, 12, 29), datetime(2011, 12, 30, 10, tzinfo=UTC)),
        ("Pacific/Apia", date(2011, 12, 30), datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ],
)
def test_a_day_ends_when_none_of_it_is_left(zone: str, day: date, end: datetime) -> None:
    assert from_ms(Calendar(zone).day_end_ms(day.toordinal())) == end


@given(
    st.sampled_from(ZONES),
    st.integers(to_ms(datetime(1900, 1, 1, tzinfo=UTC)), to_ms(datetime(2100, 1, 1, tzinfo=UTC))),
)
def test_a_local_day_is_that_of_the_clock_on_the_wall(zone: str, instant: int) -> None:
    assert date.fromordinal(Calendar(zone).day_of(instant)) == from_ms(instant).astimezone(ZoneInfo(zone)).date()


@given(
    st.sampled_from(ZONES),
    st.lists(
        st.integers(to_ms(datetime(2005, 1, 1, tzinfo=UTC)), to_ms(datetime(2020, 1, 1, tzinfo=UTC))),
        min_size=1,
        max_size=40,
    ),
)
def test_columns_of_instants_have_the_same_days(zone: str, instants: list[int]) -> None:
    calendar = Calendar(zone)
    days = local_days(pa.array(instants, pa.int64()), calendar)
    numbers = [0] * len(instants) if days.codes is None else days.codes.to_pylist()
    assert [days.first + number for number in numbers] == [calendar.day_of(instant) for instant in instants]


@pytest.mark.parametrize("zone", ZONES)
def test_the_ends_of_the_calendar_are_days_too(zone: str) -> None:
    calendar = Calendar(zone)
    days = local_days(pa.array([EARLIEST_MS, LATEST_MS], pa.int64()), calendar)
    assert days.first == calendar.day_of(EARLIEST_MS) == 1
    assert calendar.day_of(LATEST_MS) == days.first + days.count - 1 <= Calendar.LAST_DAY


@given(
    st.builds(Period, st.integers(0, 60), st.integers(1, 400)),
    st.builds(Period, st.integers(0, 60), st.integers(1, 400)),
    st.integers(730_000, 740_000),
)
def test_a_period_that_is_never_longer_never_ends_later(one: Period, other: Period, day: int) -> None:
    assert one.days_min <= one.after(day) - day <= one.days_max
    if one.is_never_longer_than(other):
        assert one.after(day) <= other.after(day)


@pytest.mark.parametrize("zone", ["Berlin", "", "../etc/passwd", "/etc/localtime", "local", "localtime"])
def test_a_zone_is_one_of_the_database(zone: str) -> None:
    with pytest.raises(ValueError, match="must be a time zone"):
        Calendar(zone)
