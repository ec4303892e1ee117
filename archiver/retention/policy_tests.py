"""Policy unit tests: what a policy must say of described items, asked of the one evaluation that plans ask, too.

A test fails where the policy says something else than is expected. It also fails where nobody expected anything: an item whose verdict no
expectation names, and a rule that no item of any test of its policy reached. A policy that passes does what its tests say, and its tests
say something of all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow.compute as pc

from archiver.errors import PolicyError, UsageError
from archiver.retention.coverage import Coverage
from archiver.retention.decide import PRINCIPLES
from archiver.retention.described import Described, DescribedPush, Description
from archiver.retention.evaluate import Evaluator, Explanation
from archiver.retention.judging_pushes import PushRules
from archiver.retention.periods import OPEN_END_MS, Calendar
from archiver.retention.policy import Policy
from archiver.retention.policy_file import WrittenPolicy, read_written
from archiver.retention.policy_test_file import WrittenTests, read_tests
from archiver.retention.policy_test_keys import HELD, Expectation, Item, Verdict

_HELD_SENTENCE = "a hold covers it, and a hold wins over everything until it is released"
_NO_EXPECTATION = "nobody says what becomes of it: expect a verdict, or the day after which it is deleted"


@dataclass(frozen=True, slots=True)
class Said:
    """What the policy says of one item, in the words in which an `Expectation` is written."""

    verdict: Verdict
    deleted_after: date | str
    retained_until: date | str
    rule: str
    principle: str
    held: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """Why, in a sentence."""
        return _HELD_SENTENCE if self.principle == HELD else PRINCIPLES[self.principle]  # type: ignore[index]


@dataclass(frozen=True, slots=True)
class Case:
    """One item, one of its files, or a push, and what came of it; ``failures`` are sentences, none where it passes."""

    name: str
    line: int
    said: Said
    failures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JudgedFile:
    """One file of tests: its policy's file, its cases in order, and the rules that any of them reached."""

    path: str
    policy_path: str
    policy: str
    cases: tuple[Case, ...]
    reached: frozenset[str]


