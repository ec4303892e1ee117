"""An export of very many messages is made as two halves, which can be written at once: each has some of the conversations.

Which these are, and so which files a package has, depends on what was asked for and found, never on the machine that makes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from archiver.discovery.export.formats import writer_class
from archiver.discovery.export.given import OfChat
from archiver.discovery.export.opened import Wanted
from archiver.discovery.export.record import Slice, Terms
from archiver.errors import DamageFoundError

# With fewer rows of the archive the second process is hardly begun when the first one is done.
HALVED_FROM_ROWS: Final = 200_000
_HALVES: Final = 2


@dataclass(frozen=True, slots=True)
class Half:
    """Which half it is, from 1, of how many; its chats in order, the messages of those before it, and what it must come to."""

    number: int
    of: int
    chats: tuple[str, ...]
    numbered_from: int
    messages: int
    captures: int


def may_be_halved(wanted: Wanted) -> bool:
    """Tell whether an export can be made as halves: all in one bag, with nothing made black, and in forms that have no file of all."""
    return (
        wanted.volume_bytes is None
        and wanted.redaction is None
        and all(writer_class(name).by_half for name in wanted.formats)
    )


def halves_of(
    chats: Mapping[str, OfChat], unnamed: Mapping[tuple[str, str], int], *, rows_min: int | None
) -> tuple[Half, ...]:
    """Return the halves of what was taken, which have about as many rows; a single one of fewer than ``rows_min``, or if that is None.

    ``unnamed`` counts by chat and uid the rows that were left out before.
    """
    ordered = sorted(chats)
    parts: list[Sequence[str]] = [ordered]
    rows = sum(of_chat.rows for of_chat in chats.values())
    if rows_min is not None and rows >= rows_min and len(ordered) >= _HALVES:
        parts = _cut(ordered, chats, rows)
    left_out: dict[str, int] = {}
    for (chat_id, _), count in unnamed.items():
        left_out[chat_id] = left_out.get(chat_id, 0) + count
    halves: list[Half] = []
    before = 0
    for number, part in enumerate(parts, 1):
        messages = sum(chats[chat_id].messages for chat_id in part)
        captures = sum(chats[chat_id].rows + left_out.get(chat_id, 0) for chat_id in part)
        if len(parts) == 1:
            # Some of the chats may be called otherwise there, because nobody is to learn whose they are.
            captures = rows + sum(unnamed.values())
        halves.append(Half(number, len(parts), tuple(part), before, messages, captures))
        before += messages
    return tuple(halves)


def terms_of_half(terms: Terms, half: Half) -> Terms:
    """Return what the writers of a half are told."""
    return replace(terms, half=half.number, is_last=half.number == half.of)


def all_of(slices: Iterator[Slice], half: Half) -> Iterator[Slice]:
    """Yield slices; raises `DamageFoundError` if they are not of all the rows that were chosen, so that no package lacks some unsaid.

    And if they are not of as many messages as were counted, because the next half goes on numbering from there.
    """
    captures = messages = 0
    for part in slices:
        captures += part.captures
        messages += len(part.messages)
        yield part
    if captures != half.captures:
        what = f"{half.captures} rows of the archive were chosen, and the export came to {captures} of them"
    elif half.of > 1 and messages != half.messages:
        what = f"{half.messages} messages were counted in half {half.number} of the export, and it came to {messages}"
    else:
        return
    raise DamageFoundError(
        what,
        next_step="report it: it must not happen; the package is not whole, and nothing was entered in the ledger",
    )


def _cut(ordered: Sequence[str], chats: Mapping[str, OfChat], rows: int) -> list[Sequence[str]]:
    """Return chats as two parts, each of at least one, the greater of which has as few rows as can be."""
    best, least = 1, rows
    before = 0
    for place, chat_id in enumerate(ordered[:-1], 1):
        before += chats[chat_id].rows
        if (greater := max(before, rows - before)) < least:
            best, least = place, greater
    return [ordered[:best], ordered[best:]]
