"""Which rows a scope reaches: of whom, in which chats and when, for holds and for matters alike.

Parts of a scope are met together, of the values within a part one is enough. A custodian stands for what they sent (or had sent by a bot
on their behalf), what was sent to them directly (one-to-one chats, and messages that only they and few others could see), and the channels
they were in while they were in them (`archiver.scope.membership`). What a scope searches for is asked by `archiver.expression`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.ledger import HoldScope
from archiver.expression import Directory, Expression
from archiver.expression.nodes import Chat, Person, terms_of
from archiver.ids import parties_of
from archiver.scope.membership import ALWAYS_MS, FOREVER_MS, Membership, Span, matches

# What must be known of rows to tell whether they are reached; those of custodians only where a scope names any.
ITEM_COLUMNS = ("chat_id", "message_uid", "sent_at")
CUSTODIAN_COLUMNS = ("sender_id", "on_behalf_of", "visible_to")
# No id holds it, so that two texts joined by it are told apart from any other two.
BETWEEN = "\0"


@dataclass(frozen=True, slots=True)
class Reach:
    """What a scope comes to, as of one head; None asks for nothing.

    ``people`` are the ids of custodians, ``stays`` when any of them was in a channel, ``talks`` the chats that name one of them as
    taking part; ``chats`` are ids and ``patterns`` patterns of ids. Instants are milliseconds since 1970 UTC, ``until_ms`` not included.
    ``search`` is the expression as it is said with its zone, and ``meant`` the ids that its people and chats mean now.
    """

    people: frozenset[str] | None = None
    stays: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)
    talks: frozenset[str] = frozenset()
    chats: frozenset[str] | None = None
    patterns: tuple[str, ...] = ()
    from_at_ms: int | None = None
    until_ms: int | None = None
    search: tuple[str, str] | None = None
    meant: tuple[tuple[str, ...], ...] = ()


def reach_of(scope: HoldScope, membership: Membership, expression: Expression | None = None) -> Reach:
    """Return what a scope comes to now; whom and what nobody knows yet is asked for by the words that name it."""
    known = frozenset[str]().union(*(membership.people(text) for text in scope.custodians))
    people = known | frozenset(scope.custodians)
    chats = frozenset[str]().union(*(membership.chats_called(text) for text in scope.chats)) | frozenset(scope.chats)
    return Reach(
        people=people if scope.custodians else None,
        stays=membership.stays(people) if scope.custodians else {},
        talks=frozenset[str]().union(*(membership.talks.get(user_id, frozenset()) for user_id in people)),
        chats=chats if scope.chats else None,
        patterns=scope.chats,
        from_at_ms=scope.from_at_ms,
        until_ms=scope.until_ms,
        search=None if expression is None else (expression.written, expression.zone.key),
        meant=() if expression is None else meant(expression, membership.directory),
    )


def meant(expression: Expression, directory: Directory) -> tuple[tuple[str, ...], ...]:
    """Return for each person and chat of an expression the ids that are meant by it now, sorted."""
    return tuple(
        tuple(
            sorted(
                directory.chats_like(term.pattern) if isinstance(term, Chat) else directory.people_like(term.pattern)
            )
        )
        for term in terms_of(expression.root)
        if isinstance(term, (Chat, Person))
    )


class View:
    """Rows as masks are made of them: what is asked of each row by its chat is asked of each chat once."""

    def __init__(self, rows: pa.Table) -> None:
        self.rows = rows
        self.size = rows.num_rows
        self._encoded: dict[str, pa.DictionaryArray] = {}
        self._sent_at_ms: pa.Int64Array | None = None

    @property
    def sent_at_ms(self) -> pa.Int64Array:
        """When each row's message was sent, in milliseconds since 1970 UTC."""
        if self._sent_at_ms is None:
            self._sent_at_ms = _whole(pc.cast(self.rows.column("sent_at"), pa.int64()))
        return self._sent_at_ms

    def encoded(self, column: str) -> pa.DictionaryArray:
        """Return a column whose distinct values stand once."""
        if column not in self._encoded:
            found = self.rows.column(column)
            is_encoded = pa.types.is_dictionary(found.type)
            self._encoded[column] = _whole(found.unify_dictionaries() if is_encoded else found.dictionary_encode())
        return self._encoded[column]

    def where(self, column: str, wanted: Sequence[bool]) -> pa.BooleanArray:
        """Return which rows have a value that is wanted; ``wanted`` stands beside the column's distinct values."""
        found = pc.take(pa.array(wanted, pa.bool_()), self.encoded(column).indices)
        return pc.fill_null(found, fill_value=False)

    def has(self, column: str, values: Collection[str]) -> pa.BooleanArray:
        """Return which rows have one of these values."""
        return self.where(column, [value in values for value in self.encoded(column).dictionary.to_pylist()])

    def lists(self, column: str, values: Collection[str]) -> pa.BooleanArray:
        """Return which rows have one of these values in a list."""
        lists = _whole(self.rows.column(column))
        if lists.null_count == self.size:
            return constant(self.size, value=False)
        is_hit = pc.is_in(pc.list_flatten(lists), value_set=pa.array(sorted(values), pa.string()))
        return pc.is_in(pa.arange(0, self.size), value_set=pc.unique(pc.list_parent_indices(lists).filter(is_hit)))


