"""What the holds in force cover: the same for a plan, for applying one, for `archiver hold show` and for the marks in a store.

A scope keeps the words that somebody said, and they are read anew on each reading: so a hold covers what came after it was placed, the
channel that took a name later and the person whose address became known later. Parts of a scope are met together, of the values within a
part one is enough. A custodian stands for what they sent (or had sent by a bot on their behalf), what was sent to them directly (one-to-one
chats, and messages that only they and few others could see), and the channels they were in while they were in them
(`archiver.scope.membership`).

Where something cannot be told, a hold covers it: what it costs to keep too much can be paid, and what was destroyed cannot be had back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.reader import Head, PlacedHold
from archiver.errors import UsageError
from archiver.expression import Expression
from archiver.ids import parties_of
from archiver.retention.searched import may_shrink, meant, read_expression, searched
from archiver.scope.membership import ALWAYS_MS, FOREVER_MS, Membership, Span, matches, read_membership
from archiver.store import Store

_ITEM_COLUMNS = ("chat_id", "message_uid", "sent_at")
_CUSTODIAN_COLUMNS = ("sender_id", "on_behalf_of", "visible_to")
_SEARCHED_FILE_COLUMNS = ("mime", "mime_received")
# No id holds it, so that two texts joined by it are told apart from any other two.
_BETWEEN = "\0"


@dataclass(frozen=True, slots=True)
class Doubt:
    """What a hold may not cover though its words look as if: a stable code, what is the matter, and what to do."""

    hold: str
    code: str
    what: str
    next_step: str


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


class Coverage:
    """Tells for rows of ``messages`` and ``files`` which holds cover them.

    ``holds`` are those asked about, ``reaches`` what each comes to and ``doubts`` what its readers must be told. ``message_columns`` and
    ``file_columns`` are the columns that rows must have. Masks hold no nulls and stand beside the rows in their order.
    """

    def __init__(self, holds: Mapping[str, PlacedHold], membership: Membership) -> None:
        self.holds = dict(sorted(holds.items()))
        doubts: list[Doubt] = []
        self._expressions: dict[str, Expression] = {}
        for name, hold in self.holds.items():
            expression = _expression_of(name, hold, doubts)
            if expression is not None:
                self._expressions[name] = expression
        self._directory = membership.directory
        self.reaches = {
            name: _reach(name, hold, membership, self._expressions.get(name), doubts)
            for name, hold in self.holds.items()
        }
        self.doubts = tuple(doubts)
        self.needs_files = any(expression.needs_files for expression in self._expressions.values())
        asks_for_people = any(reach.people is not None for reach in self.reaches.values())
        searched_columns = (column for each in self._expressions.values() for column in each.columns)
        self.message_columns: tuple[str, ...] = tuple(
            dict.fromkeys((*_ITEM_COLUMNS, *(_CUSTODIAN_COLUMNS if asks_for_people else ()), *searched_columns))
        )
        self.file_columns: tuple[str, ...] = _ITEM_COLUMNS + (_SEARCHED_FILE_COLUMNS if self.needs_files else ())

    def may_cover(self, first_ms: int, last_ms: int) -> bool:
        """Tell whether any hold may cover something that was sent between two instants, both included."""
        return any(
            (reach.from_at_ms is None or last_ms >= reach.from_at_ms)
            and (reach.until_ms is None or first_ms < reach.until_ms)
            for reach in self.reaches.values()
        )

    def of_messages(self, rows: pa.Table, files: pa.Table | None = None) -> dict[str, pa.BooleanArray]:
        """Return by hold which rows of ``messages`` it covers; ``files`` are the rows of their files, where `needs_files`.

        A message is held, with all its versions, if any of its rows is.
        """
        view = _View(rows)
        masks = {}
        for name, reach in self.reaches.items():
            mask = _mask(reach, view)
            if name in self._expressions:
                mask = searched(self._expressions[name], rows, among=mask, directory=self._directory, files=files)
            masks[name] = mask
        return masks

    def of_files(
        self, rows: pa.Table, messages: pa.Table, *, files: pa.Table | None = None
    ) -> dict[str, pa.BooleanArray]:
        """Return by hold which rows of ``files`` it covers: those of a message of which it covers any row.

        ``messages`` has all rows of their messages, and ``files`` all rows of the files of these: a hold that searches for files covers
        any, where they are not brought. A file whose message is not among them is covered unless its own chat and instant rule
        that out.
        """
        keys, of_messages = item_keys(rows), item_keys(messages)
        is_alone = pc.invert(pc.is_in(keys, value_set=of_messages))
        has_alone = bool(pc.any(is_alone).as_py())
        view = _View(rows)
        masks = {}
        for name, covered in self.of_messages(messages, files).items():
            mask = pc.is_in(keys, value_set=of_messages.filter(covered))
            if has_alone:
                mask = pc.or_(mask, pc.and_(is_alone, _mask(self.reaches[name], view, of_any_sender=True)))
            masks[name] = mask
        return masks

    def unlisted(self, rows: pa.Table) -> dict[str, frozenset[str]]:
        """Return by hold the channels in which its custodians wrote when no list of members showed any of them there.

        Of what others wrote in them then nothing is covered, and perhaps should be.
        """
        view = _View(rows)
        chats = _chats_of(view)
        found: dict[str, frozenset[str]] = {}
        for name, reach in self.reaches.items():
            if reach.people is None:
                continue
            is_channel = [chat_id not in reach.talks and parties_of(chat_id) is None for chat_id in chats]
            mask = pc.and_(view.has("sender_id", reach.people), view.where("chat_id", is_channel))
            mask = pc.and_(mask, _mask(reach, view))
            spans = [reach.stays.get(chat_id, ()) for chat_id in chats]
            was_there = _or_within(_constant(view.size, value=False), spans, view)
            outside = pc.and_not(mask, was_there)
            found[name] = frozenset(pc.unique(view.encoded("chat_id").filter(outside)).to_pylist())
        return found


def read_coverage(store: Store, head: Head) -> Coverage:
    """Return what the holds in force at a head cover; raises `DamageFoundError` if the directory's rows cannot be read."""
    return Coverage(head.holds, read_membership(store, head) if head.holds else Membership())


