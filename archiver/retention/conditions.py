"""What a rule matches, as questions to columns.

A rule's keys become `Leaf` questions, each to one column and each with a bit. What a row answers is then one integer, and a rule
holds if every one of its clauses has a bit set and no excluded bit is. A question to a column with few distinct values is put once
to each value (`ValueLeaf`), one to days once to each local day (`DayLeaf`); only questions to texts and sizes are put to every row,
and then by Arrow.

Questions about files are a vocabulary of their own, because a row of ``files`` answers them and a message is judged by what any of
its files answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from archiver import ids
from archiver.expression import Directory, Expression, Facts, matching_rows
from archiver.retention.context import Context
from archiver.retention.patterns import glob_matcher
from archiver.retention.policy import Match, Policy, Rule
from archiver.retention.searching import any_phrase, expression_of

# The keys that rows of `files` answer; has_file is answered by there being any.
FILE_KEYS = frozenset({"mime", "size"})
# The columns of `messages` that `files` has too.
SHARED_COLUMNS = frozenset({"chat_id", "message_uid", "sent_at"})
# What a search expression may ask of the rows of `files`.
SEARCHED_FILE_COLUMNS = frozenset({"chat_id", "message_uid", "mime", "mime_received"})


@dataclass(frozen=True, slots=True)
class ValueLeaf:
    """A question to each distinct value of a column; null is a value too."""

    column: str
    holds: Callable[[str | None], bool]


@dataclass(frozen=True, slots=True)
class AmongLeaf:
    """Whether the value is one of these, for a column in which nearly every value is its own."""

    column: str
    values: frozenset[str]


@dataclass(frozen=True, slots=True)
class DayLeaf:
    """Whether a message was sent on one of these local days (ordinals): from the first on, before the second."""

    first: int | None
    end: int | None

    def holds(self, day: int) -> bool:
        """Tell it of one day."""
        return (self.first is None or day >= self.first) and (self.end is None or day < self.end)


@dataclass(frozen=True, slots=True)
class RegexLeaf:
    """Whether RE2 finds a pattern in a column of text."""

    column: str
    pattern: str

    def mask(self, rows: pa.Table) -> pa.ChunkedArray:
        """Return a flag for each row; null holds nothing."""
        return pc.match_substring_regex(rows.column(self.column), self.pattern)


@dataclass(frozen=True, slots=True)
class SizeLeaf:
    """Whether a file has so many bytes: as received, or as declared where nothing was received."""

    least: int | None
    most: int | None

    def mask(self, rows: pa.Table) -> pa.ChunkedArray:
        """Return a flag for each row; an unknown size is none of these."""
        size = pc.coalesce(rows.column("blob_bytes"), rows.column("size"))
        flags = pc.is_valid(size)
        if self.least is not None:
            flags = pc.and_(flags, pc.greater_equal(size, self.least))
        return flags if self.most is None else pc.and_(flags, pc.less_equal(size, self.most))


@dataclass(frozen=True, slots=True)
class SearchLeaf:
    """Whether a search expression is true of a version of a message."""

    expression: Expression
    directory: Directory

    def mask(self, rows: pa.Table, files: pa.Table | None) -> pa.Array:
        """Return a flag for each row of ``messages``; ``files`` are the rows of their files."""
        return matching_rows(self.expression, rows, Facts(directory=self.directory, files=files))


TextLeaf = RegexLeaf | SearchLeaf
Leaf = ValueLeaf | AmongLeaf | DayLeaf | SizeLeaf | TextLeaf


@dataclass(frozen=True, slots=True)
class Clause:
    """One key of a rule: it holds if any of these bits is set. ``key`` is what the policy calls it, for `explain`."""

    key: str
    bits: int


@dataclass(frozen=True, slots=True)
class Clauses:
    """What a rule asks: every one of ``wanted`` must hold, none of ``unwanted`` may."""

    wanted: tuple[Clause, ...] = ()
    unwanted: tuple[Clause, ...] = ()

    def hold(self, answers: int) -> bool:
        """Tell whether a row that answers so is matched."""
        return all(answers & clause.bits for clause in self.wanted) and not any(
            answers & clause.bits for clause in self.unwanted
        )

    def __bool__(self) -> bool:
        return bool(self.wanted or self.unwanted)


@dataclass(slots=True)
class Vocabulary:
    """The questions of all rules to one table, each with its bit; asked twice, a question is put once."""

    leaves: list[Leaf] = field(default_factory=list)
    _bits: dict[Any, int] = field(default_factory=dict)

    def bit(self, question: Any, leaf: Leaf) -> int:
        """Return the bit of a question, which may be its leaf; ``leaf`` is how it is put, if nobody asked it yet."""
        if question not in self._bits:
            self._bits[question] = 1 << len(self.leaves)
            self.leaves.append(leaf)
        return self._bits[question]

    def columns(self) -> set[str]:
        """Return the columns that the questions are put to."""
        return {column for leaf in self.leaves for column in columns_of(leaf)}


def columns_of(leaf: Leaf) -> tuple[str, ...]:
    """Return the columns that a question is put to."""
    if isinstance(leaf, SizeLeaf):
        return ("blob_bytes", "size")
    if isinstance(leaf, SearchLeaf):
        return leaf.expression.columns
    return ("sent_at",) if isinstance(leaf, DayLeaf) else (leaf.column,)


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule as questions: to its message, to one file, and whether there must be a file, or none."""

    rule: Rule
    message: Clauses
    wanted_file: Clauses
    unwanted_file: tuple[Clause, ...]
    has_file: bool | None

    @property
    def asks_files(self) -> bool:
        """Whether a message cannot be judged without its files."""
        return bool(self.wanted_file or self.unwanted_file) or self.has_file is not None

    def is_unwanted_file(self, answers: int) -> bool:
        """Tell whether a file is one that the rule excludes."""
        return any(answers & clause.bits for clause in self.unwanted_file)


