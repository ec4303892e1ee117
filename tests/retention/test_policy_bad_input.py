"""Policies that nobody meant as they stand: each is named with file, line and rule, and never taken for something wider."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from archiver.document_rules import rule_at
from archiver.errors import PolicyError
from archiver.retention.policy_file import PolicyMistakesError, read_policy, read_written

HEAD = "name: team\nzone: UTC\n"
SECONDS_MAX = 5


def rule(text: str) -> str:
    """A policy of two rules, of which the second is called legal and goes on with these lines, from line 6 on."""
    return f"{HEAD}rules:\n  - {{name: all, delete: 9y}}\n  - name: legal\n" + "".join(
        f"    {line}\n" for line in text.splitlines()
    )


def told(folder: Path, text: str) -> list[str]:
    path = folder / "policy.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(PolicyMistakesError) as caught:
        read_written(path)
    return [str(finding).replace(f"{folder}/", "") for finding in caught.value.findings]


@pytest.mark.parametrize(
    "key",
    ["channel", "kind", "sender", "custodian", "app", "bot", "words", "regex", "search", "has_file", "mime", "size", "source", "sent", "label"],
)  # fmt: skip
@pytest.mark.parametrize("part", ["match", "not"])
def test_a_condition_without_a_value_is_none_for_everything(tmp_path: Path, part: str, key: str) -> None:
    """Read as if it were left out it would match the whole archive."""
    assert told(tmp_path, rule(f"delete: 1y\n{part}:\n  {key}:")) == [
        f"policy.yaml:8: rule 'legal': {part}.{key}: has no value; write one, or leave the key out [wrong-value]"
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (rule("retain: 3y\ndelete:"), "policy.yaml:7: rule 'legal': delete: has no value"),
        (rule("delete: 3y\nmatch:"), "policy.yaml:7: rule 'legal': match: has no value"),
        (rule("delete: 3y\nmatch: {sent: {after: 2020-01-01, before: }}"), "policy.yaml:7: rule 'legal': match.sent.before: has no value"),
        (rule("delete: 3y\nmatch: {channel: [a, ]}\nnot: {channel: [~]}"), "policy.yaml:8: rule 'legal': not.channel.0: has no value"),
        (rule("delete: 3y") + "limits: {percent_max: }\n", "policy.yaml:7: limits.percent_max: has no value"),
        (rule("delete: 3y") + "labels:\n", "policy.yaml:7: labels: has no value"),
        (rule("delete: 3y") + "departures: {u:ann: }\n", "policy.yaml:7: departures.u:ann: has no value"),
    ],
)  # fmt: skip
def test_so_is_any_other_key_without_one(tmp_path: Path, text: str, said: str) -> None:
    assert told(tmp_path, text) == [f"{said}; write one, or leave the key out [wrong-value]"]


@pytest.mark.parametrize(
    ("conditions", "key"),
    [
        ("match: {channel: [a, b]}\nnot: {channel: [c, b, a]}", "channel"),
        ("match: {channel: a}\nnot: {channel: '*'}", "channel"),
        ("match: {channel: a}\nnot: {kind: channel}", "channel"),
        ("match: {sender: u:ann}\nnot: {sender: [u:bob, u:ann]}", "sender"),
        ("match: {label: one}\nnot: {label: [one, two]}", "label"),
        ("match: {mime: image/*}\nnot: {has_file: yes}", "mime"),
        ("match: {size: {min: 5}}\nnot: {has_file: yes}", "size"),
        ("match: {size: {min: 5, max: 9}}\nnot: {size: {max: 10}}", "size"),
        ("match: {sent: {after: 2020-01-01, before: 2021-01-01}}\nnot: {sent: {after: 2019-01-01}}", "sent"),
    ],
)
def test_what_a_rule_excludes_again_is_a_contradiction(tmp_path: Path, conditions: str, key: str) -> None:
    text = rule(f"delete: 1y\n{conditions}") + "labels: {one: {chats: a}, two: {chats: b}}\n"
    assert told(tmp_path, text) == [
        f"policy.yaml:8: rule 'legal': contradicts itself: whatever {key} in match takes in, not takes out again [contradictory]"
    ]


@pytest.mark.parametrize(
    "conditions",
    [
        "match: {channel: [a, b]}\nnot: {channel: a}",
        "match: {channel: '*'}\nnot: {channel: [a, b]}",
        "match: {kind: channel}\nnot: {channel: a}",
        "match: {sent: {after: 2019-01-01}}\nnot: {sent: {after: 2020-01-01}}",
        "match: {size: {min: 5}}\nnot: {size: {min: 9}}",
        "match: {has_file: no}\nnot: {mime: image/*}",
    ],
)
def test_what_it_excludes_in_part_is_none(tmp_path: Path, conditions: str) -> None:
    (tmp_path / "policy.yaml").write_text(rule(f"delete: 1y\n{conditions}"))
    assert read_policy(tmp_path / "policy.yaml").rule("legal").delete is not None


@pytest.mark.parametrize(
    "value", ["!!bool maybe", "!!timestamp abc", "!!binary '!!!'", "!!python/object/apply:os.system [id]", "!own 1", "!!set {a}"]
)  # fmt: skip
def test_a_tag_is_refused_whatever_it_says(tmp_path: Path, value: str) -> None:
    (said,) = told(tmp_path, rule(f"delete: 1y\ndescription: {value}"))
    tag = value.partition(" ")[0]
    assert (
        said
        == f"policy.yaml:7: rule 'legal': YAML tags ({tag}) are not read here; write the value without it [not-yaml]"
    )


@pytest.mark.parametrize(
    "day", ["'1767225600'", "20260101", "'2026-01-01T00:00'", "'2026-1-1'", "2026-01-01 10:00:00", "yes"]
)
def test_a_day_is_written_as_a_day(tmp_path: Path, day: str) -> None:
    (said,) = told(tmp_path, rule(f"delete: 1y\nmatch: {{sent: {{after: {day}}}}}"))
    assert said.startswith("policy.yaml:7: rule 'legal': match.sent.after: must be a day such as 2026-11-22"), said


class TestTheRuleThatAMistakeStandsIn:
    @pytest.mark.parametrize(
        ("lines", "said"),
        [
            ("delete: 1y\ndelete: 2y", "policy.yaml:7: rule 'legal': rules.1.delete: this key stands twice"),
            ("delete: 1y\nmatch: *all", "policy.yaml:7: rule 'legal': YAML aliases (*all) are not read here"),
            (
                "delete: 1y\nmatch: {sent: {after: 2026-99-99}}",
                "policy.yaml:7: rule 'legal': this value cannot be read",
            ),
            ("delete: 1y\n? [a]\n: b", "policy.yaml:7: rule 'legal': a key must be a plain word"),
            ("delete: 1y\nmatch: [", "policy.yaml:8: rule 'legal': this is not YAML"),
        ],
    )
    def test_is_named_also_where_the_file_cannot_be_read(self, tmp_path: Path, lines: str, said: str) -> None:
        (found,) = told(tmp_path, rule(lines))
        assert found.startswith(said), found

    @pytest.mark.parametrize(
        ("line", "name"),
        [(1, ""), (2, ""), (3, ""), (4, "late"), (5, "late"), (6, "late"), (7, "flow"), (8, "number 3"), (9, "number 3"), (10, ""), (11, "")],
    )  # fmt: skip
    def test_is_told_by_the_line(self, line: int, name: str) -> None:
        text = (
            "name: x\nlabels: {rules: {chats: a}}\nrules:\n"
            "  - delete: 1y\n    match: {channel: name}\n    name: late\n"
            "  - {name: flow, delete: 1y}\n"
            "  - delete: 1y\n    match: {label: name}\n"
            "zone: UTC\nlimits: {rows_max: 1}\n"
        )
        assert rule_at(text.encode(), line) == name

    def test_costs_nothing_in_a_file_that_is_nothing_but_deep(self, tmp_path: Path) -> None:
        start = time.process_time()
        (said,) = told(tmp_path, "name: " + "[" * 5_000 + "]" * 5_000)
        assert said == "policy.yaml:1: nested deeper than 16 levels [too-deep]"
        assert time.process_time() - start < SECONDS_MAX


def test_nothing_of_it_is_a_policy(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(rule("delete: 1y\nmatch: {channel: }"))
    with pytest.raises(PolicyError):
        read_policy(tmp_path / "policy.yaml")
