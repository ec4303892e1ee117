"""The worked examples of the two modes, one by one, as a policy would say them; each through the set-based evaluation."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from archiver.clock import to_ms
from tests.retention.policies import judged, message, policy

LABELS = {"kept": {"messages": ["m-1"]}}
SCOPED: dict[str, Any] = {"match": {"sender": "u:ann"}}
LABELLED: dict[str, Any] = {"match": {"label": "kept"}}


def end_of(years: int) -> int:
    """The end of the day so many years after the message of the examples."""
    return to_ms(datetime(2020 + years, 3, 16, tzinfo=UTC))


LONGEST = [
    pytest.param(
        [{"delete": "5y"}, {"retain": "3y", "delete": "3y"}, {**LABELLED, "retain": "7y"}],
        (7, 7, "rule 3", "longest-retention"),
        id="all delete 5y, all retain 3y + delete, label retain only 7y",
    ),
    pytest.param(
        [{"delete": "10y"}, {**SCOPED, "retain": "5y", "delete": "5y"}, {**LABELLED, "retain": "3y", "delete": "3y"}],
        (5, 5, "rule 2", "longest-retention"),
        id="all delete 10y, scoped retain 5y + delete, label retain 3y + delete: its delete is deferred",
    ),
    pytest.param(
        [{"delete": "5y"}, {"delete": "10y"}, {**LABELLED, "delete": "7y"}],
        (None, 7, "rule 3", "explicit-wins"),
        id="all delete 5y, all delete 10y, label delete 7y: the label is explicit",
    ),
    pytest.param(
        [{"delete": "10y"}, {**SCOPED, "delete": "5y"}],
        (None, 5, "rule 2", "explicit-wins"),
        id="all delete 10y, scoped delete 5y",
    ),
    pytest.param(
        [{**SCOPED, "delete": "10y"}, {**SCOPED, "delete": "7y"}],
        (None, 7, "rule 2", "shortest-deletion"),
        id="scoped delete 10y, scoped delete 7y",
    ),
    pytest.param(
        [{"retain": "7y", "delete": "7y"}, {**SCOPED, "delete": "1y"}],
        (7, 7, "rule 1", "retention-wins"),
        id="all retain 7y + delete, scoped delete 1y",
    ),
]

SPECIFIC = [
    pytest.param(
        [{"delete": "7y"}, {**SCOPED, "delete": "1y"}],
        (None, 1, "rule 2", "scoped-replaces-default"),
        id="default 7y, scoped 1y",
    ),
    pytest.param(
        [{"delete": "1y"}, {**SCOPED, "delete": "7y"}, {**SCOPED, "delete": "3y"}],
        (None, 7, "rule 2", "latest-expiry"),
        id="default 1y, scoped 7y, scoped 3y",
    ),
    pytest.param([{"delete": "1y"}], (None, 1, "rule 1", "default-rule"), id="default 1y only"),
]

# What the table does not show and its text says.
ALSO = [
    pytest.param(
        "longest", [{**SCOPED, "delete": "3y", "retain": "3y"}], (3, 3, "rule 1", "retention-wins"), id="equal"
    ),
    pytest.param("longest", [{"retain": "3y"}], (3, None, "rule 1", "nothing-deletes"), id="nothing deletes"),
    pytest.param("longest", [{"delete": "3y"}], (None, 3, "rule 1", "only-deletion"), id="one deletion"),
    pytest.param(
        "longest",
        [{"retain": "3y"}, {**SCOPED, "delete": "3y"}],
        (3, 3, "rule 1", "retention-wins"),
        id="where dates are equal, retain wins",
    ),
    pytest.param(
        "longest",
        [{"retain": "2y"}, {"retain": "3y"}, {"delete": "4y"}],
        (3, 4, "rule 3", "only-deletion"),
        id="periods never add up",
    ),
    pytest.param(
        "longest",
        [{**LABELLED, "delete": "7y"}, {**SCOPED, "delete": "3y"}],
        (None, 7, "rule 1", "explicit-wins"),
        id="a label beats a scoped rule even where it is later",
    ),
    pytest.param(
        "longest",
        [{**SCOPED, "delete": "7y"}, {"delete": "3y"}],
        (None, 7, "rule 1", "explicit-wins"),
        id="a scoped rule beats one for everything even where it is later",
    ),
    pytest.param(
        "longest",
        [
            {"name": "b", **SCOPED, "retain": "3y"},
            {"name": "c", "retain": "3y"},
            {"name": "a", **SCOPED, "retain": "3y"},
        ],
        (3, None, "a", "nothing-deletes"),
        id="of equal dates the more explicit rule decided, and of these the first by name",
    ),
    pytest.param(
        "specific",
        [{"name": "z", **SCOPED, "retain": "3y"}, {"name": "a", **SCOPED, "delete": "3y"}],
        (3, 3, "z", "scoped-rule"),
        id="where one retains as long as another deletes, retention decided",
    ),
    pytest.param("specific", [{"retain": "7y"}], (7, None, "rule 1", "nothing-deletes"), id="a default only retains"),
    pytest.param(
        "specific",
        [{"delete": "1y"}, {**SCOPED, "retain": "3y"}],
        (3, None, "rule 2", "nothing-deletes"),
        id="a scoped rule that never deletes replaces a default that does",
    ),
    pytest.param(
        "specific",
        [{**LABELLED, "delete": "1y"}, {**SCOPED, "delete": "3y"}],
        (None, 3, "rule 2", "latest-expiry"),
        id="a label is a scope among others",
    ),
    pytest.param(
        "specific",
        [{**SCOPED, "delete": "2y"}, {**SCOPED, "retain": "5y"}],
        (5, 5, "rule 2", "latest-expiry"),
        id="a retain period that expires later than a deletion",
    ),
    pytest.param(
        "specific", [{**SCOPED, "delete": "2y"}], (None, 2, "rule 1", "scoped-rule"), id="a scoped rule alone"
    ),
]


def verdict(mode: str, rules: list[dict[str, Any]]) -> tuple[Any, ...]:
    found = judged(policy(*rules, mode=mode, labels=LABELS), message())
    return (
        found.retain_until_ms[0].as_py(),
        found.delete_at_ms[0].as_py(),
        found.rule[0].as_py(),
        found.principle[0].as_py(),
    )


def dated(expected: tuple[Any, ...]) -> tuple[Any, ...]:
    retain, delete, rule, principle = expected
    return (retain and end_of(retain), delete and end_of(delete), rule, principle)


@pytest.mark.parametrize(("rules", "expected"), LONGEST)
def test_mode_longest(rules: list[dict[str, Any]], expected: tuple[Any, ...]) -> None:
    assert verdict("longest", rules) == dated(expected)


@pytest.mark.parametrize(("rules", "expected"), SPECIFIC)
def test_mode_specific(rules: list[dict[str, Any]], expected: tuple[Any, ...]) -> None:
    assert verdict("specific", rules) == dated(expected)


@pytest.mark.parametrize(("mode", "rules", "expected"), ALSO)
def test_what_follows_from_the_text(mode: str, rules: list[dict[str, Any]], expected: tuple[Any, ...]) -> None:
    assert verdict(mode, rules) == dated(expected)


@pytest.mark.parametrize("mode", ["longest", "specific"])
def test_no_match_means_kept(mode: str) -> None:
    assert verdict(mode, [{"match": {"sender": "u:bob"}, "delete": "1y"}]) == (None, None, None, "no-match")


@pytest.mark.parametrize("mode", ["longest", "specific"])
def test_a_rule_that_only_moves_data_decides_nothing(mode: str) -> None:
    moves = {**SCOPED, "tier": {"after": "1y", "to": "GLACIER_IR"}}
    assert verdict(mode, [moves]) == (None, None, None, "no-match")
    assert verdict(mode, [{"delete": "1y"}, moves])[1:3] == (end_of(1), "rule 1")


def test_the_clock_of_an_edited_message_is_its_sending_time() -> None:
    edited = [message(), message(version=2, observed_at=to_ms(datetime(2025, 1, 1, tzinfo=UTC)))]
    assert judged(policy({"delete": "1y"}), *edited).delete_at_ms.to_pylist() == [end_of(1), end_of(1)]


def test_periods_may_start_from_different_moments_and_dates_are_compared() -> None:
    rules = policy(
        {"retain": "3y"},
        {**SCOPED, "from": "departure", "retain": "1y", "delete": "1y"},
        departures={"u:ann": date(2024, 3, 15)},
    )
    found = judged(rules, message())
    assert (found.delete_at_ms[0].as_py(), found.rule[0].as_py()) == (end_of(5), "rule 2")
