"""Policy tests of pushes that no message reaches: judged as plans judge them, by what the push tells and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from archiver.errors import PolicyError
from archiver.retention.junit import junit_xml
from archiver.retention.policy_test_file import read_tests
from tests.retention.test_policy_tests import cases, dumped, failures, run

KEPT: dict[str, Any] = {"sent": "2025-03-15", "expect": "kept"}
DELETES = {"name": "all", "delete": "3y"}
GONE = {"verdict": "deleted", "deleted_after": "2023-03-15", "rule": "all", "principle": "only-deletion", "held": []}


def judged(folder: Path, rules: list[dict[str, Any]], *pushes: dict[str, Any], **facts: Any) -> list[str]:
    """What fails of pushes, beside one item that is always as expected."""
    named = [{"name": f"push {place}", "received": "2020-03-15", **push} for place, push in enumerate(pushes, 1)]
    return failures(run(folder, rules, KEPT, pushes=named, **facts))


def test_a_push_goes_by_its_reception(tmp_path: Path) -> None:
    young = {"received": "2024-03-15", "expect": {"verdict": "kept", "deleted_after": "2027-03-15"}}
    assert judged(tmp_path, [DELETES], {"expect": GONE}, young) == []


@pytest.mark.parametrize(
    ("further", "expect"),
    [
        ({"name": "ann", "retain": "9y", "match": {"sender": "ann@acme.example"}},
         {"verdict": "kept", "retained_until": "2029-03-15", "deleted_after": "2029-03-15", "rule": "ann"}),
        ({"name": "soon", "delete": "1y", "match": {"words": "lunch"}}, GONE),
        ({"name": "trade", "retain": "9y", "match": {"channel": "trade"}}, {"deleted_after": "2029-03-15", "rule": "trade"}),
        ({"name": "files", "retain": "9y", "on": "files"}, GONE),
    ],
    ids=lambda value: value.get("name"),
)  # fmt: skip
def test_what_cannot_be_told_of_it_never_removes_it_sooner(
    tmp_path: Path, further: dict[str, Any], expect: dict[str, Any]
) -> None:
    item = {"channel": "trade", "text": "lunch", "files": [{"name": "a.txt"}], **KEPT}
    tests = run(
        tmp_path, [DELETES, further], item, pushes=[{"name": "push", "received": "2020-03-15", "expect": expect}]
    )
    assert [failure for case in cases(tests) if case.name == "push" for failure in case.failures] == []


def test_the_chat_is_asked_if_it_tells_one(tmp_path: Path) -> None:
    """By its name, by its id, or by the two people whose it is."""
    rules = [
        DELETES,
        {"name": "trade", "retain": "9y", "match": {"channel": "trade*"}},
        {"name": "bob", "retain": "8y", "match": {"custodian": "bob@acme.example", "kind": "direct"}},
    ]
    pushes = [
        {"channel": "trade floor", "expect": {"rule": "trade", "verdict": "kept"}},
        {"channel": "general", "expect": GONE},
        {"between": ["ann@acme.example", "bob@acme.example"], "expect": {"rule": "bob", "deleted_after": "2028-03-15"}},
    ]
    assert judged(tmp_path, rules, *pushes) == []


def test_the_last_activity_is_that_of_its_conversation_and_else_unknown(tmp_path: Path) -> None:
    rules = [{"name": "idle", "delete": "1y", "from": "last_activity"}]
    pushes = [
        {"channel": "general", "last_activity": "2021-03-15", "expect": {"deleted_after": "2022-03-15"}},
        {"channel": "general", "expect": {"deleted_after": "never"}},
        {"expect": {"deleted_after": "never", "principle": "not-begun"}},
    ]
    assert judged(tmp_path, rules, *pushes) == []


def test_a_hold_covers_what_its_chat_and_reception_do_not_rule_out(tmp_path: Path) -> None:
    holds = {"smith": {"custodians": ["bob@acme.example"], "from": "2020-01-01"}, "trade": {"channels": ["trade"]}}
    pushes = [
        {"expect": {"verdict": "kept", "held": ["smith", "trade"], "principle": "held"}},
        {"channel": "general", "expect": {"verdict": "kept", "held": "smith"}},
        {"channel": "general", "received": "2019-06-01", "expect": {"verdict": "deleted", "held": []}},
    ]
    assert judged(tmp_path, [DELETES], *pushes, holds=holds) == []


class TestFailing:
    def test_it_fails_where_something_else_is_said_and_where_nobody_expects_anything(self, tmp_path: Path) -> None:
        said = judged(tmp_path, [DELETES], {"expect": "kept"}, {}, {"expect": {"rule": "all"}})
        assert said[0] == "verdict is deleted, not kept"
        assert len(said) == 3
        assert all(one.startswith("nobody says what becomes of it") for one in said[1:])

    def test_it_is_named_with_its_line_and_stands_in_the_junit_document(self, tmp_path: Path) -> None:
        tests = run(tmp_path, [DELETES], KEPT, pushes=[{"name": "unread", "received": "2020-03-15", "expect": "kept"}])
        (case,) = [case for case in cases(tests) if case.failures]
        lines = (tmp_path / "tests.yaml").read_text().splitlines()
        assert lines[case.line - 1 : case.line + 1] == ["- expect: kept", "  name: unread"]
        assert b"unread" in junit_xml(tests)

    def test_a_rule_that_only_a_push_reaches_is_reached_if_it_matches_for_certain(self, tmp_path: Path) -> None:
        rules = [DELETES, {"name": "trade", "retain": "9y", "match": {"channel": "trade"}}]
        told = {"name": "told", "received": "2020-03-15", "channel": "trade", "expect": "kept"}
        assert run(tmp_path, rules, KEPT, pushes=[told]).unreached == ()
        untold = {"name": "told", "received": "2020-03-15", "expect": "kept"}
        assert [one.rule for one in run(tmp_path, rules, KEPT, pushes=[untold]).unreached] == ["trade"]

    @pytest.mark.parametrize(
        ("push", "told"),
        [
            ({"name": "a"}, "pushes.1 (a).received: is missing"),
            ({"name": "a", "received": "2020-03-15", "sender": "u:ann"}, "pushes.1 (a).sender: unknown key"),
            ({"name": "a", "received": "2020-03-15", "channel": "c", "between": ["a", "b"]}, "pushes.1 (a): needs a channel, or the two"),
            ({"name": "a", "received": "2020-03-15", "last_activity": "2020-03-16"}, "pushes.1 (a): last_activity is that of a conversation"),
            ({"name": "case", "received": "2020-03-15"}, "two items are called 'case'"),
        ],
    )  # fmt: skip
    def test_a_mistake_in_one_is_named(self, tmp_path: Path, push: dict[str, Any], told: str) -> None:
        item = {"name": "case", "channel": "general", "sender": "u:ann", "sent": "2020-03-15", "expect": "kept"}
        path = tmp_path / "tests.yaml"
        path.write_text(dumped({"policy": "p.yaml", "as_of": "2026-01-01", "items": [item], "pushes": [push]}))
        with pytest.raises(PolicyError) as caught:
            read_tests(path)
        assert told in caught.value.what
