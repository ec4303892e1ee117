"""Holds from a YAML file: what it may say, and that every mistake is named with its file and line before anything is entered."""

from __future__ import annotations

from pathlib import Path

import pytest

from archiver.archive.ledger import HoldScope
from archiver.clock import from_text
from archiver.errors import DocumentError, UsageError
from archiver.retention.hold_file import read_holds
from archiver.retention.holds import Placement

GOOD = """\
holds:
  smith-v-acme:
    reason: Smith v. Acme, matter 2026-17
    custodians: [ann@acme.com, "u:bob"]
    channels: [deal-*]
    conversations: ["u:ann,u:cid"]
    from: 2026-01-01
    until: "2026-06-30"
    zone: Europe/Berlin
  audit:
    reason: inquiry
    everything: true
  search:
    from: 2026-01-02
    reason: inquiry
    search: merger on:2026-01-02
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "holds.yaml"
    path.write_text(text)
    return path


def test_a_file_says_several_holds(tmp_path: Path) -> None:
    """In its order; days are those of the hold's zone, from the first one's beginning to the last one's end."""
    path = write(tmp_path, GOOD)
    smith = HoldScope(
        custodians=("ann@acme.com", "u:bob"),
        chats=("deal-*", "u:ann,u:cid"),
        from_at_ms=from_text("2025-12-31T23:00:00.000Z"),
        until_ms=from_text("2026-06-30T22:00:00.000Z"),
    )
    search = HoldScope(from_at_ms=from_text("2026-01-02T00:00:00.000Z"), expression="merger on:2026-01-02", zone="UTC")
    assert read_holds(path) == [
        Placement("smith-v-acme", smith, "Smith v. Acme, matter 2026-17", place=f"{path}:2"),
        Placement("audit", HoldScope(), "inquiry", everything=True, place=f"{path}:10"),
        Placement("search", search, "inquiry", place=f"{path}:13"),
    ]


def test_a_search_has_the_days_of_its_hold_s_zone(tmp_path: Path) -> None:
    (hold,) = read_holds(write(tmp_path, "holds: {a: {reason: x, search: on:2026-01-02, zone: Asia/Tokyo}}"))
    assert hold.scope == HoldScope(expression="on:2026-01-02", zone="Asia/Tokyo")


NO_HOLDS = "holds: must be a group of holds by their names, at least one"
NO_DAY = "must be a day, such as 2026-11-22"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, NO_HOLDS),
        ("holds:\n", 1, NO_HOLDS),
        ("holds: []\n", 1, NO_HOLDS),
        ("holds: {}\n", 1, NO_HOLDS),
        ("hold:\n  a: {}\n", 1, "hold: unknown key; did you mean holds?"),
        ("holds:\n  a: {everything: true, reason: x}\nmore: 1\n", 3, "more: unknown key"),
        ("- a\n", 1, "the file must hold keys and values, such as `holds:`"),
        ("holds:\n  a:\n", 2, "holds.a: must be a group of keys, such as custodians and reason"),
        (
            "holds:\n  a:\n    custodian: [u:x]\n",
            3,
            "holds.a.custodian: unknown key; did you mean custodians?",
        ),
        ("holds:\n  a:\n    reason: x\n    custodians: ann\n", 4, "holds.a.custodians: must be a list"),
        ("holds:\n  a:\n    reason: x\n    channels: 7\n", 4, "holds.a.channels: must be a list"),
        ("holds:\n  a:\n    reason: x\n    conversations:\n", 4, "holds.a.conversations: must be a list"),
        (
            "holds:\n  a:\n    reason: x\n    custodians:\n      - u:a\n      - 7\n",
            6,
            "holds.a.custodians.1: must be text; put it in quotes",
        ),
        ("holds:\n  a:\n    reason: 7\n    custodians: [x]\n", 3, "holds.a.reason: must be text; put it in quotes"),
        ("holds:\n  a:\n    reason: x\n    zone: 1\n", 4, "holds.a.zone: must be text; put it in quotes"),
        ("holds:\n  a:\n    reason: x\n    search: 2026\n", 4, "holds.a.search: must be text; put it in quotes"),
        ("holds:\n  a:\n    reason: x\n    everything: sure\n", 4, "holds.a.everything: must be true or false"),
        ("holds:\n  a:\n    reason: x\n    from: soon\n", 4, f"holds.a.from: {NO_DAY}"),
        ("holds:\n  a:\n    reason: x\n    from: 2026-01-01T10:00:00\n", 4, f"holds.a.from: {NO_DAY}"),
        ("holds:\n  a:\n    reason: x\n    until:\n", 4, f"holds.a.until: {NO_DAY}"),
        (
            "holds:\n  a:\n    reason: x\n    from: 2026-01-01\n    zone: Mars\n",
            5,
            "holds.a.zone: there is no time zone 'Mars'\n  Next: name one of the IANA database, such as Europe/Berlin or UTC",
        ),
        ("holds:\n  a:\n    reason: x\n  a:\n    reason: y\n", 4, "holds.a: this key stands twice; the first is in line 2"),
        ("holds:\n  a: &a\n    reason: x\n  b: *a\n", 4, "YAML aliases (*a) are not read here; write the value out"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_file_line_and_key(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(DocumentError) as raised:
        read_holds(path)
    assert str(raised.value) == f"{path}:{line}: {said}"
    assert raised.value.line == line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("holds:\n  a:\n    reason: x\n", "the hold a says nothing of what it covers"),
        ("holds:\n  a:\n    custodians: [u:x]\n", "the hold a needs a reason of 1 to 2000 printable characters"),
        ("holds:\n  a b:\n    reason: x\n    custodians: [u:x]\n", "'a b' is no name for a hold"),
        ("holds:\n  a:\n    reason: x\n    from: 2026-02-02\n    until: 2026-02-01\n", "the hold a ends before it begins"),
    ],
)  # fmt: skip
def test_what_can_be_no_hold_is_named_with_the_line_of_its_name(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as raised:
        read_holds(path)
    assert raised.value.what == f"{path}:2: {said}"


def test_the_kind_of_a_mistake_is_a_word_that_stays(tmp_path: Path) -> None:
    for text, code in (("holds: []", "hold"), ("- a", "no-keys"), ("holds: {", "not-yaml")):
        with pytest.raises(DocumentError) as raised:
            read_holds(write(tmp_path, text))
        assert (raised.value.code, type(raised.value)) == (code, DocumentError)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DocumentError) as raised:
        read_holds(tmp_path / "nothing.yaml")
    assert (str(raised.value), raised.value.code) == (
        f"there is no file of holds at {tmp_path / 'nothing.yaml'}",
        "missing",
    )
