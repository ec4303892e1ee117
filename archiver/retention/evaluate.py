"""The one evaluation of a policy, set-based over Arrow: plan, explain and policy tests all ask it.

Few things are different in millions of messages: some hundred chats, some thousand senders, some thousand days. So every question
of a rule is put once to each distinct value (`archiver.retention.answers`), the rows' answers are crossed to the few combinations
that occur, each combination has one set of matching rules, and each set with each day one decision (`archiver.retention.decide`),
which all rows of that kind take. No Python runs for each row.

An *item* is one message, ``(chat_id, message_uid)``, with all its versions, or one file of it, ``(chat_id, message_uid, ordinal)``,
with all its rows. A rule matches an item if it matches any of its rows; a message is judged with any of its files, a file with any
version of its message. The item's clock is the latest ``sent_at`` of its message. So what is handed in must hold whole items: all
rows of a message, and with them all rows of its files, or the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from archiver.retention.answers import Answered, distinct, instants_ms, local_days
from archiver.retention.context import Context
from archiver.retention.crossing import Crossing, flat, taken
from archiver.retention.decide import MESSAGE_MISSING, PRINCIPLES, Decision, Principle, Said, decide
from archiver.retention.items import Groups, groups_of, messages_among, messages_of, repeated_messages
from archiver.retention.periods import Calendar
from archiver.retention.policy import Level, Policy, Rule
from archiver.retention.sides import FileSide, MessageSide

_PRINCIPLES = list(PRINCIPLES)
_MESSAGE_COLUMNS = ("chat_id", "message_uid", "version", "sent_at")
_FILE_COLUMNS = ("chat_id", "message_uid", "ordinal", "sent_at")


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What holds for each row, beside the rows. All rows of an item have the same.

    ``retain_until_ms`` (int64) is null where nothing retains and `periods.OPEN_END_MS` where a retain period has no end yet;
    ``delete_at_ms`` (int64) is null where the policy never removes it. An item is due as of an instant if ``delete_at_ms`` is
    not later. ``rule`` is the rule that decided, null where none matched, ``principle`` one of `decide.PRINCIPLES`; both are
    dictionaries of text.
    """

    retain_until_ms: pa.Array
    delete_at_ms: pa.Array
    rule: pa.Array
    principle: pa.Array


@dataclass(frozen=True, slots=True)
class RuleExplained:
    """One rule and what it says of one item.

    ``holds`` and ``fails`` are the rule's keys that hold, and those that keep it from matching (``on`` if it is not about such
    items). ``begins_on`` is the local day on which its periods begin, None where that is not known.
    """

    rule: str
    level: Level
    is_matching: bool
    holds: tuple[str, ...]
    fails: tuple[str, ...]
    clock: str
    begins_on: date | None
    retain_until_ms: int | None
    delete_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What every rule says of one item, in the policy's order, and which of them decided by which principle."""

    rules: tuple[RuleExplained, ...]
    retain_until_ms: int | None
    delete_at_ms: int | None
    rule: str | None
    principle: Principle
    sentence: str


@dataclass(frozen=True, slots=True)
class _Clocks:
    """When the periods of each row's item begin: its sending, and as local days its chat's activity and its sender's departure."""

    sent_ms: pa.Array
    active_on: pa.Array | None
    departed_on: pa.Array | None


