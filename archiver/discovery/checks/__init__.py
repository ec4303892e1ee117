"""Reads a package back as its receiver does: each format by a checker of its own, which knows the format and nothing of who wrote it.

A checker is a module with ``check(folder, facts)``: the folder of the unpacked package, whose files of that format lie in
``data/<format>/``, and what the package's report says. It yields a finding for whatever is not as the format or the report has it, and
never raises for what is in a file, however hostile. Nothing here imports from `archiver.discovery.export`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Final, cast

from archiver.discovery.checks.findings import Finding, PackageFacts

Check = Callable[[Path, PackageFacts], Iterator[Finding]]

# The name of a format, as `--format` takes it and its folder has it: the module of its checker.
CHECKERS: Final = {
    "html": "archiver.discovery.checks.html",
    "rsmf": "archiver.discovery.checks.rsmf",
    "eml": "archiver.discovery.checks.eml",
    "dat": "archiver.discovery.checks.concordance",
    "edrm": "archiver.discovery.checks.edrm",
    "csv": "archiver.discovery.checks.csv",
    "jsonl": "archiver.discovery.checks.jsonl",
    "parquet": "archiver.discovery.checks.parquet",
    "slack": "archiver.discovery.checks.slack",
}


def checker(name: str) -> Check | None:
    """Return the checker of a format, imported now; None for a format that this version does not know."""
    module = CHECKERS.get(name)
    if module is None:
        return None
    try:
        return cast("Check", import_module(module).check)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        return None
