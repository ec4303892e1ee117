"""`archiver retention test`: exit code 2 where a policy does not do what its tests say, and the outcome for people and programs."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from archiver.cli import main
from archiver.errors import EXIT_DONE, EXIT_USAGE

POLICY = """\
name: team
zone: Europe/Berlin
rules:
  - name: everything
    delete: 3y
"""
TESTS = """\
policy: ../team.yaml
as_of: 2026-01-01
items:
  - name: an old message
    channel: general
    sender: ann@acme.example
    sent: 2020-03-15
    expect: deleted
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tests = tmp_path / "policies" / "tests"
    tests.mkdir(parents=True)
    (tmp_path / "policies" / "team.yaml").write_text(POLICY)
    (tests / "team.yaml").write_text(TESTS)
    monkeypatch.chdir(tmp_path)
    return tests


def test_a_policy_that_does_what_its_tests_say_passes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retention", "test"]) == EXIT_DONE
    assert capsys.readouterr().out == (
        "passed  policies/tests/team.yaml: 1 items\n\nAll 1 items are as expected, and every rule is reached.\n"
    )


def test_an_unmet_expectation_is_a_wrong_policy(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "team.yaml").write_text(TESTS.replace("deleted", "kept"))
    assert main(["retention", "test", "policies/tests/team.yaml"]) == EXIT_USAGE
    assert capsys.readouterr().out.splitlines() == [
        "failed  policies/tests/team.yaml: 1 of 1 items fail",
        "        policies/tests/team.yaml:4: an old message",
        "          verdict is deleted, not kept",
        "          (one date of deletion counts, and nothing retains it longer; rule: everything)",
        "",
        "1 failed, of 1 items and all rules of their policies.",
    ]


def test_a_rule_that_nothing_reaches_is_told_with_its_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder.parent / "team.yaml").write_text(POLICY + "  - {name: lunch, match: {channel: lunch}, delete: 30d}\n")
    assert main(["retention", "test"]) == EXIT_USAGE
    assert (
        "failed  policies/team.yaml:6: no item of these tests is matched by the rule 'lunch'" in capsys.readouterr().out
    )


def test_a_program_gets_one_document(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retention", "test", "--json"]) == EXIT_DONE
    document = json.loads(capsys.readouterr().out)
    assert (document["cases"], document["failed"], document["exit_code"]) == (1, 0, 0)
    (case,) = document["files"][0]["cases"]
    assert case["said"] == {
        "verdict": "deleted",
        "deleted_after": "2023-03-15",
        "retained_until": "none",
        "rule": "everything",
        "principle": "only-deletion",
        "held": [],
    }


def test_junit_is_written_also_where_something_fails(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "team.yaml").write_text(TESTS.replace("deleted", "kept"))
    assert main(["retention", "test", "--junit", str(tmp_path / "out.xml")]) == EXIT_USAGE
    assert ET.parse(tmp_path / "out.xml").getroot().get("failures") == "1"
    assert main(["retention", "test", "--junit", str(tmp_path / "no" / "out.xml")]) == EXIT_USAGE
    assert "cannot be written" in capsys.readouterr().err


def test_no_tests_and_tests_that_cannot_be_read_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retention", "test", "policies"]) == EXIT_USAGE
    assert "policies/team.yaml:3: rules: unknown key" in capsys.readouterr().err
    (folder / "team.yaml").unlink()
    assert main(["retention", "test"]) == EXIT_USAGE
    assert "there are no policy tests in policies/tests" in capsys.readouterr().err