def any_of(masks: Mapping[str, pa.BooleanArray], *, rows: int) -> pa.BooleanArray:
    """Return which of so many rows any hold covers."""
    found = _constant(rows, value=False)
    for mask in masks.values():
        found = pc.or_(found, mask)
    return found


def _expression_of(name: str, hold: PlacedHold, doubts: list[Doubt]) -> Expression | None:
    """Return what a hold searches for; one that cannot be read here asks for nothing, so that the hold covers more and not less."""
    try:
        expression = read_expression(hold.scope)
    except UsageError as error:
        doubts.append(
            Doubt(
                name,
                "unread-expression",
                f"the expression {hold.scope.expression!r} cannot be read ({error.what.partition(chr(10))[0]}), so the hold covers "
                "whatever meets its other parts",
                "use the version that it was placed with, or a newer one",
            )
        )
        return None
    if expression is not None and may_shrink(expression):
        doubts.append(
            Doubt(
                name,
                "may-shrink",
                f"the expression {expression.written!r} leaves out what may become true of a message later, by a new name or a "
                "file, and what it covered would be let go of then",
                "if that is not meant, say what to hold and not what to leave out",
            )
        )
    return expression


def _reach(
    name: str, hold: PlacedHold, membership: Membership, expression: Expression | None, doubts: list[Doubt]
) -> Reach:
    scope = hold.scope
    people = frozenset[str]()
    for text in scope.custodians:
        found = membership.people(text)
        people |= found | {text}
        doubts += _doubts_about(name, text, found, membership)
    chats = frozenset[str]()
    for text in scope.chats:
        found = membership.chats_called(text)
        chats |= found | {text}
        if not found:
            doubts.append(
                Doubt(
                    name,
                    "unknown-chat",
                    f"the directory knows no chat {text!r}; the hold covers it as soon as there is one",
                    'if it is misspelt, place the hold anew; `archiver query "SELECT chat_id, name FROM conversations"` lists chats',
                )
            )
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


