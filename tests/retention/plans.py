"""Plans as tests want them: any items of any archive, under a header that fits its head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from archiver.archive.reader import Archive, Head
from archiver.retention.plan_document import ITEMS, Plan, PlanHeader, PlanLimits, items_digest, sorted_items

DUE_AT_MS = 1_796_000_000_000


def message_item(uid: str, *, chat_id: str = "g:1", sent_at: int = 1_795_000_000_000, **further: Any) -> dict[str, Any]:
    """An item of one message; ``rows`` is 1 unless given."""
    return {
        "kind": "message",
        "day": datetime.fromtimestamp(sent_at / 1000, UTC).date(),
        "chat_id": chat_id,
        "message_uid": uid,
        "sent_at": sent_at,
        "due_at": DUE_AT_MS,
        "rule": "old-chat",
        "principle": "shortest deletion",
        "rows": 1,
        "bytes": 10,
        **further,
    }


def file_item(uid: str, ordinal: int, **further: Any) -> dict[str, Any]:
    return message_item(uid, kind="file", ordinal=ordinal, **further)


def plan_of(
    archive: Archive,
    head: Head,
    items: Iterable[Mapping[str, Any]],
    *,
    limits: PlanLimits | None = None,
    totals: Mapping[str, int] | None = None,
) -> Plan:
    table = sorted_items(pa.Table.from_pylist([dict(item) for item in items], schema=ITEMS))
    counts: dict[str, int] = {}
    for kind in table.column("kind").to_pylist():
        counts[kind] = counts.get(kind, 0) + 1
    header = PlanHeader(
        format=1,
        archive_id=archive.facts.archive_id,
        kind="policy",
        head_sequence=head.sequence,
        head_digest=head.digest,
        policy="acme",
        policy_digest="ab" * 32,
        zone="Europe/Berlin",
        as_of="2026-11-27T00:00:00.000Z",
        items_sha256=items_digest(table),
        counts=counts,
        totals=dict(totals or {}),
        rows=sum(table.column("rows").to_pylist()),
        bytes=sum(table.column("bytes").to_pylist()),
        limits=limits or PlanLimits(),
    )
    return Plan(header, table)
