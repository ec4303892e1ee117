"""Policy tests say what a policy says, fail where it says something else, and fail where nobody said anything."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from archiver.errors import EXIT_USAGE, PolicyError
from archiver.retention.decide import PRINCIPLES
from archiver.retention.junit import junit_xml
from archiver.retention.policy_file import PolicyMistakesError
from archiver.retention.policy_test_file import read_tests
from archiver.retention.policy_test_keys import schema_of_tests_text
from archiver.retention.policy_tests import Case, Judged, files_named, run_tests

ITEM = {
    "name": "case",
    "channel": "general",
    "sender": "ann@acme.example",
    "sent": "2020-03-15",
    "text": "good morning",
    "expect": "kept",
}
SCOPED: dict[str, Any] = {"match": {"sender": "ann@acme.example"}}
LABELLED: dict[str, Any] = {"match": {"label": "kept"}}


def dumped(value: object) -> str:
    """YAML without aliases, which no file of ours may have."""
    return yaml.safe_dump(json.loads(json.dumps(value)), allow_unicode=True)


def run(
    folder: Path,
    rules: list[dict[str, Any]],
    *items: dict[str, Any],
    policy: dict[str, Any] | None = None,
    **facts: Any,
) -> Judged:
    """Judge items by rules, both as files."""
    named = [{"name": f"rule {place}", **rule} for place, rule in enumerate(rules, 1)]
    (folder / "policy.yaml").write_text(dumped({"name": "test", "zone": "UTC", "rules": named, **(policy or {})}))
    # What an item takes out of `ITEM` is None, and is not written.
    named_items = [
        {key: value for key, value in {**ITEM, "name": f"case {place}", **item}.items() if value is not None}
        for place, item in enumerate(items, 1)
    ]
    tests = {"policy": "policy.yaml", "as_of": "2026-01-01", **facts, "items": named_items}
    (folder / "tests.yaml").write_text(dumped(tests))
    return run_tests([folder / "tests.yaml"])


def failures(judged: Judged) -> list[str]:
    return [failure for file in judged.files for case in file.cases for failure in case.failures]


def cases(judged: Judged) -> list[Case]:
    return [case for file in judged.files for case in file.cases]


def expected(retained: int | None, deleted: int | None, rule: str) -> dict[str, Any]:
    return {
        "retained_until": "none" if retained is None else f"{2020 + retained}-03-15",
        "deleted_after": "never" if deleted is None else f"{2020 + deleted}-03-15",
        "rule": rule,
    }


# The worked examples of the two modes, as a records manager would test them.
WORKED = [
    (
        "longest",
        [{"delete": "5y"}, {"retain": "3y", "delete": "3y"}, {**LABELLED, "retain": "7y"}],
        expected(7, 7, "rule 3"),
    ),
    (
        "longest",
        [{"delete": "10y"}, {**SCOPED, "retain": "5y", "delete": "5y"}, {**LABELLED, "retain": "3y", "delete": "3y"}],
        expected(5, 5, "rule 2"),
    ),
    ("longest", [{"delete": "5y"}, {"delete": "10y"}, {**LABELLED, "delete": "7y"}], expected(None, 7, "rule 3")),
    ("longest", [{"delete": "10y"}, {**SCOPED, "delete": "5y"}], expected(None, 5, "rule 2")),
    ("longest", [{**SCOPED, "delete": "10y"}, {**SCOPED, "delete": "7y"}], expected(None, 7, "rule 2")),
    ("longest", [{"retain": "7y", "delete": "7y"}, {**SCOPED, "delete": "1y"}], expected(7, 7, "rule 1")),
    ("specific", [{"delete": "7y"}, {**SCOPED, "delete": "1y"}], expected(None, 1, "rule 2")),
    (
        "specific",
        [{"delete": "1y"}, {**SCOPED, "delete": "7y"}, {**SCOPED, "delete": "3y"}],
        expected(None, 7, "rule 2"),
    ),
    ("specific", [{"delete": "1y"}], expected(None, 1, "rule 1")),
]


@pytest.mark.parametrize(("mode", "rules", "said"), WORKED)
def test_the_worked_examples_of_both_modes(
    tmp_path: Path, mode: str, rules: list[dict[str, Any]], said: dict[str, Any]
) -> None:
    policy = {"mode": mode, "labels": {"kept": {"messages": ["m-1"]}}}
    judged = run(tmp_path, rules, {"uid": "m-1", "expect": said}, policy=policy)
    assert judged.failed == 0
    assert cases(judged)[0].said.verdict == ("deleted" if said["deleted_after"] < "2026" else "kept")
    wrong = run(tmp_path, rules, {"uid": "m-1", "expect": {**said, "deleted_after": "2020-03-16"}}, policy=policy)
    assert failures(wrong) == [f"deleted_after is {said['deleted_after']}, not 2020-03-16"]


def test_a_hold_wins_in_both_modes_and_no_match_is_kept(tmp_path: Path) -> None:
    for mode in ("longest", "specific"):
        judged = run(
            tmp_path,
            [{**SCOPED, "delete": "1y"}],
            {
                "expect": {
                    "verdict": "kept",
                    "deleted_after": "never",
                    "held": "smith",
                    "principle": "held",
                    "rule": "rule 1",
                }
            },
            {
                "sender": "bob@acme.example",
                "channel": "other",
                "expect": {"verdict": "kept", "rule": "none", "principle": "no-match", "held": []},
            },
            {"sent": "2019-12-31", "expect": {"verdict": "deleted", "held": []}},
            policy={"mode": mode},
            holds={"smith": {"custodians": ["ann@acme.example"], "from": "2020-01-01"}},
        )
        assert failures(judged) == []


def test_a_hold_of_a_custodian_covers_the_channels_that_they_were_in(tmp_path: Path) -> None:
    facts = {
        "channels": {"g:deals": {"names": ["deals"], "members": ["bob@acme.example"]}},
        "holds": {"smith": {"custodians": ["bob@acme.example"]}},
    }
    judged = run(
        tmp_path,
        [{"delete": "1y"}],
        {"channel": "deals", "expect": {"verdict": "kept", "held": "smith"}},
        {
            "between": ["ann@acme.example", "bob@acme.example"],
            "channel": None,
            "expect": {"verdict": "kept", "held": ["smith"]},
        },
        {"channel": "lunch", "expect": {"verdict": "deleted", "held": []}},
        **facts,
    )
    assert failures(judged) == []


def test_a_hold_may_search_by_names_and_days_of_the_policy_s_zone(tmp_path: Path) -> None:
    judged = run(
        tmp_path,
        [{"delete": "1y"}],
        {"sent": "2020-03-15T00:30", "text": "the merger", "expect": {"verdict": "kept", "held": "smith"}},
        {"sent": "2020-03-14T23:30", "text": "the merger", "expect": {"verdict": "deleted", "held": []}},
        {"sent": "2020-03-15T00:30", "text": "no word", "expect": {"verdict": "deleted", "held": []}},
        {"sender": "u:bob", "text": "the merger", "expect": {"verdict": "deleted", "held": []}},
        policy={"zone": "Asia/Tokyo"},
        people={"u:ann": {"emails": ["ann@acme.example"], "names": ["Ann Lee"]}},
        holds={"smith": {"search": 'merger from:"ann lee" on:2020-03-15'}},
    )
    assert failures(judged) == []


def test_a_rule_may_search_as_well(tmp_path: Path) -> None:
    rules = [{"match": {"search": 'from:"ann lee" has:file 会議'}, "delete": "1y"}, {"retain": "9y"}]
    judged = run(
        tmp_path,
        rules,
        {"text": "明日の会議", "files": [{"mime": "text/plain"}], "expect": {"deleted_after": "2029-03-15"}},
        {"text": "明日の会議", "expect": {"deleted_after": "never"}},
        people={"u:ann": {"emails": ["ann@acme.example"], "names": ["Ann Lee"]}},
    )
    assert (failures(judged), judged.unreached) == ([], ())


@pytest.mark.parametrize(
    "expect", [None, {}, {"rule": "rule 1"}, {"principle": "only-deletion", "retained_until": "none", "held": []}]
)
def test_an_item_whose_verdict_nobody_expects_fails(tmp_path: Path, expect: Any) -> None:
    assert failures(run(tmp_path, [{"delete": "1y"}], {"expect": expect})) == [
        "nobody says what becomes of it: expect a verdict, or the day after which it is deleted"
    ]


def test_whatever_else_than_is_expected_is_said_key_by_key(tmp_path: Path) -> None:
    """Holds are compared whatever their order; what is not expected is not compared."""
    holds = {name: {"custodians": "ann@acme.example"} for name in ("smith", "jones")}
    item = {"sent": "2020-03-15"}
    judged = run(
        tmp_path,
        [{"delete": "1y"}],
        {**item, "expect": {"verdict": "deleted", "held": []}},
        {**item, "expect": {"verdict": "kept", "held": ["smith", "jones"]}},
        {
            **item,
            "expect": {
                "deleted_after": "2021-03-15",
                "retained_until": "2021-03-15",
                "rule": "rule 2",
                "principle": "only-deletion",
                "held": "smith",
            },
        },
        {**item, "sender": "u:bob", "expect": {"verdict": "kept", "held": ["smith"]}},
        holds=holds,
    )
    assert [case.failures for case in cases(judged)] == [
        ("verdict is kept, not deleted", "held is jones, smith, not nothing"),
        (),
        (
            "deleted_after is never, not 2021-03-15",
            "retained_until is none, not 2021-03-15",
            "rule is rule 1, not rule 2",
            "principle is held, not only-deletion",
            "held is jones, smith, not smith",
        ),
        ("verdict is deleted, not kept", "held is nothing, not smith"),
    ]
    assert [case.said.sentence for case in cases(judged)[2:]] == [
        "a hold covers it, and a hold wins over everything until it is released",
        PRINCIPLES["only-deletion"],
    ]


def test_a_rule_that_no_item_reaches_fails(tmp_path: Path) -> None:
    rules = [
        {"delete": "7y"},
        {"match": {"channel": "lunch"}, "delete": "1y"},
        {"match": {"channel": "deals"}, "tier": {"after": "1y", "to": "GLACIER_IR"}},
    ]
    judged = run(tmp_path, rules, {})
    assert [(rule.rule, rule.line) for rule in judged.unreached] == [("rule 2", 5), ("rule 3", 9)]
    assert judged.failed == 2
    assert not run(tmp_path, rules, {}, {"channel": "Lunch", "expect": "deleted"}, {"channel": "deals"}).failed


def test_several_files_may_reach_the_rules_of_one_policy(tmp_path: Path) -> None:
    run(tmp_path, [{"delete": "7y"}, {"match": {"channel": "lunch"}, "delete": "1y"}], {})
    other = yaml.safe_load((tmp_path / "tests.yaml").read_text())
    other["items"][0] |= {"channel": "lunch", "expect": "deleted"}
    (tmp_path / "other.yaml").write_text(dumped(other))
    assert run_tests([tmp_path / "tests.yaml"]).failed == 1
    assert run_tests([tmp_path / "tests.yaml", tmp_path / "other.yaml"]).failed == 0


def test_each_file_is_judged_by_its_own_policy(tmp_path: Path) -> None:
    paths = []
    for name, period, verdict in (("one", "1y", "deleted"), ("two", "9y", "kept")):
        (tmp_path / name).mkdir()
        run(tmp_path / name, [{"delete": period}], {"expect": verdict})
        paths.append(tmp_path / name / "tests.yaml")
    assert run_tests(paths).failed == 0


def test_a_file_goes_the_way_of_its_message_unless_something_else_is_expected(tmp_path: Path) -> None:
    rules = [{"delete": "7y"}, {"on": "files", "match": {"mime": "video/*", "size": {"min": "10MB"}}, "delete": "1y"}]
    video = {"name": "v.mp4", "mime": "video/mp4", "size": "20MB"}
    judged = run(tmp_path, rules, {"files": [video, {"mime": "text/plain"}]})
    assert [(case.name, case.failures) for case in cases(judged)] == [
        ("case 1", ()),
        ("case 1: v.mp4", ("verdict is deleted, not kept",)),
        ("case 1: file 2", ()),
    ]
    assert (
        run(tmp_path, rules, {"files": [{**video, "expect": {"deleted_after": "2021-03-15", "rule": "rule 2"}}]}).failed
        == 0
    )


def test_each_case_has_the_line_of_its_item(tmp_path: Path) -> None:
    judged = run(tmp_path, [{"delete": "7y"}], {"files": [{}]}, {})
    lines = (tmp_path / "tests.yaml").read_text().splitlines()
    first, second = (place for place, line in enumerate(lines, 1) if line.startswith("- "))
    assert [(case.name, case.line) for case in cases(judged)] == [
        ("case 1", first),
        ("case 1: file 1", first),
        ("case 2", second),
    ]


def test_rules_and_holds_that_search_for_files_are_asked_of_the_files_that_are_told(tmp_path: Path) -> None:
    """Where an archive's files were not brought, a hold on them would cover every message."""
    rules = [{"match": {"search": "mime:image/*"}, "delete": "1y"}, {"delete": "7y"}]
    told_of = [{"mime": "image/png"}, {"mime": "text/plain"}]
    judged = run(
        tmp_path,
        rules,
        {"files": told_of, "sent": "2010-01-01", "expect": {"verdict": "kept", "held": "smith", "rule": "rule 1"}},
        {"files": told_of[1:], "sent": "2010-01-01", "expect": {"verdict": "deleted", "held": [], "rule": "rule 2"}},
        {"sent": "2010-01-01", "expect": {"verdict": "deleted", "held": [], "rule": "rule 2"}},
        holds={"smith": {"search": "mime:image/*"}},
    )
    assert (failures(judged), judged.unreached) == ([], ())


