"""A policy's file: hostile YAML to a `Policy`, and for every mistake its file, line, rule and stable code, all of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from archiver import document
from archiver.document import Document, Location
from archiver.document_rules import rule_at
from archiver.errors import PolicyError
from archiver.retention.findings import ERRORS, Finding
from archiver.retention.overlap import excluded_key
from archiver.retention.policy import Policy, folded_name

NEXT_STEP = "correct the policy; docs/retention.md explains every finding; nothing was touched"

_SHOWN_CHARACTERS_MAX = 60
_CODES = {"extra_forbidden": "unknown-key", "missing": "missing-key"}


@dataclass(frozen=True, slots=True)
class WrittenPolicy:
    """A policy with the file that it stands in, so that what is said of a rule can name its line."""

    policy: Policy
    document: Document

    def line(self, rule: str, *keys: str) -> int:
        """Return the line of a rule, or of a key in it."""
        entries = self.document.values["rules"]
        position = next(place for place, entry in enumerate(entries) if entry["name"] == rule)
        return self.document.line(("rules", position, *keys))

    def warning(self, code: str, message: str, *, rule: str = "", keys: tuple[str, ...] = ()) -> Finding:
        """Return a warning about a rule, or with no rule about the keys that lead to it from the top."""
        line = self.line(rule, *keys) if rule else self.document.line(keys)
        return Finding(code, "warning", str(self.document.path), line, rule, message)


class PolicyMistakesError(PolicyError):
    """What is wrong in a policy's file, finding by finding."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        first = self.findings[0]
        super().__init__("\n".join(map(str, self.findings)), next_step=NEXT_STEP, code=first.code, line=first.line)


def read_policy(path: Path) -> Policy:
    """Read a policy; raises `PolicyError` that names every mistake with file, line, rule and code."""
    return read_written(path).policy


def read_written(path: Path) -> WrittenPolicy:
    """Read a policy with its lines; raises `PolicyMistakesError`, a `PolicyError`."""
    data = b""
    try:
        data = document.data_of(path, missing=PolicyError(f"there is no policy at {path}", code="missing-file"))
        written = document.parse(path, data, error=PolicyError, example="name: our policy")
    except PolicyError as error:
        message = error.what.removeprefix(f"{path}:{error.line}: ").removeprefix(f"{path}: ")
        rule = rule_at(data, error.line) if error.line else ""
        raise PolicyMistakesError([_error(path, error.code, error.line or 1, message, rule=rule)]) from None
    if not written.values:
        raise PolicyMistakesError([_error(path, "empty", 1, "the policy is empty")])
    findings = [*_about_names(written), *(_nothing_there(written, location) for location in written.without_value())]
    try:
        policy = Policy(**written.values)
    except ValidationError as error:
        findings += [
            _finding(detail, written)
            for detail in error.errors(include_url=False)
            # What the policy says of itself as a whole was found above, with its line, and so was what has no value.
            if (detail["loc"] or not findings) and not written.is_without_value(detail["loc"])
        ]
    else:
        findings += _contradictions(policy, written)
    if findings:
        raise PolicyMistakesError(sorted(findings, key=lambda finding: (finding.line, finding.code, finding.message)))
    return WrittenPolicy(policy, written)


def _error(path: Path, code: str, line: int, message: str, *, rule: str = "") -> Finding:
    return Finding(code, "error", str(path), line, rule, message)


def _about_names(written: Document) -> Iterator[Finding]:
    """Find what only the whole tells: names that stand twice, labels that are not there."""
    rules = written.values.get("rules")
    if not isinstance(rules, list):
        return
    labels = written.values.get("labels", {})
    first: dict[str, int] = {}
    for position, rule in enumerate(rules):
        if not isinstance(rule, dict):
            continue
        place: Location = ("rules", position)
        name = rule.get("name")
        if isinstance(name, str):
            line = written.line((*place, "name"))
            if (folded := folded_name(name)) in first:
                message = f"another rule has this name, in line {first[folded]}; case and kind of letter do not tell names apart"
                yield _error(written.path, "duplicate-rule", line, message, rule=name)
            first.setdefault(folded, line)
        for part in ("match", "not"):
            for label in _labels(rule.get(part)):
                # Of labels that are no group of keys so much is said by themselves.
                if isinstance(labels, dict) and label not in labels:
                    reason = document.unknown_key(label, labels).removeprefix("unknown key")
                    message = f"{part}.label: labels has no {label!r}{reason}"
                    line = written.line((*place, part, "label"))
                    yield _error(written.path, "unknown-label", line, message, rule=_rule_name(written, place))


def _contradictions(policy: Policy, written: Document) -> Iterator[Finding]:
    for place, rule in enumerate(policy.rules):
        key = excluded_key(rule)
        if key is not None:
            message = f"contradicts itself: whatever {key} in match takes in, not takes out again"
            yield _error(written.path, "contradictory", written.line(("rules", place, "not")), message, rule=rule.name)


def _nothing_there(written: Document, location: Location) -> Finding:
    """Refuse a key after which nothing stands: left out it would mean everything, or no limit, which nobody meant who wrote it."""
    rule = _rule_name(written, location)
    dotted = ".".join(map(str, location[2:] if rule else location))
    message = f"{dotted}: {document.NO_VALUE}" if dotted else "is empty"
    return _error(written.path, "wrong-value", written.line(location), message, rule=rule)


def _labels(part: object) -> list[str]:
    named = part.get("label") if isinstance(part, dict) else None
    return [label for label in (named if isinstance(named, list) else [named]) if isinstance(label, str)]


def _rule_name(written: Document, location: Location) -> str:
    """Return the name of the rule that a place is in, or its number if it has none; nothing for a place in no rule."""
    if len(location) < 2 or location[0] != "rules" or not isinstance(location[1], int):  # noqa: PLR2004 - ("rules", position)
        return ""
    entry = written.values["rules"][location[1]]
    name = entry.get("name") if isinstance(entry, dict) else None
    return name if isinstance(name, str) else f"number {location[1] + 1}"


def _finding(detail: ErrorDetails, written: Document) -> Finding:
    location: Location = detail["loc"]
    # A single text was read as a list of one.
    if location and isinstance(location[-1], int) and not written.holds(location):
        location = location[:-1]
    rule = _rule_name(written, location)
    dotted = ".".join(map(str, location[2:] if rule else location))
    if detail["type"] == "extra_forbidden":
        reason = document.unknown_key(str(location[-1]), _siblings(location))
    elif detail["type"] == "dict_type":
        reason = "must be a group of keys"
    else:
        reason = document.reason_of(detail) + _shown(detail)
    code = detail["type"] if detail["type"] in ERRORS else _CODES.get(detail["type"], "wrong-value")
    message = f"{dotted}: {reason}" if dotted else reason
    return _error(written.path, code, written.line(location), message, rule=rule)


def _shown(detail: ErrorDetails) -> str:
    value = detail.get("input")
    if not isinstance(value, (str, int, float)):
        return ""
    text = repr(value)
    return f", not {text if len(text) <= _SHOWN_CHARACTERS_MAX else text[:_SHOWN_CHARACTERS_MAX] + '…'}"


def _siblings(location: Location) -> list[str]:
    """Return the keys that could stand where an unknown one does; one that belongs into ``match`` is among a rule's."""
    model: type[BaseModel] = Policy
    for part in location[:-1]:
        if isinstance(part, int):
            continue
        for name, field in model.model_fields.items():
            if part in (name, field.alias):
                model = next(_models(field.annotation), model)
    return [field.alias or name for name, field in model.model_fields.items()]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
