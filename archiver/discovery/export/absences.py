"""Which messages Flock did not return when it was last asked, and since when.

The same reading as the view ``message_absences`` has: an absence begins when Flock skips a message that it was asked for, and ends when any
answer of Flock's shows it again. A push does not end one, because pushes come late.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.reader import Head, files_of, read_rows
from archiver.archive.schema import TABLES
from archiver.archive.tables import rows_of
from archiver.store import Store

# Rows of messages that are an answer of Flock's and no push.
ANSWERS: Final = frozenset({"fetch", "history"})
_COLUMNS: Final = ("chat_id", "message_uid", "observed_at", "outcome")
_SCHEMA: Final = pa.schema(
    [TABLES["observations"].schema.field(name).with_nullable(nullable=True) for name in _COLUMNS]
)
_OUTCOMES: Final = pa.array(["not_returned", "returned"])


@dataclass(frozen=True, slots=True)
class Absences:
    """What Flock answered about each message that it once did not return: when, and whether it was absent then."""

    answers: dict[tuple[str, str], tuple[tuple[int, bool], ...]] = field(default_factory=dict)

    def since(self, chat_id: str, message_uid: str, returned_at: Iterable[int]) -> int | None:
        """Return since when a message is not returned, None if it is; ``returned_at`` are further answers that had it."""
        known = self.answers.get((chat_id, message_uid))
        if known is None:
            return None
        since: int | None = None
        # Of two answers from one instant the one that had it counts.
        for at_ms, is_absent in sorted((*known, *((at_ms, False) for at_ms in returned_at)), key=_order):
            if not is_absent:
                since = None
            elif since is None:
                since = at_ms
        return since

    def missing(self, rows: pa.Table) -> pa.Table:
        """Return chat and uid of those of these rows' messages that are not returned; needs observed_at and source of all of them."""
        answered: dict[tuple[str, str], list[int]] = {}
        uids = pa.array(sorted({uid for _, uid in self.answers}), pa.string())
        suspects = rows.select(["chat_id", "message_uid", "observed_at", "source"]).filter(
            pc.is_in(rows.column("message_uid"), value_set=uids)
        )
        for row in rows_of(suspects):
            found = answered.setdefault((row["chat_id"], row["message_uid"]), [])
            if row["source"] in ANSWERS:
                found.append(row["observed_at"])
        gone = [key for key, returned_at in answered.items() if self.since(*key, returned_at) is not None]
        return pa.table(
            {
                "chat_id": pa.array([chat for chat, _ in gone], pa.string()),
                "message_uid": pa.array([uid for _, uid in gone], pa.string()),
            }
        )


def read_absences(store: Store, head: Head) -> Absences:
    """Read what Flock answered about messages that it ever did not return; raises `DamageFoundError`."""
    # There are rows only of what is not as it was, so that all of them are kept until it is known which messages they must be of.
    found = read_rows(store, files_of(head, "observations"), _COLUMNS, keep=_is_answer)
    told = pa.Table.from_batches((batch.cast(_SCHEMA) for batch in found), schema=_SCHEMA)
    is_gone = pc.equal(told.column("outcome"), "not_returned")
    gone = pc.unique(told.column("message_uid").filter(is_gone)).drop_null()
    answers: dict[tuple[str, str], list[tuple[int, bool]]] = {}
    for row in rows_of(told.filter(pc.is_in(told.column("message_uid"), value_set=gone))):
        known = answers.setdefault((row["chat_id"], row["message_uid"]), [])
        known.append((row["observed_at"], row["outcome"] == "not_returned"))
    return Absences({key: tuple(found) for key, found in answers.items() if any(absent for _, absent in found)})


def _is_answer(rows: pa.RecordBatch) -> pa.BooleanArray:
    return pc.is_in(rows.column("outcome"), value_set=_OUTCOMES)


def _order(answer: tuple[int, bool]) -> tuple[int, bool]:
    return answer[0], not answer[1]
