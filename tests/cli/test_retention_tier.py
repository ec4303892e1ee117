"""`archiver retention tier` as people use it: what would move, and that a folder has no storage classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from archiver.cli import main
from archiver.store.local import LocalStore
from tests.cli.test_retention_plan import document, folder, write_policy
from tests.retention.disposing import objects_of

__all__ = ["folder"]

TIERED: list[dict[str, Any]] = [
    {"name": "old", "tier": {"after": "1y", "to": "GLACIER_IR"}},
    {"name": "pictures", "on": "files", "match": {"mime": "image/*"}, "tier": {"after": "1d", "to": "STANDARD_IA"}},
]


def test_it_says_what_is_due_and_which_rules_move_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_policy(folder, rules=TIERED)
    before = objects_of(LocalStore(folder / "archive"))

    told = document(capsys, "tier")

    assert (told["applied"], told["moved"], told["idle_rules"]) == (False, 0, ["pictures"])
    assert set(told["due"]) == {"GLACIER_IR"}
    assert told["due"]["GLACIER_IR"] > 0
    assert document(capsys, "tier", "--as-of", "2015-03-02")["due"] == {}
    assert main(["retention", "tier"]) == 0
    assert "moves nothing: only a rule without conditions" in " ".join(capsys.readouterr().out.split())
    assert objects_of(LocalStore(folder / "archive")) == before


def test_a_folder_has_no_classes_and_that_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_policy(folder, rules=TIERED)
    before = objects_of(LocalStore(folder / "archive"))

    assert main(["retention", "tier", "--apply"]) == 7

    assert "has no storage classes" in " ".join(capsys.readouterr().err.split())
    assert objects_of(LocalStore(folder / "archive")) == before


def test_nothing_due_is_nothing_done_anywhere(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert document(capsys, "tier", "--apply")["due"] == {}
