"""A policy that cannot be used is named with file, line, rule and code, exit code 2; it is never read as "no match"."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from archiver.document import DOCUMENT_BYTES_MAX
from archiver.errors import PolicyError
from archiver.retention.context import Context
from archiver.retention.evaluate import Evaluator
from archiver.retention.findings import ERRORS
from archiver.retention.policy import Match, Policy, SizeRange, folded_name
from archiver.retention.policy_file import PolicyMistakesError, read_policy
from tests.retention.policies import file, files, message, messages, policy

HEAD = "name: ours\nzone: Europe/Berlin\n"
GOOD = HEAD + "rules:\n  - name: all\n    retain: 3y\n    delete: 5y\n"


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "policy.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def mistakes(folder: Path, text: str | bytes) -> list[str]:
    """What a person is told, without the folder."""
    with pytest.raises(PolicyError) as caught:
        read_policy(write(folder, text))
    assert caught.value.exit_code == 2
    assert "nothing was touched" in caught.value.next_step
    assert isinstance(caught.value, PolicyMistakesError)
    assert {finding.code for finding in caught.value.findings} <= ERRORS.keys()
    assert {finding.severity for finding in caught.value.findings} == {"error"}
    return [line.replace(f"{folder}/", "") for line in caught.value.what.splitlines()]


def rule(text: str) -> str:
    """A policy whose only rule has these lines; the first of them is line 5."""
    return f"{HEAD}rules:\n  - name: legal\n" + "".join(f"    {line}\n" for line in text.splitlines())


def test_a_good_policy_is_read(tmp_path: Path) -> None:
    policy = read_policy(write(tmp_path, GOOD))
    assert (policy.name, policy.mode, policy.zone) == ("ours", "longest", "Europe/Berlin")
    assert str(policy.rule("all").retain) == "3y"
    assert policy.rule("all").level == "all"


BAD = [
    ("", "policy.yaml:1: the policy is empty [empty]"),
    ("# nothing\n", "policy.yaml:1: the policy is empty [empty]"),
    ("- a\n", "policy.yaml:1: the file must hold keys and values, such as `name: our policy` [no-keys]"),
    (HEAD, "policy.yaml:1: rules: is missing [missing-key]"),
    (
        HEAD + "rules: []\n",
        "policy.yaml:3: rules: must have 1 to 500 rules [wrong-value]",
    ),
    (
        rule("retian: 3y\ndelete: 5y"),
        "policy.yaml:5: rule 'legal': retian: unknown key; did you mean retain? [unknown-key]",
    ),
    (
        rule("delete: 5y\nmatch:\n  chanel: general"),
        "policy.yaml:7: rule 'legal': match.chanel: unknown key; did you mean channel? [unknown-key]",
    ),
    # A name that is a key elsewhere is a name.
    (
        GOOD + "labels: {messages: {chat: g:1}}\n",
        "policy.yaml:7: labels.messages.chat: unknown key; did you mean chats? [unknown-key]",
    ),
    (rule("delete: 5y\ncolour: red"), "policy.yaml:6: rule 'legal': colour: unknown key [unknown-key]"),
    (GOOD + "limitz: {}\n", "policy.yaml:7: limitz: unknown key; did you mean limits? [unknown-key]"),
    (
        rule("description: x"),
        "policy.yaml:4: rule 'legal': says nothing: give it retain, delete or tier [says-nothing]",
    ),
    (
        rule("delete: 5 years"),
        "policy.yaml:5: rule 'legal': delete: must be a period such as 7y, 6m, 2w, 90d or 1y6m, not '5 years' [impossible-period]",
    ),
    (
        rule("delete: 7"),
        "policy.yaml:5: rule 'legal': delete: must be a period such as 7y, 6m, 2w, 90d or 1y6m, not 7 [impossible-period]",
    ),
    (
        rule("delete: 0y"),
        "policy.yaml:5: rule 'legal': delete: must be longer than nothing, not '0y' [impossible-period]",
    ),
    (
        rule("delete: -1y"),
        "policy.yaml:5: rule 'legal': delete: must be a period such as 7y, 6m, 2w, 90d or 1y6m, not '-1y' [impossible-period]",
    ),
    (
        rule("delete: 101y"),
        "policy.yaml:5: rule 'legal': delete: must be no longer than 100 years, not '101y' [impossible-period]",
    ),
    (
        rule("delete: 99999999999999y"),
        "policy.yaml:5: rule 'legal': delete: must be a period such as 7y, 6m, 2w, 90d or 1y6m, not '99999999999999y' [impossible-period]",
    ),
    (
        rule("delete: 5y\nmatch:\n  sent: {after: 2020-01-01, before: 2020-01-01}"),
        "policy.yaml:7: rule 'legal': match.sent: contradicts itself: before is not later than after, so no message could match [contradictory]",
    ),
    (
        rule("delete: 5y\nmatch:\n  size: {min: 10MB, max: 1MB}"),
        "policy.yaml:7: rule 'legal': match.size: contradicts itself: max is less than min, so no file could match [contradictory]",
    ),
    (
        rule("delete: 5y\nmatch: {kind: direct, channel: general}"),
        "policy.yaml:6: rule 'legal': match: contradicts itself: kind: direct has no channel [contradictory]",
    ),
    (
        rule("delete: 5y\nmatch: {has_file: no, mime: image/*}"),
        "policy.yaml:6: rule 'legal': match: contradicts itself: has_file: no has neither mime nor size [contradictory]",
    ),
    (
        rule("delete: 5y\nmatch: {bot: yes}\nnot: {bot: yes}"),
        "policy.yaml:4: rule 'legal': contradicts itself: bot stands in match and in not alike [contradictory]",
    ),
    (
        rule("delete: 5y\non: files\nmatch: {has_file: no}"),
        "policy.yaml:4: rule 'legal': contradicts itself: what is on files always has a file [contradictory]",
    ),
    (
        rule("delete: 5y\nmatch:\n  regex: (a+)+\\1"),
        "policy.yaml:7: rule 'legal': match.regex: is no regular expression of RE2, which has no back references because their time has no bound, "
        "not '(a+)+\\\\1' [unsupported-regex]",
    ),
    (
        rule("delete: 5y\nmatch:\n  regex:\n    - fine\n    - (?=x)"),
        "policy.yaml:9: rule 'legal': match.regex.1: is no regular expression of RE2, which has no looking ahead or behind because their time has no bound, "
        "not '(?=x)' [unsupported-regex]",
    ),
    (
        rule("delete: 5y\nmatch:\n  regex: ((a{100}){100}){100}"),
        "policy.yaml:7: rule 'legal': match.regex: is no regular expression that RE2 takes: invalid repetition size: {100}, not '((a{100}){100}){100}' "
        "[unsupported-regex]",
    ),
    (
        rule("delete: 5y\nmatch:\n  regex: ("),
        "policy.yaml:7: rule 'legal': match.regex: is no regular expression that RE2 takes: missing ): (, not '(' [unsupported-regex]",
    ),
    (
        rule(f"delete: 5y\nmatch:\n  regex: {'a' * 501}"),
        f"policy.yaml:7: rule 'legal': match.regex: must have at most 500 characters, not '{'a' * 59}… [wrong-value]",
    ),
    (
        rule("delete: 5y\nmatch:\n  regex: (.{1,100}x){9}"),
        "policy.yaml:7: rule 'legal': match.regex: is too large: with its repetitions written out it has 909 parts, of at most 400, not '(.{1,100}x){9}' "
        "[unsupported-regex]",
    ),
    (
        rule("delete: 5y\nmatch:\n  search: 'merger OR'"),
        "policy.yaml:7: rule 'legal': match.search: cannot be read at character 8: ",
    ),
    (
        rule("delete: 5y\nmatch:\n  search: is:missing"),
        "policy.yaml:7: rule 'legal': match.search: cannot ask what Flock returned, which changes from night to night, not 'is:missing' [unsupported-search]",
    ),
    (
        rule("delete: 5y\nmatch:\n  search: label:deal"),
        "policy.yaml:7: rule 'legal': match.search: cannot ask for labels; a rule has the key `label` for them, not 'label:deal' [unsupported-search]",
    ),
    (
        rule("delete: 5y\nmatch: {label: deal}"),
        "policy.yaml:6: rule 'legal': match.label: labels has no 'deal' [unknown-label]",
    ),
    (
        rule("delete: 5y\nmatch: {channel: []}"),
        "policy.yaml:6: rule 'legal': match.channel: must name something; leave the key out to match everything [wrong-value]",
    ),
    (
        rule("delete: 5y\nmatch:\n  size: {min: 999999999999TB}"),
        "policy.yaml:7: rule 'legal': match.size.min: must be less than or equal to 1152921504606846976, not '999999999999TB' [wrong-value]",
    ),
    (
        rule("delete: 5y\nmatch:\n  size: {min: big}"),
        "policy.yaml:7: rule 'legal': match.size.min: must be a number of bytes, or a size such as 10MB, not 'big' [wrong-value]",
    ),
    (
        rule("delete: 5y\nmatch:\n  size: {max: yes}"),
        "policy.yaml:7: rule 'legal': match.size.max: must be a number of bytes, or a size such as 10MB, not True [wrong-value]",
    ),
    (
        rule("delete: 5y\nmatch: {size: {}}"),
        "policy.yaml:6: rule 'legal': match.size: needs a min or a max [wrong-value]",
    ),
    (
        rule("delete: 5y\nmatch: {sent: {}}"),
        "policy.yaml:6: rule 'legal': match.sent: needs an after or a before [wrong-value]",
    ),
    (
        rule("delete: 5y\nmatch: {sender: ' '}"),
        "policy.yaml:6: rule 'legal': match.sender: must not be empty, not ' ' [wrong-value]",
    ),
    (
        rule('delete: 5y\nmatch: {sender: "a\\0"}'),
        "policy.yaml:6: rule 'legal': match.sender: must not hold a null character, not 'a\\x00' [wrong-value]",
    ),
    (
        rule("delete: 5y\nmatch: [general]"),
        "policy.yaml:6: rule 'legal': match: must be a group of keys [wrong-value]",
    ),
    (GOOD + "labels: {deal: {}}\n", "policy.yaml:7: labels.deal: needs messages or chats [wrong-value]"),
    (GOOD + "labels: [deal]\n", "policy.yaml:7: labels: must be a group of keys [wrong-value]"),
    (
        GOOD + "departures: {u:ann: 2026-01-01T00:00:00}\n",
        "policy.yaml:7: departures.u:ann: must be a day such as 2026-11-22 [wrong-value]",
    ),
    (
        rule("delete: 5y\nlocked: true"),
        "policy.yaml:4: rule 'legal': locked needs a retain period to lock [wrong-value]",
    ),
    (
        rule("delete: 5y\nlocked: 1\nretain: 1y"),
        "policy.yaml:6: rule 'legal': locked: must be yes or no, not 1 [wrong-value]",
    ),
    (
        rule("delete: 5y\nfrom: birth"),
        "policy.yaml:6: rule 'legal': from: must be 'sent', 'last_activity' or 'departure', not 'birth' [wrong-value]",
    ),
    (
        "name: a\nzone: Berlin\nrules:\n  - {name: all, delete: 1y}\n",
        "policy.yaml:2: zone: must be a time zone of the IANA database such as Europe/Berlin or UTC, not 'Berlin' [unknown-zone]",
    ),
    (
        GOOD + "  - name: all\n    delete: 1y\n",
        "policy.yaml:7: rule 'all': another rule has this name, in line 4; case and kind of letter do not tell names apart [duplicate-rule]",
    ),
    (
        GOOD + "  - delete: 1y\n    name: all\n",
        "policy.yaml:8: rule 'all': another rule has this name, in line 4; case and kind of letter do not tell names apart [duplicate-rule]",
    ),
    (
        rule("delete: 5y\nnot:\n  kind: channel\n  label: deal"),
        "policy.yaml:8: rule 'legal': not.label: labels has no 'deal' [unknown-label]",
    ),
    (
        GOOD + "  - name: \uff21LL\n    delete: 1y\n",
        "policy.yaml:7: rule '\uff21LL': another rule has this name, in line 4",
    ),
    (GOOD + "zone: UTC\n", "policy.yaml:7: zone: this key stands twice; the first is in line 2 [duplicate-key]"),
    (
        "name: &a [*a]\n",
        "policy.yaml:1: YAML aliases (*a) are not read here; write the value out [alias]",
    ),
    ("name: 'a\n", "policy.yaml:2: this is not YAML: found unexpected end of stream [not-yaml]"),
    (
        "name: a\x00\n",
        "policy.yaml:1: this is not YAML: unacceptable character #x0000: special characters are not allowed [not-yaml]",
    ),
    ("name: !!python/name:os.system\n", "policy.yaml:1: YAML tags (!!python/name:os.system) are not read here"),
    ("name: a\n---\nname: b\n", "policy.yaml:2: this is not YAML: but found another document [not-yaml]"),
    ("a: " + "[" * 5_000, "policy.yaml:1: nested deeper than 16 levels [too-deep]"),
    ("x" * (DOCUMENT_BYTES_MAX + 1), "policy.yaml:1: policy.yaml is larger than"),
    (b"name: a\nzone: \xff\n", "policy.yaml:2: this is not UTF-8 text [not-text]"),
    (GOOD + "departures: {u:ann: 2026-02-30}\n", "policy.yaml:7: this value cannot be read: day is out of range"),
    (
        GOOD + "departures: {u:ann: 3}\n",
        "policy.yaml:7: departures.u:ann: must be a day such as 2026-11-22, not 3 [wrong-value]",
    ),
    (
        GOOD + "limits: {rows_max: yes}\n",
        "policy.yaml:7: limits.rows_max: must be a number, not yes or no, not True [wrong-value]",
    ),
    (
        GOOD + "limits: {percent_max: 101}\n",
        "policy.yaml:7: limits.percent_max: must be less than or equal to 100, not 101 [wrong-value]",
    ),
]


@pytest.mark.parametrize(("text", "told"), BAD, ids=[told.rpartition("[")[2].strip("]")[:24] for _, told in BAD])
def test_bad_input_is_named_with_file_line_rule_and_code(tmp_path: Path, text: str | bytes, told: str) -> None:
    first, *others = mistakes(tmp_path, text)
    assert first.replace(f"{tmp_path}/", "").startswith(told), first
    assert not others


@pytest.mark.parametrize("name", ["''", "' legal'", "'legal '", '"le\\tgal"', '"le\\u202egal"', "l" * 81])
def test_a_name_is_printable_and_as_short_as_a_line(tmp_path: Path, name: str) -> None:
    (said,) = mistakes(tmp_path, f"{HEAD}rules:\n  - {{name: {name}, delete: 1y}}\n")
    assert "name: must be a name of 1 to 80 printable characters, not '" in said
    assert said.endswith(" [wrong-value]")


def test_what_is_just_small_enough_is_read() -> None:
    """Names of 1 and 80 characters, 500 rules, 10,000 entries of a list."""
    many = [f"u:{number}" for number in range(10_000)]
    rules = [{"name": f"{number}", "delete": "1y"} for number in range(498)]
    rules += [{"name": "a", "delete": "1y"}, {"name": "l" * 80, "delete": "1y"}]
    read = policy(*rules, labels={"a": {"messages": many}}, departures=dict.fromkeys(many, "2026-01-01"))
    assert (len(read.rules), len(read.labels["a"].messages or ()), len(read.departures)) == (500, 10_000, 10_000)


@pytest.mark.parametrize(
    ("further", "said"),
    [
        ({"rules": [{"name": f"{number}", "delete": "1y"} for number in range(501)]}, "must have 1 to 500 rules"),
        ({"labels": {"a": {"chats": [f"g:{number}" for number in range(10_001)]}}}, "must have at most 10000 entries"),
        ({"labels": {f"{number}": {"chats": "g:1"} for number in range(10_001)}}, "labels must have at most 10000 entries"),
        ({"departures": {f"u:{number}": "2026-01-01" for number in range(10_001)}}, "departures must have at most 10000 entries"),
    ],
)  # fmt: skip
def test_what_is_just_too_much_is_refused(further: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        policy({"delete": "1y"}, **further)
    assert [error["msg"] for error in caught.value.errors()] == [f"Value error, {said}"]


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (7, 7), ("7", 7), ("7B", 7), (" 7 kB ", 7_000), ("10MB", 10_000_000), ("2GB", 2 * 10**9), ("1TB", 10**12),
        ("1KiB", 1024), ("1MiB", 1024**2), ("1GiB", 1024**3), ("1 TiB", 1024**4), (2**60, 2**60),
    ],
)  # fmt: skip
def test_a_size_is_a_number_of_bytes_or_has_a_unit(written: object, size: int) -> None:
    assert Match.model_validate({"size": {"min": written}}).size == SizeRange(min=size)


def test_names_are_told_apart_whatever_their_case_letters_and_spaces() -> None:
    """A full-width letter is the letter, and the long s, whose capital is S, is an s."""
    assert folded_name(" \uff21ll  me\u017f\u017fages ") == "all messages"


def test_a_bomb_of_aliases_is_refused_at_once(tmp_path: Path) -> None:
    layers = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    layers += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20)]
    assert mistakes(tmp_path, "\n".join(layers)) == [
        "policy.yaml:2: YAML aliases (*a0) are not read here; write the value out [alias]"
    ]


def test_every_mistake_is_told_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    """A rule without a name is told by its number; what stands in a single text's place is told without a place in a list."""
    text = """\
labels: {a: {chats: g:1}}
rules:
  - delete: soon
  - {name: 7, delete: 1y, match: {label: [b, 3]}}
  - just text
  - name: ok
    delete: 1y
    not: {label: aa}
  - {name: OK, delete: 1y, match: }
  -
  - {name: good, delete: 1y, match: {label: a}}
"""
    period = "must be a period such as 7y, 6m, 2w, 90d or 1y6m"
    nothing = "has no value; write one, or leave the key out"
    assert mistakes(tmp_path, HEAD + text) == [
        f"policy.yaml:5: rule 'number 1': delete: {period}, not 'soon' [impossible-period]",
        "policy.yaml:5: rule 'number 1': name: is missing [missing-key]",
        "policy.yaml:6: rule 'number 2': match.label: labels has no 'b' [unknown-label]",
        "policy.yaml:6: rule 'number 2': match.label.1: must be text; put it in quotes, not 3 [wrong-value]",
        "policy.yaml:6: rule 'number 2': name: must be text; put it in quotes, not 7 [wrong-value]",
        "policy.yaml:7: rule 'number 3': must be a group of keys, not 'just text' [wrong-value]",
        "policy.yaml:10: rule 'ok': not.label: labels has no 'aa'; did you mean a? [unknown-label]",
        "policy.yaml:11: rule 'OK': another rule has this name, in line 8; case and kind of letter do not tell names apart [duplicate-rule]",
        f"policy.yaml:11: rule 'OK': match: {nothing} [wrong-value]",
        "policy.yaml:12: rule 'number 6': is empty [wrong-value]",
    ]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("7", "labels: must be a group of keys"),
        ("yes", "labels: must be a group of keys"),
        ("text", "labels: must be a group of keys"),
        ("[deal]", "labels: must be a group of keys"),
        ("", "labels: has no value; write one, or leave the key out"),
        ("{deal: 7}", "labels.deal: must be a group of keys, not 7"),
    ],
)
def test_labels_that_are_no_group_are_one_mistake_whatever_rules_speak_of(
    tmp_path: Path, labels: str, said: str
) -> None:
    text = f"{HEAD}rules:\n  - {{name: a, delete: 1y, match: {{label: deal}}}}\nlabels: {labels}\n"
    assert mistakes(tmp_path, text) == [f"policy.yaml:5: {said} [wrong-value]"]


