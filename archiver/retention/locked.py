"""Which of the objects that a plan is about a lock of the store keeps, so that whoever approves it knows what will not be gone at once.

What a lock keeps, a disposal takes out of the archive and hides; its bytes stay in the store until the lock ends, whatever the policy says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import pyarrow.compute as pc

from archiver.archive import layout
from archiver.archive.ledger import BlobRecord
from archiver.archive.reader import Head, files_of
from archiver.clock import to_text
from archiver.errors import KeyMissingError
from archiver.retention.located import KINDS, Located, targets_of
from archiver.retention.plan_document import Plan
from archiver.store import ObjectLock, Store


@dataclass(frozen=True, slots=True)
class Locked:
    """Of so many objects ``looked_at`` so many are locked: the last lock ends at ``until_ms``, of ``legal_holds`` nobody knows when."""

    looked_at: int
    objects: int
    until_ms: int | None
    legal_holds: int

    @property
    def sentence(self) -> str | None:
        """What to tell whoever approves, None if nothing is locked."""
        if not self.objects:
            return None
        ends = [f"the last lock ends at {to_text(self.until_ms)}"] if self.until_ms is not None else []
        ends += [f"{self.legal_holds:,} have a legal hold, which ends when it is lifted"] if self.legal_holds else []
        return (
            f"{self.objects:,} of the {self.looked_at:,} objects that hold what would go are locked in the store: {'; '.join(ends)}. "
            "Until then what is removed stays there, hidden."
        )


def locks_of_plan(store: Store, head: Head, plan: Plan, *, executor: Executor) -> Locked:
    """Return what is locked of the data objects that may hold items of a plan, told by the ledger alone, without reading them.

    Pushes and blobs are left out: which of them go is found when a plan is applied (`locks_of_located`).
    """
    return _looked(store, _may_hold(head, plan), executor=executor)


def locks_of_located(store: Store, located: Located, blobs: Iterable[BlobRecord], *, executor: Executor) -> Locked:
    """Return what is locked of exactly the objects that go."""
    keys = [one.record.key for found in located.touched.values() for one in found]
    return _looked(store, [*keys, *(layout.blob_key(blob.sha256) for blob in blobs)], executor=executor)


def _may_hold(head: Head, plan: Plan) -> Iterator[str]:
    for table in ("messages", "files", "users"):
        items = plan.items.filter(pc.equal(plan.items.column("kind"), KINDS[table]))
        targets = targets_of(KINDS[table], items)
        for record in files_of(head, table):
            if targets.size and (table == "users" or targets.meets(*map(str, record.ranges["message_uid"]))):
                yield record.key


def _looked(store: Store, keys: Iterable[str], *, executor: Executor) -> Locked:
    found = list(executor.map(partial(_lock, store), keys))
    locks = [lock for lock in found if lock is not None]
    return Locked(
        looked_at=len(found),
        objects=len(locks),
        until_ms=max((lock.until_ms for lock in locks if lock.until_ms is not None), default=None),
        legal_holds=sum(lock.legal_hold for lock in locks),
    )


def _lock(store: Store, key: str) -> ObjectLock | None:
    try:
        return store.lock(key)
    except KeyMissingError:
        return None  # it went while we were looking, so nothing keeps it
