"""`archiver clone`: a copy of a whole archive that is an archive itself, brought up to date by each further call.

The copy goes forward in legs (`clone_legs`). Of each leg a note comes first, as with any commit, then data objects, blobs and
certificates, each held against the ledger's digest on its way; then the entries in order, byte by byte; and where an entry removes
something, that goes from the copy with all its old versions, before the entry that says it was erased. ``archive.json`` comes after the
first leg, so that a place is no archive before it is a whole one. Papers (plans, the list of marks) and the newest checkpoint follow.

Stopped anywhere, the copy stands at an older head, and the next call goes on. One case is left: what was added and removed again since
the last call has gone, so the heads between cannot be whole; the entries of such a leg are written one right after the other, and a stop
right there leaves a copy that `archiver verify` calls incomplete until the next call.

``clone.json`` is written before anything else and says whose copy this is: nothing is ever copied to where something else lies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from archiver.archive import layout, ledger
from archiver.archive.commit import Pending, write_note
from archiver.archive.ledger import Entry, canonical_json
from archiver.archive.reader import Archive, Head
from archiver.archive.recover import read_note
from archiver.discovery.clone_copying import FILE_PIECE_BYTES, copy_object, read_verified, require_there
from archiver.discovery.clone_legs import LEG_BYTES_MAX, LEG_OBJECTS_MAX, Leg, Needed, legs, parts
from archiver.discovery.clone_papers import copy_papers
from archiver.discovery.clone_standing import CloneMark, mark_in, mark_of, standing_of
from archiver.errors import (
    DamageFoundError,
    KeyExistsError,
    KeyMissingError,
    ObjectLockedError,
    RefusedError,
)
from archiver.store import Store

# Retention may remove what is just being copied; each time costs one look at what it removed.
TRIES_MAX: Final = 5
PARTS_AT_ONCE: Final = 2

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Cloned:
    """What a call did: the heads before and after, what was copied, what was erased, and the keys that a lock of the copy keeps."""

    from_sequence: int
    sequence: int
    digest: str
    objects: int
    bytes: int
    papers: int
    erased: int
    kept: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Means:
    """What a copy is made with.

    ``attempt`` is eight random hex digits, ``folder`` takes large objects on their way, ``piece_bytes`` suits the source's store, and
    ``before_leg`` hears of the objects that are read next.
    """

    executor: Executor
    folder: Path
    attempt: str
    now_ms: int
    progress: Progress
    before_leg: Callable[[Iterable[Needed]], None] = lambda _: None
    piece_bytes: int = FILE_PIECE_BYTES
    leg_objects_max: int = LEG_OBJECTS_MAX
    leg_bytes_max: int = LEG_BYTES_MAX


def clone(source: Archive, target: Store, means: Means) -> Cloned:
    """Bring the copy in ``target`` up to the newest head of ``source``, founding it if the place is empty.

    Raises `RefusedError` if something else lies there, or an archive whose head is none of the source's; `DamageFoundError` if an object
    of the source is missing or not what the ledger says, or one of the copy is not; `ObjectColdError` for one that must be thawed first;
    `StorageError` if a store does not answer. In every case what was copied stays and the next call goes on.
    """
    call = _Call(source, target, means)
    for attempt in range(1, TRIES_MAX + 1):
        try:
            return call.go()
        except KeyMissingError as error:
            if attempt == TRIES_MAX or not call.source_moved():
                raise DamageFoundError(
                    f"the ledger names what is not there: {error.what}",
                    next_step="run `archiver verify` on the archive for a full list, then restore the object from a copy",
                ) from None
    raise AssertionError("unreachable")


class _Call:
    """One call: the source's head that it goes to, and what it did so far."""

    def __init__(self, source: Archive, target: Store, means: Means) -> None:
        self._source = source
        self._target = target
        self._means = means
        self._head = source.head()
        self._is_new = False
        self._from: int | None = None
        self._objects = self._bytes = self._erased = 0
        self._kept: set[str] = set()
        self._writer = f"clone:{source.facts.archive_id}"

    def source_moved(self) -> bool:
        """Look for a newer head of the source and tell whether there is one."""
        newer = self._source.head(self._head)
        moved = newer.sequence > self._head.sequence
        self._head = newer
        return moved

    def go(self) -> Cloned:
        mark = self._claim()
        standing = self._standing()
        if self._from is None:
            self._from = standing.sequence
        self._erase([*mark.kept, *self._left_by_a_stop(standing)])
        entries = [
            (entry, digest)
            for entry, digest in ledger.entries_after(self._source.store, standing.sequence, standing.digest)
            if entry.sequence <= self._head.sequence
        ]
        for leg in legs(
            entries,
            live=self._head.files.keys(),
            there=standing.files.keys(),
            objects_max=self._means.leg_objects_max,
            bytes_max=self._means.leg_bytes_max,
        ):
            self._copy(leg)
        self._found()
        papers = copy_papers(self._source, self._target, executor=self._means.executor)
        self._copy_checkpoint(entries)
        self._clear_notes()
        if mark.kept != tuple(sorted(self._kept)):
            kept = msgspec.structs.replace(mark, kept=tuple(sorted(self._kept)))
            self._target.replace(layout.CLONE_KEY, canonical_json(kept))
        return Cloned(
            from_sequence=self._from,
            sequence=self._head.sequence,
            digest=self._head.digest,
            objects=self._objects,
            bytes=self._bytes,
            papers=papers,
            erased=self._erased,
            kept=tuple(sorted(self._kept)),
        )

    def _claim(self) -> CloneMark:
        """Return what says that the place is ours; write it into one that is empty, and refuse any other."""
        found = mark_in(self._target, self._source)
        if found is not None:
            return found
        mark = mark_of(self._source)
        try:
            self._target.create(layout.CLONE_KEY, canonical_json(mark))
        except KeyExistsError:
            return self._claim()  # another call was first, and says what this is
        return mark

    def _standing(self) -> Head:
        """Return the head at which the copy stands; raises `RefusedError` if that is no head of the source."""
        standing = standing_of(self._target, self._source, self._head)
        self._is_new = standing is None
        return standing or self._source.founding_head()

    def _left_by_a_stop(self, standing: Head) -> list[str]:
        """Return what entries of the copy removed and a stop may have left there; what a later one named again stays."""
        sequences = sorted({*standing.unerased, *([standing.sequence] if standing.sequence else [])})
        removed: set[str] = set()
        for sequence in sequences:
            removed.update(item.key for item in ledger.read_entry(self._target, sequence)[0].removed)
        if not removed or sequences[0] == standing.sequence:
            return sorted(removed)
        first, digest = ledger.read_entry(self._target, sequences[0])
        for entry, _ in ledger.entries_after(self._target, first.sequence, digest):
            removed.difference_update(layout.blob_key(blob.sha256) for blob in entry.blobs)
            removed.update(item.key for item in entry.removed if entry.sequence in sequences)
        return sorted(removed)

    def _copy(self, leg: Leg) -> None:
        needed = leg.needed
        self._means.before_leg(needed)
        if needed:
            note = Pending(
                sequence=leg.entries[0][0].sequence,
                attempt=self._means.attempt,
                writer=self._writer,
                at_ms=self._means.now_ms,
                keys=tuple(item.key for item in needed),
            )
            self._write_note(note)
        self._copy_all(needed)
        kept = {item.key for item in needed}
        for entry, digest in leg.entries:
            self._write_entry(entry, digest)
            # What a later entry of the same leg names again is there for that one.
            self._erase([removal.key for removal in entry.removed if removal.key not in kept])
            self._means.progress(entry.sequence, self._head.sequence)
        self._found()

    def _write_note(self, note: Pending) -> None:
        try:
            write_note(self._target, note)
        except KeyExistsError:
            # A call that went on with a newer head of the source needs other objects under the same number, too.
            key = layout.pending_key(note.sequence, note.attempt)
            earlier = read_note(self._target, key)
            keys = dict.fromkeys((*(earlier.keys if earlier else ()), *note.keys))
            self._target.replace(key, canonical_json(msgspec.structs.replace(note, keys=tuple(keys))))

    def _copy_all(self, needed: Sequence[Needed]) -> None:
        # While one part waits for the disk the next is read.
        with ThreadPoolExecutor(PARTS_AT_ONCE, thread_name_prefix="copy-part") as pool:
            futures = [pool.submit(self._copy_part, part) for part in parts(needed)]
            try:
                for future in futures:
                    copied = [size for size in future.result() if size is not None]
                    self._objects += len(copied)
                    self._bytes += sum(copied)
            finally:
                for future in futures:
                    future.cancel()

    def _copy_part(self, part: Sequence[Needed]) -> list[int | None]:
        """Copy objects that are made durable at once; returns the bytes of each, None for one that was there already."""
        with self._target.batch(self._means.folder) as batch:
            copied = partial(copy_object, self._source.store, self._target, batch, piece_bytes=self._means.piece_bytes)
            futures = [self._means.executor.submit(copied, item) for item in part]
            try:
                sizes = [future.result() for future in futures]
            finally:
                for future in futures:
                    future.cancel()
                wait(futures)  # what is still being written must not outlive its batch
        for item in part:
            if item.key in batch.taken:
                require_there(self._target, item)
        return sizes

    def _write_entry(self, entry: Entry, digest: str) -> None:
        key = layout.entry_key(entry.sequence)
        data = read_verified(self._source.store, key, digest)
        try:
            self._target.create(key, data)
        except KeyExistsError:
            if self._target.read(key) != data:
                raise RefusedError(
                    f"{key} in {self._target.url} is not what {self._source.store.url} has: somebody else writes to the copy",
                    next_step="see that no run writes to the copy; a new copy in an empty place is whole again",
                ) from None

    def _erase(self, keys: list[str]) -> None:
        def erased(key: str) -> bool:
            try:
                self._target.erase(key)
            except ObjectLockedError:
                return False
            return True

        for key, is_gone in zip(keys, self._means.executor.map(erased, keys), strict=True):
            self._erased += is_gone
            (self._kept.discard if is_gone else self._kept.add)(key)

    def _found(self) -> None:
        """Write ``archive.json`` of a new copy, which makes an archive of it."""
        if not self._is_new:
            return
        data = read_verified(self._source.store, layout.ARCHIVE_KEY, self._source.facts_digest)
        try:
            self._target.create(layout.ARCHIVE_KEY, data)
        except KeyExistsError:
            if self._target.read(layout.ARCHIVE_KEY) != data:
                raise RefusedError(
                    f"another archive was founded in {self._target.url} meanwhile", next_step="name another place"
                ) from None
        self._is_new = False

    def _copy_checkpoint(self, entries: Iterable[tuple[Entry, str]]) -> None:
        """Copy the newest checkpoint that an entry names; it is a cache, so one that is missing or another is left out."""
        named = [entry for entry, _ in entries if entry.checkpoint]
        if named and named[-1].checkpoint:
            key = layout.checkpoint_key(named[-1].sequence)
            try:
                data = read_verified(self._source.store, key, named[-1].checkpoint)
            except DamageFoundError:
                return
            self._target.replace(key, data)

    def _clear_notes(self) -> None:
        for info in self._target.list(layout.PENDING_PREFIX):
            note = read_note(self._target, info.key)
            if note is not None and note.writer == self._writer:
                self._target.delete(info.key)
