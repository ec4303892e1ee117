"""A copy becomes the archive, when the archive that it is a copy of is lost.

The entry that says so comes first and then ``clone.json`` goes, so that a crash between the two leaves a copy, of which the next try knows
that it was entered.
"""

from __future__ import annotations

import msgspec

from archiver.archive import layout, ledger
from archiver.archive.commit import Author, append_entry, next_entry
from archiver.archive.ledger import Promotion
from archiver.archive.reader import Archive, Head


def promote_copy(archive: Archive, head: Head, promotion: Promotion, *, author: Author, at_ms: int) -> Head:
    """Enter that a copy is the archive now, let it be written to, and return the new head.

    The store is asked first to show that it lets only one writer win; raises what `Store.probe` does, and `HeadMovedError` if somebody
    wrote to the copy meanwhile.
    """
    archive.store.probe()
    if not _is_entered(archive, head, promotion.place):
        entry = next_entry(archive, head, "promote", at_ms=at_ms, author=author)
        head = append_entry(archive, head, msgspec.structs.replace(entry, promotion=promotion))
    archive.store.delete(layout.CLONE_KEY)
    return head


def _is_entered(archive: Archive, head: Head, place: str) -> bool:
    """Tell whether the newest entry promotes a copy in this very place: a copy of an archive that was one once stands elsewhere."""
    if not head.sequence:
        return False
    newest, _ = ledger.read_entry(archive.store, head.sequence)
    return newest.promotion is not None and newest.promotion.place == place
