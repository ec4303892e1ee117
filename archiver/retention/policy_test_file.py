"""A file of policy tests: hostile YAML to `PolicyTests`, and for every mistake its file, line, item and stable code, all at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os.path import normpath
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from archiver import document
from archiver.document import Document, Location
from archiver.errors import PolicyError
from archiver.retention.findings import Finding
from archiver.retention.policy_file import PolicyMistakesError
from archiver.retention.policy_test_keys import PolicyTests

NEXT_STEP = "correct the tests; docs/retention.md explains every key of them"

_CODES = {"extra_forbidden": "unknown-key", "missing": "missing-key"}


@dataclass(frozen=True, slots=True)
class WrittenTests:
    """Tests with the file that they stand in."""

    tests: PolicyTests
    document: Document

    @property
    def policy_path(self) -> Path:
        """Where the policy is, written without detours."""
        return Path(normpath(self.document.path.parent / self.tests.policy))

    def line(self, item: int, *, key: str = "items") -> int:
        """Return the line of an item, or of a push, by its place."""
        return self.document.line((key, item))


def read_tests(path: Path) -> WrittenTests:
    """Read a file of policy tests; raises `PolicyMistakesError` that names every mistake with file and line."""
    try:
        missing = PolicyError(f"there are no policy tests at {path}", code="missing-file")
        written = document.parse(path, document.data_of(path, missing=missing), error=PolicyError, example="items:")
    except PolicyError as error:
        message = error.what.removeprefix(f"{path}:{error.line}: ").removeprefix(f"{path}: ")
        raise _mistakes([_error(path, error.code, error.line or 1, message)]) from None
    # A hold whose `until` has no value would be one without an end, which nobody meant who wrote it.
    findings = [_nothing_there(written, location) for location in written.without_value()]
    try:
        tests = PolicyTests(**written.values)
    except ValidationError as error:
        details = [detail for detail in error.errors(include_url=False) if not written.is_without_value(detail["loc"])]
        findings += [_finding(detail, written) for detail in details]
    else:
        if not findings:
            return WrittenTests(tests, written)
    raise _mistakes(findings)


def _mistakes(findings: list[Finding]) -> PolicyMistakesError:
    error = PolicyMistakesError(sorted(findings, key=lambda finding: finding.line))
    error.next_step = NEXT_STEP
    return error


def _nothing_there(written: Document, location: Location) -> Finding:
    message = f"{'.'.join(map(str, _without_kinds(location, written)))}: {document.NO_VALUE}"
    return _error(written.path, "wrong-value", written.line(location), message)


def _finding(detail: ErrorDetails, written: Document) -> Finding:
    location: Location = detail["loc"]
    if detail["type"] == "extra_forbidden":
        reason = document.unknown_key(str(location[-1]), _siblings(location))
    else:
        reason = document.reason_of(detail)
    dotted = ".".join(map(str, _without_kinds(location, written)))
    message = f"{dotted}: {reason}" if dotted else reason
    code = _CODES.get(detail["type"], "wrong-value")
    return _error(written.path, code, written.line(location), message)


def _error(path: Path, code: str, line: int, message: str) -> Finding:
    return Finding(code, "error", str(path), line, "", message)


def _without_kinds(location: Location, written: Document) -> Iterator[str | int]:
    """Yield the keys that lead to a value, with an item's name for its place; what pydantic adds of its own is left out."""
    value: Any = written.values
    for place, part in enumerate(location):
        is_last = place == len(location) - 1
        if isinstance(value, dict) and (part in value or is_last):
            value = value.get(str(part))
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
            named = value.get("name") if isinstance(value, dict) else None
            part = f"{part + 1} ({named})" if isinstance(named, str) else part + 1  # noqa: PLW2901 - people count from one
        else:
            return
        yield part


def _siblings(location: Location) -> list[str]:
    """Return the keys that could stand where an unknown one does."""
    model: type[BaseModel] = PolicyTests
    for part in location[:-1]:
        for name, field in model.model_fields.items():
            if part in (name, field.alias):
                model = next(_models(field.annotation), model)
    return [field.alias or name for name, field in model.model_fields.items()]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
