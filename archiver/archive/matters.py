"""The audit trail: each search, export, restore and replay on behalf of a matter is an entry of its own, which changes no row."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from archiver.archive.commit import Author, append_entry, next_entry
from archiver.archive.ledger import HeadMovedError, MatterAct
from archiver.archive.reader import Archive, Head
from archiver.errors import UsageError

# Another writer may be quicker many times in a row; each time costs one more look at what it added.
TRIES_MAX: Final = 20

_MATTER: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")

ActKind = Literal["search", "export", "restore", "replay"]


def checked_matter(matter: str) -> str:
    """Return the name of a matter; raises `UsageError` for one that can be no part of a file's name.

    Every command has this one rule, so that all that was done for a matter stands in the ledger under one name.
    """
    if not _MATTER.fullmatch(matter):
        raise UsageError(
            f"{matter!r} is no name for a matter",
            next_step="use 1 to 64 letters, digits, dots, hyphens and underscores, such as smith-v-acme, a letter or digit at both ends",
        )
    return matter


def record_act(
    archive: Archive, head: Head, kind: ActKind, act: MatterAct, *, author: Author, now_ms: Callable[[], int]
) -> Head:
    """Enter what was done on behalf of a matter and return the new head.

    The store is asked first to show that it lets only one writer win, as no run did that just now; raises what `Store.probe` does. The
    entry rests on no row, so where another writer was first it is entered after what that one wrote; raises `HeadMovedError` only if that
    goes on, and `StorageError` if the store cannot.
    """
    archive.store.probe()
    for tries in range(1, TRIES_MAX + 1):
        entry = msgspec.structs.replace(next_entry(archive, head, kind, at_ms=now_ms(), author=author), matter=act)
        try:
            return append_entry(archive, head, entry)
        except HeadMovedError:
            if tries == TRIES_MAX:
                raise
            head = archive.head(head)
    raise AssertionError("unreachable")
