"""What is not in a restore, and why: disposed of, by which certificate; or never captured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive import layout
from archiver.archive.ledger import Entry, FileRecord
from archiver.archive.reader import Archive, Head, latest_states
from archiver.clock import DAY_MS
from archiver.discovery.restore_selection import Wanted


@dataclass(frozen=True, slots=True)
class Missing:
    """One thing that is not there: ``why`` in a word and ``what`` in a sentence, and how many rows or things it stands for.

    ``certificate`` is the key of the certificate of the disposal, where one removed it. A disposal does not say whose rows they were, so
    one that removed rows of the days asked for may concern other chats.
    """

    why: Literal["disposed", "not captured", "gap", "damaged"]
    what: str
    count: int
    certificate: str | None = None


def disposed(archive: Archive, head: Head, wanted: Wanted) -> list[Missing]:
    """Return the disposals that removed rows of the days that are wanted, or files that are."""
    if not head.disposed:
        return []
    known: dict[str, FileRecord] = {}
    found: list[Missing] = []
    for entry, _ in archive.entries():
        if entry.sequence > head.sequence:
            break
        if entry.disposal is not None:
            found += _of_entry(entry, known, wanted)
        for removal in entry.removed:
            known.pop(removal.key, None)
        known.update((record.key, record) for record in entry.added)
    return found


def not_stored(tables: Sequence[pa.Table]) -> list[Missing]:
    """Return the files that rows of ``files`` tell of and that were never captured, by status and reason."""
    if not tables:
        return []
    files = pa.concat_tables([table.select(["status", "reason", "message_uid"]) for table in tables])
    lacking = files.filter(pc.not_equal(files.column("status"), "stored"))
    counted = lacking.group_by(["status", "reason"]).aggregate([("message_uid", "count")]).to_pylist()
    return [
        Missing(
            "not captured",
            f"files that were not stored, {row['status'].replace('_', ' ')}"
            + (f": {row['reason']}" if row["reason"] else ""),
            row["message_uid_count"],
        )
        for row in sorted(counted, key=lambda row: (row["status"], row["reason"] or ""))
    ]


def gaps(archive: Archive, head: Head, wanted: Wanted) -> list[Missing]:
    """Return what the archive knows that it may have missed of the days and chats that are wanted."""
    found = []
    for state in latest_states(archive.store, head, "gaps", ("gap_id",)).values():
        if wanted.chats is not None and state["chat_id"] not in (None, *wanted.chats):
            continue
        starts, ends = state["from_at"], state["to_at"]
        if wanted.until_ms is not None and starts is not None and starts >= wanted.until_ms:
            continue
        if wanted.from_at_ms is not None and ends is not None and ends < wanted.from_at_ms:
            continue
        where = f" in {state['chat_id']}" if state["chat_id"] else ""
        found.append(Missing("gap", f"{state['kind']}{where} ({state['state']}): {state['evidence']}", state["count"]))
    return sorted(found, key=lambda missing: missing.what)


def _of_entry(entry: Entry, known: dict[str, FileRecord], wanted: Wanted) -> Iterator[Missing]:
    assert entry.disposal is not None
    certificate = layout.certificate_key(entry.disposal.plan)
    by = f"by entry {entry.sequence} of {entry.at}, approved by {entry.disposal.approved_by}"
    rows: dict[tuple[str, str], int] = {}
    for record, sign in (
        *((known[removal.key], 1) for removal in entry.removed if removal.key in known),
        *((record, -1) for record in entry.added),
    ):
        table, day = layout.partition_of(record.key)
        if (not wanted.names or table in ("messages", "files")) and _touches(day.toordinal(), wanted):
            key = (table, day.isoformat())
            rows[key] = rows.get(key, 0) + sign * record.rows
    for (table, day_text), count in sorted(rows.items()):
        if count:
            yield Missing("disposed", f"rows of {table} of {day_text}, {by}", count, certificate)
    gone = _blobs(removal.key for removal in entry.removed)
    for digest in sorted(gone & wanted.digests):
        yield Missing("disposed", f"the file {digest}, {by}", 1, certificate)


def _touches(ordinal: int, wanted: Wanted) -> bool:
    starts_at = (ordinal - 719_163) * DAY_MS  # the first day of 1970
    return (wanted.until_ms is None or starts_at < wanted.until_ms) and (
        wanted.from_at_ms is None or starts_at + DAY_MS > wanted.from_at_ms
    )


def _blobs(keys: Iterable[str]) -> set[str]:
    return {key.rpartition("/")[2] for key in keys if layout.is_blob_key(key)}
