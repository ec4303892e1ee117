"""What an export would have, counted without writing anything: by conversation, in bytes, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.discovery.export.attached import file_facts
from archiver.discovery.export.gathering import Progress
from archiver.discovery.export.opened import Opened
from archiver.discovery.export.record import Conversation, GapNote
from archiver.discovery.export.selection import IS_CONTEXT
from archiver.discovery.export.stretches import Stretch
from archiver.scope.reach import item_keys

_COLUMNS: Final = (
    "chat_id",
    "chat_kind",
    "message_uid",
    "version",
    "sent_at",
    "observed_at",
    "source",
    "content_digest",
    "plain_text",
)


@dataclass(slots=True)
class Foreseen:
    """What of one conversation would be in the export; ``bytes`` are those of its texts and of its stored files."""

    kind: str
    messages: int = 0
    context: int = 0
    versions: int = 0
    not_returned: int = 0
    files: int = 0
    files_stored: int = 0
    files_missing: int = 0
    text_bytes: int = 0
    file_bytes: int = 0
    first_sent_at_ms: int | None = None
    last_sent_at_ms: int | None = None


@dataclass(slots=True)
class Preview:
    """What an export would have: by conversation, sorted by chat id, and the gaps that touch it."""

    conversations: list[tuple[Conversation, Foreseen]] = field(default_factory=list)
    gaps: tuple[GapNote, ...] = ()
    missing_by_reason: dict[str, int] = field(default_factory=dict)

    def total(self, name: str) -> int:
        """Return a number added up over the conversations."""
        return sum(getattr(foreseen, name) for _, foreseen in self.conversations)


def preview(opened: Opened, *, progress: Progress | None = None) -> Preview:
    """Return what an export would have; reads no more than it must, and writes nothing."""
    found: dict[str, Foreseen] = {}
    reasons: dict[str, int] = {}
    total = opened.selection.rows()
    looked = 0
    for stretch, count in opened.selection.chosen(_COLUMNS):
        looked += count
        _add_messages(opened, found, stretch.messages)
        _add_files(opened, found, reasons, stretch)
        if progress is not None:
            progress("looking through messages", min(looked, total), total)
    return Preview(
        conversations=[
            (opened.people.conversation(chat_id, foreseen.kind), foreseen)
            for chat_id, foreseen in sorted(found.items())
        ],
        gaps=opened.touching(sorted(found)),
        missing_by_reason=dict(sorted(reasons.items())),
    )


def _add_messages(opened: Opened, found: dict[str, Foreseen], rows: pa.Table) -> None:
    if not rows.num_rows:
        return
    is_last_only = opened.wanted.asked.versions == "last"
    facts = pa.table(
        {
            "chat_id": rows.column("chat_id"),
            "kind": rows.column("chat_kind"),
            "key": item_keys(rows),
            "version": rows.column("version"),
            "digest": rows.column("content_digest"),
            "sent_at": pc.cast(rows.column("sent_at"), pa.int64()),
            "bytes": pc.binary_length(rows.column("plain_text")),
            IS_CONTEXT: pc.cast(rows.column(IS_CONTEXT), pa.int8()),
        }
    )
    # One row for each version, whoever captured it, then one for each message.
    versions = facts.group_by(["chat_id", "kind", "key", "version", "digest"]).aggregate(
        [("bytes", "min"), (IS_CONTEXT, "max"), ("sent_at", "min")]
    )
    messages = versions.group_by(["chat_id", "kind", "key"]).aggregate(
        [("digest", "count"), ("bytes_min", "sum"), (f"{IS_CONTEXT}_max", "max"), ("sent_at_min", "min")]
    )
    chats = messages.group_by(["chat_id", "kind"]).aggregate(
        [
            ("key", "count"),
            ("digest_count", "sum"),
            ("bytes_min_sum", "sum"),
            (f"{IS_CONTEXT}_max_max", "sum"),
            ("sent_at_min_min", "min"),
            ("sent_at_min_min", "max"),
        ]
    )
    for row in chats.to_pylist():
        foreseen = found.setdefault(row["chat_id"], Foreseen(row["kind"]))
        foreseen.messages += row["key_count"]
        foreseen.context += row[f"{IS_CONTEXT}_max_max_sum"]
        foreseen.versions += row["key_count"] if is_last_only else row["digest_count_sum"]
        foreseen.text_bytes += row["bytes_min_sum_sum"]
        first, last = row["sent_at_min_min_min"], row["sent_at_min_min_max"]
        foreseen.first_sent_at_ms = min(first, _or(foreseen.first_sent_at_ms, first))
        foreseen.last_sent_at_ms = max(last, _or(foreseen.last_sent_at_ms, last))
    for chat_id in opened.selection.absences.missing(rows).column("chat_id").to_pylist():
        found[chat_id].not_returned += 1


def _add_files(opened: Opened, found: dict[str, Foreseen], reasons: dict[str, int], stretch: Stretch) -> None:
    rows = stretch.files
    latest = _latest(stretch) if opened.wanted.asked.versions == "last" else {}
    by_message: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows.to_pylist():
        by_message.setdefault((row["chat_id"], row["message_uid"]), []).append(row)
    for (chat_id, uid), of_message in by_message.items():
        for facts in file_facts(of_message, latest.get((chat_id, uid))):
            foreseen = found[chat_id]
            foreseen.files += 1
            if facts.digest is not None:
                foreseen.files_stored += 1
                foreseen.file_bytes += facts.size or 0
            else:
                foreseen.files_missing += 1
                reason = facts.reason or facts.status
                reasons[reason] = reasons.get(reason, 0) + 1


def _latest(stretch: Stretch) -> dict[tuple[str, str], set[int]]:
    """Return the newest version of each message that has files."""
    keys = pc.unique(item_keys(stretch.files))
    rows = stretch.messages.filter(pc.is_in(item_keys(stretch.messages), value_set=keys))
    newest = rows.group_by(["chat_id", "message_uid"]).aggregate([("version", "max")]).to_pylist()
    return {(row["chat_id"], row["message_uid"]): {row["version_max"]} for row in newest}


def _or(known: int | None, other: int) -> int:
    return other if known is None else known