def test_dates_are_days_in_the_zone_of_the_policy(tmp_path: Path) -> None:
    """Half past nine in the evening in New York is the next day in Berlin; 29 February and a year is 28 February."""
    items = [
        {"sent": "2024-02-29", "expect": {"deleted_after": "2025-02-28"}},
        {"sent": "2020-03-15T23:59", "expect": {"deleted_after": "2021-03-15"}},
        {"sent": "2020-03-15T21:30-05:00", "expect": {"deleted_after": "2021-03-16"}},
        {"sent": "2025-01-01", "as_of": "2026-01-01", "expect": "kept"},
        {"sent": "2025-01-01", "as_of": "2026-01-02", "expect": "deleted"},
    ]
    assert failures(run(tmp_path, [{"delete": "1y"}], *items, policy={"zone": "Europe/Berlin"})) == []


def test_periods_may_begin_with_activity_or_departure(tmp_path: Path) -> None:
    rules = [{"from": "last_activity", "delete": "1y"}, {**SCOPED, "from": "departure", "retain": "2y", "delete": "2y"}]
    items = [
        {"sender": "u:bob", "expect": {"deleted_after": "2021-03-15"}},
        {"sender": "u:bob", "last_activity": "2024-05-01", "expect": {"deleted_after": "2025-05-01"}},
        {"departed": "2023-06-30", "expect": {"deleted_after": "2025-06-30", "rule": "rule 2"}},
        {"expect": {"deleted_after": "never", "retained_until": "open", "principle": "not-begun"}},
    ]
    assert failures(run(tmp_path, rules, *items)) == []


