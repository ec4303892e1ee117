"""Tell which captures are new versions and which only repeat what the archive holds.

A push repeats if it says what *any* known version says: deliveries come late and twice. A fetch is an answer about
now, so it is held against the newest version alone: a message edited back to its first text is a new version then. A
capture that only adds fields which the known one does not carry completes it, under the same version number (see
`archiver.normalise.content.relation`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.ledger import FileRecord
from archiver.archive.reader import Head, as_rows, files_of, read_rows
from archiver.clock import day_of
from archiver.model.message import Message
from archiver.normalise.content import relation
from archiver.normalise.message import read_content
from archiver.store import Store

Key = tuple[str, str]

_KEY_COLUMNS = ("chat_id", "message_uid", "version", "observed_at", "content_digest")


@dataclass(frozen=True, slots=True)
class KnownVersion:
    """A version that the archive, or an earlier capture of the same batch, holds."""

    version: int
    observed_at_ms: int
    content_digest: str
    raw: str | None


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A capture that adds to the archive: its version number and the digest of the version it follows or completes."""

    message: Message
    version: int
    supersedes: str | None


def find_known(store: Store, head: Head, messages: Sequence[Message]) -> dict[Key, list[KnownVersion]]:
    """Return what the archive holds of these messages, oldest version first, ``raw`` included where it may be needed.

    Only the partitions of the messages' days are read, and of those only the files whose range of uids meets the
    batch's. A message whose sending time Flock did not tell may lie under any day, so then every day is asked.
    """
    candidates = _candidates(head, messages)
    if not candidates:
        return {}
    by_key: dict[Key, list[Message]] = {}
    for message in messages:
        by_key.setdefault((message.chat_id, message.message_uid), []).append(message)
    uids = pa.array({uid for _, uid in by_key}, type=pa.string())
    known: dict[Key, list[KnownVersion]] = {}
    for key, row in _rows_of(store, candidates, uids, _KEY_COLUMNS):
        if key in by_key:
            known.setdefault(key, []).append(_known(row))
    unclear = [key for key, versions in known.items() if any(_needs_raw(versions, message) for message in by_key[key])]
    if unclear:
        for key in unclear:
            known[key] = []
        uids = pa.array({uid for _, uid in unclear}, type=pa.string())
        wanted = set(unclear)
        for key, row in _rows_of(store, candidates, uids, (*_KEY_COLUMNS, "raw")):
            if key in wanted:
                known[key].append(_known(row))
    for versions in known.values():
        versions.sort(key=lambda version: (version.version, version.observed_at_ms))
    return known


def decide(messages: Iterable[Message], known: dict[Key, list[KnownVersion]]) -> list[NewVersion | None]:
    """Return for each message the version it adds, or None if it repeats what is known; ``known`` grows on the way."""
    decisions: list[NewVersion | None] = []
    for message in messages:
        key = (message.chat_id, message.message_uid)
        versions = known.get(key)
        if versions is None:
            known[key] = [_as_known(message, 1)]
            decisions.append(NewVersion(message, 1, None))
            continue
        decision = _judge(versions, message)
        if decision is not None:
            versions.append(_as_known(message, decision.version))
            versions.sort(key=lambda version: (version.version, version.observed_at_ms))
        decisions.append(decision)
    return decisions


def _candidates(head: Head, messages: Sequence[Message]) -> list[FileRecord]:
    if not messages or not head.rows.get("messages"):
        return []
    anywhere = any(message.sent_at_basis in ("observed", "uid") for message in messages)
    days = None if anywhere else frozenset(map(day_of, {message.sent_at_ms for message in messages}))
    least = min(message.message_uid for message in messages)
    greatest = max(message.message_uid for message in messages)
    return [
        record
        for record in files_of(head, "messages", days=days)
        if str(record.ranges["message_uid"][0]) <= greatest and least <= str(record.ranges["message_uid"][1])
    ]


def _rows_of(
    store: Store, records: Sequence[FileRecord], uids: pa.Array, columns: Sequence[str]
) -> Iterable[tuple[Key, dict[str, object]]]:
    def keep(batch: pa.RecordBatch) -> pa.Array:
        return pc.is_in(batch.column("message_uid"), value_set=uids)

    for batch in read_rows(store, records, columns, keep=keep):
        for row in as_rows(batch):
            yield (row["chat_id"], row["message_uid"]), row


def _known(row: dict[str, object]) -> KnownVersion:
    raw = row.get("raw")
    return KnownVersion(
        version=int(str(row["version"])),
        observed_at_ms=int(str(row["observed_at"])),
        content_digest=str(row["content_digest"]),
        raw=None if raw is None else str(raw),
    )


def _as_known(message: Message, version: int) -> KnownVersion:
    return KnownVersion(version, message.observed_at_ms, message.content_digest, message.raw)


def _needs_raw(versions: Sequence[KnownVersion], message: Message) -> bool:
    newest = max(versions, key=lambda version: (version.version, version.observed_at_ms))
    if message.source == "fetch":
        return message.content_digest != newest.content_digest
    return all(message.content_digest != version.content_digest for version in versions)


def _judge(versions: Sequence[KnownVersion], message: Message) -> NewVersion | None:
    newest = versions[-1]
    rivals = [newest] if message.source == "fetch" else versions[::-1]
    if any(message.content_digest == version.content_digest for version in rivals):
        return None
    seen = read_content(message.raw)
    for rival in rivals:
        how = relation(read_content(rival.raw), seen) if rival.raw is not None else "different"
        if how in ("same", "poorer"):
            return None
        if how in ("richer", "mixed"):
            return NewVersion(message, rival.version, rival.content_digest)
    return NewVersion(message, newest.version + 1, newest.content_digest)
