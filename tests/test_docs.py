"""What the documents show is run: commands, SQL, Python and configurations, on the archive that `archiver demo` makes.

A block that cannot run here has ``<!-- not run: why -->`` before it; its commands must still be understood.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import duckdb
import pytest

from archiver.archive.schema import TABLES
from archiver.cli import COMMANDS, MODULES
from archiver.discovery.export.redaction import read_redaction
from archiver.errors import EXIT_DONE, EXIT_GAPS
from archiver.query.derived import DERIVED
from archiver.query.macros import MACROS
from archiver.retention.hold_file import read_holds
from archiver.retention.policy_tests import files_named, run_tests
from archiver.scope.membership import Membership
from archiver.settings import load
from archiver.settings.mapping import CsvMapping, FieldsMapping, Mapping, TimeMapping, load_mapping
from tests import doc_tables, policy_tables
from tests.brought import message, slack_zip

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks" / "README.md"])
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))

_BLOCK = re.compile(r"(?:<!-- not run: ([^>]+) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
# Those that run against an archive and need nothing else.
_RUN_HERE = {
    "catalog",
    "clone",
    "export",
    "gaps",
    "hold",
    "import",
    "init",
    "query",
    "restore",
    "retention",
    "search",
    "status",
    "verify",
    "webhooks",
}
# Their answer may be that something is missing, which it is in the demo.
_MAY_END_WITH_GAPS = {"export", "gaps", "hold", "restore", "webhooks"}
# A mapping of `archiver import` is no configuration; it says so in its first line.
_MAPPING = "# mapping.yaml\n"
# Nor is a file of holds.
_HOLDS = "# holds.yaml\n"
# Nor is what an export makes black.
_REDACTION = "# redact.yaml\n"
# Nor is a policy, or a file of policy tests; their first lines say where they lie.
_POLICIES = "# policies/"


@dataclass(frozen=True)
class Block:
    place: str
    not_run: str
    language: str
    text: str


def blocks() -> Iterator[Block]:
    for path in DOCUMENTS:
        text = path.read_text("utf-8")
        for found in _BLOCK.finditer(text):
            line = text.count("\n", 0, found.start(3)) + 1
            yield Block(f"{path.relative_to(ROOT)}:{line}", found[1] or "", found[2], found[3])


def commands() -> list[pytest.param]:
    return [
        pytest.param(line.removeprefix("$ "), block.not_run, id=f"{block.place}+{number}")
        for block in blocks()
        if block.language == "console"
        for number, line in enumerate(block.text.splitlines())
        if line.startswith("$ ")
    ]


def of_language(language: str) -> list[pytest.param]:
    return [
        pytest.param(block.text, id=block.place)
        for block in blocks()
        if block.language == language and not block.not_run
    ]


def understood(words: list[str]) -> None:
    """Parse a command line of ours as click would, without running it."""
    name, *rest = words
    command = importlib.import_module(f"archiver.cli.{MODULES.get(name, name)}").command
    if isinstance(command, click.Group) and rest and rest[0] in command.commands:
        name = rest.pop(0)
        command = command.commands[name]
    try:
        command.make_context(name, rest)
    except click.BadParameter as error:
        # A folder that the reader has and we do not is no mistake of the example.
        if not error.message.endswith("does not exist."):
            raise


def words_of(line: str) -> list[str]:
    """The words of a command line, without a comment, a redirection or what stands before a pipe."""
    words = shlex.split(line.rpartition(" | ")[2] if " | archiver" in line else line, comments=True)
    return words[: words.index(">")] if ">" in words else words


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a demo that has run, the environment and the working folder of whoever tries the documents."""
    folder = tmp_path_factory.mktemp("docs") / "demo"
    subprocess.run(
        [sys.executable, "-m", "archiver", "demo", "--quiet", "--json", "--folder", str(folder)],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=240,
    )
    shim = folder / "bin" / "archiver"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m archiver "$@"\n')
    shim.chmod(0o755)
    _bring_files(folder)
    _run_first(folder, "archiver hold place")
    _run_first(folder, "archiver export --matter smith-v-acme", "--to")
    return folder