def test_edited_messages_apps_and_names_that_were_given_up_are_described_as_well(tmp_path: Path) -> None:
    rules = [
        {"match": {"words": "merger"}, "retain": "7y"},
        {"match": {"bot": True}, "delete": "30d"},
        {"match": {"channel": "deal-room", "sender": "ann@old.example"}, "retain": "9y"},
    ]
    items = [
        {"text": "nothing", "earlier": "the merger", "expect": {"deleted_after": "never", "rule": "rule 1"}},
        {"app": "weather", "expect": {"verdict": "deleted", "rule": "rule 2"}},
        {"channel": "Deals", "expect": {"deleted_after": "never", "retained_until": "2029-03-15", "rule": "rule 3"}},
    ]
    facts = {
        "people": {"u:ann": {"emails": ["ann@acme.example", "ann@old.example"]}},
        "channels": {"g:1": {"names": ["deals", "deal-room"]}},
    }
    assert failures(run(tmp_path, rules, *items, **facts)) == []


NO_VALUE_THERE = "has no value; write one, or leave the key out"
NO_DAY = "must be a day such as 2026-11-22"
CORRECT = "correct the tests; docs/retention.md explains every key of them"


def with_item(**further: Any) -> dict[str, Any]:
    return {"items": [{**ITEM, **further}]}


