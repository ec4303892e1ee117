"""Which rows of a stretch an export takes: the hits, and what stands around them in their conversation.

A hit is a message of which any version meets the whole scope; then all its versions come along. It means the same as in a legal hold, for
both ask `archiver.scope.reach` and `archiver.expression`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from itertools import accumulate, chain
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.reader import Head
from archiver.clock import DAY_MS
from archiver.discovery.export.absences import Absences
from archiver.discovery.export.asked import Question
from archiver.discovery.export.identities import Identities
from archiver.discovery.export.order import with_first
from archiver.discovery.export.stretches import Source, Stretch
from archiver.expression import Directory, Expression, Facts, matching_rows
from archiver.scope.membership import Span, merged
from archiver.scope.reach import CUSTODIAN_COLUMNS, View, constant, item_keys, or_within, reached

# Beside the rows: whether their message was asked for or only stands around such a one.
IS_CONTEXT: Final = "is_context"
# What must be known of every row, whatever is asked.
KEY_COLUMNS: Final = ("chat_id", "message_uid", "version", "sent_at", "observed_at", "source", "content_digest")

# Returns the days under which what an expression is true of may lie, None if any; it may be too many, and never too few.
Likely = Callable[[Head, Expression, Directory], frozenset[date] | None]

_EPOCH: Final = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Share:
    """What one of several processes chooses of: what lies under these days, and of one of them the scattered messages too."""

    days: frozenset[date]
    has_scattered: bool


@dataclass(frozen=True, slots=True)
class Selection:
    """What is taken from a source: the question, and what must be known to answer it.

    ``windows`` are by chat the spans around hits (instants in milliseconds since 1970 UTC, the end not included), None where no context
    is asked for. ``unnamed`` counts, by the message that they turned out to be, the rows without a uid of what `chosen` has taken.
    ``likely`` are the days under which a hit may lie, None if any: what narrows how much is read, and nothing of what is taken.
    Of the scattered messages it says nothing; those are always looked at.
    """

    question: Question
    source: Source
    directory: Directory
    absences: Absences = field(default_factory=Absences)
    identities: Identities = field(default_factory=Identities)
    windows: Mapping[str, tuple[Span, ...]] | None = None
    unnamed: Counter[tuple[str, str]] = field(default_factory=Counter)
    likely: frozenset[date] | None = None

    @property
    def first_ms(self) -> int | None:
        """The earliest instant that may be taken, None if all are."""
        return _widest(self.question.reach.from_at_ms, (spans[0][0] for spans in (self.windows or {}).values()), min)

    @property
    def until_ms(self) -> int | None:
        """The end of what may be taken, not included; None if there is none."""
        return _widest(self.question.reach.until_ms, (spans[-1][1] for spans in (self.windows or {}).values()), max)

    def rows(self, share: Share | None = None) -> int:
        """Return how many rows are looked at, for progress."""
        return self.source.rows_between(self.first_ms, self.until_ms, among=self._days(share))

    def shares(self) -> tuple[Share, Share]:
        """Return as two shares of about as many rows all that may be taken: what was sent earlier with what is scattered, and the rest."""
        days = self.source.days_between(self.first_ms, self.until_ms, among=self._days())
        rows = [self.source.rows_of_day(on) for on in days]
        total = sum(rows)
        first = frozenset(on for on, before in zip(days, accumulate(rows), strict=True) if 2 * before <= total)
        return Share(first, has_scattered=True), Share(frozenset(days) - first, has_scattered=False)

    def chosen(self, columns: tuple[str, ...], *, share: Share | None = None) -> Iterator[tuple[Stretch, int]]:
        """Yield what is taken of each stretch, and how many rows of messages were looked at; with a ``share`` only of what that has.

        Messages have at least ``columns`` and stand under the uid that they turned out to have. `IS_CONTEXT` stands beside them, and beside
        them and their files `FIRST`.
        """
        wanted = tuple(dict.fromkeys((*columns, *self.columns)))
        for stretch in self._stretches(wanted, share):
            messages = self.identities.apply(stretch.messages)
            files = self.identities.apply(stretch.files)
            keys = item_keys(messages)
            hits = self._hits(messages, keys, files)
            is_hit = constant(len(keys), value=True) if hits is keys else pc.is_in(keys, value_set=hits)
            around = pc.and_not(self._around(messages, keys), is_hit)
            taken = pc.or_(is_hit, around)
            # What came without a uid says nothing that the message which it turned out to be does not say too.
            found = messages.append_column(IS_CONTEXT, around)
            own = self.identities.own(stretch.messages)
            if own.false_count:
                unnamed = messages.select(["chat_id", "message_uid"]).filter(pc.and_not(taken, own))
                self.unnamed.update(zip(*(column.to_pylist() for column in unnamed.columns), strict=True))
            kept = pc.and_(taken, own)
            found = found.filter(kept) if kept.false_count else found
            if files.num_rows:
                files = files.filter(pc.is_in(item_keys(files), value_set=keys.filter(taken)))
            yield Stretch(*with_first(found, files), stretch.first_on, stretch.last_on), messages.num_rows

    def _stretches(self, columns: tuple[str, ...], share: Share | None) -> Iterator[Stretch]:
        if share is None or share.has_scattered:
            yield from self.source.scattered_stretches(columns)
        yield from self.source.stretches(
            columns, from_ms=self.first_ms, until_ms=self.until_ms, among=self._days(share), cuts_conversations=True
        )

    def _days(self, share: Share | None = None) -> frozenset[date] | None:
        """Return the days under which something may be taken, None if any: those of hits, and those that a window reaches into."""
        if share is not None:
            return share.days
        if self.likely is None:
            return None
        there = self.source.days_between(self.first_ms, self.until_ms)
        spans = merged(span for of_chat in (self.windows or {}).values() for span in of_chat)
        return self.likely | _days_of(spans, within=(there[0], there[-1])) if there else self.likely

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of messages that the question itself needs."""
        people = CUSTODIAN_COLUMNS if self.question.reach.people is not None else ()
        searched = self.question.expression.columns if self.question.expression is not None else ()
        return tuple(dict.fromkeys((*KEY_COLUMNS, *people, *searched)))

    def hits_of(self, stretch: Stretch) -> pa.Table:
        """Return the hits of a stretch as it was read: chat_id, message_uid and sent_at of each of their rows."""
        messages = self.identities.apply(stretch.messages)
        keys = item_keys(messages)
        hits = self._hits(messages, keys, self.identities.apply(stretch.files))
        return messages.select(["chat_id", "message_uid", "sent_at"]).filter(pc.is_in(keys, value_set=hits))

    def _hits(self, messages: pa.Table, keys: pa.Array, files: pa.Table) -> pa.Array:
        mask = reached(self.question.reach, View(messages))
        expression = self.question.expression
        if expression is not None and mask.true_count:
            # An expression may ask of all versions of a message together, so all of each that is reached are asked about.
            asked = pc.is_in(keys, value_set=keys.filter(mask))
            rows = messages.filter(asked)
            facts = Facts(directory=self.directory, files=files, missing=self.absences.missing(rows))
            found = pc.replace_with_mask(asked, asked, matching_rows(expression, rows, facts))
            mask = pc.and_(mask, found)
        # Nothing need be looked up where everything is asked for.
        return pc.unique(keys.filter(mask)) if mask.false_count else keys

    def _around(self, messages: pa.Table, keys: pa.Array) -> pa.BooleanArray:
        if not self.windows or not messages.num_rows:
            return constant(messages.num_rows, value=False)
        view = View(messages)
        bounds = pc.min_max(view.sent_at_ms).as_py()
        spans = [
            _overlapping(self.windows.get(chat_id, ()), bounds["min"], bounds["max"])
            for chat_id in view.encoded("chat_id").dictionary.to_pylist()
        ]
        within = or_within(constant(messages.num_rows, value=False), spans, view)
        return pc.is_in(keys, value_set=pc.unique(keys.filter(within)))


def _overlapping(spans: tuple[Span, ...], first_ms: int, last_ms: int) -> tuple[Span, ...]:
    begin = bisect_right([end for _, end in spans], first_ms)
    end = bisect_left([start for start, _ in spans], last_ms + 1)
    return spans[begin:end]


def _days_of(spans: Iterable[Span], *, within: tuple[date, date]) -> frozenset[date]:
    """Return the UTC days that spans reach into, of those from one to another, both included."""
    first, last = (on.toordinal() - _EPOCH for on in within)
    numbers = (range(max(start // DAY_MS, first), min((end - 1) // DAY_MS, last) + 1) for start, end in spans)
    return frozenset(date.fromordinal(_EPOCH + number) for number in chain.from_iterable(numbers))


def _widest(bound: int | None, others: Iterator[int], choose: Callable[..., int]) -> int | None:
    return None if bound is None else choose((bound, *others))
