"""The two sides of a policy: its rules as they judge messages, and as they judge files. Rows in, matching rules out.

What matches a row is an integer: bit n for the rule at place n of the policy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from archiver.retention.answers import REMEMBERED_ANSWERS_MAX, Answered, Answers, bits_of
from archiver.retention.conditions import SEARCHED_FILE_COLUMNS, SHARED_COLUMNS, CompiledRule, Vocabulary, compile_rules
from archiver.retention.context import Context
from archiver.retention.crossing import taken
from archiver.retention.items import messages_of
from archiver.retention.periods import Calendar
from archiver.retention.policy import Policy, Rule

# The keys of a rule that hold for an item, and those that keep the rule from matching it.
Reasons = tuple[tuple[str, ...], tuple[str, ...]]


class _Side(ABC):
    """The rules that are about one kind of item, as questions with a vocabulary for each of both tables."""

    def __init__(self, policy: Policy, context: Context, calendar: Calendar, *, on: str) -> None:
        messages, files = Vocabulary(), Vocabulary()
        self._compiled = compile_rules(policy, context, on=on, messages=messages, files=files)
        self.rules: list[Rule] = [one.rule for one in self._rules()]
        clock_columns = {"sender_id"} if any(rule.clock == "departure" for rule in self.rules) else set()
        self.asked_columns = frozenset(messages.columns())
        self.message_columns = self.asked_columns | clock_columns
        self._asks_messages = Answers(messages, calendar, [one.message for one in self._rules()])
        self._asks_files = Answers(files, calendar)
        self.file_columns = frozenset(
            files.columns() | (SEARCHED_FILE_COLUMNS if self._asks_messages.needs_files else set())
        )
        # With many rules it takes a while to see which of them match, and the same answers come again and again.
        self._matching = lru_cache(REMEMBERED_ANSWERS_MAX)(self._matching_of)
        # Answers that a row is given by rows of the other table have bits above those of its own.
        self._above = len(messages.leaves) if on == "messages" else len(files.leaves)

        # A rule is looked at only for rows of which the first thing that it wants is true.
        self._always: list[tuple[int, CompiledRule]] = []
        self._by_first: dict[int, list[tuple[int, CompiledRule]]] = {}
        for place, one in enumerate(self._compiled):
            if one is not None and one.message.wanted:
                for bit in bits_of(one.message.wanted[0].bits):
                    self._by_first.setdefault(bit, []).append((place, one))
            elif one is not None:
                self._always.append((place, one))
        self._first_bits = sum(self._by_first)

    def _holding(self, answers: int) -> Iterator[tuple[int, CompiledRule]]:
        """Yield the rules of which all that they ask of a message holds, each with its place, and some of them twice."""
        yield from (entry for entry in self._always if entry[1].message.hold(answers))
        for bit in bits_of(answers & self._first_bits):
            yield from (entry for entry in self._by_first[bit] if entry[1].message.hold(answers))

    @abstractmethod
    def _matching_of(self, answers: int) -> int:
        """Return which rules match a row that answers so."""

    def _rules(self) -> list[CompiledRule]:
        return [one for one in self._compiled if one is not None]

    @staticmethod
    def _mapped(answered: Answered, meaning: Callable[[int], int]) -> Answered:
        places: dict[int, int] = {}
        numbers = [places.setdefault(meaning(answer), len(places)) for answer in answered.answers]
        return Answered(taken(numbers, answered.codes), list(places))


class MessageSide(_Side):
    """The rules as they judge messages; the files of a message answer through three bits: any, wanted by a rule, excluded by it."""

    def __init__(self, policy: Policy, context: Context, calendar: Calendar) -> None:
        super().__init__(policy, context, calendar, on="messages")
        self.needs_files = self._asks_messages.needs_files or any(one.asks_files for one in self._rules())

    def matched(self, rows: pa.Table, files: pa.Table | None) -> Answered:
        """Return which rules match each row of ``messages``."""
        return self._mapped(self._answered(rows, files), self._matching)

    def reasons(self, rows: pa.Table, files: pa.Table | None) -> list[Reasons]:
        """Return for every rule of the policy what of it holds for one message, and what does not."""
        answers = self._answered(rows, files, needs_all=True).answers
        return [
            ((), ("on",)) if one is None else _best([self._reasons_of(place, one, answer) for answer in answers])
            for place, one in enumerate(self._compiled)
        ]

    def _answered(self, rows: pa.Table, files: pa.Table | None, *, needs_all: bool = False) -> Answered:
        if not self.needs_files:
            return self._asks_messages.of(rows, needs_all=needs_all)
        if files is None:
            raise ValueError("the policy judges messages with their files, and none were handed in")
        owners = messages_of(files)
        of_files = owners.groups.union(self._mapped(self._asks_files.of(files), self._file_meaning))
        none = len(of_files.answers)
        by_row = pc.fill_null(pc.take(of_files.codes, owners.places_of(rows)), none)
        answered = Answered(by_row, [*of_files.answers, 0])
        return self._asks_messages.of(rows, answered, files=files, needs_all=needs_all)

    def _file_meaning(self, answers: int) -> int:
        meaning = 1
        for place, one in enumerate(self._compiled):
            if one is not None:
                meaning |= (bool(one.wanted_file) and one.wanted_file.hold(answers)) << (2 * place + 1)
                meaning |= one.is_unwanted_file(answers) << (2 * place + 2)
        return meaning << self._above

    def _matching_of(self, answers: int) -> int:
        matching = 0
        for place, one in self._holding(answers):
            if all(holds for _, holds in self._about_files(place, one, answers)):
                matching |= 1 << place
        return matching

    def _reasons_of(self, place: int, one: CompiledRule, answers: int) -> Reasons:
        holds, fails = _message_reasons(one, answers)
        further_holds, further_fails = _parted(self._about_files(place, one, answers))
        return holds + further_holds, fails + further_fails

    def _about_files(self, place: int, one: CompiledRule, answers: int) -> list[tuple[str, bool]]:
        """Return what a rule asks of a message's files, and whether it holds."""
        of_files = answers >> self._above
        judged = []
        if one.has_file is not None:
            judged.append(("has_file", bool(of_files & 1) == one.has_file))
        if one.wanted_file:
            judged.append(
                ("+".join(clause.key for clause in one.wanted_file.wanted), bool(of_files >> (2 * place + 1) & 1))
            )
        if one.unwanted_file:
            judged.append(("+".join(clause.key for clause in one.unwanted_file), not of_files >> (2 * place + 2) & 1))
        return judged


