"""Periods are counted by whole local days of a named zone, and end with the day."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.clock import DAY_MS, EARLIEST_MS, LATEST_MS, from_ms, to_ms
from archiver.retention.answers import local_days
from archiver.retention.periods import OPEN_END_MS, Calendar, DayShape, Period, parse_period

HOUR_MS = 3_600_000
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Pacific/Apia",
    "Australia/Lord_Howe",
    "Africa/Cairo",
)
# When the clock of a zone changes, and by how many hours it is ahead of UTC before and after.
CLOCK_CHANGES = (
    ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC), (1, 2)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC), (2, 1)),
    ("America/Sao_Paulo", datetime(2018, 11, 4, 3, tzinfo=UTC), (-3, -2)),
    ("America/Sao_Paulo", datetime(2018, 2, 18, 2, tzinfo=UTC), (-2, -3)),
    ("America/St_Johns", datetime(2010, 11, 7, 2, 31, tzinfo=UTC), (-2.5, -3.5)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC), (11, 10.5)),
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC), (-10, 14)),
)


def column_days(instants: list[int], calendar: Calendar) -> list[int]:
    """The local days of instants that are judged together."""
    days = local_days(pa.array(instants, pa.int64()), calendar)
    numbers = [0] * len(instants) if days.codes is None else days.codes.to_pylist()
    assert all(0 <= number < days.count for number in numbers)
    return [days.first + number for number in numbers]


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
    ("text", "reason"),
    [
        ("soon", "must be a period such as 7y, 6m, 2w, 90d or 1y6m"),
        ("0d", "must be longer than nothing"),
        ("101y", "must be no longer than 100 years"),
    ],
)
def test_the_reason_ends_a_sentence_that_begins_with_the_key(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$"):
        parse_period(text)


@pytest.mark.parametrize(("longest", "too_long"), [("36529d", "36530d"), ("100y1d", "100y2d"), ("1200m", "1201m")])
def test_a_hundred_years_are_the_most(longest: str, too_long: str) -> None:
    assert parse_period(longest)
    with pytest.raises(ValueError, match="no longer than"):
        parse_period(too_long)


def test_how_many_days_a_period_can_last_is_told_in_whole_days() -> None:
    assert (Period(4_800).days_min, Period(4_800).days_max) == (146_093, 146_101)
    assert (Period(1).days_min, Period(1).days_max) == (26, 34)
    assert (Period(0, 9).days_min, Period(0, 9).days_max) == (9, 9)


@pytest.mark.parametrize(
    ("one", "other", "never_longer"),
    [
        (Period(1, 5), Period(1, 5), True),
        (Period(1, 5), Period(2, 6), True),
        (Period(0, 26), Period(1), True),
        (Period(0, 31), Period(1), False),
        (Period(1, 5), Period(1, 4), False),
        (Period(2, 0), Period(1, 20), False),
    ],
)
def test_which_of_two_periods_is_never_the_longer_one(one: Period, other: Period, never_longer: bool) -> None:
    assert one.is_never_longer_than(other) is never_longer


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


def test_the_last_year_of_the_calendar_has_ends_of_days_but_for_its_last_two() -> None:
    utc = Calendar("UTC")
    assert Period(12).after(date(9998, 5, 5).toordinal()) == date(9999, 5, 5).toordinal()
    assert utc.day_end_ms(date(9999, 12, 29).toordinal()) == to_ms(datetime(9999, 12, 30, tzinfo=UTC))
    assert utc.day_end_ms(date(9999, 12, 30).toordinal()) == OPEN_END_MS


@pytest.mark.parametrize(("zone", "change", "hours"), CLOCK_CHANGES)
def test_a_day_on_which_the_clock_changes_is_known_to_the_millisecond(
    zone: str, change: datetime, hours: tuple[float, float]
) -> None:
    calendar, change_ms = Calendar(zone), to_ms(change)
    before, after = (int(offset * HOUR_MS) for offset in hours)
    assert calendar.shape((change_ms - EARLIEST_MS) // DAY_MS) == DayShape(before, change_ms, after)
    for half_hour in range(-96, 97):
        for instant in (change_ms + half_hour * HOUR_MS // 2 + aside for aside in (-1, 0, 1)):
            wall = from_ms(instant).astimezone(ZoneInfo(zone)).date()
            assert date.fromordinal(calendar.day_of(instant)) == wall


def test_on_a_day_without_a_change_the_offset_is_one() -> None:
    day = (to_ms(datetime(2026, 7, 1, tzinfo=UTC)) - EARLIEST_MS) // DAY_MS
    assert Calendar("Europe/Berlin").shape(day) == DayShape(2 * HOUR_MS, LATEST_MS + 1, 2 * HOUR_MS)


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
        # The clock was put forward over midnight from half an hour before it.
        ("America/Toronto", date(1919, 3, 30), datetime(1919, 3, 31, 4, 30, tzinfo=UTC)),
        # The 30th of December 2011 was left out.
        ("Pacific/Apia", date(2011, 12, 29), datetime(2011, 12, 30, 10, tzinfo=UTC)),
        ("Pacific/Apia", date(2011, 12, 30), datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ],
)
def test_a_day_ends_when_none_of_it_is_left(zone: str, day: date, end: datetime) -> None:
    end_ms = Calendar(zone).day_end_ms(day.toordinal())
    assert isinstance(end_ms, int)
    assert from_ms(end_ms) == end


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
    assert column_days(instants, calendar) == [calendar.day_of(instant) for instant in instants]


@pytest.mark.parametrize(("zone", "change"), [change[:2] for change in CLOCK_CHANGES])
def test_columns_have_the_same_days_where_the_clock_changes(zone: str, change: datetime) -> None:
    calendar, change_ms = Calendar(zone), to_ms(change)
    same_utc_day = change_ms // DAY_MS
    near = [change_ms + half_hour * HOUR_MS // 2 + aside for half_hour in range(-96, 97) for aside in (-1, 0, 1)]
    for instants in (
        near,
        [instant for instant in near if instant // DAY_MS == same_utc_day],
        [change_ms],
        [change_ms - 1],
    ):
        assert column_days(instants, calendar) == [calendar.day_of(instant) for instant in instants]


@pytest.mark.parametrize("zone", ZONES)
def test_the_ends_of_the_calendar_are_days_too(zone: str) -> None:
    calendar = Calendar(zone)
    instants = [EARLIEST_MS, EARLIEST_MS + 2 * DAY_MS, LATEST_MS - 2 * DAY_MS, LATEST_MS]
    days = column_days(instants, calendar)
    assert days == [calendar.day_of(instant) for instant in instants]
    assert (days[0], days[-1] <= Calendar.LAST_DAY) == (1, True)


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
    with pytest.raises(ValueError, match=r"^must be a time zone of the IANA database such as Europe/Berlin or UTC$"):
        Calendar(zone)
