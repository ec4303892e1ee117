"""What is odd in a policy that can be read: each warning with its line and code, and none where nothing is odd."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings

from archiver.document import Document
from archiver.retention.context import Context, read_context
from archiver.retention.evaluate import Evaluator
from archiver.retention.findings import ERRORS, WARNINGS
from archiver.retention.overlap import are_disjoint, covers
from archiver.retention.policy import Policy, schema_text
from archiver.retention.policy_file import WrittenPolicy, read_written
from archiver.retention.validate import OVERLAPS_SHOWN_MAX, archive_warnings, warnings_of
from archiver.store.memory import MemoryStore
from tests.retention.policies import policy
from tests.retention.test_evaluation_properties import (
    archives,
    evaluated,
    everything,
    known_files,
    numbered,
    policies,
)
from tests.small_archive import add, at_ms, build, message

ROOT = Path(__file__).resolve().parents[2]


def warned(folder: Path, rules: str, *, earlier: Policy | None = None, head: str = "") -> list[str]:
    """Line, rule and code of every warning; the first rule begins in line 4."""
    path = folder / "policy.yaml"
    path.write_text(f"name: ours\nzone: UTC\nrules:\n{rules}{head}")
    return [
        f"{found.line} {found.rule or '-'} {found.code}" for found in warnings_of(read_written(path), earlier=earlier)
    ]


def told(folder: Path, *rules: str, head: str = "", earlier: Policy | None = None) -> list[str]:
    """Every warning as it is shown, without the folder; the first rule stands in line 4, one in each."""
    path = folder / "policy.yaml"
    path.write_text("name: ours\nzone: UTC\nrules:\n" + "".join(f"  - {{{rule}}}\n" for rule in rules) + head)
    return [str(found).replace(f"{path}:", "") for found in warnings_of(read_written(path), earlier=earlier)]


SCOPED = ("name: a, match: {sender: u:a}", "name: b, match: {channel: x}")
BESIDE = "an item can match 'b' too, which says something else; "


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (
            ("name: idle, retain: 3y, delete: 9y", "name: all, retain: 7y, delete: 7y"),
            ["4: rule 'idle': it can never decide: 'all' matches whatever it matches, and wins [never-wins]"],
        ),
        (
            ("name: idle, retain: 3y, delete: 9y", "name: soon, delete: 7y", "name: long, retain: 7y"),
            ["4: rule 'idle': it can never decide: 'long' and 'soon' match whatever it matches, and win [never-wins]"],
        ),
        (
            ("name: keep, retain: 7y", "name: go, delete: 7y", "name: idle, match: {sender: u:a}, delete: 1y"),
            ["6: rule 'idle': it can never decide: 'go' and 'keep' match whatever it matches, and win [never-wins]"],
        ),
        (
            ("name: go, delete: 7y", "name: keep, retain: 7y", "name: idle, match: {sender: u:a}, delete: 1y"),
            ["6: rule 'idle': it can never decide: 'go' and 'keep' match whatever it matches, and win [never-wins]"],
        ),
        (
            (f"{SCOPED[0]}, retain: 1y, delete: 5y", f"{SCOPED[1]}, retain: 2y, delete: 3y, from: last_activity"),
            [
                f"4: rule 'a': {BESIDE}the longer retention wins (a: 1y, b: 2y from last_activity) and "
                "the earlier deletion wins (a: 5y, b: 3y from last_activity), but never while anything retains it [overlap]"
            ],
        ),
        (
            (f"{SCOPED[0]}, retain: 1y", f"{SCOPED[1]}, retain: 12m, from: departure"),
            [f"4: rule 'a': {BESIDE}the longer retention wins (a: 1y, b: 1y from departure) [overlap]"],
        ),
        (
            (f"{SCOPED[0]}, delete: 5y", f"{SCOPED[1]}, delete: 3y"),
            [
                f"4: rule 'a': {BESIDE}the earlier deletion wins (a: 5y, b: 3y), but never while anything retains it [overlap]"
            ],
        ),
        (
            (f"{SCOPED[0]}, retain: 5y", f"{SCOPED[1]}, delete: 3y"),
            [
                f"4: rule 'a': {BESIDE}one retains (a: 5y) and one deletes (b: 3y), but never while anything retains it [overlap]"
            ],
        ),
        (
            ("name: x, on: messages, delete: 1y", "name: asking, match: {sender: u:a}, retain: 9y"),
            [
                "4: rule 'x': a message can go before its files, and 'asking' asks the message of a file; "
                "a file whose message is gone is then kept for good [files-stay]",
                "4: rule 'x': an item can match 'asking' too, which says something else; one retains (asking: 9y) and one deletes (x: 1y), "
                "but never while anything retains it [overlap]",
            ],
        ),
    ],
)
def test_each_warning_is_a_sentence_that_says_what_decides(
    tmp_path: Path, rules: tuple[str, ...], said: list[str]
) -> None:
    assert told(tmp_path, *rules) == said


def test_in_mode_specific_the_later_expiry_decides(tmp_path: Path) -> None:
    rules = (f"{SCOPED[0]}, retain: 1y, delete: 5y", f"{SCOPED[1]}, delete: 2y")
    assert told(tmp_path, *rules, head="mode: specific\n") == [
        f"4: rule 'a': {BESIDE}the later expiry wins (a: 1y/5y, b: 2y) [overlap]"
    ]


def test_warnings_stand_in_the_order_of_lines_and_each_unused_label_has_its_own(tmp_path: Path) -> None:
    assert told(tmp_path, "name: all, delete: 1y", head="labels:\n  z: {chats: g:1}\n  a: {chats: g:1}\n") == [
        "6: no rule speaks of the label 'z' [unused-label]",
        "7: no rule speaks of the label 'a' [unused-label]",
    ]


class TestNeverWins:
    @pytest.mark.parametrize(
        "rules",
        [
            # A longer retention and a shorter deletion of everything.
            "  - {name: idle, retain: 3y}\n  - {name: all, retain: 7y}\n",
            "  - {name: idle, delete: 9y}\n  - {name: all, delete: 7y}\n",
            "  - {name: idle, retain: 3y, delete: 9y}\n  - {name: all, retain: 7y, delete: 7y}\n",
            # What a scoped rule deletes is always deferred to when everything goes.
            "  - {name: idle, match: {sender: u:a}, delete: 1y}\n  - {name: all, retain: 7y, delete: 7y}\n",
            "  - {name: idle, match: {sender: u:a, kind: direct}, delete: 2y}\n  - {name: all, match: {sender: [u:a, u:b]}, delete: 1y}\n",
            "  - {name: idle, match: {sent: {after: 2021-01-01}}, retain: 1y}\n  - {name: all, match: {sent: {after: 2020-01-01}}, retain: 12m}\n",
            "  - {name: idle, match: {size: {min: 5}}, delete: 2y}\n  - {name: all, match: {size: {min: 4}}, delete: 1y}\n",
            "  - {name: idle, on: files, match: {channel: a}, retain: 1y}\n  - {name: all, match: {channel: '*'}, retain: 2y}\n",
            "  - {name: idle, match: {kind: direct}, not: {sender: [u:a, u:b]}, retain: 1y}\n  - {name: all, match: {kind: direct}, not: {sender: u:a}, retain: 2y}\n",
        ],
    )
    def test_a_rule_that_another_always_beats(self, tmp_path: Path, rules: str) -> None:
        assert "4 idle never-wins" in warned(tmp_path, rules)
        assert not [line for line in warned(tmp_path, rules) if " all never-wins" in line]

    @pytest.mark.parametrize(
        "rules",
        [
            "  - {name: a, retain: 3y}\n  - {name: all, delete: 7y}\n",
            "  - {name: a, match: {sender: u:a}, delete: 9y}\n  - {name: all, delete: 7y}\n",
            "  - {name: a, match: {sender: u:a}, delete: 1y}\n  - {name: all, retain: 7y, delete: 8y}\n",
            "  - {name: a, retain: 3y, from: last_activity}\n  - {name: all, retain: 7y}\n",
            "  - {name: a, on: files, retain: 1y}\n  - {name: all, on: messages, retain: 7y}\n",
            "  - {name: a, retain: 30d}\n  - {name: all, retain: 1m}\n",
            "  - {name: a, retain: 1y, locked: yes}\n  - {name: all, retain: 7y}\n",
            "  - {name: a, retain: 1y, tier: {after: 1y, to: GLACIER}}\n  - {name: all, retain: 7y}\n",
            "  - {name: a, match: {kind: direct}, not: {sender: u:a}, retain: 1y}\n  - {name: all, match: {kind: direct}, not: {sender: [u:a, u:b]}, retain: 2y}\n",
            # Between them stands another, which would delete later than what everything is retained for.
            "  - {name: a, match: {sender: u:a}, delete: 1y}\n  - {name: all, retain: 7y, delete: 7y}\n  - {name: b, match: {kind: direct}, delete: 20y}\n",
        ],
    )
    def test_a_rule_that_may_decide(self, tmp_path: Path, rules: str) -> None:
        assert not [line for line in warned(tmp_path, rules) if "never-wins" in line]

    def test_of_two_that_say_the_same_the_second_by_name(self, tmp_path: Path) -> None:
        rules = "  - {name: b, retain: 1y}\n  - {name: a, retain: 12m}\n"
        assert warned(tmp_path, rules) == ["4 b never-wins"]

    @pytest.mark.parametrize(
        ("rules", "idle"),
        [
            (("name: idle, delete: 1y", "name: all, delete: 7y", "name: c, match: {sender: u:a}, delete: 1y"), True),
            (("name: idle, retain: 1y", "name: all, retain: 7y"), True),
            (("name: idle, retain: 1y", "name: all, retain: 1y, delete: 2y"), True),
            (("name: idle, retain: 1y, delete: 2y", "name: all, retain: 1y, delete: 3y"), True),
            # What it deletes nobody else would, what it retains nobody else would, or a more explicit rule replaces neither.
            (("name: a, delete: 1y", "name: all, retain: 7y"), False),
            (("name: a, retain: 7y", "name: all, retain: 1y, delete: 9y"), False),
            (("name: a, delete: 7y", "name: all, delete: 1y"), False),
            (("name: a, match: {sender: u:a}, delete: 1y", "name: all, delete: 7y"), False),
        ],
    )  # fmt: skip
    def test_in_mode_specific_rules_of_one_kind_compete_by_their_latest_end(
        self, tmp_path: Path, rules: tuple[str, ...], idle: bool
    ) -> None:
        found = told(tmp_path, *rules, head="mode: specific\n")
        said = ["4: rule 'idle': it can never decide: 'all' matches whatever it matches, and wins [never-wins]"]
        assert [line for line in found if "rule 'all'" not in line] == (said if idle else [])

    def test_a_rule_that_does_something_else_hides_no_other(self, tmp_path: Path) -> None:
        rules = (
            "name: moves, retain: 1y, tier: {after: 1y, to: GLACIER}",
            "name: idle, retain: 3y",
            "name: all, retain: 7y",
        )
        assert told(tmp_path, *rules) == [
            "5: rule 'idle': it can never decide: 'all' matches whatever it matches, and wins [never-wins]"
        ]

    @settings(max_examples=40)
    @given(policies, archives)
    def test_without_it_every_date_is_the_same(
        self, said: dict[str, Any], archive: tuple[list[Any], list[Any]]
    ) -> None:
        """What is called idle may be left out, whatever the rows."""
        written = Policy(**said)
        rows = numbered(archive[0])
        attached = known_files(archive[1], rows)
        for idle in idle_rules(written):
            rest = {**said, "rules": [rule for rule in said["rules"] if rule["name"] != idle]}
            for before, after in zip(evaluated(said, rows, attached), evaluated(rest, rows, attached), strict=True):
                assert [verdict[:2] for verdict in everything(before)] == [verdict[:2] for verdict in everything(after)]


def idle_rules(policy: Policy) -> list[str]:
    document = Document(Path("policy.yaml"), {"rules": [{"name": rule.name} for rule in policy.rules]}, {(): 1})
    return [found.rule for found in warnings_of(WrittenPolicy(policy, document)) if found.code == "never-wins"]


class TestOverlap:
    def test_two_scoped_rules_that_can_meet_and_say_different_things(self, tmp_path: Path) -> None:
        rules = "  - {name: a, match: {sender: u:a}, retain: 1y, delete: 5y}\n  - {name: b, match: {channel: x}, delete: 2y}\n"
        assert warned(tmp_path, rules) == ["4 a overlap"]
        assert warned(tmp_path, rules, head="mode: specific\n") == ["4 a overlap"]

    def test_it_says_what_decides(self, tmp_path: Path) -> None:
        path = tmp_path / "policy.yaml"
        rules = "rules:\n  - {name: a, match: {sender: u:a}, retain: 1y, delete: 5y}\n  - {name: b, match: {channel: x}, retain: 2y}\n"
        path.write_text(f"name: ours\nzone: UTC\n{rules}")
        (found,) = warnings_of(read_written(path))
        assert found.message == (
            "an item can match 'b' too, which says something else; the longer retention wins (a: 1y, b: 2y) and "
            "one deletes (a: 5y), but never while anything retains it"
        )
        path.write_text(f"name: ours\nzone: UTC\nmode: specific\n{rules}")
        (found,) = warnings_of(read_written(path))
        assert found.message.endswith("the later expiry wins (a: 1y/5y, b: 2y)")

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("match: {kind: direct}", "match: {kind: channel}"),
            ("match: {kind: direct}", "match: {channel: x}"),
            ("match: {channel: 'g:1'}", "match: {channel: ['g:2', 'g:3']}"),
            ("match: {sender: 'u:1'}", "match: {sender: 'u:2'}"),
            ("match: {source: import}", "match: {source: [fetch, webhook]}"),
            ("match: {bot: yes}", "match: {bot: no}"),
            ("match: {has_file: yes}", "match: {has_file: no}"),
            ("on: messages", "on: files"),
            ("match: {sent: {before: 2020-01-01}}", "match: {sent: {after: 2020-01-01}}"),
            ("match: {sender: u:a}", "match: {kind: direct}, not: {sender: [u:a, u:b]}"),
            ("match: {kind: direct}, not: {sender: [u:a, u:b]}", "match: {sender: u:a}"),
        ],
    )
    def test_rules_that_never_meet_do_not_overlap(self, tmp_path: Path, one: str, other: str) -> None:
        rules = f"  - {{name: a, {one}, delete: 1y}}\n  - {{name: b, {other}, delete: 2y}}\n"
        assert not warned(tmp_path, rules)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            # A name, a pattern and an id may be one channel's, and any address one person's.
            ("match: {channel: general}", "match: {channel: 'g:1'}"),
            ("match: {channel: 'g:*'}", "match: {channel: 'g:1'}"),
            ("match: {sender: ann@acme.example}", "match: {sender: 'u:1'}"),
            ("match: {custodian: 'u:1'}", "match: {custodian: 'u:2'}"),
            ("match: {sender: ['u:1', 'u:2']}", "match: {sender: ['u:2', 'u:3']}"),
            ("match: {source: [import, fetch]}", "match: {source: [fetch, webhook]}"),
            ("match: {kind: channel}", "match: {channel: x}"),
            ("match: {bot: yes}", "match: {has_file: no}"),
            ("match: {sent: {before: 2020-01-02}}", "match: {sent: {after: 2020-01-01}}"),
            ("match: {sent: {after: 2020-01-01}}", "match: {sent: {after: 2021-01-01}}"),
            ("match: {sent: {before: 2020-01-01}}", "match: {sent: {before: 2021-01-01}}"),
            ("match: {sender: ['u:a', 'u:c']}", "match: {kind: direct}, not: {sender: [u:a, u:b]}"),
            ("on: files", "match: {kind: direct}"),
        ],
    )
    def test_rules_that_may_meet_do(self, tmp_path: Path, one: str, other: str) -> None:
        rules = f"  - {{name: a, {one}, delete: 1y}}\n  - {{name: b, {other}, retain: 9y, from: last_activity}}\n"
        assert warned(tmp_path, rules)[:1] in (["4 a overlap"], ["4 a files-stay"])
        assert "4 a overlap" in warned(tmp_path, rules)

    def test_a_rule_that_only_moves_data_says_nothing_else(self, tmp_path: Path) -> None:
        assert told(tmp_path, f"{SCOPED[0]}, retain: 1y", f"{SCOPED[1]}, tier: {{after: 1y, to: GLACIER}}") == []

    def test_equal_outcomes_do_not_matter(self, tmp_path: Path) -> None:
        assert not warned(
            tmp_path,
            "  - {name: a, match: {sender: u:a}, delete: 1y}\n  - {name: b, match: {kind: direct}, delete: 12m}\n",
        )

    def test_thousands_of_pairs_are_told_in_few_lines(self, tmp_path: Path) -> None:
        rules = "".join(f"  - {{name: r{n}, match: {{channel: 'x{n}*'}}, delete: {n}d}}\n" for n in range(1, 101))
        assert len(warned(tmp_path, rules)) == OVERLAPS_SHOWN_MAX + 1
        # Eleven rules make 55 pairs, of which the last five are not shown.
        shown = told(tmp_path, *(f"name: r{n:02}, match: {{channel: 'x{n}*'}}, delete: {n}d" for n in range(1, 12)))
        assert len(shown) == OVERLAPS_SHOWN_MAX + 1
        assert [line for line in shown if "more" in line] == [
            "11: rule 'r08': 5 more pairs of rules can match one item [overlap]"
        ]
        # Ten of one sender make 45 pairs, three of another 3, two of others 1 each.
        cliques = [(sender, n) for sender, count in enumerate((10, 3, 2, 2)) for n in range(1, count + 1)]
        rules_ = (f"name: r{s}-{n}, match: {{sender: u:{s}, words: w{n}}}, delete: {n}d" for s, n in cliques)
        assert len(told(tmp_path, *rules_)) == OVERLAPS_SHOWN_MAX

    @settings(max_examples=40)
    @given(policies, archives)
    def test_what_is_called_disjoint_or_covered_is_so_for_every_row(
        self, said: dict[str, Any], archive: tuple[list[Any], list[Any]]
    ) -> None:
        rows = numbered(archive[0])
        # Of each message one version: two versions may be matched by two rules that never meet in one.
        rows = [row for row in rows if row["version"] == 1]
        attached = known_files(archive[1], rows)
        one_by_one = [Policy(**{**said, "rules": [rule]}) for rule in said["rules"]]
        matched = [
            [
                [verdict[2] is not None for verdict in everything(on)]
                for on in evaluated({**said, "rules": [rule]}, rows, attached)
            ]
            for rule in said["rules"]
        ]
        for (one, ours), (other, theirs) in itertools.permutations(zip(one_by_one, matched, strict=True), 2):
            pairs = [pair for table in (0, 1) for pair in zip(ours[table], theirs[table], strict=True)]
            if are_disjoint(one.rules[0], other.rules[0]):
                assert (True, True) not in pairs
            if covers(one.rules[0], other.rules[0]):
                assert (False, True) not in pairs


# Of each pair the first covers the second; where the second covers the first, too, they mean the same.
COVERING: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({}, {"match": {"bot": True}}, False),
    ({}, {}, True),
    ({}, {"on": "files"}, False),
    ({"on": "files"}, {"on": "files", "match": {"bot": True}}, False),
    ({"match": {"sender": ["u:a", "u:b"]}}, {"match": {"sender": "u:a"}}, False),
    ({"match": {"sender": ["u:a", "u:b"]}}, {"match": {"sender": ["u:b", "u:a"]}}, True),
    ({"match": {"channel": ["x", "*"]}}, {"match": {"channel": ["a", "b"]}}, False),
    ({"match": {"kind": "direct"}}, {"match": {"kind": "direct", "bot": False}}, False),
    ({"match": {"size": {"min": 5}}}, {"match": {"size": {"min": 5}}}, True),
    ({"match": {"size": {"min": 5}}}, {"match": {"size": {"min": 6}}}, False),
    ({"match": {"size": {"min": 5}}}, {"match": {"size": {"min": 5, "max": 9}}}, False),
    ({"match": {"size": {"max": 9}}}, {"match": {"size": {"max": 9}}}, True),
    ({"match": {"size": {"max": 9}}}, {"match": {"size": {"max": 8}}}, False),
    ({"match": {"size": {"max": 9}}}, {"match": {"size": {"min": 9, "max": 9}}}, False),
    ({"match": {"sent": {"after": "2020-01-01"}}}, {"match": {"sent": {"after": "2020-01-01"}}}, True),
    ({"match": {"sent": {"after": "2020-01-01"}}}, {"match": {"sent": {"after": "2020-01-02"}}}, False),
    ({"match": {"sent": {"before": "2020-01-02"}}}, {"match": {"sent": {"before": "2020-01-02"}}}, True),
    ({"match": {"sent": {"before": "2020-01-02"}}}, {"match": {"sent": {"before": "2020-01-01"}}}, False),
    ({"match": {"sent": {"before": "2020-01-02"}}}, {"match": {"sent": {"after": "2019-01-01", "before": "2020-01-02"}}}, False),
    ({"not": {"sender": "u:a"}}, {"not": {"sender": ["u:a", "u:b"]}}, False),
    ({"not": {"bot": True}}, {"not": {"bot": True, "kind": "direct"}}, False),
]  # fmt: skip
UNCOVERED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"match": {"size": {"min": 5}}}, {"match": {"size": {"max": 9}}}),
    ({"match": {"size": {"min": 5, "max": 9}}}, {"match": {"size": {"min": 6, "max": 10}}}),
    ({"match": {"sent": {"after": "2020-01-01"}}}, {"match": {"sent": {"before": "2021-01-01"}}}),
    ({"match": {"sent": {"after": "2020-01-01", "before": "2021-01-01"}}}, {"match": {"sent": {"after": "2020-01-02", "before": "2021-01-02"}}}),
    ({"match": {"sender": ["u:a", "u:b"]}}, {"match": {"sender": ["u:b", "u:c"]}}),
    ({"match": {"bot": True}}, {"match": {"bot": False}}),
    ({"match": {"bot": True}}, {"match": {"kind": "direct"}}),
    ({"on": "messages"}, {"on": "files"}),
    ({"not": {"sender": "u:a"}}, {"not": {"sender": "u:b"}}),
    ({"match": {"bot": True}}, {"not": {"kind": "direct"}}),
]  # fmt: skip


@pytest.mark.parametrize(("wide", "narrow", "is_same"), COVERING)
def test_one_rule_covers_another_by_what_their_conditions_alone_make_certain(
    wide: dict[str, Any], narrow: dict[str, Any], is_same: bool
) -> None:
    one, other = policy({**wide, "delete": "1y"}, {**narrow, "delete": "1y"}).rules
    assert (covers(one, other), covers(other, one)) == (True, is_same)


@pytest.mark.parametrize(("one", "other"), UNCOVERED)
def test_of_two_rules_that_meet_in_part_or_never_none_covers_the_other(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    first, second = policy({**one, "delete": "1y"}, {**other, "delete": "1y"}).rules
    assert (covers(first, second), covers(second, first)) == (False, False)


class TestFilesThatStay:
    ASKING = "  - {name: asking, match: {sender: u:a}, delete: 9y}\n"

    @pytest.mark.parametrize(
        "rule", ["{name: x, on: messages, delete: 1y}", "{name: x, on: files, match: {mime: image/*}, retain: 20y}"]
    )
    def test_a_message_that_can_go_before_its_files(self, tmp_path: Path, rule: str) -> None:
        assert "4 x files-stay" in warned(tmp_path, f"  - {rule}\n{self.ASKING}")
        for not_asking in (("sender: u:a", "channel: x"), ("match:", "on: messages, match:")):
            rules = f"  - {rule}\n{self.ASKING.replace(*not_asking)}"
            assert "files-stay" not in str(warned(tmp_path, rules))

    def test_a_period_that_begins_with_a_departure_asks_the_message_who_sent_it(self, tmp_path: Path) -> None:
        asking = "  - {name: asking, on: files, from: departure, retain: 9y}\n"
        assert "4 x files-stay" in warned(tmp_path, f"  - {{name: x, on: messages, delete: 1y}}\n{asking}")
        asking = asking.replace("departure", "last_activity")
        assert "files-stay" not in str(warned(tmp_path, f"  - {{name: x, on: messages, delete: 1y}}\n{asking}"))

    def test_where_no_message_goes_none_leaves_its_files(self, tmp_path: Path) -> None:
        rules = "  - {name: x, on: files, match: {mime: image/*}, retain: 20y}\n  - {name: y, on: files, match: {sender: u:a}, delete: 9y}\n"
        assert "files-stay" not in str(warned(tmp_path, rules))
        assert "4 x files-stay" in warned(tmp_path, f"{rules}  - {{name: z, on: messages, delete: 30y}}\n")

    def test_what_goes_together_leaves_nothing_behind(self, tmp_path: Path) -> None:
        rules = "  - {name: x, delete: 1y}\n  - {name: y, on: files, match: {mime: image/*}, delete: 30d}\n"
        assert "files-stay" not in str(warned(tmp_path, rules + self.ASKING))


class TestLocked:
    EARLIER = policy(
        {"name": "a", "retain": "6y", "locked": True},
        {"name": "b", "retain": "3y", "locked": True},
        {"name": "c", "retain": "9y"},
    )

    def test_what_was_locked_and_is_shorter_unlocked_or_gone(self, tmp_path: Path) -> None:
        stays = "retain was 6y and locked; what is locked stays so for 6y, whatever stands here now [shortens-locked]"
        gone = "3: the rule 'b', which locked 3y, is gone; what it locked stays locked [shortens-locked]"
        for now in ("retain: 5y, locked: yes", "delete: 9y"):
            assert told(tmp_path, f"name: a, {now}", earlier=self.EARLIER) == [gone, f"4: rule 'a': {stays}"]
        assert told(
            tmp_path, "name: a, retain: 6y", "name: b, delete: 9y, retain: 36m, locked: yes", earlier=self.EARLIER
        ) == ["4: rule 'a': its retain period was locked and is not now; what is locked stays so [shortens-locked]"]
        path = tmp_path / "policy.yaml"
        path.write_text(
            "name: ours\nzone: UTC\nrules:\n  - name: a\n    locked: yes\n    retain: 5y\n  - {name: b, retain: 3y, locked: yes}\n"
        )
        (found,) = [
            one for one in warnings_of(read_written(path), earlier=self.EARLIER) if one.code == "shortens-locked"
        ]
        assert found.line == 6

    def test_what_an_earlier_policy_locked_is_said_beside_all_else(self, tmp_path: Path) -> None:
        rules = ("name: a, retain: 6y, locked: yes", "name: b, retain: 3y")
        codes = [
            line.rpartition("[")[2]
            for line in told(tmp_path, *rules, head="labels: {x: {chats: g:1}}\n", earlier=self.EARLIER)
        ]
        assert codes == ["never-wins]", "shortens-locked]", "unused-label]"]

    def test_what_is_longer_shortens_nothing(self, tmp_path: Path) -> None:
        rules = "  - {name: a, retain: 7y, locked: yes}\n  - {name: b, retain: 3y, locked: yes}\n"
        assert not [line for line in warned(tmp_path, rules, earlier=self.EARLIER) if "locked" in line]


def test_a_label_that_no_rule_speaks_of(tmp_path: Path) -> None:
    assert warned(tmp_path, "  - {name: all, delete: 1y}\n", head="labels:\n  deal: {chats: g:1}\n") == [
        "6 - unused-label"
    ]


class TestArchive:
    RULES = """\
  - {name: general, match: {channel: general}, delete: 1y}
  - {name: bob, match: {custodian: bob@acme.example}, delete: 1y}
  - {name: misspelt, match: {channel: genral}, delete: 1y}
  - {name: files, on: files, match: {sender: u:ann}, retain: 1y}
  - {name: pictures, match: {mime: image/*}, retain: 1y}
  - {name: moves, match: {bot: yes}, tier: {after: 1y, to: GLACIER_IR}}
  - {name: late, match: {sent: {after: 2027-01-01}}, retain: 1y}
"""

    def test_rules_that_match_nothing_in_it(self, tmp_path: Path) -> None:
        archive, head = build(MemoryStore(), tmp_path)
        user = {
            "user_id": "u:bob",
            "email": "Bob@acme.example",
            "valid_from": at_ms(22),
            "captured_by": "u:ann",
            "raw": "{}",
            "state_digest": "00",
        }
        head = add(archive, head, {"users": [user]}, attempt="cccccccc")
        path = tmp_path / "policy.yaml"
        path.write_text(f"name: ours\nzone: UTC\nrules:\n{self.RULES}")
        written = read_written(path)
        evaluator = Evaluator(written.policy, read_context(archive.store, head, written.policy))
        found = archive_warnings(written, evaluator, archive.store, head)
        assert [f"{one.line} {one.rule} {one.code}" for one in found] == [
            "6 misspelt matches-nothing",
            "8 pictures matches-nothing",
            "10 late matches-nothing",
        ]
        assert {one.message for one in found} == {
            f"no message and no file of the archive is matched, as of commit {head.sequence}"
        }

    def test_it_is_read_from_the_newest_day_on_until_every_rule_has_matched(self, tmp_path: Path) -> None:
        class Watched(MemoryStore):
            opened: set[str]

            def open(self, key: str) -> Any:
                self.opened.add(key.split("/")[1])
                return super().open(key)

        store = Watched()
        store.opened = set()
        archive, head = build(store, tmp_path)
        path = tmp_path / "policy.yaml"
        for rule, days in (("{name: all, delete: 1y}", {22}), ("{name: files, on: files, delete: 1y}", {22, 21})):
            path.write_text(f"name: ours\nzone: UTC\nrules: [{rule}]\n")
            written = read_written(path)
            store.opened.clear()
            assert archive_warnings(written, Evaluator(written.policy, Context()), archive.store, head) == []
            assert store.opened == {f"dt=2026-11-{day}" for day in days}

    def test_the_context_knows_names_addresses_activity_and_departures(self, tmp_path: Path) -> None:
        archive, head = build(MemoryStore(), tmp_path)
        seen = {"captured_by": "u:ann", "state_digest": "00"}
        group = {"channel_id": "g:general", "affiliation": "member", **seen}
        head = add(
            archive,
            head,
            {
                "messages": [message("m-9", 23, "late")],
                "users": [
                    {
                        "user_id": "u:ann",
                        "email": email,
                        "first_name": "Ann",
                        "last_name": last,
                        "valid_from": at_ms(22),
                        "raw": "{}",
                        **seen,
                    }
                    for email, last in (("ann@old.example", "Old"), ("ann@acme.example", None))
                ],
                "channels": [
                    {
                        "channel_id": "g:general",
                        "valid_from": at_ms(23),
                        "state": "listed",
                        "name": "lobby",
                        "raw": "{}",
                        **seen,
                    }
                ],
                "conversations": [
                    {"chat_id": "import:old:1", "valid_from": at_ms(22), "chat_kind": "direct", **seen},
                ],
                "groups": [
                    {"user_id": "u:ann", "valid_from": at_ms(20), "state": "member", **group},
                    {"user_id": "u:bob", "valid_from": at_ms(20), "state": "member", **group},
                    {"user_id": "u:bob", "valid_from": at_ms(21), "state": "left", **group},
                    {"user_id": "u:cat", "valid_from": at_ms(20), "state": "left", **group},
                    {
                        "user_id": "u:cat",
                        "valid_from": at_ms(21),
                        "state": "member",
                        **group,
                        "channel_id": "g:other",
                    },
                ],
            },
            attempt="cccccccc",
        )
        asks = policy({"from": "departure", "delete": "1y"}, {"from": "last_activity", "delete": "1y"})
        assert read_context(archive.store, head, asks) == Context(
            names={"g:general": frozenset({"general", "lobby"})},
            kinds={"import:old:1": "direct"},
            emails={"u:ann": frozenset({"ann@old.example", "ann@acme.example"})},
            people={"u:ann": frozenset({"Ann Old", "Ann"})},
            last_activity_ms={"g:general": at_ms(23), "u:ann,u:bob": at_ms(22)},
            left_at_ms={"u:bob": at_ms(21)},
        )
        asks_nothing = read_context(archive.store, head, policy({"delete": "1y"}))
        assert (asks_nothing.last_activity_ms, asks_nothing.left_at_ms) == ({}, {})


class TestSchema:
    SCHEMA = json.loads(schema_text())

    def test_the_file_is_what_make_schema_writes(self) -> None:
        assert (ROOT / "policies" / "schema.json").read_text("utf-8") == schema_text(), "run `make schema`"

    def test_it_is_a_json_schema_and_explains_every_key(self) -> None:
        jsonschema.Draft202012Validator.check_schema(self.SCHEMA)
        for name, definition in [("Policy", self.SCHEMA), *self.SCHEMA["$defs"].items()]:
            for key, said in definition["properties"].items():
                assert said.get("description"), f"{name}.{key}"

    @pytest.mark.parametrize(
        ("text", "is_good"),
        [
            (
                "{name: a, zone: UTC, rules: [{name: r, retain: 7y, delete: 1y6m, from: sent, not: {sender: u:a}}]}",
                True,
            ),
            (
                "{name: a, zone: UTC, rules: [{name: r, match: {channel: [a, b], size: {min: 10MB}}, tier: {after: 1y, to: GLACIER_IR}}]}",
                True,
            ),
            (
                "{name: a, zone: UTC, rules: [{name: r, match: {channel: a, size: {max: 1000}}, retain: 1y}], limits: {percent_max: 1.5}}",
                True,
            ),
            (
                "{name: a, zone: UTC, labels: {l: {chats: 'g:1'}}, departures: {'u:1': '2026-01-01'}, rules: [{name: r, match: {label: l}, retain: 1y}]}",
                True,
            ),
            ("{name: a, zone: UTC, rules: [{name: r, retian: 7y}]}", False),
            ("{name: a, zone: UTC, rules: [{name: r, retain: 7 years}]}", False),
            ("{name: a, rules: [{name: r, retain: 7y}]}", False),
            ("{name: a, zone: UTC, mode: shortest, rules: [{name: r, retain: 7y}]}", False),
            ("{name: a, zone: UTC, rules: []}", False),
        ],
    )
    def test_it_accepts_and_refuses_as_reading_does(self, text: str, is_good: bool) -> None:
        said = json.loads(json.dumps(yaml.safe_load(text), default=str))
        assert jsonschema.Draft202012Validator(self.SCHEMA).is_valid(said) == is_good


def test_the_page_lists_every_finding_as_it_is() -> None:
    page = (ROOT / "docs" / "retention.md").read_text("utf-8")
    for severity, codes in (("error", ERRORS), ("warning", WARNINGS)):
        for code, meaning in codes.items():
            assert f"| `{code}` | {severity} | {meaning} |" in page, code
    listed = re.findall(r"^\| `([a-z-]+)` \| (?:error|warning) \|", page, re.MULTILINE)
    assert set(listed) == {*ERRORS, *WARNINGS}
