"""What a policy says of a push that could not be read, or whose messages are not there: it goes only when it would go whatever it says.

Such a push tells when it came, and sometimes its chat. What a rule asks beside cannot be told: who sent it, what it says, whether it
had a file. So a rule matches it, or does not, or may. It is judged once by the rules that match for certain, and once more with each rule
that may match beside them, and goes at the latest of these dates, or never if one says never: no reading of what cannot be told keeps
it longer.
For in both modes no set of further rules gives a later date than one rule of the set alone: the longest retention and the latest expiry
are those of one rule, and a deletion of several is the shortest of theirs.

Its clock is when it was received. It was sent before that, so a day that lies before the reception can be told of and no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa

from archiver.archive import layout
from archiver.archive.ledger import FileRecord
from archiver.archive.reader import Head, files_of
from archiver.retention.conditions import Clause, CompiledRule, DayLeaf, Leaf, ValueLeaf, Vocabulary, compile_rules
from archiver.retention.context import Context
from archiver.retention.coverage import Coverage
from archiver.retention.decide import PRINCIPLES, Decision, Said, decide
from archiver.retention.evaluate import Explanation, RuleExplained
from archiver.retention.finding import may_leave_from
from archiver.retention.judging import Verdict
from archiver.retention.leaving import Leaving, joined, nothing, to_items
from archiver.retention.periods import Calendar
from archiver.retention.policy import Policy, Rule
from archiver.retention.pushes import PUSHES, own_pushes, read_pushes
from archiver.store import Store

# What one day's clock says may be the next day by another's.
CLOCKS_DIFFER_DAYS = 1
_NOT_TOLD = "cannot be told"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the keys of a rule come to: those that hold, those that fail, and those of which nobody can tell."""

    holds: tuple[str, ...]
    fails: tuple[str, ...]
    untold: tuple[str, ...]

    @property
    def is_certain(self) -> bool:
        return not self.fails and not self.untold

    @property
    def is_possible(self) -> bool:
        return not self.fails


class PushRules:
    """The rules of a policy, ready to judge pushes by their chat, if any, and by when they were received."""

    def __init__(self, policy: Policy, context: Context) -> None:
        self._policy = policy
        self._context = context
        self._calendar = Calendar(policy.zone)
        self._questions = Vocabulary()
        self._rules = compile_rules(policy, context, on="messages", messages=self._questions, files=Vocabulary())
        self._known: dict[tuple[str | None, int], Decision] = {}

    def decide(self, chat_id: str | None, received_ms: int) -> Decision:
        """Return what holds for a push."""
        day = self._calendar.day_of(received_ms)
        if (chat_id, day) not in self._known:
            self._known[chat_id, day] = self._decided(chat_id, day)
        return self._known[chat_id, day]

    def explain(self, chat_id: str | None, received_ms: int) -> Explanation:
        """Return what every rule says of a push, and which decided."""
        day = self._calendar.day_of(received_ms)
        explained = []
        for rule, compiled in zip(self._policy.rules, self._rules, strict=True):
            asked = _Asked((), ("on",), ()) if compiled is None else self._asked(compiled, chat_id, day)
            begins = self._begins_on(rule, chat_id, day)
            said = self._said(rule, begins)
            explained.append(
                RuleExplained(
                    rule=rule.name,
                    level=rule.level,
                    is_matching=asked.is_certain,
                    holds=asked.holds,
                    fails=(*asked.fails, *(f"{key} ({_NOT_TOLD})" for key in asked.untold)),
                    clock=rule.clock,
                    begins_on=None if begins >= Calendar.LAST_DAY else date.fromordinal(begins),
                    retain_until_ms=said.retain_until_ms,
                    delete_at_ms=said.delete_at_ms,
                )
            )
        decision = self.decide(chat_id, received_ms)
        return Explanation(
            rules=tuple(explained),
            retain_until_ms=decision.retain_until_ms,
            delete_at_ms=decision.delete_at_ms,
            rule=decision.rule,
            principle=decision.principle,
            sentence=PRINCIPLES[decision.principle],
        )

    def _decided(self, chat_id: str | None, day: int) -> Decision:
        certain: list[Said] = []
        possible: list[Said] = []
        for rule, compiled in zip(self._policy.rules, self._rules, strict=True):
            if compiled is None or not rule.decides:
                continue
            asked = self._asked(compiled, chat_id, day)
            if asked.is_possible:
                said = self._said(rule, self._begins_on(rule, chat_id, day))
                (certain if asked.is_certain else possible).append(said)
        worlds = [certain, *([*certain, one] for one in sorted(possible, key=lambda one: one.rule))]
        return latest(decide(self._policy.mode, world) for world in worlds)

    def _asked(self, compiled: CompiledRule, chat_id: str | None, day: int) -> _Asked:
        answers = [_answer(leaf, chat_id, day) for leaf in self._questions.leaves]
        told: dict[bool | None, list[str]] = {True: [], False: [], None: []}
        for clause in compiled.message.wanted:
            told[_any(clause, answers)].append(clause.key)
        for clause in compiled.message.unwanted:
            is_met = _any(clause, answers)
            told[None if is_met is None else not is_met].append(clause.key)
        told[None] += [clause.key for clause in (*compiled.wanted_file.wanted, *compiled.unwanted_file)]
        if compiled.has_file is not None:
            told[None].append("has_file")
        return _Asked(tuple(told[True]), tuple(told[False]), tuple(told[None]))

    def _begins_on(self, rule: Rule, chat_id: str | None, day: int) -> int:
        """Return the day on which a rule's periods begin; of an unknown chat, and of a sender, nobody can tell."""
        if rule.clock == "sent":
            return day
        active_ms = self._context.last_activity_ms.get(chat_id or "") if rule.clock == "last_activity" else None
        return Calendar.LAST_DAY if active_ms is None else max(day, self._calendar.day_of(active_ms))

    def _said(self, rule: Rule, day: int) -> Said:
        ends = [
            None if one is None else self._calendar.day_end_ms(one.after(day)) for one in (rule.retain, rule.delete)
        ]
        return Said(rule.name, rule.level, *ends)