class FileSide(_Side):
    """The rules as they judge files; a file's message answers which rules it does not keep from matching."""

    def __init__(self, policy: Policy, context: Context, calendar: Calendar) -> None:
        super().__init__(policy, context, calendar, on="files")
        # The clock of a file is that of its message, so every rule about files asks it.
        self.needs_messages = bool(self.rules)
        # What rules ask of messages, a file may know itself: its chat, its message's uid, its day.
        self._asks_message = not self.asked_columns <= SHARED_COLUMNS
        self.is_missing = 1 << len(policy.rules)
        """The bit of a file whose message is not there though a rule would have to ask it."""

    def matched(self, rows: pa.Table, messages: pa.Table | None, *, files: pa.Table) -> Answered:
        """Return which rules match each row of ``files``, of which ``files`` are all of their messages."""
        return self._mapped(self._answered(rows, messages, files), self._matching)

    def reasons(self, rows: pa.Table, messages: pa.Table | None, *, files: pa.Table) -> list[Reasons]:
        """Return for every rule of the policy what of it holds for one file, and what does not."""
        of_files = self._asks_files.of(rows).answers
        of_messages = self._answers_of_message(rows, messages, files)
        reasons: list[Reasons] = []
        for one in self._compiled:
            if one is None:
                reasons.append(((), ("on",)))
                continue
            asked = _best([_message_reasons(one, answer) for answer in of_messages] or [_untold(one)])
            own = _best([self._file_reasons(one, answer) for answer in of_files])
            reasons.append((asked[0] + own[0], asked[1] + own[1]))
        return reasons

    def _answers_of_message(self, rows: pa.Table, messages: pa.Table | None, files: pa.Table) -> list[int]:
        """Return what the message of one file answers, or where it has gone the file for it; none where the file cannot know."""
        if messages is None:
            return [0]
        if messages.num_rows:
            return self._asks_messages.of(messages, files=files, needs_all=True).answers
        return [] if self._asks_message else self._asks_messages.of(rows, files=files, needs_all=True).answers

    def _answered(self, rows: pa.Table, messages: pa.Table | None, files: pa.Table) -> Answered:
        if not self.needs_messages:
            return self._asks_files.of(rows)
        if messages is None:
            raise ValueError("the policy judges files with their messages, and none were handed in")
        owners = messages_of(messages)
        united = owners.groups.union(self._mapped(self._asks_messages.of(messages, files=files), self._message_meaning))
        if self._asks_message:
            alone = Answered(taken([0], pa.nulls(rows.num_rows)), [self.is_missing << self._above])
        else:
            alone = self._mapped(self._asks_messages.of(rows, files=files), self._message_meaning)
        places = owners.places_of(rows)
        by_row = pc.coalesce(pc.take(united.codes, places), pc.add(alone.codes, len(united.answers)))
        return self._asks_files.of(rows, Answered(by_row, [*united.answers, *alone.answers]))

    def _message_meaning(self, answers: int) -> int:
        meaning = 0
        for place, _ in self._holding(answers):
            meaning |= 1 << place
        return meaning << self._above

    def _matching_of(self, answers: int) -> int:
        of_message = answers >> self._above
        if of_message & self.is_missing:
            return self.is_missing
        matching = 0
        for bit in bits_of(of_message):
            one = self._compiled[bit.bit_length() - 1]
            if one is not None and not self._file_reasons(one, answers)[1]:
                matching |= bit
        return matching

    def _file_reasons(self, one: CompiledRule, answers: int) -> Reasons:
        judged = [(clause.key, bool(answers & clause.bits)) for clause in one.wanted_file.wanted]
        judged += [(clause.key, not answers & clause.bits) for clause in one.unwanted_file]
        if one.has_file is not None:
            judged.append(("has_file", one.has_file))
        return _parted(judged)


def _message_reasons(one: CompiledRule, answers: int) -> Reasons:
    judged = [(clause.key, bool(answers & clause.bits)) for clause in one.message.wanted]
    judged += [(clause.key, not answers & clause.bits) for clause in one.message.unwanted]
    return _parted(judged)


def _untold(one: CompiledRule) -> Reasons:
    """Return the reasons where nobody can tell of the message: nothing that is asked of it holds."""
    return (), tuple(clause.key for clause in (*one.message.wanted, *one.message.unwanted))


def _parted(judged: Sequence[tuple[str, bool]]) -> Reasons:
    return tuple(key for key, holds in judged if holds), tuple(key for key, holds in judged if not holds)


def _best(reasons: Sequence[Reasons]) -> Reasons:
    """Return the reasons of the row that is matched, or comes nearest to it."""
    return min(reasons, key=lambda one: (len(one[1]), one))
