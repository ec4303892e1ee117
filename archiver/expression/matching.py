"""Of which rows of ``messages`` an expression is true: Arrow over whole columns, and the exact reading of the few that are left.

Filters are answered from whole columns. For words, `prefilter` finds the rows that could say them, and each of those is read. An
operator asks its cheaper side first, and the other only about the rows where it still matters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from archiver.expression import attached
from archiver.expression.columns import TEXT_COLUMNS
from archiver.expression.facts import Facts, folded_like, identifier_like, name_of_person_like
from archiver.expression.nodes import (
    And,
    Chat,
    Days,
    Expression,
    Filter,
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
    TextTerm,
    Words,
    terms_of,
)
from archiver.expression.prefilter import could_say
from archiver.expression.saying import says
from archiver.ids import is_bot, parties_of

# To make ready the quick look takes as long as reading about so many texts.
READ_PLAINLY_TEXTS_MAX = 200

_KEY_SEPARATOR = "\0"

_Fact = TypeVar("_Fact")


def matching_rows(expression: Expression, table: pa.Table, facts: Facts) -> pa.BooleanArray:
    """Return for each row of ``messages`` whether the expression is true of it.

    The table has at least the ``columns`` of the expression, and all versions of each message that it has one of. Raises `ValueError` if
    the expression asks for facts that nobody brought.
    """
    rows = _Rows(table, facts, expression.zone)
    return _true_of(expression.root, rows, scope=_all(table.num_rows, is_true=True))


@dataclass(frozen=True, slots=True)
class _Rows:
    table: pa.Table
    facts: Facts
    zone: ZoneInfo


def _true_of(node: Node, rows: _Rows, *, scope: pa.BooleanArray) -> pa.BooleanArray:
    """Return of which rows in scope a node is true; what it says of the others means nothing."""
    match node:
        case Not(inner):
            return pc.invert(_true_of(inner, rows, scope=scope))
        case And(nodes):
            for inner in _cheapest_first(nodes):
                if not scope.true_count:
                    break
                scope = pc.and_(scope, _true_of(inner, rows, scope=scope))
            return scope
        case Or(nodes):
            undecided = scope
            for inner in _cheapest_first(nodes):
                if not undecided.true_count:
                    break
                undecided = pc.and_not(undecided, _true_of(inner, rows, scope=undecided))
            return pc.and_not(scope, undecided)
        case Words() | Near():
            return _rows_that_say(node, rows.table, scope=scope)
        case _:
            return _rows_that_are(node, rows)


def _cheapest_first(nodes: Iterable[Node]) -> list[Node]:
    return sorted(nodes, key=lambda node: sum(isinstance(term, (Words, Near)) for term in terms_of(node)))


def _rows_that_say(term: TextTerm, table: pa.Table, *, scope: pa.BooleanArray) -> pa.BooleanArray:
    """Return which rows in scope say it in one of their texts."""
    is_said = says(term)
    left = scope
    for name in TEXT_COLUMNS:
        column = _plain(table[name])
        asked = pc.and_(left, _array(pc.is_valid(column)))
        if name == "text":
            # Most messages show what they say, and have been read above.
            asked = pc.and_(
                asked, _array(pc.fill_null(pc.not_equal(column, _plain(table["plain_text"])), fill_value=True))
            )
        if not asked.true_count:
            continue
        found = (
            _found_in(column, asked, could=lambda texts: _could_say_attached(term, texts), is_said=_in_one_of(is_said))
            if name == "attachments"
            else _found_in(column, asked, could=lambda texts: could_say(term, texts), is_said=is_said)
        )
        left = pc.and_not(left, found)
    return pc.and_not(scope, left)


def _found_in(
    column: pa.ChunkedArray,
    asked: pa.BooleanArray,
    *,
    could: Callable[[pa.Array], pa.BooleanArray],
    is_said: Callable[[str], bool],
) -> pa.BooleanArray:
    """Return in which of the texts that are asked for it is said."""
    marks = bytearray(len(column))
    first = 0
    for chunk in column.chunks:
        asked_here = asked.slice(first, len(chunk))
        places = pc.indices_nonzero(asked_here)
        texts = chunk if len(places) == len(chunk) else chunk.filter(asked_here)
        if len(texts) > READ_PLAINLY_TEXTS_MAX:
            likely = could(texts)
            places, texts = places.filter(likely), texts.filter(likely)
        for place, text in zip(places.to_pylist(), texts.to_pylist(), strict=True):
            marks[first + place] = is_said(text)
        first += len(chunk)
    return pa.Array.from_buffers(pa.uint8(), len(marks), [None, pa.py_buffer(marks)]).cast(pa.bool_())


def _could_say_attached(term: TextTerm, texts: pa.Array) -> pa.BooleanArray:
    r"""Return which attachments could say it; in JSON a letter may be written as ``\u0061``, and in markup as ``&#97;``."""
    return pc.or_(could_say(term, texts), pc.match_substring_regex(texts, pattern=r"[\\&<]"))


def _in_one_of(is_said: Callable[[str], bool]) -> Callable[[str], bool]:
    return lambda attachments: any(map(is_said, attached.texts_of(attachments)))


