"""Doing exactly what a stored plan says, or refusing: the only code that removes archived data.

In this order: everything is checked, and every row of the plan found; then the objects that hold what stays are written, beside the old
ones; then the certificate; then one ledger entry takes the old objects and the blobs without a last reference out of the archive; and
only then are they erased from the store, with all their old versions, and an entry says so. Until the first entry nothing has happened,
and after it nothing is missing that is not accounted for: a crash anywhere is finished by `archiver.retention.erasing.finish_disposals`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Executor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive import layout, ledger
from archiver.archive.commit import Author, Pending, write_note
from archiver.archive.disposal import commit_disposal
from archiver.archive.ledger import BlobRecord, Disposal, Entry, FileRecord, Removal
from archiver.archive.reader import Archive, Head
from archiver.archive.recover import recover
from archiver.errors import ArchiverError, DamageFoundError, KeyMissingError, LedgerBrokenError, RefusedError
from archiver.retention.certificate import Certificate, certify, store_certificate
from archiver.retention.erasing import Erasure, erase_removed
from archiver.retention.located import (
    KINDS,
    HoldCoverage,
    Located,
    Progress,
    blobs_going,
    locate,
    without_held,
)
from archiver.retention.plan_document import Plan, breakers_passed
from archiver.retention.rewrite import Touched, rewrite
from archiver.retention.storing import Storing
from archiver.store import ObjectLock, Store

_PLAN_ANEW = "make a new plan with `archiver retention plan`, and have that approved"


@dataclass(frozen=True, slots=True)
class Disposed:
    """What was done: the head after it, the disposal's entry, its certificate, and what of it is not erased yet.

    ``was_applied_before`` is true of a plan that an earlier entry had applied, so that nothing was left to do but to erase.
    """

    head: Head
    sequence: int
    certificate: Certificate
    certificate_key: str
    erasure: Erasure
    was_applied_before: bool = False


def _unwatched(step: str, done: int, total: int) -> None:
    del step, done, total


def dispose(
    archive: Archive,
    head: Head,
    plan: Plan,
    *,
    coverage: HoldCoverage,
    approved_by: str,
    author: Author,
    attempt: str,
    now_ms: int,
    executor: Executor,
    writers: Executor | None = None,
    progress: Progress = _unwatched,
) -> Disposed:
    """Remove the items of a plan from the archive, without those that a hold covers now, and return what was done.

    ``head`` is the newest head and ``coverage`` that of its holds; ``attempt`` is eight random hex digits, new for each call. What mostly
    waits for the store is done in ``writers``, beside what ``executor`` works out; without them it is done there as well. Call it only
    while holding this machine's run lock.

    Raises `RefusedError`, before anything is changed, if more happened since the plan than that holds were placed, if its digests do not
    hold, if a limit would be passed or if nothing would go; `HeadMovedError`, one of them, if another writer commits meanwhile;
    `DamageFoundError` if an object that would be rewritten is not what the ledger says; and `StorageError`: the ledger then decides what
    became of it, and `finish_disposals` goes on.
    """
    recover(archive, writer=author.writer, now_ms=now_ms)
    located = check(archive, head, plan, coverage=coverage, executor=executor, progress=progress)
    blobs = blobs_going(archive.store, head, located, executor=executor)
    touched = [one for table in KINDS for one in located.touched.get(table, ())]
    keys = _new_keys(touched, sequence=head.sequence + 1, attempt=attempt)
    _announce(
        archive.store, plan, keys.values(), sequence=head.sequence + 1, attempt=attempt, author=author, at_ms=now_ms
    )
    try:
        fresh = _rewrite_all(archive.store, touched, keys, executor=executor, writers=writers, progress=progress)
        certificate = certify(
            plan,
            located,
            head=head,
            fresh=fresh,
            blobs=blobs,
            locks=_locks(archive.store, touched, blobs, executor=writers or executor),
            approved_by=approved_by,
            author=author,
            attempt=attempt,
            at_ms=now_ms,
        )
        new_head = _commit(archive, head, certificate, touched=touched, fresh=fresh, author=author, at_ms=now_ms)
    except (RefusedError, DamageFoundError):
        with suppress(ArchiverError):  # what cannot be removed now has its note
            recover(archive, writer=author.writer, now_ms=now_ms)
        raise
    entry, entry_digest = ledger.read_entry(archive.store, new_head.sequence)
    final_head, erasure = erase_removed(
        archive,
        new_head,
        (entry, entry_digest),
        author=author,
        now_ms=now_ms,
        executor=writers or executor,
        progress=progress,
    )
    return Disposed(final_head, new_head.sequence, certificate, layout.certificate_key(plan.digest), erasure)


def check(
    archive: Archive,
    head: Head,
    plan: Plan,
    *,
    coverage: HoldCoverage,
    executor: Executor,
    progress: Progress = _unwatched,
) -> Located:
    """Return the rows of a plan that go, after everything that could forbid it was looked at; nothing is changed.

    Raises what `dispose` raises before it changes anything.
    """
    _require_sound(archive, plan)
    _require_fresh(archive, head, plan)
    located = locate(archive.store, head, plan, executor=executor, progress=progress)
    located = without_held(archive.store, head, plan, located, coverage=coverage, executor=executor)
    _require_within_limits(plan, located.is_kept)
    return located


def _require_sound(archive: Archive, plan: Plan) -> None:
    """Refuse a plan that is not what its digests say, or of another archive."""
    if plan.items_sha256 != plan.header.items_sha256:
        raise RefusedError(f"the items of plan {plan.digest} are not those that were approved", next_step=_PLAN_ANEW)
    if plan.header.archive_id != archive.facts.archive_id:
        raise RefusedError(
            f"plan {plan.digest} is of archive {plan.header.archive_id}, and this is {archive.facts.archive_id}",
            next_step="apply it where it was made",
        )


def _require_fresh(archive: Archive, head: Head, plan: Plan) -> None:
    """Refuse a plan whose archive has changed since, but for holds that were placed and disposals whose erasing was finished."""
    made_of = (plan.header.head_sequence, plan.header.head_digest)
    reached: tuple[int, str] | None = made_of
    try:
        for entry, digest in ledger.entries_after(archive.store, *made_of):
            if not _changes_no_row(entry):
                raise RefusedError(
                    f"plan {plan.digest} was made of commit {made_of[0]}, and commit {entry.sequence} ({_what(entry)}) came since",
                    next_step=_PLAN_ANEW,
                )
            reached = (entry.sequence, digest)
            if entry.sequence == head.sequence:
                break
    except LedgerBrokenError:
        reached = None  # what follows there does not follow from the head that the plan names
    if reached != (head.sequence, head.digest):
        raise RefusedError(
            f"plan {plan.digest} was made of commit {made_of[0]} with digest {made_of[1]}, which this archive's head does not follow from",
            next_step=f"run `archiver verify`; if the archive was put back to an earlier state on purpose, {_PLAN_ANEW}",
        )


def _changes_no_row(entry: Entry) -> bool:
    if entry.added or entry.removed or entry.blobs:
        return False
    if entry.hold is not None:
        return entry.hold.action == "place"
    return entry.erased is not None or entry.matter is not None or entry.promotion is not None


def _what(entry: Entry) -> str:
    if entry.hold is not None:
        return (
            f"hold {entry.hold.name} was released" if entry.hold.action == "release" else "a hold was placed, with rows"
        )
    return entry.kind


def _require_within_limits(plan: Plan, is_kept: pa.BooleanArray) -> None:
    rows = pc.sum(plan.items.column("rows").filter(pc.invert(is_kept))).as_py()
    if not rows:
        why = "a hold keeps all of them" if plan.items.num_rows else "it has none"
        raise RefusedError(
            f"nothing of plan {plan.digest} would go: of its items {why}", next_step="there is nothing to do"
        )
    for passed in breakers_passed(plan.header.limits, rows=rows, totals=plan.header.totals):
        raise RefusedError(
            f"plan {plan.digest} would remove {passed}; nothing was changed",
            next_step="make several plans of less, or raise the limit in the policy and plan again",
        )


def _announce(
    store: Store,
    plan: Plan,
    keys: Iterable[str],
    *,
    sequence: int,
    attempt: str,
    author: Author,
    at_ms: int,
) -> None:
    certificate_key = layout.certificate_key(plan.digest)
    note = Pending(sequence=sequence, attempt=attempt, writer=author.writer, at_ms=at_ms, keys=(*keys, certificate_key))
    write_note(store, note)


def _new_keys(touched: list[Touched], *, sequence: int, attempt: str) -> dict[str, str]:
    """Return the key of the object that takes the place of each one of which something stays, by its old key."""
    keys: dict[str, str] = {}
    for one in touched:
        if not one.is_whole:
            table, day = layout.partition_of(one.record.key)
            keys[one.record.key] = layout.data_key(table, day, sequence=sequence, attempt=attempt, number=len(keys) + 1)
    return keys


def _rewrite_all(
    store: Store,
    touched: list[Touched],
    keys: Mapping[str, str],
    *,
    executor: Executor,
    writers: Executor | None,
    progress: Progress,
) -> dict[str, FileRecord]:
    """Write what stays of every object; returns only when no task is under way any more, also where one failed."""
    parts = [one for one in touched if one.record.key in keys]
    records = {}
    with Storing(store, writers) as storing:
        tasks = [executor.submit(rewrite, store, one, keys[one.record.key], storing=storing) for one in parts]
        try:
            for done, (one, task) in enumerate(zip(parts, tasks, strict=True), 1):
                records[one.record.key] = task.result()
                progress("rewriting", done, len(parts))
        finally:
            for task in tasks:
                task.cancel()
            wait(tasks)
    return records


def _commit(
    archive: Archive,
    head: Head,
    certificate: Certificate,
    *,
    touched: list[Touched],
    fresh: Mapping[str, FileRecord],
    author: Author,
    at_ms: int,
) -> Head:
    """Store the certificate, then commit what it certifies."""
    digest = store_certificate(archive.store, certificate)
    reason = f"disposed of by plan {certificate.plan}"
    removed = [one.record.key for one in touched]
    removed += [layout.blob_key(blob.sha256) for blob in certificate.blobs]
    # Open rows that were dealt with stay dealt with where they lie now.
    settled = [new.key for old, new in fresh.items() if new.open_rows and old in head.settled]
    return commit_disposal(
        archive,
        head,
        Disposal(
            plan=certificate.plan,
            approved_by=certificate.approved_by,
            rows=certificate.rows,
            certificate_sha256=digest,
        ),
        removed=tuple(Removal(key, reason) for key in removed),
        added=tuple(fresh.values()),
        settled=tuple(settled),
        author=author,
        at_ms=at_ms,
    )


def _locks(
    store: Store, touched: list[Touched], blobs: tuple[BlobRecord, ...], *, executor: Executor
) -> dict[str, ObjectLock]:
    """Return which of the objects that go a lock will keep from being erased, as far as can be told before."""
    keys = [*(one.record.key for one in touched), *(layout.blob_key(blob.sha256) for blob in blobs)]
    found = zip(keys, executor.map(partial(_lock, store), keys), strict=True)
    return {key: lock for key, lock in found if lock is not None}


def _lock(store: Store, key: str) -> ObjectLock | None:
    try:
        return store.lock(key)
    except KeyMissingError:
        raise DamageFoundError(
            f"{key} in {store.url} is missing, the ledger names it",
            next_step="run `archiver verify` for a full list, then restore the object from a copy; nothing was changed",
        ) from None
