"""Which chats a person means who names them, and whom to suggest where nobody is meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from typing import Final

from archiver.errors import UsageError
from archiver.ids import is_channel
from archiver.scope.membership import Membership, folded

NAMES_SUGGESTED_MAX: Final = 3


def chats_named(membership: Membership, texts: Iterable[str]) -> frozenset[str] | None:
    """Return the ids of the chats that names, ids and pairs of users mean, None where nothing was named.

    Raises `UsageError`, with the nearest names, for a text that means no chat.
    """
    found: set[str] = set()
    given = list(texts)
    for text in given:
        chats = membership.chats_called(text)
        if not chats and is_channel(text):
            chats = frozenset({text})  # one whose messages came, and that no list of channels ever named
        if not chats:
            raise unknown_chat(text, membership)
        found |= chats
    return frozenset(found) if given else None


def unknown_chat(text: str, membership: Membership) -> UsageError:
    """Return what to tell whoever names a channel or conversation that the directory does not know."""
    near = nearest(text.removeprefix("#"), membership.chats | membership.names.keys())
    return UsageError(
        f"the directory knows no channel or conversation {text!r}",
        next_step=f"did you mean {' or '.join(map(repr, near))}?"
        if near
        else '`archiver query "SELECT chat_id, name FROM conversations"` lists them; a one-to-one chat is two users with a comma between',
    )


def nearest(text: str, known: Collection[str]) -> list[str]:
    """Return the few of the names that are known which are most like a text, whatever their case and accents."""
    by_folded = {folded(name): name for name in sorted(known)}
    found = difflib.get_close_matches(folded(text), by_folded, n=NAMES_SUGGESTED_MAX)
    return [by_folded[name] for name in found]
