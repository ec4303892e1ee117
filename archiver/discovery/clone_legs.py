"""In which legs a copy of an archive goes forward: from one head that it can stand at to the next.

A copy can stand at a head if everything that is live there can be had: it is in the source, or in the copy already. What a later entry
of the source removed cannot, for it has gone, or must go. So a leg ends only where nothing of that kind is live, and a stop between two
legs leaves a whole archive, only an older one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from archiver.archive import layout
from archiver.archive.ledger import Entry

# Small enough that a stop costs little, and large enough that the threads seldom wait for each other.
LEG_OBJECTS_MAX: Final = 1_024
LEG_BYTES_MAX: Final = 1024 * 1024 * 1024

# What is made durable at once. Each object of a part may cost an open file, of which a process often has no more than 1,024.
PART_OBJECTS_MAX: Final = 256
PART_BYTES_MAX: Final = 256 * 1024 * 1024

EntryAndDigest = tuple[Entry, str]


@dataclass(frozen=True, slots=True)
class Needed:
    """An object that must lie in the copy before an entry names it: its key, its size if the ledger tells it, and its SHA-256."""

    key: str
    bytes: int | None
    sha256: str


@dataclass(frozen=True, slots=True)
class Leg:
    """Entries that are written one right after the other, and what must be there before the first of them."""

    entries: Sequence[EntryAndDigest]
    needed: Sequence[Needed]

    @property
    def ends_at(self) -> int:
        """The sequence of the head that the copy stands at when the leg is done."""
        return self.entries[-1][0].sequence


@dataclass(slots=True)
class _Course:
    entries: list[EntryAndDigest] = field(default_factory=list)
    needed: dict[str, Needed] = field(default_factory=dict)
    beyond_reach: set[str] = field(default_factory=set)
    bytes: int = 0

    def needs(self, item: Needed) -> None:
        if item.key not in self.needed:
            self.needed[item.key] = item
            self.bytes += item.bytes or 0

    def may_end(self, objects_max: int, bytes_max: int) -> bool:
        return not self.beyond_reach and (len(self.needed) >= objects_max or self.bytes >= bytes_max)


def legs(
    entries: Sequence[EntryAndDigest],
    *,
    live: Collection[str],
    there: Collection[str],
    objects_max: int = LEG_OBJECTS_MAX,
    bytes_max: int = LEG_BYTES_MAX,
) -> Iterator[Leg]:
    """Yield the legs of entries that the copy does not have yet.

    ``live`` are the keys of data objects at the last of them, ``there`` those that the copy has. A leg is as long as its objects allow,
    and longer where what is gone was live in between.
    """
    blobs = _blobs_at_the_end(entries)
    course = _Course()
    for entry, digest in entries:
        for removal in entry.removed:
            course.beyond_reach.discard(removal.key)
            course.needed.pop(removal.key, None)
        for item in named_by(entry):
            if item.key in live or item.key in blobs or layout.plan_of_certificate(item.key):
                course.needs(item)
            elif item.key not in there:
                course.beyond_reach.add(item.key)
        course.entries.append((entry, digest))
        if course.may_end(objects_max, bytes_max):
            yield Leg(course.entries, tuple(course.needed.values()))
            course = _Course(beyond_reach=course.beyond_reach)
    if course.entries:
        yield Leg(course.entries, tuple(course.needed.values()))


def parts(needed: Iterable[Needed]) -> Iterator[Sequence[Needed]]:
    """Yield the objects of a leg in parts that are made durable at once."""
    part: list[Needed] = []
    size = 0
    for item in needed:
        part.append(item)
        size += item.bytes or 0
        if len(part) >= PART_OBJECTS_MAX or size >= PART_BYTES_MAX:
            yield part
            part, size = [], 0
    if part:
        yield part


def named_by(entry: Entry) -> Iterator[Needed]:
    """Yield the objects that an entry says are there: data, blobs and the certificate of a disposal."""
    yield from (Needed(record.key, record.bytes, record.sha256) for record in entry.added)
    yield from (Needed(layout.blob_key(blob.sha256), blob.bytes, blob.sha256) for blob in entry.blobs)
    if entry.disposal is not None:
        yield Needed(layout.certificate_key(entry.disposal.plan), None, entry.disposal.certificate_sha256)


def _blobs_at_the_end(entries: Iterable[EntryAndDigest]) -> set[str]:
    """Return the keys of blobs that these entries name and that no later one of them removes."""
    found: set[str] = set()
    for entry, _ in entries:
        found.difference_update(removal.key for removal in entry.removed)
        found.update(layout.blob_key(blob.sha256) for blob in entry.blobs)
    return found
