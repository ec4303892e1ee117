"""Time is UTC inside, whole milliseconds, and never naive."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver import clock

MOMENTS_MS = st.integers(clock.EARLIEST_MS, clock.LATEST_MS)


@given(MOMENTS_MS)
def test_an_instant_survives_the_way_to_a_datetime_and_back(moment_ms: int) -> None:
    assert clock.to_ms(clock.from_ms(moment_ms)) == moment_ms


@given(MOMENTS_MS)
def test_text_sorts_like_the_instants_and_reads_back(moment_ms: int) -> None:
    text = clock.to_text(moment_ms)
    assert text.endswith("Z")
    assert len(text) == len("2026-11-22T18:05:00.123Z")
    assert clock.to_ms(datetime.fromisoformat(text)) == moment_ms


@given(st.datetimes(timezones=st.just(UTC)))
def test_microseconds_are_rounded_down(instant: datetime) -> None:
    back = clock.from_ms(clock.to_ms(instant))
    assert timedelta(0) <= instant - back < timedelta(milliseconds=1)


def test_an_instant_means_the_same_in_every_zone() -> None:
    here = datetime(2026, 11, 22, 23, 30, tzinfo=timezone(timedelta(hours=-5)))
    assert clock.to_text(clock.to_ms(here)) == "2026-11-23T04:30:00.000Z"
    assert clock.day_of(clock.to_ms(here)) == date(2026, 11, 23)


def test_a_naive_instant_is_refused() -> None:
    with pytest.raises(ValueError, match="naive"):
        clock.to_ms(datetime(2026, 11, 22))  # noqa: DTZ001 - the point of the test


@pytest.mark.parametrize("moment_ms", [clock.EARLIEST_MS - 1, clock.LATEST_MS + 1, 10**18, -(10**18)])
def test_an_instant_outside_the_years_1_to_9999_is_refused(moment_ms: int) -> None:
    with pytest.raises(OverflowError):
        clock.from_ms(moment_ms)


def test_the_last_millisecond_of_a_day_belongs_to_it() -> None:
    assert clock.day_of(clock.DAY_MS - 1) == date(1970, 1, 1)
    assert clock.day_of(clock.DAY_MS) == date(1970, 1, 2)
    assert clock.day_of(-1) == date(1969, 12, 31)


def test_the_machine_s_clock_tells_the_machine_s_time() -> None:
    real = clock.SystemClock()
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    assert before <= clock.from_ms(real.now_ms()) <= datetime.now(UTC)
    started = real.monotonic()
    real.sleep(0)
    assert real.monotonic() >= started
