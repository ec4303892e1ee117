"""Tell which captures are new versions and which only repeat what the archive holds.

A push repeats if it says what *any* known version says: deliveries come late and twice. A fetch, or a page of
history, is an answer about now, so it is held against the newest version alone: a message edited back to its first text is
a new version then. A capture that only adds fields which the known one does not carry completes it, under the same version number (see
`archiver.normalise.content.relation`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive import layout
from archiver.archive.home import days_at_home
from archiver.archive.ledger import FileRecord
from archiver.archive.reader import Head, files_of, read_rows
from archiver.archive.tables import rows_of
from archiver.model.message import Message
from archiver.normalise.content import relation
from archiver.normalise.message import read_content
from archiver.store import Store

Key = tuple[str, str]

_ABOUT_NOW = frozenset({"fetch", "history"})
_VERSION_COLUMNS = ("chat_id", "message_uid", "version", "observed_at", "content_digest", "raw")


class KnownVersion(msgspec.Struct, frozen=True, gc=False):
    """A version that the archive, or an earlier capture of the same batch, holds."""

    version: int
    observed_at_ms: int
    content_digest: str
    raw: str


class NewVersion(msgspec.Struct, frozen=True, gc=False):
    """A capture that adds to the archive: its version number and the digest of the version it follows or completes."""

    message: Message
    version: int
    supersedes: str | None


def find_repeats(store: Store, head: Head, rows: pa.Table) -> set[Key]:
    """Return which of these message rows' keys the archive holds in any version.

    Only the partitions where the rows are at home are read (`archiver.archive.home`), and the few objects with rows
    astray; of all these only objects whose range of uids meets the rows'. A message that tells no day at all may lie
    under any, so then every day is asked.
    """
    records = _candidates(head, rows)
    if not records:
        return set()
    uids = pc.unique(rows.column("message_uid"))
    return {key for key, _ in _rows_of(store, records, uids, ("chat_id", "message_uid"))}


def find_known(store: Store, head: Head, rows: pa.Table, keys: Collection[Key]) -> dict[Key, list[KnownVersion]]:
    """Return every version that the archive holds of some of these message rows' keys, oldest first, with what it said.

    ``rows`` are those that `find_repeats` was given, so that both look into the same objects.
    """
    known: dict[Key, list[KnownVersion]] = {}
    uids = pa.array({uid for _, uid in keys}, type=pa.string())
    for key, row in _rows_of(store, _candidates(head, rows), uids, _VERSION_COLUMNS):
        if key in keys:
            version = KnownVersion(row["version"], row["observed_at"], row["content_digest"], row["raw"])
            known.setdefault(key, []).append(version)
    for versions in known.values():
        versions.sort(key=lambda version: (version.version, version.observed_at_ms))
    return known


def decide(messages: Iterable[Message], known: Mapping[Key, list[KnownVersion]]) -> list[NewVersion | None]:
    """Return for each message, in order, the version it adds, or None if it repeats what is known or came before."""
    decisions: list[NewVersion | None] = []
    firsts: dict[Key, Message] = {}  # most messages are seen once: they need no list of versions
    known = dict(known)
    for message in messages:
        key = (message.chat_id, message.message_uid)
        versions = known.get(key)
        if versions is None:
            first = firsts.setdefault(key, message)
            if first is message:
                decisions.append(NewVersion(message, 1, None))
                continue
            versions = known[key] = [_as_known(first, 1)]
        decision = _judge(versions, message)
        if decision is not None:
            versions = [*versions, _as_known(message, decision.version)]
            known[key] = sorted(versions, key=lambda version: (version.version, version.observed_at_ms))
        decisions.append(decision)
    return decisions


def _candidates(head: Head, rows: pa.Table) -> list[FileRecord]:
    if not rows.num_rows or not head.rows.get("messages"):
        return []
    at_home = days_at_home(rows)
    placed, homeless = rows.filter(pc.is_valid(at_home)), rows.filter(pc.is_null(at_home))
    days = frozenset(pc.unique(at_home.drop_null()).to_pylist())
    spans = _span(placed), _span(homeless)
    return [
        record
        for record in files_of(head, "messages")
        if _meets(record, spans[1])
        or ((record.astray_rows or layout.partition_of(record.key)[1] in days) and _meets(record, spans[0]))
    ]


def _span(rows: pa.Table) -> tuple[str, str] | None:
    """Return the least and the greatest uid of rows, None if there are no rows."""
    span = pc.min_max(rows.column("message_uid")).as_py()
    return (span["min"], span["max"]) if rows.num_rows else None


def _meets(record: FileRecord, span: tuple[str, str] | None) -> bool:
    least, greatest = map(str, record.ranges["message_uid"])
    return span is not None and least <= span[1] and span[0] <= greatest


def _rows_of(
    store: Store, records: Sequence[FileRecord], uids: pa.Array, columns: Sequence[str]
) -> Iterable[tuple[Key, dict[str, Any]]]:
    def keep(batch: pa.RecordBatch) -> pa.Array:
        return pc.is_in(batch.column("message_uid"), value_set=uids)

    for batch in read_rows(store, records, columns, keep=keep):
        for row in rows_of(batch):
            yield (row["chat_id"], row["message_uid"]), row


def _as_known(message: Message, version: int) -> KnownVersion:
    return KnownVersion(version, message.observed_at_ms, message.content_digest, message.raw)


def _judge(versions: Sequence[KnownVersion], message: Message) -> NewVersion | None:
    newest = versions[-1]
    rivals = [newest] if message.source in _ABOUT_NOW else versions[::-1]
    if any(message.content_digest == version.content_digest for version in rivals):
        return None
    seen = read_content(message.raw)
    for rival in rivals:
        how = relation(read_content(rival.raw), seen)
        if how in ("same", "poorer"):
            return None
        if how in ("richer", "mixed"):
            return NewVersion(message, rival.version, rival.content_digest)
    return NewVersion(message, newest.version + 1, newest.content_digest)
