"""Days are told whole or in parts, the same ones however little of a conversation is in memory at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.clock import DAY_MS, EARLIEST_MS, LATEST_MS, to_ms
from archiver.discovery.export.given import Piece
from archiver.discovery.export.local_days import Days, by_local_day
from archiver.discovery.export.order import DAY, FIRST, first_day_from, parts_of, starts_of, with_first
from archiver.discovery.export.runs import Runs

HOUR_MS = 3_600_000
# The clocks of Newfoundland went back by an hour a minute after midnight, so that a minute of the next day came first.
BACK_OVER_MIDNIGHT_MS = to_ms(datetime(2006, 10, 29, 2, 31, tzinfo=UTC))
ZONES = [ZoneInfo(name) for name in ("UTC", "Asia/Tokyo", "America/New_York", "America/St_Johns")]

# A row: number of its message, its version, in which of some half hours it says that it was sent; messages of a number are one.
Row = tuple[int, int, int]
rows_drawn = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 3), st.integers(0, 120)), min_size=1, max_size=60)


def table(drawn: Sequence[Row]) -> pa.Table:
    """Rows of one conversation."""
    start = BACK_OVER_MIDNIGHT_MS - DAY_MS
    return pa.table(
        {
            "chat_id": pa.repeat("g:deal", len(drawn)),
            "message_uid": pa.array([f"m{number:02d}" for number, _, _ in drawn], pa.string()),
            "version": pa.array([version for _, version, _ in drawn], pa.int32()),
            "sent_at": pa.array([start + place * HOUR_MS // 2 for *_, place in drawn], pa.timestamp("ms", tz="UTC")),
            "observed_at": pa.array([place for *_, place in drawn], pa.int64()),
            "content_digest": pa.array(["" for _ in drawn], pa.string()),
        }
    )


def runs_of(drawn: Sequence[Row], folder: str, **limits: int) -> Runs:
    """Rows as they come of an archive: those of a message together, in any order else; every message has a file."""
    runs = Runs(Path(folder), **limits)
    numbers = dict.fromkeys(number for number, *_ in drawn)
    for number in numbers:
        rows = table([row for row in drawn if row[0] == number])
        runs.add(*with_first(rows, rows.slice(0, 1).select(["chat_id", "message_uid", "sent_at"])))
    return runs


def told(found: Sequence[Days], messages_max: int) -> list[tuple[date, int, int, list[str]]]:
    """By part its day, its number, how many there are, and the rows of it."""
    parts = []
    for days in found:
        starts = starts_of(days.messages)
        ends = [*starts, days.messages.num_rows]
        for part in parts_of(days.messages, starts, messages_max=messages_max, long_days=days.long_days):
            rows = days.messages.slice(ends[part.first], ends[part.end] - ends[part.first])
            columns = (rows.column(name).to_pylist() for name in ("message_uid", "version", "sent_at"))
            parts.append((part.day, part.part, part.parts, [str(row) for row in zip(*columns, strict=True)]))
    return parts


def days_of_runs(runs: Runs, zone: ZoneInfo, messages_max: int) -> list[Days]:
    given = runs.given()
    return [
        days
        for group in given.groups()
        for days in by_local_day(
            given.pieces(*group),
            lambda group=group: given.pieces(*group),  # type: ignore[misc]
            zone,
            messages_max=messages_max,
        )
    ]


@given(drawn=rows_drawn, zone=st.sampled_from(ZONES), messages_max=st.integers(1, 5), batch_rows=st.integers(1, 4))
def test_parts_are_the_same_however_little_is_in_memory(
    drawn: list[Row], zone: ZoneInfo, messages_max: int, batch_rows: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        at_once = days_of_runs(runs_of(drawn, folder), zone, messages_max)
        limits = {"memory_bytes_max": 1, "group_bytes_max": 1, "piece_bytes_min": 1, "merged_runs": 3}
        by_and_by = days_of_runs(runs_of(drawn, other, **limits, batch_rows=batch_rows), zone, messages_max)
    expected = told(at_once, messages_max)
    assert told(by_and_by, messages_max) == expected
    # Parts are numbered through their day, none is empty, and days come in order.
    by_day: dict[date, list[tuple[int, int]]] = {}
    for day, part, parts, rows in expected:
        assert rows
        by_day.setdefault(day, []).append((part, parts))
    assert list(by_day) == sorted(by_day)
    for numbers in by_day.values():
        assert numbers == [(place, len(numbers)) for place in range(1, len(numbers) + 1)]
    for days in by_and_by:
        assert set(days.files.column("message_uid").to_pylist()) == set(days.messages.column("message_uid").to_pylist())


def test_of_a_long_day_little_is_held_at_a_time(tmp_path: Path) -> None:
    drawn = [(number, 1, 2) for number in range(30)]
    pieces = [
        Piece(*with_first(table([row]), table([])), nothing_before_ms=BACK_OVER_MIDNIGHT_MS - DAY_MS + HOUR_MS + 1)
        for row in drawn[:-1]
    ]
    pieces.append(Piece(*with_first(table(drawn[-1:]), table([])), None))
    found = list(by_local_day(pieces, lambda: pieces, ZoneInfo("UTC"), messages_max=4))
    assert max(days.messages.num_rows for days in found) == 4
    assert [part for _, part, parts, _ in told(found, 4) if parts == 8] == list(range(1, 9))


def test_a_message_whose_rows_come_in_two_pieces_counts_once() -> None:
    rows = [[(0, 1, 2), (1, 1, 2)], [(1, 2, 2)], [(1, 3, 2), (2, 1, 2)]]
    nothing_before = [with_first(table(each), table([]))[0].column(FIRST)[0].as_py() for each in rows[1:]]
    pieces = [
        Piece(*with_first(table(each), table([])), before)
        for each, before in zip(rows, [*nothing_before, None], strict=True)
    ]
    pieces.insert(0, Piece(*with_first(table([(9, 1, 1)]), table([])), nothing_before[0]))
    found = list(by_local_day(pieces, lambda: pieces, ZoneInfo("UTC"), messages_max=1))
    assert [(part, parts) for _, part, parts, _ in told(found, 1)] == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_message_of_several_rows_is_where_the_oldest_of_them_was_sent() -> None:
    rows = table([(1, 2, 9), (2, 1, 5), (1, 1, 7), (3, 1, 1)])
    messages, files = with_first(rows, rows.slice(0, 1))
    sent = rows.column("sent_at").cast(pa.int64()).to_pylist()
    assert messages.column(FIRST).to_pylist() == [sent[2], sent[1], sent[2], sent[3]]
    assert files.column(FIRST).to_pylist() == [sent[2]]
    assert messages.drop_columns([FIRST]) == rows


def test_a_file_whose_message_is_not_there_is_where_it_says_itself() -> None:
    rows = table([(1, 1, 9), (2, 1, 5)])
    _, files = with_first(rows.slice(0, 1), rows)
    assert files.column(FIRST).to_pylist() == rows.column("sent_at").cast(pa.int64()).to_pylist()


@pytest.mark.parametrize("zone", ZONES)
def test_no_later_instant_is_of_an_earlier_day(zone: ZoneInfo) -> None:
    minutes = [BACK_OVER_MIDNIGHT_MS + minute * 60_000 for minute in range(-3 * 1440, 3 * 1440)]
    days = [datetime.fromtimestamp(at_ms / 1000, zone).date() for at_ms in minutes]
    for place in range(len(days) - 1, -1, -1):
        days[place] = min(days[place : place + 2])
    assert [first_day_from(at_ms, zone) for at_ms in minutes] == days


def test_the_day_before_stays_open_only_until_the_clock_has_gone_back() -> None:
    zone = ZoneInfo("America/St_Johns")
    before, after = (first_day_from(BACK_OVER_MIDNIGHT_MS + ms, zone) for ms in (-30_000, HOUR_MS + 1))
    assert (before, after) == (date(2006, 10, 28), date(2006, 10, 29))


def test_at_both_ends_of_the_calendar_a_day_is_rather_open_than_closed() -> None:
    for zone in ZONES:
        assert first_day_from(EARLIEST_MS + HOUR_MS, zone) == date(1, 1, 1)
        assert date(9999, 12, 1) < first_day_from(LATEST_MS, zone) < date(9999, 12, 31)


def test_rows_have_the_day_of_their_message(tmp_path: Path) -> None:
    (found,) = days_of_runs(runs_of([(1, 1, 0), (1, 2, 110)], str(tmp_path)), ZoneInfo("UTC"), 5)
    assert found.messages.column(DAY).to_pylist() == [date(2006, 10, 28)] * 2
