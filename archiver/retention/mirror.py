"""Marking in the store what holds cover: S3 Object Lock legal holds on the objects that hold it, kept in step with the ledger.

The ledger decides what is held; the marks are a second lock on the same door, for whoever reaches the bucket past the archiver. A mark is
on a whole object, so an object is marked while anything in it is held. When retention rewrites such an object for other rows, the new
object, which holds the held rows, is marked first, and then the mark of the old one is lifted, so that what was disposed of can go: there
is no moment at which what is held lies in no marked object.

A mark in S3 has no owner, and one that somebody else set must never be lifted by us. So we keep a list of ours (``holds/marks.json``), and
write what we are about to mark before marking it. Without that list marks stay, and are told as those of others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import msgspec

from archiver.archive import layout
from archiver.archive.ledger import canonical_json
from archiver.archive.reader import Archive, Head
from archiver.errors import DamageFoundError, KeyMissingError, RefusedError, StoreRefusedError
from archiver.retention.coverage import Coverage, read_coverage
from archiver.retention.held_objects import Progress, held_objects
from archiver.store import Store

# Holds are placed by people; who is outrun so often looks at something else than people.
TRIES_MAX: Final = 5

ReadCoverage = Callable[[Store, Head], Coverage]


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """The marks that are ours, as of an entry of the ledger: keys, and those that we are lifting.

    ``reach`` is the digest of what the holds came to then: while it is the same, only what was added since need be looked at.
    """

    archive_id: str
    sequence: int = 0
    reach: str = ""
    keys: tuple[str, ...] = ()
    lifting: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What marking came to: objects that are marked for holds, newly marked ones, lifted ones, and those that others had marked."""

    objects: int
    marked: int
    lifted: int
    by_others: int


def mirror(
    archive: Archive,
    *,
    executor: Executor,
    full: bool = False,
    read: ReadCoverage = read_coverage,
    progress: Progress | None = None,
) -> Mirrored:
    """Mark in the store what the holds of the newest head cover, and lift our marks from what no hold covers.

    ``full`` looks at every object and every mark again. Call it while holding this machine's run lock. Raises `StoreRefusedError` if the
    store has no legal holds, `DamageFoundError` if an object that must be marked is missing, `RefusedError` if holds change all the time.
    """
    if not archive.store.can_hold():
        raise StoreRefusedError(
            f"{archive.store.url} has no legal holds, so holds cannot be mirrored to it",
            next_step="keep the archive in a bucket with Object Lock enabled, or set `holds.mirror: false`",
        )
    head = archive.head()
    for _ in range(TRIES_MAX):
        mirrored = _mirror(archive, head, read(archive.store, head), full=full, executor=executor, progress=progress)
        newer = archive.head(head)
        if newer.holds == head.holds:
            return mirrored
        # Somebody placed or released one meanwhile, and may have marked what we lifted.
        head, full = newer, True
    raise RefusedError(
        "holds are placed and released faster than they can be mirrored", next_step="run `archiver hold sync` later"
    )


def read_marks(archive: Archive) -> Marks:
    """Return the list of our marks; one that is missing or is another archive's is empty."""
    none = Marks(archive_id=archive.facts.archive_id)
    try:
        marks = msgspec.json.decode(archive.store.read(layout.HOLD_MARKS_KEY), type=Marks)
    except (KeyMissingError, msgspec.MsgspecError, UnicodeDecodeError):
        return none
    return marks if marks.archive_id == archive.facts.archive_id else none


def _mirror(
    archive: Archive, head: Head, coverage: Coverage, *, full: bool, executor: Executor, progress: Progress | None
) -> Mirrored:
    store, known = archive.store, read_marks(archive)
    reach = sha256(canonical_json(coverage.reaches)).hexdigest()
    # What left the archive may have moved to an object anywhere, and is marked there before its old mark goes.
    has_left = any(key not in head.files and not layout.is_blob_key(key) for key in (*known.keys, *known.lifting))
    full = full or has_left or known.reach != reach or known.sequence > head.sequence
    since = 0 if full else known.sequence
    wanted = held_objects(store, head, coverage, executor=executor, since=since, progress=progress)
    ours = frozenset(known.keys)
    if not full:
        wanted |= ours
    asked = sorted(wanted if full else wanted - ours)
    is_marked = dict(zip(asked, executor.map(lambda key: _is_marked(store, key), asked), strict=True))
    new = {key for key in asked if not is_marked[key]}
    going = (ours | set(known.lifting)) - wanted
    doing = msgspec.structs.replace(known, keys=_sorted((ours | new) - going), lifting=_sorted(going))
    _write(archive, known, doing)
    # Marks come first and each must be set, so that what moved to another object is marked there before it is not here.
    marked = sum(executor.map(lambda key: _mark(store, key), sorted(new)))
    lifted = sum(executor.map(lambda key: _lift(store, key), sorted(going)))
    done = msgspec.structs.replace(doing, sequence=head.sequence, reach=reach, lifting=())
    _write(archive, doing, done)
    by_others = sum(is_marked[key] and key not in ours for key in asked)
    return Mirrored(objects=len(wanted), marked=marked, lifted=lifted, by_others=by_others)


def _write(archive: Archive, before: Marks, after: Marks) -> None:
    if after != before:
        archive.store.replace(layout.HOLD_MARKS_KEY, canonical_json(after))


def _is_marked(store: Store, key: str) -> bool:
    try:
        lock = store.lock(key)
    except KeyMissingError:
        raise _missing(store, key) from None
    return lock is not None and lock.legal_hold


def _mark(store: Store, key: str) -> bool:
    try:
        return store.set_legal_hold(key, on=True)
    except KeyMissingError:
        raise _missing(store, key) from None


def _lift(store: Store, key: str) -> bool:
    try:
        return store.set_legal_hold(key, on=False)
    except KeyMissingError:
        return False  # retention erased it since


def _missing(store: Store, key: str) -> DamageFoundError:
    return DamageFoundError(
        f"{key} is missing in {store.url}, and a legal hold covers what it held",
        next_step="run `archiver verify` for a full list, then restore the object from a copy",
    )


def _sorted(keys: Collection[str] | Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(keys))
