"""Every message has one day where all its captures are looked for, and rows that lie elsewhere are counted."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.archive.home import count_astray, days_at_home
from archiver.archive.schema import MESSAGES
from archiver.archive.tables import encode, rows_to_table, split_by_day
from archiver.clock import DAY_MS
from tests.archive.archive_steps import AT_MS, message

TODAY = date(2026, 11, 18)
TOMORROW = date(2026, 11, 19)


@pytest.mark.parametrize("basis", ["timestampInMillis", "timestamp", "uid", "observed"])
@pytest.mark.parametrize(
    ("uid", "home"),
    [
        (f"{AT_MS + DAY_MS}-aBc-m201", TOMORROW),
        (f"{AT_MS + DAY_MS}", TOMORROW),
        (f"{AT_MS + DAY_MS}-", TOMORROW),
        ("967890123456-x", date(2000, 9, 2)),
        ("provisional:0123456789abcdef", TODAY),
    ],
)
def test_the_uid_tells_the_day_whatever_a_capture_says(uid: str, home: date, basis: str) -> None:
    rows = rows_to_table(MESSAGES, [message(uid, sent_at_basis=basis)])
    assert days_at_home(rows).to_pylist() == [home]


@pytest.mark.parametrize(
    "uid", ["", "x", "17", "7b4f2a90-0000-4000-8000-000000000000", "17950000000001234-x", "1795000000000x-y", "-1"]
)
@pytest.mark.parametrize(
    ("basis", "home"), [("timestampInMillis", TODAY), ("timestamp", TODAY), ("uid", TODAY), ("observed", None)]
)
def test_an_opaque_uid_leaves_it_to_the_sending_time_if_that_was_told(uid: str, basis: str, home: date | None) -> None:
    rows = rows_to_table(MESSAGES, [message(uid, sent_at_basis=basis)])
    assert days_at_home(rows).to_pylist() == [home]


def test_rows_that_lie_elsewhere_and_rows_without_a_home_are_astray() -> None:
    rows = rows_to_table(
        MESSAGES,
        [
            message(f"{AT_MS}-aBc-m201"),
            message(f"{AT_MS}-aBc-m201", sent_at_basis="observed"),
            message("opaque"),
            message("provisional:1", sent_at_basis="observed"),
            message(f"{AT_MS + DAY_MS}-aBc-m201"),
            message("opaque", sent_at_basis="observed"),
        ],
    )
    assert count_astray(rows) == 2
    ((day, part),) = split_by_day(MESSAGES, rows)
    assert encode(MESSAGES, day, part).astray_rows == 2


def test_no_rows_are_not_astray() -> None:
    assert count_astray(MESSAGES.schema.empty_table()) == 0


@given(
    st.lists(
        st.sampled_from(
            [
                f"{AT_MS}-a",
                f"{AT_MS + DAY_MS}",
                "967890123456-x",
                "opaque",
                "provisional:1",
                f"{AT_MS}x",
                f"{AT_MS}٣",
                "٣" * 13,
            ]
        ),
        max_size=6,
    )
)
def test_a_uid_has_the_home_that_it_has_alone(uids: list[str]) -> None:
    alone = [days_at_home(rows_to_table(MESSAGES, [message(uid)])).to_pylist()[0] for uid in uids]
    assert days_at_home(rows_to_table(MESSAGES, [message(uid) for uid in uids])).to_pylist() == alone