def latest(decisions: Iterable[Decision]) -> Decision:
    """Return the decision that keeps longest, the first of several."""
    return max(decisions, key=lambda one: (one.delete_at_ms is None, one.delete_at_ms or 0))


def find_pushes(
    store: Store,
    head: Head,
    policy: Policy,
    rules: PushRules,
    coverage: Coverage,
    *,
    horizon_ms: int,
    executor: Executor,
) -> Leaving:
    """Return the pushes that leave by an instant, and the holds that cover them; raises `DamageFoundError`."""
    calendar = Calendar(policy.zone)
    days: dict[date, list[FileRecord]] = {}
    for record in files_of(head, "events"):
        days.setdefault(layout.partition_of(record.key)[1], []).append(record)

    def may_leave(records: Sequence[FileRecord]) -> bool:
        from_ms = may_leave_from(policy, min(int(record.ranges["received_at"][0]) for record in records), calendar)
        return from_ms is None or from_ms <= horizon_ms

    def going(records: Sequence[FileRecord]) -> _Going:
        rows = pa.concat_tables([PUSHES.empty_table(), *(read_pushes(store, head, record) for record in records)])
        return _going(rows, rules, horizon_ms=horizon_ms)

    chosen = [records for _, records in sorted(days.items()) if may_leave(records)]
    # Only of those that would leave it is asked whether a message takes them along.
    found = [one for one in executor.map(going, chosen) if one.rows.num_rows]
    own = own_pushes(store, head, [one.rows for one in found], map_all=executor.map)
    return joined([_leaving(one, rows, coverage) for one, rows in zip(found, own, strict=True)], holds=coverage.holds)


@dataclass(frozen=True, slots=True)
class _Going:
    """The rows of a day that keep a body and would leave, if they are items, and what is decided of each item by its key."""

    rows: pa.Table
    decisions: dict[str, Decision]


def _going(rows: pa.Table, rules: PushRules, *, horizon_ms: int) -> _Going:
    keys = rows.column("message_uid").to_pylist()
    instants = rows.column("sent_at").cast(pa.int64()).to_pylist()
    of_item: dict[str, Decision] = {}
    for key, chat_id, at_ms in zip(keys, rows.column("chat_id").to_pylist(), instants, strict=True):
        decision = rules.decide(chat_id, at_ms)
        of_item[key] = latest((of_item[key], decision)) if key in of_item else decision
    leaves = [at_ms is not None and at_ms <= horizon_ms for at_ms in (of_item[key].delete_at_ms for key in keys)]
    return _Going(rows.filter(pa.array(leaves, pa.bool_())), of_item)


def _leaving(going: _Going, rows: pa.Table, coverage: Coverage) -> Leaving:
    if not rows.num_rows:
        return nothing(coverage.holds)
    decisions = [going.decisions[key] for key in rows.column("message_uid").to_pylist()]
    verdict = Verdict(
        pa.array([one.delete_at_ms for one in decisions], pa.int64()),
        pa.array([one.rule for one in decisions], pa.string()),
        pa.array([one.principle for one in decisions], pa.string()),
    )
    masks = coverage.of_pushes(rows)
    # What names the item is its key; its chat is a fact of some of its rows.
    nameless = rows.set_column(0, "chat_id", pa.nulls(rows.num_rows, pa.string()))
    return to_items("event", nameless, verdict, masks)


def _answer(leaf: Leaf, chat_id: str | None, day: int) -> bool | None:
    """Return what a push answers to a question to messages; None where that cannot be told."""
    if isinstance(leaf, ValueLeaf) and leaf.column == "chat_id":
        return None if chat_id is None else leaf.holds(chat_id)
    return _sent_within(leaf, day) if isinstance(leaf, DayLeaf) else None


def _sent_within(leaf: DayLeaf, received_on: int) -> bool | None:
    sent_by = received_on + CLOCKS_DIFFER_DAYS
    if leaf.first is not None:
        return False if sent_by < leaf.first else None
    return True if leaf.end is None or sent_by < leaf.end else None


def _any(clause: Clause, answers: Sequence[bool | None]) -> bool | None:
    asked: list[Any] = [answer for place, answer in enumerate(answers) if clause.bits & (1 << place)]
    return True if True in asked else None if None in asked else False