def _rows_that_are(filter_: Filter, rows: _Rows) -> pa.BooleanArray:  # noqa: C901, PLR0911, PLR0912 - one line for each filter
    table, facts = rows.table, rows.facts
    match filter_:
        case Person("from", pattern):
            people = facts.directory.people_like(pattern)
            is_id = identifier_like(pattern)
            sent = _where(table["sender_id"], lambda user: user in people or is_id(user))
            return pc.or_(sent, _where(table["sender_name"], name_of_person_like(pattern)))
        case Person(pattern=pattern):
            return _sent_to(pattern, rows)
        case Chat(pattern):
            chats = facts.directory.chats_like(pattern)
            is_id = identifier_like(pattern)
            return _where(table["chat_id"], lambda chat: chat in chats or is_id(chat))
        case Days():
            return _sent_on(filter_, table["sent_at"], zone=rows.zone)
        case HasFile():
            return _are_in(table, _brought(facts.files, "the files of the messages"))
        case Mime(pattern):
            files = _brought(facts.files, "the files of the messages")
            is_meant = folded_like(pattern)
            masks = [_where(files[name], is_meant) for name in ("mime", "mime_received") if name in files.column_names]
            return _are_in(table, files.filter(pc.or_(masks[0], masks[-1])))
        case State("missing"):
            return _are_in(table, _brought(facts.missing, "the messages that Flock did not return"))
        case State():
            return _are_in(table, table.filter(pc.greater(table["version"], 1)))
        case Kind("app" | "person" as kind):
            by_app = pc.or_(_array(pc.is_valid(table["app_id"])), _where(table["sender_id"], is_bot))
            return by_app if kind == "app" else pc.invert(by_app)
        case Kind(kind):
            return _where(table["chat_kind"], lambda found: found == kind)
        case Label(pattern):
            labels = _brought(facts.labels, "the labels of the messages")
            is_meant = folded_like(pattern)
            marked = _all(table.num_rows, is_true=False)
            for name, carried in labels.items():
                if is_meant(name):
                    marked = pc.or_(marked, pc.fill_null(carried, fill_value=False))
            return marked


def _sent_to(pattern: str, rows: _Rows) -> pa.BooleanArray:
    """Return which rows were sent to a person alone, or could be seen by few who were named, him among them."""
    people = rows.facts.directory.people_like(pattern)
    is_id = identifier_like(pattern)

    def is_meant(user: str) -> bool:
        return user in people or is_id(user)

    def meant_in(chat: str) -> list[str]:
        return [user for user in parties_of(chat) or () if is_meant(user)]

    table = rows.table
    chats = _plain(table["chat_id"])
    # Where both are meant, or somebody writes to himself, whoever wrote it wrote to one of them.
    sent = _where(chats, lambda chat: len(meant_in(chat)) > 1)
    by_other = pc.invert(_where(table["sender_id"], is_meant))
    sent = pc.or_(sent, pc.and_(_where(chats, lambda chat: len(meant_in(chat)) == 1), by_other))
    return pc.or_(sent, _hold_one(table["visible_to"], is_meant))


def _hold_one(lists: pa.ChunkedArray, is_meant: Callable[[str], bool]) -> pa.BooleanArray:
    """Return which lists of texts have one that is meant."""
    marks = bytearray(len(lists))
    first = 0
    for chunk in lists.chunks:
        parents = pc.list_parent_indices(chunk)
        values = pc.list_flatten(chunk)
        for place in pc.unique(parents.filter(_where(pa.chunked_array([values]), is_meant))).to_pylist():
            marks[first + place] = 1
        first += len(chunk)
    return pa.Array.from_buffers(pa.uint8(), len(marks), [None, pa.py_buffer(marks)]).cast(pa.bool_())


def span_of(days: Days, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return the first instant of the days that a filter names, and the first after them, in UTC."""
    return _beginning_of(days.first, zone), _end_of(days.last, zone)


def _sent_on(days: Days, sent_at: pa.ChunkedArray, *, zone: ZoneInfo) -> pa.BooleanArray:
    begin, end = (pa.scalar(instant, type=sent_at.type) for instant in span_of(days, zone))
    match days.relation:
        case "before":
            return _array(pc.less(sent_at, begin))
        case "after":
            return _array(pc.greater_equal(sent_at, end))
        case "on":
            return _array(pc.and_(pc.greater_equal(sent_at, begin), pc.less(sent_at, end)))


def _beginning_of(day: date, zone: ZoneInfo) -> datetime:
    """Return the first instant of a local day; where the clocks leap over midnight, the instant of the leap."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def _end_of(day: date, zone: ZoneInfo) -> datetime:
    """Return the first instant after a local day; where the clocks are put back over midnight, the day ends twice, and the last counts."""
    midnight = datetime.combine(day + timedelta(days=1), datetime.min.time(), tzinfo=zone)
    return max(midnight.astimezone(UTC), midnight.replace(fold=1).astimezone(UTC))


def _where(column: pa.ChunkedArray, is_meant: Callable[[str], bool]) -> pa.BooleanArray:
    """Return where a text is meant, each distinct one asked once; null is not."""
    texts = _plain(column)
    meant = [text for text in pc.unique(texts).to_pylist() if text is not None and is_meant(text)]
    return _array(pc.is_in(texts, value_set=pa.array(meant, texts.type)))


def _are_in(table: pa.Table, messages: pa.Table) -> pa.BooleanArray:
    """Return which rows are about one of these messages."""
    return _array(pc.is_in(_keys(table), value_set=_array(_keys(messages))))


def _keys(table: pa.Table) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(_plain(table["chat_id"]), _plain(table["message_uid"]), _KEY_SEPARATOR)


def _brought(fact: _Fact | None, what: str) -> _Fact:
    if fact is None:
        raise ValueError(f"the expression asks for {what}, which nobody brought")
    return fact


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _array(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _all(count: int, *, is_true: bool) -> pa.BooleanArray:
    return pa.repeat(pa.scalar(is_true), count)