@pytest.mark.parametrize("rules", ["text", "7", "{a: 1}"])
def test_rules_that_are_no_list_are_one_mistake(tmp_path: Path, rules: str) -> None:
    (said,) = mistakes(tmp_path, f"{HEAD}rules: {rules}\n")
    assert said.startswith("policy.yaml:3: rules: must be a list")


def test_a_value_is_shown_up_to_sixty_characters(tmp_path: Path) -> None:
    for count, shown in ((58, f"'{'x' * 58}'"), (59, f"'{'x' * 59}…")):
        (said,) = mistakes(tmp_path, rule(f"delete: {'x' * count}"))
        assert said.partition(", not ")[2] == f"{shown} [impossible-period]"


def test_a_file_that_is_not_there_and_a_folder_are_said(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "none.yaml", f"{tmp_path}/none.yaml:1: there is no policy at {tmp_path}/none.yaml [missing-file]"),
        (tmp_path, f"{tmp_path}:1: {tmp_path} cannot be read: Is a directory [unreadable]"),
    ):
        with pytest.raises(PolicyError) as caught:
            read_policy(path)
        assert (caught.value.what, caught.value.line) == (said, 1)


class TestDigest:
    def test_what_says_the_same_has_the_same_digest(self, tmp_path: Path) -> None:
        one = (
            HEAD
            + "rules:\n  - {name: a, retain: 12m}\n  - {name: b, delete: 14d, match: {channel: [x, y]}, not: {sender: u:a}}\n"
        )
        other = (
            "# The same.\nzone: Europe/Berlin\nname: ours\nmode: longest\nrules:\n"
            "  - {not: {sender: [u:a]}, name: b, delete: 2w, on: both, match: {channel: [y, x, y]}}\n  - {name: a, retain: 1y, from: sent}\n"
        )
        assert read_policy(write(tmp_path, one)).digest == read_policy(write(tmp_path, other)).digest

    @pytest.mark.parametrize(
        "change",
        [
            "zone: UTC",
            "mode: specific",
            "limits: {rows_max: 1}",
            "departures: {u:ann: 2026-01-01}",
            "labels: {a: {chats: g:1}}",
        ],
    )
    def test_what_says_something_else_has_another(self, tmp_path: Path, change: str) -> None:
        key = change.partition(":")[0]
        changed = "".join(line + "\n" for line in GOOD.splitlines() if not line.startswith(f"{key}:")) + change + "\n"
        assert read_policy(write(tmp_path, changed)).digest != read_policy(write(tmp_path, GOOD)).digest

    def test_it_is_the_sha_256_of_the_canonical_json_and_reads_back(self, tmp_path: Path) -> None:
        policy = read_policy(write(tmp_path, GOOD))
        assert policy.canonical() == (
            b'{"name":"ours","rules":[{"delete":"5y","name":"all","retain":"3y"}],"zone":"Europe/Berlin"}'
        )
        again = Policy.model_validate_json(policy.canonical())
        assert again.digest == policy.digest

    def test_whatever_a_policy_can_say_stands_in_it_under_the_keys_of_the_file(self, tmp_path: Path) -> None:
        """Entries and keys in order, rules by name, days as text, letters as they are; what is said by default is left out."""
        text = """
zone: Europe/Berlin
name: größe
mode: specific
description: all of it
limits: {rows_max: 5, percent_max: 2.5}
labels: {deal: {messages: [m-2, m-1], chats: g:1}}
departures: {u:ann: 2026-01-02}
rules:
  - name: b
    description: a rule
    on: messages
    match: {channel: [z, a], kind: channel, bot: no, sent: {after: 2020-01-01}, size: {min: 1 kB}, label: deal}
    not: {sender: "*@acme.example", source: import}
    from: departure
    retain: 24m
    locked: yes
    tier: {after: 14d, to: GLACIER_IR}
  - {name: a, delete: 1y, on: both, from: sent, match: {}, locked: no}
"""
        policy = read_policy(write(tmp_path, text))
        assert policy.canonical().decode() == (
            '{"departures":{"u:ann":"2026-01-02"},"description":"all of it","labels":{"deal":{"chats":["g:1"],"messages":["m-1","m-2"]}},'
            '"limits":{"percent_max":2.5,"rows_max":5},"mode":"specific","name":"größe","rules":[{"delete":"1y","name":"a"},'
            '{"description":"a rule","from":"departure","locked":true,'
            '"match":{"bot":false,"channel":["a","z"],"kind":"channel","label":["deal"],"sent":{"after":"2020-01-01"},"size":{"min":1000}},'
            '"name":"b","not":{"sender":["*@acme.example"],"source":["import"]},"on":"messages","retain":"2y",'
            '"tier":{"after":"14d","to":"GLACIER_IR"}}],"zone":"Europe/Berlin"}'
        )
        assert Policy.model_validate_json(policy.canonical()).digest == policy.digest


