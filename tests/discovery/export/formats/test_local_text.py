"""What a reader sees of an instant: the clock of the zone, as the plain way of telling it has it."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from archiver.clock import EARLIEST_MS, LATEST_MS, from_ms, to_text
from archiver.discovery.export.formats.plain_transcript import local_text

ZONES = ("UTC", "Asia/Kolkata", "America/St_Johns", "Africa/Monrovia", "Australia/Lord_Howe", "Europe/Dublin")


@given(st.one_of(st.integers(EARLIEST_MS, LATEST_MS), st.integers(-4 * 10**12, 3 * 10**12)), st.sampled_from(ZONES))
@example(EARLIEST_MS, "America/St_Johns")
@example(LATEST_MS, "Asia/Kolkata")
def test_it_is_the_time_in_the_zone_or_in_utc_where_that_has_none(at_ms: int, name: str) -> None:
    assert local_text(at_ms, ZoneInfo(name)) == _plainly(at_ms, ZoneInfo(name))


@pytest.mark.parametrize(
    ("name", "text"), [("UTC", "2026-11-22T18:05:00.120+00:00"), ("Asia/Kolkata", "2026-11-22T23:35:00.120+05:30")]
)
def test_of_one_instant(name: str, text: str) -> None:
    assert local_text(1_795_370_700_120, ZoneInfo(name)) == text


def _plainly(at_ms: int, zone: ZoneInfo) -> str:
    try:
        local = from_ms(at_ms).astimezone(zone)
    except OverflowError:
        return to_text(at_ms)
    offset = local.utcoffset()
    return to_text(at_ms) if offset is None or offset.total_seconds() % 60 else local.isoformat(timespec="milliseconds")