def told(folder: Path) -> tuple[str, str]:
    """What is said of the tests in a folder that cannot be used, without the folder, and what to do next."""
    with pytest.raises(PolicyError) as caught:
        run_tests([folder / "tests.yaml"])
    assert caught.value.exit_code == EXIT_USAGE
    if isinstance(caught.value, PolicyMistakesError):
        assert {(found.severity, found.rule) for found in caught.value.findings} == {("error", "")}
    return caught.value.what.replace(f"{folder}/", ""), caught.value.next_step


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"itmes": []}, "9: itmes: unknown key; did you mean items? [unknown-key]"),
        ({"items": []}, "1: items must hold at least one item, and at most 2000 [wrong-value]"),
        ({"items": "ITEM"}, "2: items: must be a list [wrong-value]"),
        ({"items": ["ITEM"]}, "3: items.1: must be a group of keys [wrong-value]"),
        ({"as_of": "soon"}, f"1: as_of: {NO_DAY} [wrong-value]"),
        ({"as_of": "2026-01-01T00:00:00"}, f"1: as_of: {NO_DAY} [wrong-value]"),
        ({"as_of": None}, f"1: as_of: {NO_VALUE_THERE} [wrong-value]"),
        ({"policy": None}, f"9: policy: {NO_VALUE_THERE} [wrong-value]"),
        (
            with_item(between=["a", "b"]),
            "3: items.1 (case): needs a channel, or the two it was between, and not both [wrong-value]",
        ),
        (with_item(name=7), "5: items.1.name: must be text; put it in quotes [wrong-value]"),
        (with_item(expect="gone"), "4: items.1 (case).expect: must be 'kept' or 'deleted' [wrong-value]"),
        (with_item(chanel="x"), "3: items.1 (case).chanel: unknown key; did you mean channel? [unknown-key]"),
        (
            with_item(expect={"deletd_after": "never"}),
            "5: items.1 (case).expect.deletd_after: unknown key; did you mean deleted_after? [unknown-key]",
        ),
        (
            with_item(expect={"deleted_after": "later"}),
            f"5: items.1 (case).expect.deleted_after: {NO_DAY}, or never [wrong-value]",
        ),
        (
            with_item(expect={"retained_until": "later"}),
            f"5: items.1 (case).expect.retained_until: {NO_DAY}, or none or open [wrong-value]",
        ),
        (
            with_item(expect={"principle": "luck"}),
            f"5: items.1 (case).expect.principle: must be one of {', '.join(PRINCIPLES)}, held [wrong-value]",
        ),
        (
            with_item(sent="yesterday"),
            f"7: items.1 (case).sent: {NO_DAY}, or a day and a time such as 2026-11-22T18:30 [wrong-value]",
        ),
        (
            with_item(files=[{"size": "big"}]),
            "6: items.1 (case).files.1.size: must be a number of bytes, or a size such as 10MB [wrong-value]",
        ),
        (
            with_item(files=[{}, {"name": "a.png", "mimes": "image/png"}]),
            "7: items.1 (case).files.2 (a.png).mimes: unknown key; did you mean mime? [unknown-key]",
        ),
        ({"items": [ITEM, dict(ITEM)]}, "1: two items are called 'case' [wrong-value]"),
        (
            {"items": [{**ITEM, "uid": "1"}, {**ITEM, "name": "b", "uid": "1"}]},
            "1: two items have the same uid [wrong-value]",
        ),
        (
            {"pushes": [{"name": "case 1", "received": "2020-03-15"}]},
            "1: two items are called 'case 1' [wrong-value]",
        ),
        (
            {"holds": {"x": {"everything": True, "until": None}}},
            f"5: holds.x.until: {NO_VALUE_THERE} [wrong-value]",
        ),
        (
            {"holds": {"x": {"custodian": "u:a"}}},
            "4: holds.x.custodian: unknown key; did you mean custodians? [unknown-key]",
        ),
        # A name that is a key elsewhere is a name.
        (
            {"holds": {"search": {"custodian": "u:a"}}},
            "4: holds.search.custodian: unknown key; did you mean custodians? [unknown-key]",
        ),
        (with_item(departed=None), f"4: items.1 (case).departed: {NO_VALUE_THERE} [wrong-value]"),
    ],
)
def test_a_mistake_in_tests_is_named_with_its_place(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    run(tmp_path, [{"delete": "1y"}], {})
    tests = yaml.safe_load((tmp_path / "tests.yaml").read_text()) | change
    (tmp_path / "tests.yaml").write_text(dumped(tests))
    assert told(tmp_path) == (f"tests.yaml:{said}", CORRECT)


@pytest.mark.parametrize(
    ("hold", "said"),
    [
        (
            {},
            (
                "the hold x says nothing of what it covers",
                "name custodians, channels, conversations, dates or a search; or say `everything` alone if all is meant",
            ),
        ),
        (
            {"from": "2026-02-01", "until": "2026-01-01", "custodians": ["u:a"]},
            ("the hold x ends before it begins", "exchange the first day and the last"),
        ),
    ],
)
def test_what_can_be_no_hold_is_named_with_the_line_of_the_holds(
    tmp_path: Path, hold: dict[str, Any], said: tuple[str, str]
) -> None:
    run(tmp_path, [{"delete": "1y"}], {}, holds={"x": {"everything": True}})
    tests = yaml.safe_load((tmp_path / "tests.yaml").read_text()) | {"holds": {"x": hold}}
    (tmp_path / "tests.yaml").write_text(dumped(tests))
    assert told(tmp_path) == (f"tests.yaml:2: {said[0]}", said[1])


def test_every_mistake_in_tests_is_told_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    """One key without a value is one mistake, whatever else could be said of it."""
    (tmp_path / "tests.yaml").write_text(
        "policy:\nholds: {x: {search: 7}}\nas_of: soon\nitems:\n  - name: a\n    sent:\n"
    )
    assert told(tmp_path)[0].splitlines() == [
        f"tests.yaml:1: policy: {NO_VALUE_THERE} [wrong-value]",
        "tests.yaml:2: holds.x.search: must be text; put it in quotes [wrong-value]",
        f"tests.yaml:3: as_of: {NO_DAY} [wrong-value]",
        "tests.yaml:5: items.1 (a).sender: is missing [missing-key]",
        f"tests.yaml:6: items.1 (a).sent: {NO_VALUE_THERE} [wrong-value]",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "",
            "1: policy: is missing [missing-key]\ntests.yaml:1: as_of: is missing [missing-key]\ntests.yaml:1: items: is missing [missing-key]",
        ),
        ("- a", "1: the file must hold keys and values, such as `items:` [no-keys]"),
        ("items: &x [*x]", "1: YAML aliases (*x) are not read here; write the value out [alias]"),
        ("\nitems: {", "2: this is not YAML: expected the node content, but found '<stream end>' [not-yaml]"),
        ("a: 1\na: 2", "2: a: this key stands twice; the first is in line 1 [duplicate-key]"),
        (
            "!!python/object:os.system {}",
            "1: YAML tags (!!python/object:os.system) are not read here; write the value without it [not-yaml]",
        ),
        (
            "\x00",
            "1: this is not YAML: unacceptable character #x0000: special characters are not allowed [not-yaml]",
        ),
    ],
)
def test_a_hostile_file_of_tests_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "tests.yaml").write_text(text)
    assert told(tmp_path) == (f"tests.yaml:{said}", CORRECT)


