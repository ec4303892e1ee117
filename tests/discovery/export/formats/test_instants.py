"""Instants in a zone are written as `datetime` writes them, one by one and by column."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from archiver.clock import DAY_MS, EARLIEST_MS, LATEST_MS, from_ms
from archiver.discovery.export.formats.instants import offset_at, zoned, zoned_column, zoned_each
from archiver.discovery.export.formats.pieces import joined

# By zone an instant at which its clock was changed: for summer, by half an hour, at a second that begins no minute, over a day.
CHANGES = {
    "Europe/Berlin": datetime(2026, 3, 29, 1, tzinfo=UTC),
    "Australia/Lord_Howe": datetime(2026, 4, 4, 15, tzinfo=UTC),
    "Africa/Monrovia": datetime(1972, 1, 7, 0, 44, 30, tzinfo=UTC),
    "Pacific/Apia": datetime(2011, 12, 30, 10, tzinfo=UTC),
    "America/New_York": datetime(1883, 11, 18, 17, tzinfo=UTC),
}

around = st.integers(-2 * DAY_MS, 2 * DAY_MS)
anywhere = st.integers(EARLIEST_MS, LATEST_MS)


def plainly(at_ms: int, zone: ZoneInfo) -> str:
    instant = from_ms(at_ms)
    try:
        return instant.astimezone(zone).isoformat(timespec="milliseconds")
    except OverflowError:
        return instant.isoformat(timespec="milliseconds")


def by_column(instants: list[int], zone: ZoneInfo) -> list[str]:
    found: list[str] = joined(
        ["", pa.array([""] * len(instants)), *zoned_column(pa.array(instants, pa.int64()), zone)]
    ).to_pylist()
    return found


class TestZoned:
    @pytest.mark.parametrize(
        ("at", "zone", "expected"),
        [
            (0, "UTC", "1970-01-01T00:00:00.000+00:00"),
            (-1, "UTC", "1969-12-31T23:59:59.999+00:00"),
            (1_795_176_000_123, "Asia/Tokyo", "2026-11-20T21:00:00.123+09:00"),
            (1_795_176_000_123, "Asia/Kathmandu", "2026-11-20T17:45:00.123+05:45"),
            (1_774_746_000_000 - 1, "Europe/Berlin", "2026-03-29T01:59:59.999+01:00"),
            (1_774_746_000_000, "Europe/Berlin", "2026-03-29T03:00:00.000+02:00"),
            (0, "Africa/Monrovia", "1969-12-31T23:15:30.000-00:44:30"),
            (-62_135_596_800_000, "America/New_York", "0001-01-01T00:00:00.000+00:00"),
            (253_402_300_799_999, "Asia/Tokyo", "9999-12-31T23:59:59.999+00:00"),
        ],
    )
    def test_an_instant_has_the_offset_of_its_zone(self, at: int, zone: str, expected: str) -> None:
        assert zoned(at, ZoneInfo(zone)) == expected

    @given(zone=st.sampled_from(sorted(CHANGES)), distances=st.lists(around, min_size=1, max_size=20))
    @example(zone="Europe/Berlin", distances=[-1, 0, -DAY_MS, DAY_MS])
    @example(zone="Africa/Monrovia", distances=[-1, 0, -30_001, 29_999])
    def test_around_a_change_of_the_clock(self, zone: str, distances: list[int]) -> None:
        at = int(CHANGES[zone].timestamp()) * 1000
        instants, of = [at + distance for distance in distances], ZoneInfo(zone)
        expected = [plainly(at_ms, of) for at_ms in instants]
        assert zoned_each(instants, of) == expected
        assert by_column(instants, of) == expected

    @given(zone=st.sampled_from(sorted(CHANGES)), instants=st.lists(anywhere, min_size=1, max_size=20))
    @example(zone="Pacific/Apia", instants=[EARLIEST_MS, LATEST_MS, 0, -1, DAY_MS, LATEST_MS - DAY_MS])
    def test_anywhere_in_the_calendar(self, zone: str, instants: list[int]) -> None:
        of = ZoneInfo(zone)
        expected = [plainly(at_ms, of) for at_ms in instants]
        assert zoned_each(instants, of) == expected
        assert by_column(instants, of) == expected

    def test_a_change_within_a_quarter_of_an_hour_is_seen_by_a_column_too(self) -> None:
        zone, at = ZoneInfo("Africa/Monrovia"), int(CHANGES["Africa/Monrovia"].timestamp()) * 1000
        assert offset_at(at, zone).until_ms == at + 1
        assert by_column([at - 1, at], zone) == ["1972-01-06T23:59:59.999-00:44:30", "1972-01-07T00:44:30.000+00:00"]
