"""The audit trail: each search, export, restore and replay on behalf of a matter is an entry of its own, which changes no row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import msgspec

from archiver.archive.commit import Author, append_entry, next_entry
from archiver.archive.ledger import HeadMovedError, MatterAct
from archiver.archive.reader import Archive, Head

# Another writer may be quicker many times in a row; each time costs one more look at what it added.
TRIES_MAX: Final = 20

ActKind = Literal["search", "export", "restore", "replay"]


def record_act(
    archive: Archive, head: Head, kind: ActKind, act: MatterAct, *, author: Author, now_ms: Callable[[], int]
) -> Head:
    """Enter what was done on behalf of a matter and return the new head.

    It rests on no row, so where another writer was first it is entered after what that one wrote; raises `HeadMovedError` only if that
    goes on, and `StorageError` if the store cannot.
    """
    for tries in range(1, TRIES_MAX + 1):
        entry = msgspec.structs.replace(next_entry(archive, head, kind, at_ms=now_ms(), author=author), matter=act)
        try:
            return append_entry(archive, head, entry)
        except HeadMovedError:
            if tries == TRIES_MAX:
                raise
            head = archive.head(head)
    raise AssertionError("unreachable")