def _doubts_about(name: str, text: str, found: Collection[str], membership: Membership) -> list[Doubt]:
    """Return what to tell of a custodian: whom nobody knows, and who was never seen in a channel."""
    if not found:
        is_address = "@" in text
        return [
            Doubt(
                name,
                "unknown-custodian",
                f"the directory knows nobody {'with the address' if is_address else 'called'} {text!r}; "
                + (
                    "nothing is covered for it until somebody has it"
                    if is_address
                    else "only what bears this id as its sender or in its chat is covered"
                ),
                "Flock tells the addresses only of users who installed the app: name the user by the id instead, which "
                '`archiver query "SELECT user_id, first_name, last_name, email FROM users"` lists',
            )
        ]
    if not membership.stays(found):
        return [
            Doubt(
                name,
                "no-channels",
                f"no list of members ever showed {text!r}, so that of channels only what they sent is covered",
                "name the channels by --channel in a hold of their own if they were in any",
            )
        ]
    return []


class _View:
    """Rows as masks are made of them: what is asked of each row by its chat is asked of each chat once."""

    def __init__(self, rows: pa.Table) -> None:
        self.rows = rows
        self.size = rows.num_rows
        self._encoded: dict[str, pa.DictionaryArray] = {}
        self._sent_at_ms: pa.Int64Array | None = None

    @property
    def sent_at_ms(self) -> pa.Int64Array:
        if self._sent_at_ms is None:
            self._sent_at_ms = _whole(pc.cast(self.rows.column("sent_at"), pa.int64()))
        return self._sent_at_ms

    def encoded(self, column: str) -> pa.DictionaryArray:
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
            return _constant(self.size, value=False)
        is_hit = pc.is_in(pc.list_flatten(lists), value_set=pa.array(sorted(values), pa.string()))
        return pc.is_in(pa.arange(0, self.size), value_set=pc.unique(pc.list_parent_indices(lists).filter(is_hit)))


def _mask(reach: Reach, view: _View, *, of_any_sender: bool = False) -> pa.BooleanArray:
    """Return which rows a scope covers; ``of_any_sender`` takes a custodian for met, where rows do not tell."""
    mask = _constant(view.size, value=True)
    if reach.from_at_ms is not None:
        mask = pc.and_(mask, pc.greater_equal(view.sent_at_ms, reach.from_at_ms))
    if reach.until_ms is not None:
        mask = pc.and_(mask, pc.less(view.sent_at_ms, reach.until_ms))
    if reach.chats is not None:
        mask = pc.and_(mask, view.where("chat_id", [_is_named(reach, chat_id) for chat_id in _chats_of(view)]))
    if reach.people is not None and not of_any_sender:
        mask = pc.and_(mask, _of_custodians(reach, reach.people, view))
    return mask


def _chats_of(view: _View) -> list[str]:
    found: list[str] = view.encoded("chat_id").dictionary.to_pylist()
    return found


def _is_named(reach: Reach, chat_id: str) -> bool:
    return chat_id in (reach.chats or ()) or any(matches(pattern, chat_id) for pattern in reach.patterns)


def _of_custodians(reach: Reach, people: frozenset[str], view: _View) -> pa.BooleanArray:
    chats = _chats_of(view)
    mask = pc.or_(view.has("sender_id", people), view.has("on_behalf_of", people))
    mask = pc.or_(mask, view.lists("visible_to", people))
    direct = [chat_id in reach.talks or not people.isdisjoint(parties_of(chat_id) or ()) for chat_id in chats]
    mask = pc.or_(mask, view.where("chat_id", direct))
    return _or_within(mask, [reach.stays.get(chat_id, ()) for chat_id in chats], view)


def _or_within(mask: pa.BooleanArray, spans: Sequence[tuple[Span, ...]], view: _View) -> pa.BooleanArray:
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
    return pc.binary_join_element_wise(*texts, _BETWEEN)


def _whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _constant(length: int, *, value: bool) -> pa.BooleanArray:
    return pa.repeat(pa.scalar(value), length)
