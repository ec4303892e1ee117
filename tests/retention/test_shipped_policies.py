"""The policies that we ship are policies, do what their tests say, are what editors expect, and promise nobody that he is within the law."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from archiver import document
from archiver.retention.policy_file import read_policy
from archiver.retention.policy_test_file import read_tests
from archiver.retention.policy_tests import files_named, run_tests

FOLDER = Path(__file__).resolve().parents[2] / "policies"
POLICIES = sorted([FOLDER / "default.yaml", *(FOLDER / "examples").glob("*.yaml")])
TESTS = sorted((FOLDER / "tests").glob("*.yaml"))


def test_every_policy_has_its_tests_and_the_other_way_round() -> None:
    assert [path.name for path in POLICIES] == sorted(path.name for path in TESTS)
    assert sorted(read_tests(path).policy_path for path in TESTS) == POLICIES


def test_all_policies_do_what_their_tests_say_and_all_their_rules_are_reached() -> None:
    judged = run_tests(files_named([FOLDER / "tests"]))
    assert [case for file in judged.files for case in file.cases if case.failures] == []
    assert judged.unreached == ()
    assert judged.cases > 40


@pytest.mark.parametrize(
    ("path", "schema"),
    [*((path, "schema.json") for path in POLICIES), *((path, "tests.schema.json") for path in TESTS)],
    ids=lambda given: given.stem if isinstance(given, Path) else given,
)
def test_a_policy_is_one_for_editors_too_and_so_are_its_tests(path: Path, schema: str) -> None:
    # Editors know no days, only how they are written.
    values = json.loads(json.dumps(document.parse(path, path.read_bytes()).values, default=str))
    jsonschema.Draft202012Validator(json.loads((FOLDER / schema).read_text("utf-8"))).validate(values)
    first = path.read_text("utf-8").splitlines()[0]
    named = re.fullmatch(r"# yaml-language-server: \$schema=(.+)", first)
    assert named
    assert (path.parent / named[1]).resolve() == FOLDER / schema


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_a_policy_explains_itself_and_has_a_breaker(path: Path) -> None:
    policy = read_policy(path)
    assert policy.description
    assert policy.limits.percent_max is not None
    comments = [line for line in path.read_text("utf-8").splitlines() if line.startswith("#")]
    assert len(comments) > 3


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_a_tier_stands_where_it_moves_something(path: Path) -> None:
    """A rule with conditions moves nothing, because an object holds what many people said."""
    assert all(rule.level == "all" for rule in read_policy(path).rules if rule.tier is not None)


def test_nothing_that_we_ship_says_that_somebody_is_within_the_law() -> None:
    texts = [*FOLDER.rglob("*.yaml"), *FOLDER.glob("*.md")]
    assert not [path.name for path in texts if re.search(r"\bcomplian(t|ce)\b", path.read_text("utf-8"), re.IGNORECASE)]


def test_the_default_policy_never_removes_anything() -> None:
    assert all(rule.delete is None for rule in read_policy(FOLDER / "default.yaml").rules)


def test_the_readme_lists_every_policy() -> None:
    readme = (FOLDER / "README.md").read_text("utf-8")
    assert all(f"]({path.relative_to(FOLDER)})" in readme for path in POLICIES)
