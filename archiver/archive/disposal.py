"""The two entries of a disposal: what goes out of the archive, and later that it has gone from the store as well.

Between the two, what was removed may still lie in the store: the head keeps such entries as *unerased*, and whoever runs next finishes
them. The objects that go are erased only after the first entry is durable, so a crash never leaves an archive without them and without
the entry that says why.
"""

from __future__ import annotations

import msgspec

from archiver.archive.commit import Author, append_entry, next_entry
from archiver.archive.ledger import Disposal, FileRecord, Removal
from archiver.archive.reader import Archive, Head


def commit_disposal(
    archive: Archive,
    head: Head,
    disposal: Disposal,
    *,
    removed: tuple[Removal, ...],
    added: tuple[FileRecord, ...],
    settled: tuple[str, ...],
    author: Author,
    at_ms: int,
) -> Head:
    """Take objects out of the archive and put those in that hold what stays of them; returns the new head.

    ``settled`` are those of ``added`` whose open rows were dealt with before they moved. Raises `HeadMovedError` if another writer was
    first: nothing was removed then.
    """
    entry = next_entry(archive, head, "dispose", at_ms=at_ms, author=author)
    return append_entry(
        archive,
        head,
        msgspec.structs.replace(entry, removed=removed, added=added, settled=settled, disposal=disposal),
    )


def commit_erased(archive: Archive, head: Head, sequence: int, *, author: Author, at_ms: int) -> Head:
    """Say that nothing of what an entry removed lies in the store any more; raises `HeadMovedError`."""
    entry = next_entry(archive, head, "dispose", at_ms=at_ms, author=author)
    return append_entry(archive, head, msgspec.structs.replace(entry, erased=sequence))
