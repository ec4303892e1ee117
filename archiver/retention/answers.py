"""Puts the questions of a vocabulary to rows: once to each distinct value, once to each local day, to texts by Arrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock

import pyarrow as pa
import pyarrow.compute as pc

from archiver.clock import DAY_MS, EARLIEST_MS
from archiver.retention.conditions import (
    AmongLeaf,
    Clauses,
    DayLeaf,
    RegexLeaf,
    SearchLeaf,
    SizeLeaf,
    TextLeaf,
    ValueLeaf,
    Vocabulary,
)
from archiver.retention.crossing import Column, Crossed, Crossing, flat, taken
from archiver.retention.periods import Calendar

# Answers are remembered from one call to the next; senders of a very large archive may be more, and are then asked again.
REMEMBERED_VALUES_MAX = 1_000_000
REMEMBERED_ANSWERS_MAX = 65_536


@dataclass(frozen=True, slots=True)
class Answered:
    """For each row the number of its answers, and the answers that occur: integers with the bits of what holds."""

    codes: pa.Array
    answers: list[int]


@dataclass(frozen=True, slots=True)
class LocalDays:
    """For each row its local day, counted from ``first``; ``codes`` is None where all are on that one day."""

    codes: pa.Array | None
    first: int
    count: int


class _Remembered:
    """What the values of one column answer, kept from one call to the next; several threads may ask at once."""

    def __init__(self) -> None:
        self.leaves: list[tuple[int, ValueLeaf]] = []
        self._lock = Lock()
        self._numbers: dict[str | None, int] = {}
        self._answers: dict[int, int] = {}

    def of(self, values: Sequence[str | None]) -> tuple[list[int], list[int]]:
        """Return for each value the number of its answer, and the answers by number."""
        known = list(map(self._numbers.get, values))
        numbers = [number for number in known if number is not None]
        if len(numbers) < len(known):
            with self._lock:
                if len(self._numbers) > REMEMBERED_VALUES_MAX:
                    self._numbers = {}
                numbers = [self._number(value) for value in values]
        return numbers, list(self._answers)

    def _number(self, value: str | None) -> int:
        number = self._numbers.get(value)
        if number is None:
            answer = sum(bit for bit, leaf in self.leaves if leaf.holds(value))
            number = self._numbers[value] = self._answers.setdefault(answer, len(self._answers))
        return number


class Answers:
    """The questions of one vocabulary, ready to be put to rows."""

    def __init__(self, vocabulary: Vocabulary, calendar: Calendar, rules: Sequence[Clauses] = ()) -> None:
        """``rules`` are those that ask: what no rule needs to know of a row's text is not asked."""
        self._calendar = calendar
        self._needed = lru_cache(REMEMBERED_ANSWERS_MAX)(self._needed_of)
        self._by_column: dict[str, _Remembered] = {}
        self._by_day: list[tuple[int, DayLeaf]] = []
        self._by_row: list[tuple[int, AmongLeaf | SizeLeaf]] = []
        self._by_text: list[tuple[int, TextLeaf]] = []
        for place, leaf in enumerate(vocabulary.leaves):
            if isinstance(leaf, ValueLeaf):
                self._by_column.setdefault(leaf.column, _Remembered()).leaves.append((1 << place, leaf))
            elif isinstance(leaf, DayLeaf):
                self._by_day.append((1 << place, leaf))
            elif isinstance(leaf, RegexLeaf | SearchLeaf):
                self._by_text.append((1 << place, leaf))
            else:
                self._by_row.append((1 << place, leaf))
        self._text_bits = sum(bit for bit, _ in self._by_text)
        self._rules = [
            rule for rule in rules if any(clause.bits & self._text_bits for clause in (*rule.wanted, *rule.unwanted))
        ]
        self.needs_files = any(
            isinstance(leaf, SearchLeaf) and leaf.expression.needs_files for _, leaf in self._by_text
        )
        """Whether the files of messages must be brought, for expressions that ask for them."""

    def of(
        self, rows: pa.Table, *further: Answered, files: pa.Table | None = None, needs_all: bool = False
    ) -> Answered:
        """Return what every row answers; ``further`` are answers that these rows were given otherwise.

        ``files`` are the rows of their files, if `needs_files`. With ``needs_all`` texts are asked also where no verdict hangs on it.
        """
        crossing = Crossing(rows.num_rows)
        parts: list[Sequence[int]] = []
        for column, remembered in self._by_column.items():
            indices, values = distinct(rows.column(column))
            numbers, answers = remembered.of(values)
            parts.append(answers)
            crossing.add(taken(numbers, indices), len(answers))
        if self._by_day:
            days = local_days(instants_ms(rows), self._calendar)
            self._add(crossing, parts, self._of_days(days, rows.num_rows))
        for bit, leaf in self._by_row:
            self._add(crossing, parts, Answered(_flags(leaf, rows), [0, bit]))
        for answered in further:
            self._add(crossing, parts, answered)
        answered = _merged(crossing.crossed(), parts)
        if not self._by_text:
            return answered
        needed = [self._text_bits if needs_all else self._needed(answer) for answer in answered.answers]
        return self._with_texts(answered, needed, rows, files)

    def _with_texts(
        self, answered: Answered, needed: Sequence[int], rows: pa.Table, files: pa.Table | None
    ) -> Answered:
        """Ask the texts of those rows of which it is needed; ``needed`` says by answer which bits are."""
        crossing = Crossing(rows.num_rows)
        crossing.add(answered.codes, len(answered.answers))
        parts: list[Sequence[int]] = [answered.answers]
        for bit, leaf in self._by_text:
            asked = flat(pc.not_equal(taken([answer & bit for answer in needed], answered.codes), 0))
            count = asked.true_count
            if not count:
                continue
            # Whether a message was edited its other versions tell, and so they must be there.
            is_whole = isinstance(leaf, SearchLeaf) and "version" in leaf.expression.columns
            some = rows if is_whole or count == rows.num_rows else rows.filter(asked)
            found = leaf.mask(some, files) if isinstance(leaf, SearchLeaf) else leaf.mask(some)
            flags = pc.fill_null(flat(found), fill_value=False)
            if some is not rows:
                flags = pc.replace_with_mask(pc.and_not(asked, asked), asked, flags)
            crossing.add(flags, 2)
            parts.append([0, bit])
        return _merged(crossing.crossed(), parts)

    def _needed_of(self, answers: int) -> int:
        """Return the bits of texts on which it still hangs whether some rule matches a row that answers so."""
        needed = 0
        for rule in self._rules:
            open_wanted = [clause for clause in rule.wanted if not answers & clause.bits]
            if any(answers & clause.bits for clause in rule.unwanted):
                continue
            if all(clause.bits & self._text_bits for clause in open_wanted):
                for clause in (*open_wanted, *rule.unwanted):
                    needed |= clause.bits & self._text_bits
        return needed

    @staticmethod
    def _add(crossing: Crossing, parts: list[Sequence[int]], answered: Answered) -> None:
        """Cross answers, after those that are equal became one."""
        places: dict[int, int] = {}
        numbers = [places.setdefault(answer, len(places)) for answer in answered.answers]
        parts.append(list(places))
        is_same = numbers == list(range(len(numbers)))
        crossing.add(answered.codes if is_same else taken(numbers, answered.codes), len(places))

    def _of_days(self, days: LocalDays, rows: int) -> Answered:
        answers = [
            sum(bit for bit, leaf in self._by_day if leaf.holds(days.first + number)) for number in range(days.count)
        ]
        return Answered(taken([0], pa.nulls(rows)) if days.codes is None else days.codes, answers)


