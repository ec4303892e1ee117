"""The house style, as far as a machine can hold us to it. What ruff, mypy and import-linter check is not repeated here."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver import __version__

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "archiver"

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70

# Each library has one home, so that it can be replaced there and is understood there. A path below archiver/, or a prefix of one.
HOMES: dict[str, tuple[str, ...]] = {
    "httpx": ("flock/", "capture/file"),
    "httpcore": ("capture/file",),
    "boto3": ("store/s3", "spool/sqs_queue", "query/athena"),
    "botocore": ("store/s3", "spool/sqs_queue", "query/athena"),
    "duckdb": ("query/",),
    "duckdb_extension_httpfs": ("query/",),
    "click": ("cli/",),
    "rich": ("cli/",),
    "starlette": ("capture/listener", "simulator/"),
    "uvicorn": ("capture/listener", "simulator/"),
    "pydantic": ("settings/", "retention/policy"),
    "pydantic_settings": ("settings/",),
    "yaml": ("document", "simulator/config_files"),
    "jinja2": ("retention/plan_page", "discovery/export/"),
    "jwt": ("capture/event_token", "simulator/"),
    "cryptography": ("flock/token_store",),
    "sqlite3": (
        *("spool/", "flock/token_store", "discovery/checks/remembered"),
        *("discovery/export/journal", "discovery/export/replies", "discovery/export/scratch"),
    ),
    "pyarrow": (
        *("archive/", "capture/", "custody/", "discovery/", "expression/", "normalise/"),
        *("query/", "retention/", "run/", "scope/"),
    ),
    "pyiceberg": ("query/iceberg",),
    "reportlab": ("discovery/export/",),
    "sqlglot": ("query/",),
    "tantivy": ("discovery/index",),
}
BANNED_MODULE_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc", "base", "core"}
LEFTOVERS = re.compile(r"\b(TODO|FIXME|XXX|HACK|WIP|TBD)\b|\bNotImplementedError\(\)|\bbreakpoint\(|\bpdb\b")
MACHINE_PATHS = re.compile(r"/(home|Users)/(?!ann\b)[a-z]|/work/|/root/|C:\\\\")

MODULES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text("utf-8")) for path in MODULES}


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def imports_of(tree: ast.Module) -> Iterator[str]:
    """The top-level packages that a module imports when it runs; what only types need is no matter."""
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


IMPORTS = {path: set(imports_of(tree)) for path, tree in TREES.items()}


def tracked_texts() -> Iterator[tuple[str, str]]:
    """Every text file of the repository, tracked or about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("this is no git checkout")
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix != ".lock" and path.is_file():
            data = path.read_bytes()
            if b"\0" not in data:
                yield name, data.decode("utf-8")


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_imported_only_in_its_home(library: str) -> None:
    strangers = {
        name_of(path)
        for path, imported in IMPORTS.items()
        if library in imported and not name_of(path).startswith(HOMES[library])
    }
    assert not strangers


def test_every_library_that_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    # What only an extra brings is imported where that extra is asked for, and told when it is absent.
    entries = [*project["dependencies"], *project["optional-dependencies"]["iceberg"]]
    declared = {re.split(r"[^A-Za-z0-9_-]", entry)[0].lower().replace("-", "_") for entry in entries}
    distributions = {"pyyaml": "yaml", "pyjwt": "jwt"}
    declared = {distributions.get(name, name) for name in declared}
    # boto3 brings botocore, httpx httpcore, pydantic its core: each is a part of the one that is declared.
    declared |= {"archiver", "botocore", "httpcore", "pydantic_core"}
    imported = set().union(*IMPORTS.values()) - set(sys.stdlib_module_names)
    assert imported <= declared | {"__future__"}


def test_only_settings_read_the_environment() -> None:
    readers = {
        name_of(path)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in ("environ", "environb", "getenv")
        and ast.unparse(node.value) == "os"
    }
    # A child process is given the environment of ours, and Arrow is told by it; nothing is read out of it.
    assert {name for name in readers if not name.startswith("settings/")} <= PASSED_ON_BY


PASSED_ON_BY: frozenset[str] = frozenset({"simulator/s3server.py", "cli/demo.py", "archive/memory.py"})


def test_only_the_command_line_prints() -> None:
    printers = {
        name_of(path)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Call) and ast.unparse(node.func) == "print")
        or (isinstance(node, ast.Attribute) and ast.unparse(node) in ("sys.stdout", "sys.stderr"))
    }
    assert {name for name in printers if not name.startswith("cli/")} == set()


def test_modules_are_called_by_what_they_hold() -> None:
    named = {name_of(path) for path in MODULES if BANNED_MODULE_NAMES & {path.stem, path.parent.name}}
    assert not named


def test_modules_are_short_enough_to_read() -> None:
    lengths = {name_of(path): len(path.read_text("utf-8").splitlines()) for path in MODULES}
    assert not {name: length for name, length in lengths.items() if length > MODULE_LINES_MAX}


def test_functions_are_short_enough_to_read() -> None:
    lengths = {
        f"{name_of(path)}:{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    assert not {name: length for name, length in lengths.items() if length > FUNCTION_LINES_MAX}


def test_every_module_opens_with_prose() -> None:
    assert not [name_of(path) for path, tree in TREES.items() if not ast.get_docstring(tree)]


def test_every_module_with_code_defers_its_annotations() -> None:
    without = [
        name_of(path)
        for path, tree in TREES.items()
        if len(tree.body) > 1 and "from __future__ import annotations" not in path.read_text("utf-8")
    ]
    assert not without


def test_nothing_is_left_over_and_no_path_of_one_machine_stands_anywhere() -> None:
    found = [
        f"{name}:{number}: {line.strip()[:80]}"
        for name, text in tracked_texts()
        if name != "tests/test_tidy.py"
        for number, line in enumerate(text.splitlines(), 1)
        if LEFTOVERS.search(line) or MACHINE_PATHS.search(line)
    ]
    assert not found


def test_no_file_is_large_and_none_comes_from_the_real_chat() -> None:
    """Nothing of the data sets that tests play may enter the repository."""
    large = [name for name, text in tracked_texts() if len(text) > 120_000]
    assert not large


def test_the_version_stands_in_the_changelog() -> None:
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")
