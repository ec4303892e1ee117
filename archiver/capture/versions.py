"""Tell which captures are new versions and which only repeat what the archive holds.

A push repeats if it says what *any* known version says: deliveries come late and twice. A fetch, or a page of
history, is an answer about now, so it is held against the newest version alone: a message edited back to its first text is
a new version then. A capture that only adds fields which the known one does not carry completes it, under the same version number (see
`archiver.normalise.content.relation`).

An imported record repeats what any version says, as a push does. Two of them state all they know, so they are compared
whole; one that says the same in other bytes, such as with other reactions, is kept beside the first, under its version.
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
from archiver.normalise.imported import IMPORT, SAID_COLUMNS, said_columns, said_text
from archiver.normalise.message import read_content
from archiver.store import Store

Key = tuple[str, str]

_ABOUT_NOW = frozenset({"fetch", "history"})
_VERSION_COLUMNS = (
    "chat_id",
    "message_uid",
    "version",
    "observed_at",
    "content_digest",
    "source",
    "raw_digest",
)


class KnownVersion(msgspec.Struct, frozen=True, gc=False):
    """A version that the archive, or an earlier capture of the same batch, holds.

    ``said`` is a JSON object whose content fields tell what it says: the ``raw`` of what Flock sent.
    """

    version: int
    observed_at_ms: int
    content_digest: str
    said: str
    raw_digest: str
    is_imported: bool


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


def find_archived(store: Store, head: Head, keys: Collection[Key]) -> set[Key]:
    """Return which of these keys the archive holds, where nothing but the uid can say when a message was sent."""
    if not keys:
        return set()
    count = len(keys)
    rows = pa.table(
        {
            "message_uid": pa.array([uid for _, uid in keys], pa.string()),
            "sent_at_basis": pa.repeat("observed", count),
            "sent_at": pa.nulls(count, pa.timestamp("ms", tz="UTC")),
        }
    )
    return find_repeats(store, head, rows) & set(keys)


def find_known(store: Store, head: Head, rows: pa.Table, keys: Collection[Key]) -> dict[Key, list[KnownVersion]]:
    """Return every version that the archive holds of some of these message rows' keys, oldest first, with what it said.

    ``rows`` are those that `find_repeats` was given, so that both look into the same objects.
    """
    known: dict[Key, list[KnownVersion]] = {}
    uids = pa.array({uid for _, uid in keys}, type=pa.string())
    records = _candidates(head, rows)
    has_imported = False
    for key, row in _rows_of(store, records, uids, (*_VERSION_COLUMNS, "raw")):
        if key in keys:
            has_imported = has_imported or row["source"] == IMPORT
            if row["source"] != IMPORT:
                known.setdefault(key, []).append(_known_version(row, row["raw"]))
    if has_imported:  # rarely, and only then more columns are worth reading
        for key, row in _rows_of(store, records, uids, (*_VERSION_COLUMNS, *SAID_COLUMNS)):
            if key in keys and row["source"] == IMPORT:
                known.setdefault(key, []).append(_known_version(row, said_text(row)))
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


def repetitions(rows: pa.Table, numbers: Sequence[int], known: Mapping[Key, list[KnownVersion]]) -> set[int]:
    """Return those of these message rows that say what is known, by their digests alone; `decide` would say no other.

    That holds for a row whose key no other row of the batch has, and that was not imported: of a record the bytes count too.
    """
    some = rows.select(["chat_id", "message_uid", "source", "content_digest"]).take(pa.array(numbers, pa.int64()))
    columns = (column.to_pylist() for column in some.columns)
    return {
        number
        for number, chat_id, uid, source, digest in zip(numbers, *columns, strict=True)
        if source != IMPORT
        and any(digest == version.content_digest for version in _rivals(known.get((chat_id, uid), ()), source))
    }


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


def _known_version(row: Mapping[str, Any], said: str) -> KnownVersion:
    return KnownVersion(
        row["version"], row["observed_at"], row["content_digest"], said, row["raw_digest"], row["source"] == IMPORT
    )


def _as_known(message: Message, version: int) -> KnownVersion:
    is_imported = message.source == IMPORT
    return KnownVersion(
        version, message.observed_at_ms, message.content_digest, _said(message), message.raw_digest, is_imported
    )


def _said(message: Message) -> str:
    return said_text(said_columns(message)) if message.source == IMPORT else message.raw


def _rivals(versions: Sequence[KnownVersion], source: str) -> Sequence[KnownVersion]:
    """Return the versions that a capture may repeat, newest first."""
    return versions[-1:] if source in _ABOUT_NOW else versions[::-1]


def _judge(versions: Sequence[KnownVersion], message: Message) -> NewVersion | None:
    newest = versions[-1]
    rivals = _rivals(versions, message.source)
    for rival in rivals:
        if message.content_digest == rival.content_digest:
            return _in_other_bytes(versions, rival, message)
    is_imported = message.source == IMPORT
    seen = read_content(_said(message))
    for rival in rivals:
        if is_imported and rival.is_imported:
            continue
        how = relation(read_content(rival.said), seen)
        if how in ("same", "poorer"):
            return None
        if how in ("richer", "mixed"):
            return NewVersion(message, rival.version, rival.content_digest)
    return NewVersion(message, newest.version + 1, newest.content_digest)


def _in_other_bytes(versions: Sequence[KnownVersion], same: KnownVersion, message: Message) -> NewVersion | None:
    """Return what keeps an imported record whose bytes are new although what it says is known; None for anything else."""
    if message.source != IMPORT or not same.is_imported:
        return None
    if any(message.raw_digest == version.raw_digest for version in versions):
        return None
    return NewVersion(message, same.version, same.content_digest)
