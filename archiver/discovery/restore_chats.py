"""Which chats a person means who names them, and whom to suggest where nobody is meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from archiver.errors import UsageError
from archiver.ids import is_channel
from archiver.scope.membership import Membership, folded

_SUGGESTIONS_MAX = 3


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
            known = sorted({*membership.names, *membership.chats})
            near = difflib.get_close_matches(folded(text.removeprefix("#")), known, n=_SUGGESTIONS_MAX, cutoff=0.5)
            raise UsageError(
                f"the archive knows no chat called {text!r}",
                next_step=f"did you mean {', '.join(map(repr, near))}?"
                if near
                else '`archiver query "SELECT channel_id, name FROM channels"` lists the channels, and a one-to-one chat is two users '
                "with a comma between",
            )
        found |= chats
    return frozenset(found) if given else None