class Evaluator:
    """A policy, ready to judge rows of an archive; it keeps what it learnt, and several threads may use it at once."""

    def __init__(self, policy: Policy, context: Context) -> None:
        self.policy = policy
        self.context = context
        self._calendar = Calendar(policy.zone)
        self._messages = MessageSide(policy, context, self._calendar)
        self._files = FileSide(policy, context, self._calendar)
        self.needs_files = self._messages.needs_files
        """Whether messages are judged with their files."""
        self.needs_messages = self._files.needs_messages
        """Whether files are judged with their messages."""
        further = self._messages.message_columns
        if self.needs_messages:
            further |= self._files.message_columns
        self.message_columns = _columns(_MESSAGE_COLUMNS, further)
        """The columns of ``messages`` to read."""
        self.file_columns = _columns(_FILE_COLUMNS, self._files.file_columns | self._messages.file_columns)
        """The columns of ``files`` to read."""
        self._departed_on = self._departures()

    def __reduce__(self) -> tuple[type[Evaluator], tuple[Policy, Context]]:
        """Travel to another process as what it was made of."""
        return Evaluator, (self.policy, self.context)

    def of_messages(self, rows: pa.Table, files: pa.Table | None = None) -> Verdicts:
        """Return one verdict a row of ``messages``; ``files`` are the rows of their files, if `needs_files`."""
        matched, clocks = self._judged_messages(rows, files)
        return self._verdicts(matched, clocks)

    def of_files(self, rows: pa.Table, messages: pa.Table | None = None) -> Verdicts:
        """Return one verdict a row of ``files``; ``messages`` are the rows of their messages, if `needs_messages`.

        A file whose message is not among them is kept if a rule would have to ask it.
        """
        matched, clocks = self._judged_files(rows, messages, rows)
        return self._verdicts(matched, clocks)

    def rules_of_messages(self, rows: pa.Table, files: pa.Table | None = None) -> set[str]:
        """Return the names of the rules that match any of these messages, also of those that only move data."""
        return self._names(self._messages.matched(rows, files))

    def rules_of_files(self, rows: pa.Table, messages: pa.Table | None = None) -> set[str]:
        """Return the names of the rules that match any of these files, also of those that only move data."""
        return self._names(self._files.matched(rows, messages, files=rows))

    def explain_message(self, rows: pa.Table, files: pa.Table | None = None) -> Explanation:
        """Return what every rule says of one message, given all its rows and those of its files."""
        matched, clocks = self._judged_messages(rows, files)
        return self._explanation(matched, clocks, self._messages.reasons(rows, files))

    def explain_file(
        self, rows: pa.Table, messages: pa.Table | None = None, *, files: pa.Table | None = None
    ) -> Explanation:
        """Return what every rule says of one file, given all its rows and those of its message.

        ``files`` are the rows of all files of its message, if it has several: an expression may ask for any of them.
        """
        files = rows if files is None else files
        matched, clocks = self._judged_files(rows, messages, files)
        of_file = None if messages is None else messages_among(messages, rows)
        return self._explanation(matched, clocks, self._files.reasons(rows, of_file, files=files))

    def _judged_messages(self, rows: pa.Table, files: pa.Table | None) -> tuple[Answered, _Clocks]:
        matched = self._messages.matched(rows, files)
        sent_ms, departed_on = instants_ms(rows), self._departure_days(rows, self._messages.rules)
        repeated = repeated_messages(rows)
        if repeated is not None:
            matched, sent_ms = repeated.union(matched), repeated.greatest(sent_ms)
            departed_on = None if departed_on is None else repeated.greatest(departed_on)
        return matched, _Clocks(sent_ms, self._activity_days(rows, self._messages.rules), departed_on)

    def _judged_files(self, rows: pa.Table, messages: pa.Table | None, files: pa.Table) -> tuple[Answered, _Clocks]:
        messages = None if messages is None else messages_among(messages, rows)
        matched = self._files.matched(rows, messages, files=files)
        items = groups_of(rows, "chat_id", "message_uid", "ordinal")
        matched = _spread(items, items.union(matched))
        owners = groups_of(rows, "chat_id", "message_uid")
        sent_ms = pc.take(*owners.greatest(instants_ms(rows)), owners.numbers)
        departed_on = None
        if messages is not None and self.needs_messages:
            known = messages_of(messages)
            places = known.places_of(rows)
            sent_of = pc.take(*known.groups.greatest(instants_ms(messages)), places)
            sent_ms = pc.max_element_wise(sent_ms, sent_of)
            days = self._departure_days(messages, self._files.rules)
            if days is not None:
                unknown = pa.scalar(Calendar.LAST_DAY, pa.int64())
                departed_on = pc.fill_null(pc.take(*known.groups.greatest(days), places), unknown)
        return matched, _Clocks(sent_ms, self._activity_days(rows, self._files.rules), departed_on)

    def _activity_days(self, rows: pa.Table, rules: Sequence[Rule]) -> pa.Array | None:
        if not any(rule.clock == "last_activity" and rule.decides for rule in rules):
            return None
        indices, chats = distinct(rows.column("chat_id"))
        known = self.context.last_activity_ms
        instants = [known.get(chat or "") for chat in chats]
        days = [Calendar.LAST_DAY if at_ms is None else self._calendar.day_of(at_ms) for at_ms in instants]
        return taken(days, indices)

    def _departure_days(self, rows: pa.Table, rules: Sequence[Rule]) -> pa.Array | None:
        if not any(rule.clock == "departure" and rule.decides for rule in rules):
            return None
        indices, senders = distinct(rows.column("sender_id"))
        return taken([self._departed_on.get(sender or "", Calendar.LAST_DAY) for sender in senders], indices)

    def _departures(self) -> dict[str, int]:
        """Return the local days on which users departed: as the policy says, else as the directory saw it."""
        days = {user: self._calendar.day_of(left_ms) for user, left_ms in self.context.left_at_ms.items()}
        said = {user.casefold(): day.toordinal() for user, day in self.policy.departures.items() if "@" in user}
        for user, emails in self.context.emails.items():
            told = [said[email.casefold()] for email in emails if email.casefold() in said]
            if told:
                days[user] = max(told)
        days |= {user: day.toordinal() for user, day in self.policy.departures.items()}
        return days

    def _verdicts(self, matched: Answered, clocks: _Clocks) -> Verdicts:
        codes, combinations = self._combinations(matched, clocks)
        decisions = [self._decision(*combination) for combination in combinations]
        rules = {rule.name: place for place, rule in enumerate(self.policy.rules)}
        rule_codes = [None if decision.rule is None else rules[decision.rule] for decision in decisions]
        principle_codes = [_PRINCIPLES.index(decision.principle) for decision in decisions]
        return Verdicts(
            retain_until_ms=taken([decision.retain_until_ms for decision in decisions], codes),
            delete_at_ms=taken([decision.delete_at_ms for decision in decisions], codes),
            rule=_dictionary(rule_codes, codes, list(rules)),
            principle=_dictionary(principle_codes, codes, _PRINCIPLES),
        )

    def _combinations(self, matched: Answered, clocks: _Clocks) -> tuple[pa.Array, list[tuple[int, int, int, int]]]:
        """Cross what matched with the days on which periods begin: rules as bits, then sent, active and departed on."""
        crossing = Crossing(len(clocks.sent_ms))
        crossing.add(matched.codes, len(matched.answers))
        days = local_days(clocks.sent_ms, self._calendar)
        crossing.add(days.codes, days.count, base=days.first)
        further: list[list[int]] = []
        for column in (clocks.active_on, clocks.departed_on):
            if column is None:
                further.append([Calendar.LAST_DAY])
                crossing.add(None)
            else:
                encoded = pc.dictionary_encode(column)
                further.append(encoded.dictionary.to_pylist())
                crossing.add(encoded.indices, len(encoded.dictionary))
        crossed = crossing.crossed()
        combinations = [
            (matched.answers[one[0]], one[1], further[0][one[2]], further[1][one[3]]) for one in crossed.combinations
        ]
        return crossed.codes, combinations

    def _decision(self, matched: int, sent_on: int, active_on: int, departed_on: int) -> Decision:
        if matched & self._files.is_missing:
            return MESSAGE_MISSING
        said = [
            self._said(rule, self._begins_on(rule, sent_on, active_on, departed_on))
            for place, rule in enumerate(self.policy.rules)
            if matched & (1 << place) and rule.decides
        ]
        return decide(self.policy.mode, said)

    @staticmethod
    def _begins_on(rule: Rule, sent_on: int, active_on: int, departed_on: int) -> int:
        """Return the day on which a rule's periods begin; none begins before there is anything to keep."""
        begun = {"sent": sent_on, "last_activity": active_on, "departure": departed_on}[rule.clock]
        return max(begun, sent_on)

    def _said(self, rule: Rule, day: int) -> Said:
        ends = [
            None if period is None else self._calendar.day_end_ms(period.after(day))
            for period in (rule.retain, rule.delete)
        ]
        return Said(rule.name, rule.level, *ends)

    def _names(self, matched: Answered) -> set[str]:
        every = 0
        for answer in matched.answers:
            every |= answer
        return {rule.name for place, rule in enumerate(self.policy.rules) if every & (1 << place)}

    def _explanation(
        self, matched: Answered, clocks: _Clocks, reasons: Sequence[tuple[tuple[str, ...], tuple[str, ...]]]
    ) -> Explanation:
        _, combinations = self._combinations(matched, clocks)
        if len(combinations) != 1:
            raise ValueError("the rows are not those of one item")
        bits, *days = combinations[0]
        explained = []
        for place, (rule, (holds, fails)) in enumerate(zip(self.policy.rules, reasons, strict=True)):
            day = self._begins_on(rule, *days)
            said = self._said(rule, day)
            explained.append(
                RuleExplained(
                    rule=rule.name,
                    level=rule.level,
                    is_matching=bool(bits & (1 << place)),
                    holds=holds,
                    fails=fails,
                    clock=rule.clock,
                    begins_on=None if day >= Calendar.LAST_DAY else date.fromordinal(day),
                    retain_until_ms=said.retain_until_ms,
                    delete_at_ms=said.delete_at_ms,
                )
            )
        decision = self._decision(bits, *days)
        return Explanation(
            rules=tuple(explained),
            retain_until_ms=decision.retain_until_ms,
            delete_at_ms=decision.delete_at_ms,
            rule=decision.rule,
            principle=decision.principle,
            sentence=PRINCIPLES[decision.principle],
        )


def _columns(always: tuple[str, ...], further: frozenset[str]) -> tuple[str, ...]:
    return (*always, *sorted(further - set(always)))


def _spread(groups: Groups, answered: Answered) -> Answered:
    return Answered(pc.take(answered.codes, groups.numbers), answered.answers)


def _dictionary(places: Sequence[int | None], codes: pa.Array, names: Sequence[str]) -> pa.Array:
    indices = pc.take(pa.array(places, pa.int32()), codes)
    return pa.DictionaryArray.from_arrays(flat(indices), pa.array(names, pa.string()))