def test_a_file_of_tests_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert told(tmp_path) == ("tests.yaml:1: there are no policy tests at tests.yaml [missing-file]", CORRECT)


def test_the_policy_is_named_from_the_file_of_tests_and_without_detours(tmp_path: Path) -> None:
    run(tmp_path, [{"delete": "1y"}], {})
    (tmp_path / "inner").mkdir()
    text = (tmp_path / "tests.yaml").read_text().replace("policy.yaml", "../policy.yaml")
    (tmp_path / "inner" / "tests.yaml").write_text(text)
    (file,) = run_tests([tmp_path / "inner" / "tests.yaml"]).files
    assert (file.path, file.policy_path, file.policy) == (
        str(tmp_path / "inner" / "tests.yaml"),
        str(tmp_path / "policy.yaml"),
        "test",
    )


def test_a_policy_that_is_not_there_or_wrong_is_an_error_and_no_failure(tmp_path: Path) -> None:
    run(tmp_path, [{"delete": "1y"}], {})
    (tmp_path / "policy.yaml").write_text("name: x\nzone: UTC\nrules: [{name: a, delete: soon}]\n")
    with pytest.raises(PolicyError, match="impossible-period"):
        run_tests([tmp_path / "tests.yaml"])
    (tmp_path / "policy.yaml").unlink()
    with pytest.raises(PolicyError, match="there is no policy at"):
        run_tests([tmp_path / "tests.yaml"])