def reached(reach: Reach, view: View, *, of_any_sender: bool = False) -> pa.BooleanArray:
    """Return which rows a scope covers; ``of_any_sender`` takes a custodian for met, where rows do not tell."""
    mask = constant(view.size, value=True)
    if reach.from_at_ms is not None:
        mask = pc.and_(mask, pc.greater_equal(view.sent_at_ms, reach.from_at_ms))
    if reach.until_ms is not None:
        mask = pc.and_(mask, pc.less(view.sent_at_ms, reach.until_ms))
    if reach.chats is not None:
        mask = pc.and_(mask, view.where("chat_id", [_is_named(reach, chat_id) for chat_id in chats_of(view)]))
    if reach.people is not None and not of_any_sender:
        mask = pc.and_(mask, _of_custodians(reach, reach.people, view))
    return mask


def chats_of(view: View) -> list[str]:
    """Return the distinct chats, beside which whatever is asked of them stands."""
    found: list[str] = view.encoded("chat_id").dictionary.to_pylist()
    return found


def _is_named(reach: Reach, chat_id: str) -> bool:
    return chat_id in (reach.chats or ()) or any(matches(pattern, chat_id) for pattern in reach.patterns)


def _of_custodians(reach: Reach, people: frozenset[str], view: View) -> pa.BooleanArray:
    chats = chats_of(view)
    mask = pc.or_(view.has("sender_id", people), view.has("on_behalf_of", people))
    mask = pc.or_(mask, view.lists("visible_to", people))
    direct = [chat_id in reach.talks or not people.isdisjoint(parties_of(chat_id) or ()) for chat_id in chats]
    mask = pc.or_(mask, view.where("chat_id", direct))
    return or_within(mask, [reach.stays.get(chat_id, ()) for chat_id in chats], view)


def or_within(mask: pa.BooleanArray, spans: Sequence[tuple[Span, ...]], view: View) -> pa.BooleanArray:
    """Add the rows that were sent within one of their chat's spans; ``spans`` stand beside the distinct chats.

    Most chats have one span, so each further round looks only at the rows of chats that have more.
    """
    indices = view.encoded("chat_id").indices
    for number in range(max(map(len, spans), default=0)):
        nth = [of_chat[number] if number < len(of_chat) else (FOREVER_MS, ALWAYS_MS) for of_chat in spans]
        is_asked = pc.take(pa.array([number < len(of_chat) for of_chat in spans]), indices)
        chat, sent_at_ms = indices.filter(is_asked), view.sent_at_ms.filter(is_asked)
        starts, ends = (pc.take(pa.array(bounds, pa.int64()), chat) for bounds in zip(*nth, strict=True))
        is_within = pc.and_(pc.greater_equal(sent_at_ms, starts), pc.less(sent_at_ms, ends))
        mask = pc.replace_with_mask(mask, is_asked, pc.or_(mask.filter(is_asked), is_within))
    return mask


def item_keys(rows: pa.Table) -> pa.StringArray:
    """Return for each row the item that it belongs to, as one text."""
    texts = (_whole(pc.cast(rows.column(name), pa.string())) for name in ("chat_id", "message_uid"))
    return pc.binary_join_element_wise(*texts, BETWEEN)


def _whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def constant(length: int, *, value: bool) -> pa.BooleanArray:
    """Return a mask that is the same for so many rows."""
    return pa.repeat(pa.scalar(value), length)
