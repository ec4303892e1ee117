"""Periods that have not begun, ties and the order of what is said: the corners of the decision, date by date."""

from __future__ import annotations

import itertools

import pytest

from archiver.retention.decide import NO_MATCH, Decision, Mode, Said, decide
from archiver.retention.periods import OPEN_END_MS
from archiver.retention.policy import Level

MODES: tuple[Mode, ...] = ("longest", "specific")


def said(rule: str, level: Level = "scoped", *, retain: int | None = None, delete: int | None = None) -> Said:
    return Said(rule, level, retain, delete)


@pytest.mark.parametrize("mode", MODES)
class TestNotBegun:
    def test_a_deletion_that_has_not_begun_keeps(self, mode: Mode) -> None:
        assert decide(mode, [said("a", delete=OPEN_END_MS)]) == Decision(None, None, "a", "not-begun")
        assert decide(mode, [said("a", delete=OPEN_END_MS, retain=5)]) == Decision(5, None, "a", "not-begun")

    def test_a_retention_that_has_not_begun_keeps_whatever_deletes(self, mode: Mode) -> None:
        found = decide(mode, [said("a", retain=OPEN_END_MS), said("b", delete=5)])
        assert found == Decision(OPEN_END_MS, None, "a", "not-begun")

    def test_both_of_one_rule(self, mode: Mode) -> None:
        found = decide(mode, [said("a", retain=OPEN_END_MS, delete=OPEN_END_MS)])
        assert found == Decision(OPEN_END_MS, None, "a", "not-begun")

    def test_the_last_instant_before_is_a_date(self, mode: Mode) -> None:
        assert decide(mode, [said("a", delete=OPEN_END_MS - 1)]).delete_at_ms == OPEN_END_MS - 1


def test_a_more_explicit_deletion_that_has_not_begun_still_chooses() -> None:
    found = decide("longest", [said("a", "label", delete=OPEN_END_MS), said("b", "all", delete=5)])
    assert found == Decision(None, None, "a", "not-begun")


def test_of_deletions_of_one_level_the_one_that_has_begun_is_the_shorter() -> None:
    found = decide("longest", [said("a", delete=OPEN_END_MS), said("b", delete=5)])
    assert found == Decision(None, 5, "b", "shortest-deletion")


@pytest.mark.parametrize("mode", MODES)
def test_what_says_nothing_counts_for_nothing(mode: Mode) -> None:
    assert decide(mode, []) == decide(mode, [said("a")]) == NO_MATCH
    assert decide(mode, [said("a"), said("b", "all", delete=5)]).rule == "b"


@pytest.mark.parametrize("mode", MODES)
def test_the_order_in_which_rules_speak_never_matters(mode: Mode) -> None:
    spoken = [
        said("d", "all", retain=7, delete=7),
        said("c", "scoped", delete=7),
        said("b", "scoped", retain=7),
        said("a", "label", retain=3, delete=3),
    ]
    assert len({decide(mode, order) for order in itertools.permutations(spoken)}) == 1


@pytest.mark.parametrize(
    ("mode", "spoken", "expected"),
    [
        ("longest", [said("b", delete=5), said("a", delete=5)], Decision(None, 5, "a", "only-deletion")),
        ("longest", [said("b", retain=5), said("a", "all", retain=5)], Decision(5, None, "b", "nothing-deletes")),
        (
            "longest",
            [said("a", "all", retain=6), said("b", retain=5), said("c", delete=5)],
            Decision(6, 6, "a", "longest-retention"),
        ),
        ("longest", [said("a", "all", retain=5), said("c", delete=6)], Decision(5, 6, "c", "only-deletion")),
        ("specific", [said("b", delete=5), said("a", delete=5)], Decision(None, 5, "a", "scoped-rule")),
        ("specific", [said("a", delete=5), said("b", retain=5)], Decision(5, 5, "b", "scoped-rule")),
        ("specific", [said("a", "all", delete=5), said("b", "all", delete=6)], Decision(None, 6, "b", "latest-expiry")),
        (
            "specific",
            [said("a", "label", retain=2, delete=5), said("b", retain=4)],
            Decision(4, 5, "a", "latest-expiry"),
        ),
        ("specific", [said("a", "all", delete=9), said("b", retain=4)], Decision(4, None, "b", "nothing-deletes")),
    ],
)
def test_ties_and_winners(mode: Mode, spoken: list[Said], expected: Decision) -> None:
    assert decide(mode, spoken) == expected
