"""Whose copy lies in a place, and at which of the archive's heads it stands; what is no copy of this archive is refused."""

from __future__ import annotations

from typing import Final

import msgspec

from archiver.archive import layout, ledger
from archiver.archive.reader import Archive, Head
from archiver.errors import KeyMissingError, LedgerBrokenError, RefusedError
from archiver.store import Store

CLONE_FORMAT: Final = 1


class CloneMark(msgspec.Struct, frozen=True, kw_only=True):
    """``clone.json``: of which archive this is a copy, and what a lock of the copy's store kept from being erased."""

    format: int
    archive_id: str
    facts_sha256: str
    kept: tuple[str, ...] = ()


def mark_of(source: Archive) -> CloneMark:
    """Return what a copy of an archive says of itself."""
    return CloneMark(format=CLONE_FORMAT, archive_id=source.facts.archive_id, facts_sha256=source.facts_digest)


def read_mark(store: Store) -> CloneMark:
    """Return what a copy says of itself; raises `KeyMissingError` if it is none, `RefusedError` if that cannot be read."""
    try:
        return msgspec.json.decode(store.read(layout.CLONE_KEY), type=CloneMark)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RefusedError(
            f"{layout.CLONE_KEY} in {store.url} cannot be read: {error}",
            next_step="name an empty place; nothing was changed",
        ) from None


def mark_in(target: Store, source: Archive) -> CloneMark | None:
    """Return what says that a place is a copy of an archive, None if it is empty; raises `RefusedError` for any other."""
    try:
        found = read_mark(target)
    except KeyMissingError:
        if next(iter(target.list("")), None) is not None:
            raise RefusedError(
                f"{target.url} is not empty, and what lies there is no copy that `archiver clone` made",
                next_step="name an empty place; nothing was changed",
            ) from None
        return None
    mark = mark_of(source)
    if (found.archive_id, found.facts_sha256) != (mark.archive_id, mark.facts_sha256):
        raise RefusedError(
            f"{target.url} is a copy of archive {found.archive_id}, and this is {mark.archive_id}",
            next_step="name another place; nothing was changed",
        )
    return found


def standing_of(target: Store, source: Archive, head: Head) -> Head | None:
    """Return the head at which a copy stands, None if it is no archive yet; raises `RefusedError` if that is none up to ``head``."""
    try:
        facts, digest = ledger.read_facts(target)
    except KeyMissingError:
        return None
    if digest != source.facts_digest:
        raise RefusedError(
            f"{target.url} is archive {facts.archive_id}, and not a copy of {source.facts.archive_id}",
            next_step="name another place; nothing was changed",
        )
    try:
        standing = Archive(target, facts, digest).head()
    except LedgerBrokenError as error:
        raise RefusedError(
            f"the copy cannot go on: {error.what}",
            next_step="see what `archiver verify` says of it; a new copy in an empty place is whole again",
        ) from None
    if standing.sequence and not _is_ancestor(standing, source, head):
        raise RefusedError(
            f"entry {standing.sequence} of {target.url} ({standing.digest}) is none of {source.store.url}: the copy is ahead of "
            "it, or was written to",
            next_step="check that the archive and the copy are not exchanged, and that no run writes to the copy; nothing was changed",
        )
    return standing


def _is_ancestor(standing: Head, source: Archive, head: Head) -> bool:
    if standing.sequence > head.sequence:
        return False
    try:
        return ledger.read_entry(source.store, standing.sequence)[1] == standing.digest
    except KeyMissingError:
        return False