def compile_rules(
    policy: Policy, context: Context, *, on: str, messages: Vocabulary, files: Vocabulary
) -> list[CompiledRule | None]:
    """Return the rules of a policy as questions, which join the vocabularies; None for a rule that is not about these items."""
    compiler = _Compiler(policy, context, messages, files, context.directory())
    return [_compiled(rule, compiler) if rule.on in (on, "both") else None for rule in policy.rules]


def _compiled(rule: Rule, compiler: _Compiler) -> CompiledRule:
    asked = [*compiler.asked(rule.match, is_wanted=True), *compiler.asked(rule.exclude, is_wanted=False)]

    def chosen(*, of_file: bool, is_wanted: bool) -> tuple[Clause, ...]:
        return tuple(one.clause for one in asked if (one.of_file, one.is_wanted) == (of_file, is_wanted))

    has_file = rule.match.has_file
    if rule.exclude.has_file is not None:
        has_file = not rule.exclude.has_file
    return CompiledRule(
        rule=rule,
        message=Clauses(chosen(of_file=False, is_wanted=True), chosen(of_file=False, is_wanted=False)),
        wanted_file=Clauses(wanted=chosen(of_file=True, is_wanted=True)),
        unwanted_file=chosen(of_file=True, is_wanted=False),
        has_file=has_file,
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    of_file: bool
    is_wanted: bool
    clause: Clause


@dataclass(frozen=True, slots=True)
class _Compiler:
    policy: Policy
    context: Context
    messages: Vocabulary
    files: Vocabulary
    directory: Directory

    def asked(self, match: Match, *, is_wanted: bool) -> Iterator[_Asked]:
        """Yield what every key but has_file asks; a key under ``not`` is one that may not hold."""
        for key, value in match.given().items():
            if key == "has_file":
                continue
            name = key if is_wanted else f"not.{key}"
            # A person's message is one that is no bot's.
            polarity = is_wanted is not (key == "bot" and value is False)
            yield _Asked(key in FILE_KEYS, polarity, Clause(name, getattr(self, f"_{key}")(value)))

    def _channel(self, patterns: tuple[str, ...]) -> int:
        return self.messages.bit(("channel", patterns), ValueLeaf("chat_id", self._channel_test(patterns)))

    def _channel_test(self, patterns: tuple[str, ...]) -> Callable[[str | None], bool]:
        is_id, is_name = glob_matcher(patterns), glob_matcher(patterns, folded=True)

        def holds(chat_id: str | None) -> bool:
            if chat_id is None or self._kind_of(chat_id) != "channel":
                return False
            return is_id(chat_id) or any(map(is_name, self.context.names_of(chat_id)))

        return holds

    def _kind_of(self, chat_id: str) -> str:
        return self.context.kinds.get(chat_id) or ("channel" if ids.parties_of(chat_id) is None else "direct")

    def _kind(self, kind: str) -> int:
        return self.messages.bit(
            ("kind", kind), ValueLeaf("chat_id", lambda chat: chat is not None and self._kind_of(chat) == kind)
        )

    def _sender(self, patterns: tuple[str, ...]) -> int:
        return self.messages.bit(("sender", patterns), ValueLeaf("sender_id", self._person_test(patterns)))

    def _custodian(self, patterns: tuple[str, ...]) -> int:
        return self._sender(patterns) | self.messages.bit(
            ("party", patterns), ValueLeaf("chat_id", self._party_test(patterns))
        )

    def _person_test(self, patterns: tuple[str, ...]) -> Callable[[str | None], bool]:
        is_id, is_email = glob_matcher(patterns), glob_matcher(patterns, folded=True)

        def holds(user_id: str | None) -> bool:
            return user_id is not None and (is_id(user_id) or any(map(is_email, self.context.emails_of(user_id))))

        return holds

    def _party_test(self, patterns: tuple[str, ...]) -> Callable[[str | None], bool]:
        is_person = self._person_test(patterns)
        return lambda chat: chat is not None and any(map(is_person, ids.parties_of(chat) or ()))

    def _app(self, patterns: tuple[str, ...]) -> int:
        is_app = glob_matcher(patterns)
        return self.messages.bit(("app", patterns), ValueLeaf("app_id", lambda app: app is not None and is_app(app)))

    def _bot(self, value: bool) -> int:  # noqa: FBT001 - every key's method takes its value
        """Ask whether an app or a bot posted it; of a person's message the same is asked, and then it may not hold."""
        del value
        is_bot = self.messages.bit("bot", ValueLeaf("sender_id", lambda user: user is not None and ids.is_bot(user)))
        return is_bot | self.messages.bit("by app", ValueLeaf("app_id", lambda app: app is not None))

    def _words(self, phrases: tuple[str, ...]) -> int:
        return self._search(any_phrase(phrases))

    def _search(self, text: str) -> int:
        expression = expression_of(text, zone=self.policy.zone)
        return self.messages.bit(("search", expression), SearchLeaf(expression, self.directory))

    def _regex(self, patterns: tuple[str, ...]) -> int:
        bits = 0
        for pattern in patterns:
            leaf = RegexLeaf("plain_text", pattern)
            bits |= self.messages.bit(leaf, leaf)
        return bits

    def _source(self, sources: tuple[str, ...]) -> int:
        return self.messages.bit(("source", sources), ValueLeaf("source", lambda source: source in sources))

    def _sent(self, sent: Any) -> int:
        first = None if sent.after is None else sent.after.toordinal()
        end = None if sent.before is None else sent.before.toordinal()
        leaf = DayLeaf(first, end)
        return self.messages.bit(leaf, leaf)

    def _label(self, names: tuple[str, ...]) -> int:
        bits = 0
        for name in names:
            label = self.policy.labels[name]
            for column, values in (("message_uid", label.messages), ("chat_id", label.chats)):
                if values is not None:
                    bits |= self._labelled(column, frozenset(values))
        return bits

    def _labelled(self, column: str, values: frozenset[str]) -> int:
        if column == "message_uid":
            return self.messages.bit((column, values), AmongLeaf(column, values))
        return self.messages.bit((column, values), ValueLeaf(column, lambda value: value in values))

    def _mime(self, patterns: tuple[str, ...]) -> int:
        bits = 0
        for column in ("mime", "mime_received"):
            bits |= self.files.bit((column, patterns), ValueLeaf(column, _mime_test(patterns)))
        return bits

    def _size(self, size: Any) -> int:
        leaf = SizeLeaf(size.min, size.max)
        return self.files.bit(leaf, leaf)


def _mime_test(patterns: tuple[str, ...]) -> Callable[[str | None], bool]:
    is_mime = glob_matcher(patterns, folded=True)
    # "text/plain; charset=utf-8" is text/plain.
    return lambda mime: mime is not None and is_mime(mime.partition(";")[0].strip())
