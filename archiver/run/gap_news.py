"""What the commits since the last look at gaps brought that gaps depend on.

Each commit is looked at once: the cursor ``gaps`` names the last one. So the cost grows with what is new and never with the
archive, and what a run that was killed left behind is seen by the next one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive import ledger
from archiver.archive.ledger import Entry, FileRecord, Gap
from archiver.archive.reader import Archive, Head, read_rows
from archiver.archive.tables import rows_of
from archiver.capture.feeds import Delivery
from archiver.capture.versions import Key, find_archived
from archiver.store import Store

CURSOR: Final = "gaps"

# Of these, new rows open and close gaps; commits that add to other tables alone need not be remembered as seen.
NEWS_TABLES: Final = frozenset({"events", "files", "messages", "observations"})
_NOT_RETURNED: Final = pa.array(["not_returned"])


@dataclass(frozen=True, slots=True)
class Unreadable:
    """How many captures of a feed could not be read, and when the first and the last of them came."""

    count: int
    first_at_ms: int
    last_at_ms: int


@dataclass(slots=True)
class News:
    """What is new since the last look.

    ``through`` is the last commit that was looked at, None if none of them matters. ``files_missing`` counts by chat how many
    more files are not stored than before (less than zero: fewer). ``not_returned`` are messages that were asked for and not
    returned, with the instant, and that the archive does not hold; ``arrived`` are those of the awaited ones that it holds
    now. ``stated`` is what the commits themselves say they missed.
    """

    through: int | None = None
    deliveries: dict[tuple[str, str], Delivery] = field(default_factory=dict)
    unreadable: dict[str, Unreadable] = field(default_factory=dict)
    files_missing: Counter[str] = field(default_factory=Counter)
    not_returned: dict[Key, int] = field(default_factory=dict)
    arrived: set[Key] = field(default_factory=set)
    stated: list[Gap] = field(default_factory=list)


def read_news(archive: Archive, head: Head, *, awaited: Collection[Key]) -> News:
    """Return what the commits since the last look brought; ``awaited`` are messages whose arrival would be news."""
    news = News()
    seen: dict[str, list[FileRecord]] = {name: [] for name in NEWS_TABLES}
    for entry in _entries_since(archive, head):
        news.stated += entry.gaps
        # What a compaction writes anew was counted when it came.
        live = [record for record in entry.added if record.key in head.files and entry.kind == "capture"]
        if any(record.table in NEWS_TABLES for record in live) or entry.gaps:
            news.through = entry.sequence
        for record in live:
            if record.table in NEWS_TABLES:
                seen[record.table].append(record)
        _count_files(news, archive.store, entry, live)
    _read_events(news, archive.store, seen["events"])
    _read_observations(news, archive.store, head, seen["observations"])
    if awaited:
        news.arrived = _arrived(archive.store, seen["messages"], awaited)
    return news


def _entries_since(archive: Archive, head: Head) -> Iterator[Entry]:
    """Yield the entries between the last look and the head."""
    sequence = int(head.cursors.get(CURSOR, "0"))
    digest = ledger.read_entry(archive.store, sequence)[1] if sequence else archive.facts_digest
    if sequence >= head.sequence:
        return
    for entry, _ in ledger.entries_after(archive.store, sequence, digest):
        yield entry
        if entry.sequence >= head.sequence:
            return


def _read_events(news: News, store: Store, records: Sequence[FileRecord]) -> None:
    columns = ("feed", "feed_kind", "chat_id", "received_at", "error")
    for batch in read_rows(store, records, columns):
        rows = pa.Table.from_batches([batch])
        rows = rows.append_column("unread", pc.cast(pc.is_valid(rows.column("error")), pa.int64()))
        # Aggregates of Arrow know no minimum of what was unreadable alone, so these are told apart first.
        groups = rows.group_by(["feed", "feed_kind", "chat_id", "unread"])
        for row in rows_of(groups.aggregate([("received_at", "min"), ("received_at", "max"), ("feed", "count")])):
            first, last = row["received_at_min"], row["received_at_max"]
            if row["unread"]:
                _add_unreadable(news, row["feed"], Unreadable(row["feed_count"], first, last))
            if row["feed_kind"] == "webhook":
                _add_delivery(news, Delivery(row["feed"], row["chat_id"] or "", first, last))


def _add_unreadable(news: News, feed: str, more: Unreadable) -> None:
    known = news.unreadable.get(feed, more)
    count = more.count if feed not in news.unreadable else known.count + more.count
    news.unreadable[feed] = Unreadable(
        count, min(known.first_at_ms, more.first_at_ms), max(known.last_at_ms, more.last_at_ms)
    )


def _add_delivery(news: News, more: Delivery) -> None:
    key = (more.feed, more.chat_id)
    known = news.deliveries.get(key, more)
    news.deliveries[key] = Delivery(
        *key, min(known.first_at_ms, more.first_at_ms), max(known.last_at_ms, more.last_at_ms)
    )


def _count_files(news: News, store: Store, entry: Entry, live: Sequence[FileRecord]) -> None:
    """Count the files of one commit that are missing more, or fewer, than before it.

    A file's first row comes in the commit of its message. Every further row is another try at a file that was missing.
    """
    records = [record for record in live if record.table == "files"]
    if not records:
        return
    brings_messages = any(record.table == "messages" for record in entry.added)
    for batch in read_rows(store, records, ("chat_id", "status", "attempts")):
        for row in batch.to_pylist():
            is_first = brings_messages and row["attempts"] <= 1
            news.files_missing[row["chat_id"]] += int(row["status"] != "stored") - int(not is_first)


def _read_observations(news: News, store: Store, head: Head, records: Sequence[FileRecord]) -> None:
    def keep(batch: pa.RecordBatch) -> pa.Array:
        return pc.and_(
            pc.is_in(batch.column("outcome"), value_set=_NOT_RETURNED), pc.is_valid(batch.column("message_uid"))
        )

    columns = ("chat_id", "message_uid", "outcome", "observed_at")
    for batch in read_rows(store, records, columns, keep=keep):
        for row in rows_of(batch):
            news.not_returned.setdefault((row["chat_id"], row["message_uid"]), row["observed_at"])
    # What the archive holds is not missing: it was deleted in Flock, or is no longer shown.
    for key in find_archived(store, head, news.not_returned):
        news.not_returned.pop(key, None)


def _arrived(store: Store, records: Sequence[FileRecord], awaited: Collection[Key]) -> set[Key]:
    uids = pa.array({uid for _, uid in awaited}, type=pa.string())

    def keep(batch: pa.RecordBatch) -> pa.Array:
        return pc.is_in(batch.column("message_uid"), value_set=uids)

    found: set[Key] = set()
    for batch in read_rows(store, records, ("chat_id", "message_uid"), keep=keep):
        found.update(zip(batch.column("chat_id").to_pylist(), batch.column("message_uid").to_pylist(), strict=True))
    return found & set(awaited)
