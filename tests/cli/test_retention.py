"""`archiver retention validate` and `schema` as a person and as a program see them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from archiver.cli import main
from archiver.retention.policy import schema_text
from archiver.retention.policy_test_keys import schema_of_tests_text
from archiver.store.local import LocalStore
from tests import small_archive

GOOD = "name: ours\nzone: UTC\nrules:\n  - {name: general, match: {channel: general}, retain: 3y, locked: yes}\n"
ODD = "name: odd\nzone: UTC\nrules:\n  - {name: nowhere, match: {channel: 'genral'}, delete: 1y}\n"
BAD = 'name: bad\nzone: UTC\nrules:\n  - {name: "a\\u202eb", retian: 1y}\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    small_archive.build(LocalStore(tmp_path / "archive"), tmp_path)
    (tmp_path / "archiver.yaml").write_text("workspace: acme\n")
    (tmp_path / "policies").mkdir()
    for name, text in (("good", GOOD), ("odd", ODD)):
        (tmp_path / "policies" / f"{name}.yaml").write_text(text)
    (tmp_path / "bad.yaml").write_text(BAD)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def document(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert main(["retention", "validate", *words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_it_looks_at_the_policy_that_the_configuration_names(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (one,) = document(capsys, code=2)["policies"]
    assert (one["path"], [found["code"] for found in one["findings"]]) == (
        str(folder / "policies" / "default.yaml"),
        ["missing-file"],
    )
    (folder / "archiver.yaml").write_text("workspace: acme\nretention: {policy: policies/good.yaml}\n")
    assert document(capsys)["policies"][0]["name"] == "ours"


def test_it_looks_at_the_policies_that_are_named_and_at_the_archive(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = document(capsys, "policies/good.yaml", "policies/odd.yaml")
    assert [(one["name"], [found["code"] for found in one["findings"]]) for one in told["policies"]] == [
        ("ours", []),
        ("odd", ["matches-nothing"]),
    ]
    assert (told["errors"], told["warnings"], told["exit_code"]) == (0, 1, 0)
    assert str(folder / "archive") in told["archive"]


def test_warnings_are_an_error_if_one_wants_that(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert document(capsys, "policies/odd.yaml", "--strict", code=2)["exit_code"] == 2
    assert document(capsys, "policies/odd.yaml", "--strict", "--no-archive")["warnings"] == 0


def test_a_mistake_is_exit_code_2_and_the_other_policies_are_told_too(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = document(capsys, "bad.yaml", "policies/good.yaml", code=2)
    found = told["policies"][0]["findings"]
    assert [(one["code"], one["path"], one["line"], one["rule"]) for one in found] == [
        ("unknown-key", "bad.yaml", 4, "a\u202eb"),
        ("wrong-value", "bad.yaml", 4, "a\u202eb"),
    ]
    assert (told["policies"][0]["digest"], told["policies"][1]["name"]) == (None, "ours")


def test_a_person_is_told_with_file_and_line_and_no_name_moves_the_cursor(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["retention", "validate", "bad.yaml", "policies/odd.yaml"]) == 2
    shown = capsys.readouterr().out
    assert "error: bad.yaml:4: rule 'a\\u202eb': retian: unknown key; did you mean retain? [unknown-key]" in shown
    assert "warning: policies/odd.yaml:4: rule 'nowhere': no message and no file of the archive is matched" in shown
    assert "2 errors, 1 warning;" in shown
    assert "Next: correct the policy" in shown


def test_an_earlier_policy_shows_what_becomes_shorter(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "new.yaml").write_text(GOOD.replace("3y", "2y"))
    told = document(capsys, "new.yaml", "--earlier", "policies/good.yaml")
    assert [found["code"] for found in told["policies"][0]["findings"]] == ["shortens-locked"]
    assert main(["retention", "validate", "new.yaml", "--earlier", "bad.yaml"]) == 2
    assert "bad.yaml:4" in capsys.readouterr().err


def test_without_a_configuration_or_an_archive_the_files_alone_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.yaml").write_text(ODD)
    assert document(capsys, "policy.yaml")["archive"] is None
    (tmp_path / "archiver.yaml").write_text("workspace: acme\n")
    assert document(capsys, "policy.yaml")["archive"] is None
    assert not (tmp_path / "archive").exists()


def test_the_schema_is_what_editors_get(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retention", "schema"]) == 0
    assert capsys.readouterr().out == schema_text()
    assert main(["retention", "schema", "--tests"]) == 0
    assert capsys.readouterr().out == schema_of_tests_text()
