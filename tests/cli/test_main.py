"""The program: its commands, its exit codes, what goes to which stream."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from archiver import __version__, errors
from archiver.cli import COMMANDS, MODULES, failures, main
from archiver.store.local import LocalStore
from tests import small_archive

HEAVY = (
    "pydantic",
    "yaml",
    "rich",
    "structlog",
    "duckdb",
    "pyarrow",
    "boto3",
    "httpx",
    "msgspec",
    "starlette",
    "uvicorn",
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration, and the small archive that it names."""
    small_archive.build(LocalStore(tmp_path / "archive"), tmp_path)
    path = tmp_path / "archiver.yaml"
    path.write_text("workspace: acme\n")
    return path


def archiver(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "archiver", *words], capture_output=True, text=True, check=False, timeout=60, **options
    )


class TestHelp:
    def test_of_the_program_imports_nothing_heavy(self) -> None:
        probe = (
            "import sys; from archiver.cli import main; main(['--help']); "
            f"print('loaded:', [name for name in {HEAVY!r} if name in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout.splitlines()[-1] == "loaded: []"

    def test_of_the_program_lists_every_command_and_every_exit_code(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--help"]) == 0
        shown = capsys.readouterr().out
        for name, sentence in COMMANDS.items():
            assert name in shown
            assert sentence in shown
        for code in range(8):
            assert f" {code} " in shown

    @pytest.mark.parametrize("name", COMMANDS)
    def test_of_every_command_has_the_shared_options_and_an_example_that_is_understood(
        self, name: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main([name, "--help"]) == 0
        shown = capsys.readouterr().out
        assert "--json" in shown
        assert "Examples:" in shown
        command = importlib.import_module(f"archiver.cli.{MODULES.get(name, name)}").command
        assert isinstance(command, click.Command)
        assert command.help

    def test_of_every_module_of_a_command_is_listed(self) -> None:
        folder = Path(importlib.import_module("archiver.cli").__file__ or "").parent
        commands = {
            path.stem
            for path in folder.glob("[a-z]*.py")
            if re.search(r"^@click\.(command|group)\b", path.read_text("utf-8"), re.MULTILINE)
        }
        # What hangs on a group lies beside it, as retention_plan beside retention.
        of_groups = {name for name in commands if name.rpartition("_")[0] in COMMANDS and not name.endswith("_")}
        assert commands - of_groups == {MODULES.get(name, name) for name in COMMANDS}

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--version"]) == 0
        assert capsys.readouterr().out == f"archiver, version {__version__}\n"

    def test_python_m_archiver_is_the_program(self) -> None:
        assert archiver("--version").stdout == f"archiver, version {__version__}\n"


class TestWrongUsage:
    @pytest.mark.parametrize("words", [["nope"], ["--nope"], ["verify", "--nope"], ["query"], ["verify", "extra"], []])
    def test_ends_with_2_and_a_hint(self, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert main(words) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert "--help" in told.err

    def test_a_missing_configuration_says_how_to_write_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert main(["status"]) == 2
        assert capsys.readouterr().err.splitlines() == [
            "archiver: there is no configuration at archiver.yaml",
            "  Next: write one with `archiver init`, or name yours with --config or ARCHIVER_CONFIG",
        ]

    def test_with_json_there_is_a_document_too(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["status", "--json", "--config", str(tmp_path / "none.yaml")]) == 2
        told = capsys.readouterr()
        assert json.loads(told.out) == {
            "error": {
                "kind": "Config",
                "what": f"there is no configuration at {tmp_path}/none.yaml",
                "next_step": "write one with `archiver init`, or name yours with --config or ARCHIVER_CONFIG",
                "exit_code": 2,
            }
        }
        assert "there is no configuration" in told.err

    def test_the_configuration_may_be_named_by_a_variable(
        self, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("ARCHIVER_CONFIG", str(config))
        assert main(["status", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["workspace"] == "acme"

    def test_warnings_reach_standard_error_alone(
        self, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("ARCHIVER_ARCHVE", "x")
        assert main(["status", "--json", "--config", str(config)]) == 0
        told = capsys.readouterr()
        assert json.loads(told.out)
        assert told.err.startswith("archiver: warning: the variable ARCHIVER_ARCHVE is no setting")


class TestFailures:
    """`failures.report` turns whatever ended a command into a message and an exit code."""

    @pytest.mark.parametrize("wants_json", [False, True])
    def test_an_error_of_the_tree_brings_its_code(self, wants_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
        error = errors.StoreFullError("no space left", next_step="make space")
        assert failures.report(error, wants_json=wants_json) == 7
        told = capsys.readouterr()
        assert told.err == "archiver: no space left\n  Next: make space\n"
        if wants_json:
            assert json.loads(told.out)["error"]["exit_code"] == 7
        else:
            assert told.out == ""

    def test_a_bug_shows_its_traceback_and_ends_with_1(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert failures.report(ZeroDivisionError("oh"), wants_json=True) == 1
        told = capsys.readouterr()
        assert "ZeroDivisionError: oh" in told.err
        assert "this is a bug" in told.err
        assert json.loads(told.out)["error"]["kind"] == "Bug"

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
    def test_an_interruption_ends_with_130_and_no_traceback(
        self, error: BaseException, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert failures.report(error, wants_json=False) == 130
        assert "Traceback" not in capsys.readouterr().err

    def test_no_secret_and_no_control_character_reaches_a_person(self, capsys: pytest.CaptureFixture[str]) -> None:
        error = errors.FlockError(
            "POST https://flock.test/v1/x?token=abcd-1234 said \x1b[2J", next_step="Bearer abcdefgh1234"
        )
        failures.report(error, wants_json=True)
        told = capsys.readouterr()
        for secret in ("abcd-1234", "abcdefgh1234", "\x1b"):
            assert secret not in told.out + told.err

    def test_a_reader_that_goes_away_ends_us_quietly(self, config: Path) -> None:
        query = [sys.executable, "-m", "archiver", "query", "--json", "--config", str(config), "FROM range(2_000_000)"]
        with subprocess.Popen(query, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.read(10)
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(60) == 141


def test_a_container_without_a_terminal_gets_no_colour_and_whole_lines(config: Path) -> None:
    done = archiver("query", "--config", str(config), "SELECT repeat('wide ', 60) AS text")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "wide " * 60 in done.stdout
