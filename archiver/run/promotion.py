"""A copy becomes an archive that runs may write to, when the archive that it is a copy of is lost.

An entry of its ledger says so, and ``clone.json`` goes; nothing else in it changes. Before, it is looked at: that every object is there
with its size, and that it has the newest commit that this machine saw of the archive.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from archiver.archive.commit import Author
from archiver.archive.ledger import Promotion
from archiver.archive.promoted import promote_copy
from archiver.archive.reader import Archive
from archiver.custody.findings import Damage
from archiver.custody.verify import verify
from archiver.discovery.clone_standing import read_mark
from archiver.errors import DamageFoundError, KeyMissingError, LedgerBrokenError, RefusedError
from archiver.run import last_head
from archiver.store import Store

DAMAGES_NAMED_MAX = 3


@dataclass(frozen=True, slots=True)
class Promoted:
    """What became the archive: its id, the commit at which the copy stood, and what is wrong with it and was taken all the same.

    ``entry`` is the sequence of the entry that says so. ``was_copy`` is False where there was nothing to do.
    ``behind`` says which commit is lost, None if none is known to be. ``kept`` are
    keys that retention erased and a lock of the copy's store keeps.
    """

    archive_id: str
    sequence: int
    digest: str
    at: str | None
    was_copy: bool
    entry: int | None = None
    behind: str | None = None
    damages: tuple[Damage, ...] = ()
    kept: tuple[str, ...] = ()


def promote(
    store: Store,
    state: Path,
    *,
    may_be_behind: bool,
    may_be_damaged: bool,
    reason: str,
    author: Author,
    now_ms: int,
    executor: Executor,
    progress: Callable[[int, int], None],
) -> Promoted:
    """Make an archive of the copy in a store. Call it while holding this machine's run lock.

    Raises `UsageError` if no archive lies there yet, `DamageFoundError` for damage and `RefusedError` for a copy that lacks what this
    machine saw, unless either was said to be taken. Nothing was changed then.
    """
    archive = Archive.open(store)
    head = archive.head()
    try:
        mark = read_mark(store)
    except KeyMissingError:
        return Promoted(archive.facts.archive_id, head.sequence, head.digest, head.at, was_copy=False)
    found = verify(store, level="quick", executor=executor, progress=progress)
    if found.damages and not may_be_damaged:
        named = ", ".join(damage.key for damage in found.damages[:DAMAGES_NAMED_MAX])
        raise DamageFoundError(
            f"the copy in {store.url} has {len(found.damages)} damages, among them {named}",
            next_step="if the archive can still be read, bring the copy up to date with `archiver clone`; else see what "
            "`archiver verify` says, and take the copy as it is with --damaged",
        )
    behind = _lost_since(state, archive)
    if behind is not None and not may_be_behind:
        raise RefusedError(
            f"the copy stands at entry {head.sequence}, and this machine saw more of the archive: {behind}",
            next_step="if the archive can still be read, bring the copy up to date with `archiver clone`; else take the copy as it is "
            "with --behind",
        )
    promotion = Promotion(
        place=store.url,
        reason=reason,
        head_sequence=head.sequence,
        head_digest=head.digest,
        behind=behind,
        damages=len(found.damages),
    )
    entered = promote_copy(archive, head, promotion, author=author, at_ms=now_ms)
    last_head.remember(state, archive, entered)
    return Promoted(
        archive.facts.archive_id,
        head.sequence,
        head.digest,
        head.at,
        was_copy=True,
        entry=entered.sequence,
        behind=behind,
        damages=found.damages,
        kept=mark.kept,
    )


def _lost_since(state: Path, archive: Archive) -> str | None:
    try:
        last_head.check(state, archive)
    except LedgerBrokenError as error:
        return error.what
    return None