def _run_first(folder: Path, *beginnings: str) -> None:
    """Run the first such command that the documents show, so that each that rests on it can be tried alone; again it says so."""
    line = next(
        str(found.values[0])
        for found in commands()
        if str(found.values[0]).startswith(beginnings[0]) and all(part in str(found.values[0]) for part in beginnings)
    )
    words = [sys.executable, "-m", *shlex.split(line)]
    environment = dict(os.environ) | {"ARCHIVER_CONFIG": str(folder / "archiver.yaml"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, check=False, cwd=folder, env=environment, stdout=subprocess.DEVNULL, timeout=60)
    assert done.returncode in (EXIT_DONE, EXIT_GAPS)


def _bring_files(folder: Path) -> None:
    """Write the files that ``docs/import.md`` imports (its own records and their mapping, and some of the other kinds), and our policies."""
    shown = [block for block in blocks() if block.place.startswith("docs/import.md")]
    (folder / "old-chat.jsonl").write_text(next(block.text for block in shown if block.language == "jsonl"))
    (folder / "mapping.yaml").write_text(next(block.text for block in shown if block.text.startswith(_MAPPING)))
    shutil.copytree(ROOT / "policies", folder / "policies")
    (folder / "uids.csv").write_text("chat,uid\ng:0123456789abcdef,1700000000000-abc-m201\n")
    slack_zip(folder / "export.zip", {"general/2023-11-14.json": [message()]})


@pytest.mark.parametrize(("line", "not_run"), commands())
def test_a_command_does_what_it_says(line: str, not_run: str, demo: Path) -> None:
    words = words_of(line)
    if words[0] == "make":
        assert words[1] in TARGETS
        return
    if words[0] == "archiver":
        understood(words[1:])
    if not_run:
        return
    assert words[0] == "archiver", "say why it is not run"
    assert words[1] in _RUN_HERE, "say why it is not run"
    environment = dict(os.environ) | {
        "ARCHIVER_CONFIG": str(demo / "archiver.yaml"),
        "PATH": f"{demo / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        line, shell=True, cwd=demo, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    allowed = (EXIT_DONE, EXIT_GAPS) if words[1] in _MAY_END_WITH_GAPS else (EXIT_DONE,)
    assert done.returncode in allowed, done.stderr
    assert done.stdout


@pytest.mark.parametrize("sql", of_language("sql"))
def test_sql_runs_with_nothing_of_ours(sql: str, demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo)
    assert duckdb.connect().execute(sql).fetchall()


@pytest.mark.parametrize("code", of_language("python"))
def test_python_runs_with_nothing_of_ours(code: str, demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo)
    assert "archiver" not in code.replace("flock-archiver", "")
    exec(compile(code, "document", "exec"), {})


@pytest.mark.parametrize("text", of_language("yaml"))
def test_a_configuration_is_one(text: str, tmp_path: Path) -> None:
    if text.startswith(_MAPPING):
        (tmp_path / "mapping.yaml").write_text(text)
        assert load_mapping(tmp_path / "mapping.yaml")
        return
    if text.startswith(_HOLDS):
        (tmp_path / "holds.yaml").write_text(text)
        assert read_holds(tmp_path / "holds.yaml")
        return
    if text.startswith(_REDACTION):
        (tmp_path / "redact.yaml").write_text(text)
        known = Membership(addresses={"person0@example.com": frozenset({"u:0"})})
        assert read_redaction(tmp_path / "redact.yaml", known).rules
        return
    if text.startswith(_POLICIES):
        _check_policies(tmp_path)
        return
    (tmp_path / "archiver.yaml").write_text(text)
    assert load(tmp_path / "archiver.yaml").workspace


def _check_policies(folder: Path) -> None:
    """Put every policy and every file of tests where it says it lies; the policies do what the tests say."""
    for block in blocks():
        if block.text.startswith(_POLICIES):
            path = folder / block.text.splitlines()[0].removeprefix("# ")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
    judged = run_tests(files_named([folder / "policies" / "tests"]))
    assert judged.cases
    assert not judged.failed
    assert {file.policy_path for file in judged.files} == {str(path) for path in (folder / "policies").glob("*.yaml")}


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(found[1], id=block.place)
        for block in blocks()
        if block.language in ("cron", "ini")
        for found in re.finditer(r"/bin/archiver (.*)", block.text)
    ],
)
def test_a_service_s_command_is_understood(line: str) -> None:
    understood(shlex.split(line))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_a_command_s_help_are_understood(name: str) -> None:
    command = importlib.import_module(f"archiver.cli.{MODULES.get(name, name)}").command
    assert isinstance(command, click.Command)
    lines = [line.strip() for line in (command.epilog or "").splitlines() if " archiver " in f" {line} "]
    assert lines
    for line in lines:
        words = words_of(line)
        assert words[:2] == ["archiver", name]
        understood(words[1:])


def test_every_link_between_documents_leads_somewhere() -> None:
    broken = [
        f"{path.name}: {target}"
        for path in [*DOCUMENTS, ROOT / "policies" / "README.md"]
        for target in _LINK.findall(path.read_text("utf-8"))
        if "://" not in target and not (path.parent / target).exists()
    ]
    assert not broken


def test_the_archive_format_lists_every_column_as_it_is() -> None:
    assert doc_tables.all_columns() in (ROOT / "docs" / "archive-format.md").read_text("utf-8")


def test_the_guide_to_querying_lists_every_view_and_macro_as_it_is() -> None:
    text = (ROOT / "docs" / "querying.md").read_text("utf-8")
    assert all(part in text for part in doc_tables.views_and_macros())


def test_the_help_of_a_query_names_every_view_and_macro() -> None:
    words = set(re.findall(r"\w+", importlib.import_module("archiver.cli.query").command.help))
    assert {*TABLES, *(view.name for view in DERIVED), *(macro.name for macro in MACROS)} <= words


def test_the_page_on_retention_lists_keys_principles_and_codes_as_they_are() -> None:
    text = (ROOT / "docs" / "retention.md").read_text("utf-8")
    assert all(table in text for table in policy_tables.all_tables())


def test_the_configuration_lists_every_key_as_it_is() -> None:
    assert doc_tables.configuration_keys() in (ROOT / "docs" / "configuration.md").read_text("utf-8")


def test_the_readme_shows_the_exit_codes_and_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert "make demo" in readme[:900]
    assert "make test" in readme[:900]
    assert all(f"\n| {code} | " in readme for code in range(8))


def test_the_import_page_names_every_key_of_a_mapping() -> None:
    page = (ROOT / "docs" / "import.md").read_text("utf-8")
    keys = {*FieldsMapping.model_fields, *CsvMapping.model_fields, *TimeMapping.model_fields, *Mapping.model_fields}
    assert not {key for key in keys if f"`{key}`" not in page and f"`fields.{key}`" not in page} - {"fields", "field"}
