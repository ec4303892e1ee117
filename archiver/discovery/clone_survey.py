"""What a copy still lacks, and what of that lies cold in the archive: asked for all at once, for each waiting takes hours."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

from archiver.archive import ledger
from archiver.archive.reader import Archive
from archiver.discovery.clone_legs import legs
from archiver.discovery.clone_papers import plans_to_copy
from archiver.discovery.clone_standing import mark_in, standing_of
from archiver.discovery.restore_thaw import Cold, Stored, find_cold
from archiver.store import Store


@dataclass(frozen=True, slots=True)
class Lacking:
    """Where the copy stands, where the archive does, and which objects the next call would bring."""

    from_sequence: int
    sequence: int
    objects: tuple[Stored, ...]

    @property
    def bytes(self) -> int:
        """Their bytes, as far as the ledger tells them."""
        return sum(item.bytes for item in self.objects)


def lacking(source: Archive, target: Store) -> Lacking:
    """Return what a call of `archiver.discovery.clone.clone` would bring now; raises `RefusedError` as that does, and writes nothing."""
    head = source.head()
    mark_in(target, source)
    standing = standing_of(target, source, head) or source.founding_head()
    entries = [
        (entry, digest)
        for entry, digest in ledger.entries_after(source.store, standing.sequence, standing.digest)
        if entry.sequence <= head.sequence
    ]
    # Also what a call that was stopped brought before the entry that names it.
    there = {info.key for info in target.list("")}
    found: dict[str, int] = {}
    for leg in legs(entries, live=head.files.keys(), there=standing.files.keys()):
        found.update((item.key, item.bytes or 0) for item in leg.needed if item.key not in there)
    found.update((info.key, info.size) for info in plans_to_copy(source.store, target))
    return Lacking(standing.sequence, head.sequence, tuple(Stored(key, size) for key, size in found.items()))


def cold_of(source: Archive, found: Lacking, *, executor: Executor) -> Cold:
    """Return what of it must be thawed before it can be copied."""
    return find_cold(source.store, found.objects, executor=executor)
