"""Holds from a YAML file: what it may say, and that every mistake is named with its file and line before anything is entered."""

from __future__ import annotations

from pathlib import Path

import pytest

from archiver.archive.ledger import HoldScope
from archiver.clock import to_text
from archiver.errors import UsageError
from archiver.retention.hold_file import read_holds

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
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "holds.yaml"
    path.write_text(text)
    return path


def test_a_file_says_several_holds(tmp_path: Path) -> None:
    smith, audit = read_holds(write(tmp_path, GOOD))
    assert (smith.name, smith.reason, smith.everything) == ("smith-v-acme", "Smith v. Acme, matter 2026-17", False)
    assert smith.scope.custodians == ("ann@acme.com", "u:bob")
    assert smith.scope.chats == ("deal-*", "u:ann,u:cid")
    assert smith.scope.from_at_ms is not None
    assert smith.scope.until_ms is not None
    assert to_text(smith.scope.from_at_ms) == "2025-12-31T23:00:00.000Z"
    assert to_text(smith.scope.until_ms) == "2026-06-30T22:00:00.000Z"
    assert (audit.name, audit.scope, audit.everything) == ("audit", HoldScope(), True)
    assert audit.place == f"{tmp_path / 'holds.yaml'}:10"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "must be a group of holds"),
        ("holds:\n", 1, "must be a group of holds"),
        ("holds: []\n", 1, "must be a group of holds"),
        ("hold:\n  a: {}\n", 1, "unknown key; did you mean holds?"),
        ("- a\n", 1, "must hold keys and values"),
        ("holds:\n  a:\n", 2, "must be a group of keys"),
        ("holds:\n  a:\n    custodian: [u:x]\n", 3, "did you mean custodians?"),
        ("holds:\n  a:\n    reason: x\n    custodians: ann\n", 4, "must be a list"),
        ("holds:\n  a:\n    reason: x\n    custodians:\n      - u:a\n      - 7\n", 6, "must be text"),
        ("holds:\n  a:\n    reason: 7\n    custodians: [x]\n", 3, "must be text"),
        ("holds:\n  a:\n    reason: x\n    everything: sure\n", 4, "must be true or false"),
        ("holds:\n  a:\n    reason: x\n    from: soon\n", 4, "must be a day"),
        ("holds:\n  a:\n    reason: x\n    from: 2026-01-01T10:00:00\n", 4, "must be a day"),
        ("holds:\n  a:\n    reason: x\n    until:\n", 4, "must be a day"),
        ("holds:\n  a:\n    reason: x\n    from: 2026-01-01\n    zone: Mars\n", 5, "there is no time zone"),
        ("holds:\n  a:\n    reason: x\n", 2, "says nothing of what it covers"),
        ("holds:\n  a:\n    custodians: [u:x]\n", 2, "needs a reason"),
        ("holds:\n  a b:\n    reason: x\n    custodians: [u:x]\n", 2, "is no name for a hold"),
        ("holds:\n  a:\n    reason: x\n    from: 2026-02-02\n    until: 2026-02-01\n", 2, "ends before it begins"),
        ("holds:\n  a:\n    reason: x\n  a:\n    reason: y\n", 4, "stands twice"),
        ("holds:\n  a: &a\n    reason: x\n  b: *a\n", 4, "aliases"),
    ],
)
def test_a_mistake_is_named_with_its_file_and_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as raised:
        read_holds(path)
    assert raised.value.what.startswith(f"{path}:{line}: ")
    assert said in raised.value.what


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file of holds at"):
        read_holds(tmp_path / "nothing.yaml")