def test_files_and_folders_of_tests_are_named(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yaml", "c.txt"):
        (tmp_path / name).write_text("")
    assert files_named([tmp_path, tmp_path / "b.yaml"]) == [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    assert files_named([tmp_path / "no.yaml"]) == [tmp_path / "no.yaml"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare").mkdir()
    with pytest.raises(PolicyError) as caught:
        files_named([tmp_path / "empty", tmp_path / "bare"])
    assert (caught.value.what, caught.value.code, caught.value.next_step) == (
        f"there are no policy tests in {tmp_path / 'empty'}, {tmp_path / 'bare'}",
        "missing-file",
        "name a file of tests, or a folder that has *.yaml of them; policies/tests shows how they are written",
    )


# What each element of JUnit's XML may bear, by the schema of the Jenkins project (junit-10.xsd), as far as we write it.
JUNIT: dict[str, tuple[set[str], set[str]]] = {
    "testsuites": ({"name", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": ({"name", "tests", "failures", "errors", "skipped", "time"}, {"testcase"}),
    "testcase": ({"name", "classname", "time"}, {"failure"}),
    "failure": ({"message", "type"}, set()),
}


def test_junit_holds_every_case_and_counts_them(tmp_path: Path) -> None:
    names = ["<b>&\"'", "\x7f[2J ]]> 会議", "fails"]
    judged = run(
        tmp_path,
        [{"delete": "1y"}, {"name": "<none>", "match": {"channel": "none"}, "delete": "1y"}],
        {"name": names[0], "expect": "deleted"},
        {"name": names[1], "expect": "deleted"},
        {"name": names[2], "expect": "kept"},
    )
    root = ET.fromstring(junit_xml(judged))
    for element in root.iter():
        attributes, children = JUNIT[element.tag]
        assert set(element.attrib) == attributes
        assert {child.tag for child in element} <= children
    assert (root.get("tests"), root.get("failures")) == ("4", "2")
    for suite in root:
        assert suite.get("tests") == str(len(suite))
        assert suite.get("failures") == str(len(suite.findall("*/failure")))
    assert [case.get("name") for case in root[0]] == [case.name for case in cases(judged)]
    assert root[0][2][0].get("message") == "verdict is deleted, not kept"
    assert "<none>" in (root[1][0][0].text or "")


def test_junit_shows_what_xml_cannot_hold(tmp_path: Path) -> None:
    judged = run(tmp_path, [{"delete": "1y"}], {"name": "a \x07 bell", "expect": "deleted"})
    assert b'name="a \\x07 bell"' in junit_xml(judged)


NO_VALUE = "(no value)"  # for a key after which nothing stands


class TestSchema:
    SCHEMA = json.loads(schema_of_tests_text())
    FILE = Path(__file__).resolve().parents[2] / "policies" / "tests.schema.json"

    def test_the_file_is_what_make_schema_writes(self) -> None:
        assert self.FILE.read_text("utf-8") == schema_of_tests_text(), "run `make schema`"

    def test_it_is_a_json_schema_and_explains_every_key(self) -> None:
        jsonschema.Draft202012Validator.check_schema(self.SCHEMA)
        for name, definition in [("PolicyTests", self.SCHEMA), *self.SCHEMA["$defs"].items()]:
            for key, said in definition["properties"].items():
                assert said.get("description"), f"{name}.{key}"

    @pytest.mark.parametrize(
        ("item", "is_good"),
        [
            ({}, True),
            ({"expect": {"verdict": "deleted", "deleted_after": "never", "principle": "held", "held": "smith"}}, True),
            ({"sent": "2020-03-15T18:30", "earlier": "hello", "files": [{"size": "10MB", "expect": "kept"}]}, True),
            ({"sent": "2020-03-15T18:30+01:00", "earlier": ["a", "b"], "files": [{"size": 1000}]}, True),
            ({"channel": None, "between": ["u:a", "u:b"]}, True),
            ({"expect": "keep"}, False),
            ({"expect": {"principle": "because"}}, False),
            ({"expect": {"verdict": "kept", "deletd_after": "never"}}, False),
            ({"sent": "in spring"}, False),
            ({"between": ["u:a"], "channel": None}, False),
            ({"expect": NO_VALUE}, False),
            ({"files": [{"mime": NO_VALUE}]}, False),
            ({"files": [{"size": "ten"}]}, False),
            ({"source": "hearsay"}, False),
        ],
    )
    def test_it_accepts_and_refuses_as_reading_does(self, item: dict[str, Any], is_good: bool, tmp_path: Path) -> None:
        given = {key: value for key, value in {**ITEM, **item}.items() if value is not None}
        given = json.loads(json.dumps(given).replace(json.dumps(NO_VALUE), "null"))
        tests = {"policy": "policy.yaml", "as_of": "2026-01-01", "holds": {"smith": {}}, "items": [given]}
        assert jsonschema.Draft202012Validator(self.SCHEMA).is_valid(tests) == is_good
        (tmp_path / "tests.yaml").write_text(dumped(tests))
        try:
            read_tests(tmp_path / "tests.yaml")
        except PolicyError:
            assert not is_good
        else:
            assert is_good
