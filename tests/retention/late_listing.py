"""A store as it was seen a moment ago: listings do not show the newest ledger entries yet, and creating one fails all the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from archiver.archive import layout
from archiver.store import ObjectInfo, Store


class LateListing:
    """Passes everything on, but lists no ledger entry after ``until``."""

    def __init__(self, store: Store, *, until: int) -> None:
        self._store = store
        self._until = until

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        for info in self._store.list(prefix, after=after):
            if (layout.sequence_of_entry(info.key) or 0) <= self._until:
                yield info

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)
