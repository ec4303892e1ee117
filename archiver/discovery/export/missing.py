"""What may be missing from an export: the archive's own list of gaps, as far as it touches what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from archiver.archive.reader import Head, files_of, read_rows
from archiver.archive.schema import TABLES
from archiver.archive.tables import rows_of
from archiver.discovery.export.record import GapNote
from archiver.store import Store

_OPEN = "open"


@dataclass(frozen=True, slots=True)
class Gaps:
    """Gaps by the chat that they concern, None for those that concern no single one; each with its user if any, sorted by id.

    A gap that is closed counts if it says when something was missed: its cause is gone, and what was missed is missing still.
    """

    by_chat: Mapping[str | None, tuple[tuple[str | None, GapNote], ...]] = field(default_factory=dict)

    def of(self, chat_id: str, from_ms: int, until_ms: int) -> tuple[GapNote, ...]:
        """Return the gaps that say to touch this chat between two instants, the second not included."""
        notes = (*self.by_chat.get(None, ()), *self.by_chat.get(chat_id, ()))
        if not notes:
            return ()
        return tuple(
            note
            for _, note in notes
            if (note.from_at_ms is not None or note.to_at_ms is not None) and _touches(note, from_ms, until_ms)
        )

    def touching(
        self, chats: Collection[str], users: Collection[str], *, from_ms: int | None, until_ms: int | None
    ) -> tuple[GapNote, ...]:
        """Return all gaps that may touch an export of these chats between two instants.

        A gap that is about a user alone counts for custodians, who are ``users``, and where none are named for everybody.
        """
        return tuple(
            note
            for chat_id, notes in sorted(self.by_chat.items(), key=lambda item: item[0] or "")
            if chat_id is None or chat_id in chats
            for user_id, note in notes
            if _touches(note, from_ms, until_ms) and (chat_id or not users or user_id is None or user_id in users)
        )


def read_gaps(
    store: Store, head: Head, *, shown: Callable[[str], str] = str, shown_chat: Callable[[str], str] = str
) -> Gaps:
    """Read what may be missing at a head; raises `DamageFoundError`.

    ``shown`` makes words such as they may be shown, and ``shown_chat`` the ids of chats that notes name; gaps are asked for by true ids.
    """
    newest: dict[str, dict[str, Any]] = {}
    for batch in read_rows(store, files_of(head, "gaps"), TABLES["gaps"].schema.names):
        for row in rows_of(batch):
            known = newest.get(row["gap_id"])
            if known is None or known["valid_from"] <= row["valid_from"]:
                newest[row["gap_id"]] = row
    by_chat: dict[str | None, list[tuple[str | None, GapNote]]] = {}
    for row in _counting(newest.values()):
        about = ", ".join(filter(None, (row["user_id"], row["subject"])))
        note = GapNote(
            gap_id=row["gap_id"],
            kind=row["kind"],
            evidence=shown(row["evidence"]),
            count=row["count"],
            from_at_ms=row["from_at"],
            to_at_ms=row["to_at"],
            subject=shown(about) if about else None,
            chat_id=None if row["chat_id"] is None else shown_chat(row["chat_id"]),
        )
        by_chat.setdefault(row["chat_id"], []).append((row["user_id"], note))
    return Gaps(
        {chat_id: tuple(sorted(notes, key=lambda found: found[1].gap_id)) for chat_id, notes in by_chat.items()}
    )


def _counting(rows: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    return (row for row in rows if row["state"] == _OPEN or row["from_at"] is not None or row["to_at"] is not None)


def _touches(note: GapNote, from_ms: int | None, until_ms: int | None) -> bool:
    return (until_ms is None or note.from_at_ms is None or note.from_at_ms < until_ms) and (
        from_ms is None or note.to_at_ms is None or note.to_at_ms >= from_ms
    )
