"""What an expression asks of a shard of the index: a query that finds every row of which it could be true, and perhaps some more.

Whether it finds no others is told too (`Asked.is_exact`). Where the index cannot tell (what files a message has, whether it was edited or
comes back, who may see it), the answer is every row, unless the few messages that are meant are known already. ``NOT`` can only be asked
of what is exact, for what is left out of too much is too little.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, assert_never
from zoneinfo import ZoneInfo

import tantivy
from tantivy import Occur, Query

from archiver.clock import to_ms
from archiver.discovery import index_words as words
from archiver.discovery.index_shard import Shard
from archiver.expression import Directory
from archiver.expression.facts import identifier_like, name_of_person_like
from archiver.expression.matching import span_of
from archiver.expression.nodes import (
    And,
    Chat,
    Days,
    HasFile,
    Kind,
    Label,
    Mime,
    Near,
    Node,
    Not,
    Or,
    Person,
    State,
    Term,
    Words,
)
from archiver.ids import parties_of

# More messages than these are not asked for by their uids.
UIDS_MAX: Final = 20_000

# Returns the uids of the messages that a filter means, None if they are not known or too many.
Uids = Callable[[Term], Sequence[str] | None]


@dataclass(frozen=True, slots=True)
class Asked:
    """A query, None for every row of ``messages``; whether it finds exactly what is meant; how many rows are looked at for it, about."""

    query: Query | None
    is_exact: bool
    weight: int


class Asking:
    """Asks one shard, for whoever knows what names mean and in which zone days are."""

    def __init__(self, shard: Shard, *, directory: Directory, zone: ZoneInfo, uids: Uids) -> None:
        self._shard = shard
        self._directory = directory
        self._zone = zone
        self._uids = uids

    def asked(self, node: Node) -> Asked:  # noqa: C901, PLR0911 - one line for each kind of node
        """Return what a node asks for."""
        match node:
            case Not(inner):
                return self._not(self.asked(inner))
            case And(nodes):
                return self._and([self.asked(inner) for inner in nodes])
            case Or(nodes):
                return self._or([self.asked(inner) for inner in nodes])
            case Words(found, is_prefix):
                return self._words(found, is_prefix=is_prefix)
            case Near(parts):
                return self._loosely(self._and([self._words(part, is_prefix=False) for part in parts]))
            case Days():
                return self._days(node)
            case Kind(kind):
                return self._kind(kind)
            case Chat(pattern):
                chats, is_id = self._directory.chats_like(pattern), identifier_like(pattern)
                return self._having((words.CHAT, lambda chat: chat in chats or is_id(chat)))
            case Person(role, pattern):
                return self._from(pattern) if role == "from" else self._to(pattern)
            case HasFile() | Mime() | State() | Label():
                return self._known(node)
        assert_never(node)

    def rows(self, node: Node) -> Asked:
        """Return what a node asks for, with a query in any case; other rows than those of messages are not found."""
        asked = self.asked(node)
        return Asked(self._every(), asked.is_exact, asked.weight) if asked.query is None else asked

    def later(self, asked: Asked) -> Query:
        """Return the query for those of the rows of `rows` that are not the first of their message."""
        assert asked.query is not None
        later = self._term(words.FACTS, words.FLAG + words.LATER)
        return Query.boolean_query([(Occur.Must, asked.query), (Occur.Must, later)])

    def _every(self) -> Query:
        return self._term(words.FACTS, words.FLAG + words.MESSAGE)

    def _term(self, field: str, value: str) -> Query:
        return Query.term_query(self._shard.schema, field, value, "basic")

    def _not(self, inner: Asked) -> Asked:
        if not inner.is_exact:
            return Asked(None, is_exact=False, weight=self._shard.record.rows)
        if inner.query is None:
            return Asked(Query.empty_query(), is_exact=True, weight=0)
        query = Query.boolean_query([(Occur.Must, self._every()), (Occur.MustNot, inner.query)])
        return Asked(query, is_exact=True, weight=self._shard.record.rows)

    def _and(self, asked: Sequence[Asked]) -> Asked:
        is_exact = all(one.is_exact for one in asked)
        queries = [one.query for one in asked if one.query is not None]
        if not queries:
            return Asked(None, is_exact, weight=self._shard.record.rows)
        weight = min(one.weight for one in asked if one.query is not None)
        if len(queries) == 1:
            return Asked(queries[0], is_exact, weight)
        return Asked(Query.boolean_query([(Occur.Must, query) for query in queries]), is_exact, weight)

    def _or(self, asked: Sequence[Asked]) -> Asked:
        is_exact = all(one.is_exact for one in asked)
        queries = [one.query for one in asked if one.query is not None]
        if len(queries) < len(asked):
            return Asked(None, is_exact, weight=self._shard.record.rows)
        query = Query.boolean_query([(Occur.Should, query) for query in queries])
        return Asked(query, is_exact, weight=sum(one.weight for one in asked))

    def _words(self, found: Sequence[str], *, is_prefix: bool) -> Asked:
        kept = [words.kept_word(word) for word in found]
        is_exact = all(len(word) < words.WORD_CHARACTERS_MAX for word in found)
        whole = kept[:-1] if is_prefix else kept
        queries = []
        weight = self._shard.record.rows
        if whole:
            weight = min(self._shard.with_word(word) for word in whole)
            queries.append(
                Query.phrase_query(self._shard.schema, words.WORDS, [*whole])
                if len(whole) > 1
                else self._term(words.WORDS, whole[0])
            )
        if is_prefix:
            pattern = f"{re.escape(kept[-1])}.*"
            queries.append(Query.regex_query(self._shard.schema, words.WORDS, pattern))
            is_exact = is_exact and not whole
        query = queries[0] if len(queries) == 1 else Query.boolean_query([(Occur.Must, query) for query in queries])
        return Asked(query, is_exact, weight)

    def _days(self, days: Days) -> Asked:
        begin, end = map(to_ms, span_of(days, self._zone))
        first = {"before": None, "after": end, "on": begin}[days.relation]
        last = {"before": begin - 1, "after": None, "on": end - 1}[days.relation]
        # Observations have an instant, too.
        sent = [(Occur.Must, sent_between(self._shard.schema, first, last)), (Occur.Must, self._every())]
        return Asked(Query.boolean_query(sent), is_exact=True, weight=self._shard.record.rows)

    def _kind(self, kind: str) -> Asked:
        flag = {"channel": words.CHANNEL, "direct": words.DIRECT}.get(kind, words.APP)
        found = Asked(self._term(words.FACTS, words.FLAG + flag), is_exact=True, weight=self._shard.record.rows)
        return self._not(found) if kind == "person" else found

    def _from(self, pattern: str) -> Asked:
        people, is_id = self._directory.people_like(pattern), identifier_like(pattern)
        return self._having(
            (words.SENDER, lambda user: user in people or is_id(user)), (words.NAME, name_of_person_like(pattern))
        )

    def _to(self, pattern: str) -> Asked:
        """Ask for the one-to-one chats of whom is meant, and for whatever only few could see."""
        people, is_id = self._directory.people_like(pattern), identifier_like(pattern)

        def has_party(chat: str) -> bool:
            return any(user in people or is_id(user) for user in parties_of(chat) or ())

        limited = Asked(self._term(words.FACTS, words.FLAG + words.LIMITED), is_exact=False, weight=0)
        return self._loosely(self._or([self._having((words.CHAT, has_party)), limited]))

    def _having(self, *meant: tuple[str, Callable[[str], bool]]) -> Asked:
        """Ask for the rows that have one of the facts that are meant, each distinct value asked once."""
        terms = [
            words.term(kind, value) for kind, is_meant in meant for value in self._shard.values(kind) if is_meant(value)
        ]
        found = self._one_of(terms, is_exact=True)
        if not self._shard.record.odd:
            return found
        odd = Asked(self._term(words.FACTS, words.FLAG + words.ODD), is_exact=False, weight=self._shard.record.odd)
        return self._or([found, odd])

    def _known(self, term: Term) -> Asked:
        uids = self._uids(term)
        if uids is None or len(uids) > UIDS_MAX:
            return Asked(None, is_exact=False, weight=self._shard.record.rows)
        return self._one_of(uid_terms(words.UID, uids), is_exact=False)

    def _one_of(self, terms: Sequence[str], *, is_exact: bool) -> Asked:
        if not terms:
            return Asked(Query.empty_query(), is_exact, weight=0)
        query = Query.term_set_query(self._shard.schema, words.FACTS, list(terms))
        return Asked(query, is_exact, weight=self._shard.record.rows)

    @staticmethod
    def _loosely(asked: Asked) -> Asked:
        return Asked(asked.query, is_exact=False, weight=asked.weight)


def about(shard: Shard, kind: str, uids: Sequence[str]) -> Query:
    """Return the query for rows about messages with these uids: those of one (`index_words.UID`), or that observe one (`OBSERVED_UID`)."""
    return Query.term_set_query(shard.schema, words.FACTS, uid_terms(kind, uids))


def between(query: Query, shard: Shard, first_ms: int | None, last_ms: int | None) -> Query:
    """Return the query for what another finds that was sent between two instants, both included; None leaves an end open."""
    return Query.boolean_query([(Occur.Must, query), (Occur.Must, sent_between(shard.schema, first_ms, last_ms))])


def uid_terms(kind: str, uids: Iterable[str]) -> list[str]:
    """Return the terms of uids, as far as the index has them."""
    return [words.term(kind, uid[: words.VALUE_CHARACTERS_MAX]) for uid in uids]


def sent_between(schema: tantivy.Schema, first_ms: int | None, last_ms: int | None) -> Query:
    """Return the query for rows sent between two instants, both included; None leaves an end open."""
    return Query.range_query(schema, words.AT_MS, tantivy.FieldType.Integer, first_ms, last_ms)