odd_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.dates()
    | st.sampled_from(["7y", "image/*", "(a|b)*", "u:ann", "g:general", "sent", "10MB", "merger OR list", "*"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["min", "max", "after", "before", "to", "x"]), inner, max_size=2)
    ),
    max_leaves=4,
)
odd_match = st.dictionaries(st.sampled_from([*Match.model_fields, "x"]), odd_values, max_size=2)
odd_rules = st.fixed_dictionaries(
    {"name": st.sampled_from(["a", "b"]) | odd_values},
    optional={
        "match": odd_match,
        "not": odd_match | odd_values,
        "retain": st.just("3y") | odd_values,
        "delete": st.just("1y") | odd_values,
        "from": st.sampled_from(["sent", "departure"]) | odd_values,
        "on": odd_values,
        "tier": odd_values,
        "locked": odd_values,
    },
)
odd_policies = st.fixed_dictionaries(
    {
        "name": st.just("a") | odd_values,
        "zone": st.just("UTC") | odd_values,
        "rules": st.lists(odd_rules, max_size=2) | odd_values,
    },
    optional={"mode": odd_values, "limits": odd_values, "labels": odd_values, "departures": odd_values},
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(odd_policies)
def test_whatever_stands_in_it_a_policy_is_read_and_can_be_evaluated_or_its_mistakes_are_named(
    tmp_path: Path, said: dict[str, Any]
) -> None:
    path = write(tmp_path, yaml.safe_dump(said, allow_unicode=True))
    policy, told = None, ""
    try:
        policy = read_policy(path)
    except PolicyError as error:
        told = error.what
    if policy is None:
        assert str(path) in told
        return
    evaluator = Evaluator(policy, Context())
    rows, attached = messages([message()]), files([file()])
    assert len(evaluator.of_messages(rows, attached).rule) == len(evaluator.of_files(attached, rows).rule) == 1
    assert Policy.model_validate_json(policy.canonical()).digest == policy.digest
