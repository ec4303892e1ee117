"""Which conversations a batch of messages makes known for the first time."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from archiver.capture.directory_changes import conversation_row
from archiver.ids import parties_of


def new_conversations(messages: pa.Table, known: Collection[tuple[str, ...]]) -> list[Mapping[str, Any]]:
    """Return a row of ``conversations`` for each chat of the message rows that is not ``known`` (by ``(chat_id,)``).

    Its ``valid_from`` is when the earliest of them was received; a channel's name comes with the directory.
    """
    if not messages.num_rows:
        return []
    chats = messages.group_by(["chat_id", "chat_kind"]).aggregate([("observed_at", "min"), ("captured_by", "min")])
    instants = pc.cast(chats.column("observed_at_min"), pa.int64())
    rows = []
    for chat, first_seen_ms in zip(chats.to_pylist(), instants.to_pylist(), strict=True):
        if (chat["chat_id"],) in known:
            continue
        parties = parties_of(chat["chat_id"])
        rows.append(
            conversation_row(
                chat_id=chat["chat_id"],
                chat_kind=chat["chat_kind"],
                name=None,
                participants=parties,
                captured_by=chat["captured_by_min"],
                seen_at_ms=first_seen_ms,
            )
        )
    return sorted(rows, key=lambda row: str(row["chat_id"]))