def _flags(leaf: AmongLeaf | SizeLeaf, rows: pa.Table) -> Column:
    if isinstance(leaf, AmongLeaf):
        return pc.is_in(rows.column(leaf.column), value_set=pa.array(sorted(leaf.values), pa.string()))
    return pc.fill_null(leaf.mask(rows), fill_value=False)


def _merged(crossed: Crossed, parts: Sequence[Sequence[int]]) -> Answered:
    def answer(combination: tuple[int, ...]) -> int:
        bits = 0
        for part, number in zip(parts, combination, strict=True):
            bits |= part[number]
        return bits

    return Answered(*crossed.map(answer))


def bits_of(number: int) -> Iterator[int]:
    """Yield the bits that are set, each as a number, the least first."""
    while number:
        bit = number & -number
        yield bit
        number ^= bit


def distinct(column: Column) -> tuple[pa.Array, list[str | None]]:
    """Return for each row the number of its value, and the distinct values; null is one of them."""
    encoded = pc.dictionary_encode(column)
    if isinstance(encoded, pa.ChunkedArray):
        encoded = flat(encoded.unify_dictionaries())
    values = encoded.dictionary.to_pylist()
    indices = encoded.indices
    if indices.null_count:
        indices = pc.fill_null(indices.cast(pa.int64()), len(values))
        values = [*values, None]
    return indices, values


def instants_ms(rows: pa.Table) -> pa.Array:
    """Return when each row was sent, in milliseconds since 1970 UTC."""
    return flat(pc.cast(rows.column("sent_at"), pa.int64()))


def local_days(sent_ms: pa.Array, calendar: Calendar) -> LocalDays:
    """Return the local day of each instant by the clock on the wall; the zone is asked once for each distinct UTC day."""
    if not len(sent_ms):
        return LocalDays(None, 1, 1)
    bounds = pc.min_max(sent_ms).as_py()
    offsets = _offsets(
        sent_ms, calendar, (bounds["min"] - EARLIEST_MS) // DAY_MS, (bounds["max"] - EARLIEST_MS) // DAY_MS
    )
    ordinals = pc.add(pc.divide(pc.add(pc.subtract(sent_ms, EARLIEST_MS), pc.add(offsets, DAY_MS)), DAY_MS), 0)
    # At both ends of the calendar a local day may be none; day_of says which is taken then.
    span = pc.min_max(ordinals).as_py()
    first, last = max(span["min"], 1), min(span["max"], calendar.LAST_DAY)
    if first == last:
        return LocalDays(None, first, 1)
    if (first, last) != (span["min"], span["max"]):
        ordinals = pc.max_element_wise(pc.min_element_wise(ordinals, last), first)
    return LocalDays(pc.subtract(ordinals, first), first, last - first + 1)


def _offsets(sent_ms: pa.Array, calendar: Calendar, first: int, last: int) -> pa.Array | pa.Scalar:
    """Return the zone's offset at each instant, of which all lie on these UTC days; one for all where it is one."""
    if first == last:
        days, shapes = None, [calendar.shape(first)]
    else:
        encoded = pc.dictionary_encode(pc.divide(pc.subtract(sent_ms, EARLIEST_MS), DAY_MS))
        days, shapes = encoded.indices, [calendar.shape(day) for day in encoded.dictionary.to_pylist()]
    before = [shape.offset_before_ms for shape in shapes]
    if all(shape.offset_after_ms == shape.offset_before_ms for shape in shapes):
        if len(set(before)) == 1:
            return pa.scalar(before[0], pa.int64())
        return taken(before, days)
    if days is None:
        days = pa.repeat(pa.scalar(0, pa.int64()), len(sent_ms))
    changes = taken([shape.changes_at_ms for shape in shapes], days)
    after = taken([shape.offset_after_ms for shape in shapes], days)
    return pc.if_else(pc.greater_equal(sent_ms, changes), after, taken(before, days))