@dataclass(frozen=True, slots=True)
class Unreached:
    """A rule that no item of any test of its policy reached."""

    policy_path: str
    line: int
    rule: str

    @property
    def sentence(self) -> str:
        """What is wrong, in a sentence."""
        return f"no item of these tests is matched by the rule {self.rule!r}"


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of all files."""

    files: tuple[JudgedFile, ...]
    unreached: tuple[Unreached, ...]

    @property
    def cases(self) -> int:
        """How many items and files were judged."""
        return sum(len(file.cases) for file in self.files)

    @property
    def failed(self) -> int:
        """How many of them failed, and how many rules nobody reached."""
        return sum(bool(case.failures) for file in self.files for case in file.cases) + len(self.unreached)


def files_named(named: Sequence[Path]) -> list[Path]:
    """Return the files of tests that are named: themselves, and those of folders in order; raises `PolicyError` if there is none."""
    found: list[Path] = []
    for path in named:
        found += sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    if not found:
        places = ", ".join(map(str, named))
        raise PolicyError(
            f"there are no policy tests in {places}",
            code="missing-file",
            next_step="name a file of tests, or a folder that has *.yaml of them; policies/tests shows how they are written",
        )
    return list(dict.fromkeys(found))


def run_tests(paths: Iterable[Path]) -> Judged:
    """Judge every item of every file; raises `PolicyError` for a policy or a file of tests that cannot be read."""
    policies: dict[Path, WrittenPolicy] = {}
    files: list[JudgedFile] = []
    reached: dict[Path, set[str]] = {}
    for path in paths:
        written = read_tests(path)
        where = written.policy_path.resolve()
        if where not in policies:
            policies[where] = read_written(written.policy_path)
        tested = _judged(written, policies[where].policy)
        files.append(tested)
        reached.setdefault(where, set()).update(tested.reached)
    unreached = [
        Unreached(str(policy.document.path), policy.line(rule.name), rule.name)
        for where, policy in policies.items()
        for rule in policy.policy.rules
        if rule.name not in reached[where]
    ]
    return Judged(tuple(files), tuple(unreached))


def _judged(written: WrittenTests, policy: Policy) -> JudgedFile:
    description = Description(written.tests, policy.zone)
    try:
        coverage = description.coverage()
    except UsageError as error:
        line = written.document.line(("holds",))
        raise PolicyError(f"{written.document.path}:{line}: {error.what}", next_step=error.next_step) from None
    cases: list[Case] = []
    reached: set[str] = set()
    for place, item in enumerate(written.tests.items):
        judge = _Judge(policy, coverage, as_of=item.as_of or written.tests.as_of)
        described = description.described(item)
        for name, expected, explanation, held in _asked(item, described, judge):
            reached.update(rule.rule for rule in explanation.rules if rule.is_matching)
            said = judge.said(explanation, held)
            cases.append(Case(name, written.line(place), said, tuple(_failures(expected, said))))
    for place, push in enumerate(written.tests.pushes):
        judge = _Judge(policy, coverage, as_of=push.as_of or written.tests.as_of)
        explanation, held = _asked_of_push(description.pushed(push), judge)
        reached.update(rule.rule for rule in explanation.rules if rule.is_matching)
        said = judge.said(explanation, held)
        line = written.line(place, key="pushes")
        cases.append(Case(push.name, line, said, tuple(_failures(push.expect, said))))
    return JudgedFile(
        path=str(written.document.path),
        policy_path=str(written.policy_path),
        policy=policy.name,
        cases=tuple(cases),
        reached=frozenset(reached),
    )


def _asked(
    item: Item, described: Described, judge: _Judge
) -> Iterator[tuple[str, Expectation | None, Explanation, tuple[str, ...]]]:
    """Yield the message and each of its files: name, what is expected, what every rule says, and the holds that cover it."""
    evaluator = Evaluator(judge.policy, described.context)
    messages, files = described.messages, described.files
    explanation = evaluator.explain_message(
        messages.select(evaluator.message_columns), files.select(evaluator.file_columns)
    )
    held = [name for name, mask in judge.coverage.of_messages(messages, files).items() if pc.any(mask).as_py()]
    yield item.name, item.expect, explanation, tuple(sorted(held))
    for place, file in enumerate(item.files):
        row = files.slice(place, 1)
        explanation = evaluator.explain_file(
            row.select(evaluator.file_columns),
            messages.select(evaluator.message_columns),
            files=files.select(evaluator.file_columns),
        )
        held = [
            name for name, mask in judge.coverage.of_files(row, messages, files=files).items() if pc.any(mask).as_py()
        ]
        name = f"{item.name}: {file.name or f'file {place + 1}'}"
        # A file of which nothing is said must go the way of its message.
        yield name, file.expect or item.expect, explanation, tuple(sorted(held))


def _asked_of_push(push: DescribedPush, judge: _Judge) -> tuple[Explanation, tuple[str, ...]]:
    """Return what every rule says of a push that no message reaches, and the holds that cover it."""
    explanation = PushRules(judge.policy, push.context).explain(push.chat_id, push.received_ms)
    masks = judge.coverage.of_pushes(push.rows)
    return explanation, tuple(sorted(name for name, mask in masks.items() if pc.any(mask).as_py()))


@dataclass(frozen=True, slots=True)
class _Judge:
    """What items are judged by: the policy, the holds in force, and the day of the plan."""

    policy: Policy
    coverage: Coverage
    as_of: date

    def said(self, explanation: Explanation, held: tuple[str, ...]) -> Said:
        calendar = Calendar(self.policy.zone)
        deletes = None if held else explanation.delete_at_ms
        # A plan of a day is of its beginning.
        as_of_ms = calendar.day_end_ms(self.as_of.toordinal() - 1)
        return Said(
            verdict="deleted" if deletes is not None and deletes <= as_of_ms else "kept",
            deleted_after=_last_day(deletes, calendar, unknown="never"),
            retained_until=_last_day(explanation.retain_until_ms, calendar, unknown="none"),
            rule=explanation.rule or "none",
            principle=HELD if held else explanation.principle,
            held=held,
        )


def _last_day(end_ms: int | None, calendar: Calendar, *, unknown: str) -> date | str:
    """Return the day that ends at an instant, or a word: ``unknown`` where there is no end, ``open`` where it is not known yet."""
    if end_ms is None:
        return unknown
    return "open" if end_ms >= OPEN_END_MS else date.fromordinal(calendar.day_of(end_ms - 1))


def _failures(expected: Expectation | None, said: Said) -> Iterator[str]:
    """Yield in sentences where what is said is not what is expected."""
    if expected is None or not expected.says_verdict:
        yield _NO_EXPECTATION
    if expected is None:
        return
    for key in ("verdict", "deleted_after", "retained_until", "rule", "principle", "held"):
        wanted, found = getattr(expected, key), getattr(said, key)
        if key == "held" and wanted is not None:
            wanted = tuple(sorted(wanted))
        if wanted is not None and wanted != found:
            yield f"{key} is {_shown(found)}, not {_shown(wanted)}"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "nothing"
    return str(value)
