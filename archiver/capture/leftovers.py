"""Telling captures that the archive holds from captures that only have the numbers of such.

A crash between a commit and the spool's forgetting leaves captures below the watermark, and they are archived. But a
spool that was set back, as a machine is when it is restored from a copy, gives numbers again that it gave before, and
then what stands below the watermark was never archived. The table events knows each push by number and digest.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.reader import Head, files_of, read_rows
from archiver.capture.reading import digest_of
from archiver.clock import day_of
from archiver.model.capture import SpooledCapture
from archiver.store import Store

_COLUMNS = ("spool_id", "sequence", "body_digest")


def count_archived(store: Store, head: Head, captures: Sequence[SpooledCapture], *, spool_id: str) -> int:
    """Return how many of these captures of a spool, from the first, the archive holds without a hole.

    Reads the events of the days on which they arrived.
    """
    days = frozenset(day_of(spooled.capture.received_at_ms) for spooled in captures)
    numbers = pa.array([spooled.sequence for spooled in captures], type=pa.int64())

    def keep(batch: pa.RecordBatch) -> pa.Array:
        of_spool = pc.equal(batch.column("spool_id"), spool_id)
        return pc.and_(of_spool, pc.is_in(batch.column("sequence"), value_set=numbers))

    archived: set[tuple[int, str]] = set()
    for batch in read_rows(store, files_of(head, "events", days=days), _COLUMNS, keep=keep):
        archived.update(zip(batch.column("sequence").to_pylist(), batch.column("body_digest").to_pylist(), strict=True))
    for count, spooled in enumerate(captures):
        if (spooled.sequence, digest_of(spooled)) not in archived:
            return count
    return len(captures)
