"""What the holds in force cover: the same for a plan, for applying one, for `archiver hold show` and for the marks in a store.

A scope keeps the words that somebody said, and they are read anew on each reading: so a hold covers what came after it was placed, the
channel that took a name later and the person whose address became known later. Parts of a scope are met together, of the values within a
part one is enough; whom and what they reach says `archiver.scope.reach`.

Where something cannot be told, a hold covers it: what it costs to keep too much can be paid, and what was destroyed cannot be had back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.ledger import HoldScope
from archiver.archive.reader import Head, PlacedHold
from archiver.clock import DAY_MS
from archiver.errors import UsageError
from archiver.expression import Expression
from archiver.ids import is_foreign, parties_of
from archiver.retention.searched import may_shrink, read_expression, searched
from archiver.scope.membership import Membership, read_membership
from archiver.scope.reach import (
    CUSTODIAN_COLUMNS,
    ITEM_COLUMNS,
    Reach,
    View,
    chats_of,
    constant,
    item_keys,
    or_within,
    reach_of,
    reached,
)
from archiver.store import Store

# A push may have been sent, by the clock of whoever sent it, after it was received by ours.
_CLOCKS_DIFFER_MS = DAY_MS
_SEARCHED_FILE_COLUMNS = ("mime", "mime_received")


@dataclass(frozen=True, slots=True)
class Doubt:
    """What a hold may not cover though its words look as if: a stable code, what is the matter, and what to do."""

    hold: str
    code: str
    what: str
    next_step: str


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
            name: reach_of(hold.scope, membership, self._expressions.get(name)) for name, hold in self.holds.items()
        }
        for name, hold in self.holds.items():
            doubts += _doubts_of(name, hold.scope, membership)
        self.doubts = tuple(doubts)
        self.needs_files = any(expression.needs_files for expression in self._expressions.values())
        asks_for_people = any(reach.people is not None for reach in self.reaches.values())
        searched_columns = (column for each in self._expressions.values() for column in each.columns)
        self.message_columns: tuple[str, ...] = tuple(
            dict.fromkeys((*ITEM_COLUMNS, *(CUSTODIAN_COLUMNS if asks_for_people else ()), *searched_columns))
        )
        self.file_columns: tuple[str, ...] = ITEM_COLUMNS + (_SEARCHED_FILE_COLUMNS if self.needs_files else ())

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
        view = View(rows)
        masks = {}
        for name, reach in self.reaches.items():
            mask = reached(reach, view)
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
        view = View(rows)
        masks = {}
        for name, covered in self.of_messages(messages, files).items():
            mask = pc.is_in(keys, value_set=of_messages.filter(covered))
            if has_alone:
                mask = pc.or_(mask, pc.and_(is_alone, reached(self.reaches[name], view, of_any_sender=True)))
            masks[name] = mask
        return masks

    def of_pushes(self, rows: pa.Table) -> dict[str, pa.BooleanArray]:
        """Return by hold which pushes it covers of which only the reception (``sent_at``) is known, and sometimes the chat.

        Who sent it, what it says and how long before the reception it was sent cannot be told, so that rules nothing out.
        """
        view = View(rows)
        has_no_chat = pc.is_null(view.encoded("chat_id"))
        masks = {}
        for name, reach in self.reaches.items():
            from_at_ms = None if reach.from_at_ms is None else reach.from_at_ms - _CLOCKS_DIFFER_MS
            late_enough = Reach(from_at_ms=from_at_ms)
            there = Reach(from_at_ms=from_at_ms, chats=reach.chats, patterns=reach.patterns)
            masks[name] = pc.or_(reached(there, view), pc.and_(has_no_chat, reached(late_enough, view)))
        return masks

    def unlisted(self, rows: pa.Table) -> dict[str, frozenset[str]]:
        """Return by hold the channels in which its custodians wrote when no list of members showed any of them there.

        Of what others wrote in them then nothing is covered, and perhaps should be.
        """
        view = View(rows)
        chats = chats_of(view)
        found: dict[str, frozenset[str]] = {}
        for name, reach in self.reaches.items():
            if reach.people is None:
                continue
            is_channel = [chat_id not in reach.talks and parties_of(chat_id) is None for chat_id in chats]
            mask = pc.and_(view.has("sender_id", reach.people), view.where("chat_id", is_channel))
            mask = pc.and_(mask, reached(reach, view))
            spans = [reach.stays.get(chat_id, ()) for chat_id in chats]
            was_there = or_within(constant(view.size, value=False), spans, view)
            outside = pc.and_not(mask, was_there)
            found[name] = frozenset(pc.unique(view.encoded("chat_id").filter(outside)).to_pylist())
        return found


def read_coverage(store: Store, head: Head) -> Coverage:
    """Return what the holds in force at a head cover; raises `DamageFoundError` if the directory's rows cannot be read."""
    return Coverage(head.holds, read_membership(store, head) if head.holds else Membership())


def any_of(masks: Mapping[str, pa.BooleanArray], *, rows: int) -> pa.BooleanArray:
    """Return which of so many rows any hold covers."""
    found = constant(rows, value=False)
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


def _doubts_of(name: str, scope: HoldScope, membership: Membership) -> list[Doubt]:
    doubts: list[Doubt] = []
    for text in scope.custodians:
        doubts += _doubts_about(name, text, membership.people(text), membership)
    doubts += [
        Doubt(
            name,
            "unknown-chat",
            f"the directory knows no chat {text!r}; the hold covers it as soon as there is one",
            'if it is misspelt, place the hold anew; `archiver query "SELECT chat_id, name FROM conversations"` lists chats',
        )
        for text in scope.chats
        if not membership.chats_called(text)
    ]
    return doubts


def _doubts_about(name: str, text: str, found: Collection[str], membership: Membership) -> list[Doubt]:
    """Return what to tell of a custodian: whom nobody knows, and who was never seen in a channel."""
    if not found:
        is_address = "@" in text and not is_foreign(text)
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
