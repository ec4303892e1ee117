"""The picture of a plan, number by number: one that was worked out by hand, and the scales of many."""

from __future__ import annotations

import msgspec
import pytest

from archiver.retention.plan_document import DueLater, ItemKind, PlanHeader
from archiver.retention.plan_timeline import Box, Label, Tick, Timeline, months_after, short, timeline
from archiver.store.memory import MemoryStore
from tests.archive.archive_steps import found
from tests.retention.plans import plan_of


def due(month: str, rule: str, items: int, kind: ItemKind = "message") -> DueLater:
    return DueLater(month=month, rule=rule, kind=kind, items=items, bytes=1)


def header(*later: DueLater) -> PlanHeader:
    archive = found(MemoryStore())
    return msgspec.structs.replace(plan_of(archive, archive.founding_head(), []).header, later=later)


def test_every_box_tick_and_word_has_its_place() -> None:
    """Of 228 units of height 40 items take all, 12 of 15 take 182.4; a month of two has 552 / 2 units of width, a quarter of it free."""
    later = header(
        due("2026-12", "old", 6),
        due("2026-12", "old", 2, "file"),
        due("2027-01", "chat", 12),
        due("2027-03", "old", 99),
    )
    assert timeline(later, {"chat": 10, "old": 30}, ["2026-12", "2027-01"]) == Timeline(
        boxes=(
            Box(0, 64, 81.0, 56, 171.0, "old", "due now", 30),
            Box(1, 64, 24.0, 56, 57.0, "chat", "due now", 10),
            Box(0, 230.5, 130.4, 207.0, 121.6, "old", "2026-12", 8),
            Box(1, 506.5, 69.6, 207.0, 182.4, "chat", "2027-01", 12),
        ),
        ticks=(
            *(
                Tick(y, 58, 126, label)
                for y, label in ((252.0, "0"), (195.0, "10"), (138.0, "20"), (81.0, "30"), (24.0, "40"))
            ),
            *(
                Tick(y, 190, 754, label)
                for y, label in ((252.0, "0"), (206.4, "3"), (160.8, "6"), (115.2, "9"), (69.6, "12"), (24.0, "15"))
            ),
        ),
        labels=(
            Label(92.0, "due now"),
            Label(334.0, "12"),
            Label(334.0, "2026", is_year=True),
            Label(610.0, "01"),
            Label(610.0, "2027", is_year=True),
        ),
        rules=("old", "chat"),
        width=760,
        height=300,
        base=252,
    )


def test_places_and_sizes_are_in_hundredths() -> None:
    """552 units of width for seven months, 228 of height for seven items."""
    later = header(due("2026-12", "old", 1), due("2027-01", "old", 7))
    assert timeline(later, {}, months_after("2026-11", 7)).boxes == (
        Box(0, 284.71, 219.43, 59.14, 32.57, "old", "2026-12", 1),
        Box(0, 363.57, 24.0, 59.14, 228.0, "old", "2027-01", 7),
    )
    assert timeline(later, {}, ["2026-12"]).boxes == (Box(0, 265.0, 24.0, 414.0, 228.0, "old", "2026-12", 1),)


def test_nothing_is_drawn_of_nothing() -> None:
    empty = timeline(header(), {}, [])
    assert (empty.boxes, empty.labels, empty.rules) == ((), (Label(92.0, "due now"),), ())
    assert [(tick.y, tick.label) for tick in empty.ticks] == [(252.0, "0"), (24.0, "1")] * 2


def test_seven_rules_have_a_shade_each_and_of_eight_the_two_smallest_share_one() -> None:
    seven = {f"r{number}": 10 - number for number in range(7)}
    assert timeline(header(), seven, []).rules == tuple(seven)
    (*_, last) = timeline(header(), seven | {"r7": 2}, []).boxes
    assert (last.shade, last.rule, last.items) == (6, "other rules", 6)
    eight = timeline(header(due("2027-01", "r7", 2)), seven, ["2027-01"])
    assert eight.rules == ("r0", "r1", "r2", "r3", "r4", "r5", "other rules")
    assert [(box.shade, box.rule, box.items) for box in eight.boxes[-2:]] == [
        (6, "other rules", 4),
        (6, "other rules", 2),
    ]


@pytest.mark.parametrize(
    ("items", "labels"),
    [
        (1, ["0", "1"]), (2, ["0", "1", "2"]), (7, ["0", "7"]), (9, ["0", "3", "6", "9"]), (10, ["0", "2", "4", "6", "8", "10"]),
        (11, ["0", "3", "6", "9", "12", "15"]), (16, ["0", "5", "10", "15", "20"]), (21, ["0", "5", "10", "15", "20", "25"]),
        (26, ["0", "6", "12", "18", "24", "30"]), (41, ["0", "10", "20", "30", "40", "50"]),
        (51, ["0", "15", "30", "45", "60"]), (61, ["0", "20", "40", "60", "80"]),
        (81, ["0", "25", "50", "75", "100"]), (1_001, ["0", "375", "750", "1.12k", "1.5k"]),
    ],
)  # fmt: skip
def test_a_scale_ends_at_a_round_number_that_is_no_less(items: int, labels: list[str]) -> None:
    first = timeline(header(), {"a": items}, []).ticks[: len(labels)]
    assert [tick.label for tick in first] == labels
    assert (first[0].y, first[-1].y) == (252.0, 24.0)


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0"), (999, "999"), (1_000, "1k"), (1_500, "1.5k"), (12_345, "12.3k"), (999_499, "999k"), (999_999, "1M"),
        (2_500_000, "2.5M"), (10**9, "1G"), (123_456_789_000, "123G"),
    ],
)  # fmt: skip
def test_a_count_is_said_in_three_digits(count: int, said: str) -> None:
    assert short(count) == said


def test_months_follow_each_other() -> None:
    assert months_after("2026-11", 3) == ["2026-11", "2026-12", "2027-01"]
    assert months_after("2027-01", 1) == ["2027-01"]
    assert months_after("0999-12", 2) == ["0999-12", "1000-01"]
