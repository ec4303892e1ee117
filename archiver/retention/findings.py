"""What `archiver retention validate` finds in a policy: a stable code, where it stands, and a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]

# Every code, in the order of the table in docs/retention.md. Programs and reviewers rely on them: a code keeps its meaning.
ERRORS: dict[str, str] = {
    "missing-file": "There is no file under this name.",
    "unreadable": "The file cannot be opened.",
    "too-large": "The file is larger than any policy is.",
    "not-text": "The file is not UTF-8.",
    "not-yaml": "The file is not YAML, or holds several documents or a tag.",
    "alias": "YAML aliases, by which few lines become gigabytes or a loop, are not read.",
    "too-deep": "Keys are nested deeper than any policy is.",
    "odd-key": "A key is a list or a mapping.",
    "duplicate-key": "A key stands twice in one group.",
    "no-value": "A value looks like a date and is none.",
    "no-keys": "The file holds no keys and values.",
    "empty": "The policy says nothing at all.",
    "unknown-key": "No such key is known; a similar one is named.",
    "missing-key": "A key that must be there is not.",
    "wrong-value": "A value is not what its key takes.",
    "impossible-period": "A period is not written as one, is zero, or is longer than 100 years.",
    "contradictory": "Conditions exclude each other, so nothing could ever match.",
    "unsupported-regex": "RE2 does not take the regular expression: it is wrong, too large, or needs time without a bound.",
    "unsupported-search": "The search expression cannot be read.",
    "unknown-zone": "The IANA database has no such time zone.",
    "unknown-label": "A rule speaks of a label that the policy does not define.",
    "duplicate-rule": "Two rules have the same name, whatever its case and kind of letter.",
    "says-nothing": "A rule neither retains nor deletes nor moves.",
}
WARNINGS: dict[str, str] = {
    "never-wins": "Whatever this rule matches, another rule that matches it too decides.",
    "overlap": "Two scoped rules can match one item and say different things; the sentence says which wins.",
    "files-stay": "By this rule a message goes before its files, which are kept for good then: other rules about files ask the message.",
    "matches-nothing": "No message and no file of this archive is matched by the rule.",
    "unused-label": "No rule speaks of the label.",
    "shortens-locked": "A locked retain period of the earlier policy is shorter, gone or not locked now; storage keeps to it.",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding: ``line`` from 1, ``rule`` the rule's name or empty, ``message`` a sentence without its place."""

    code: str
    severity: Severity
    path: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        """Return the finding as one line, as compilers write it."""
        about = f"rule {self.rule!r}: " if self.rule else ""
        return f"{self.path}:{self.line}: {about}{self.message} [{self.code}]"
