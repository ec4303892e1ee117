"""What messages that came without a uid turned out to be: the same rules as the view ``provisional_uids`` of `archiver query`.

Such a message is another one with a uid of Flock's if chat, sender, client id and text are the same and the times agree, and if it is the
only one of which that is true. Where that is not clear both stay, each by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.ledger import FileRecord
from archiver.archive.reader import Head, files_of, read_rows
from archiver.archive.tables import rows_of
from archiver.normalise.message import PROVISIONAL_PREFIX
from archiver.store import Store

# A push arrives within minutes of the sending, or never (flock-api.md 11.1); clocks differ by less.
ARRIVES_WITHIN_MS: Final = 600_000
CLOCKS_DIFFER_BY_MS: Final = 60_000

_COLUMNS: Final = ("chat_id", "message_uid", "sender_id", "client_id", "text", "sent_at", "sent_at_basis")
_END_OF_PREFIX: Final = PROVISIONAL_PREFIX[:-1] + chr(ord(PROVISIONAL_PREFIX[-1]) + 1)
_OBSERVED: Final = "observed"

_Likeness = tuple[str, str, str | None, str]


@dataclass(frozen=True, slots=True)
class Identities:
    """By chat and provisional uid the uid that it turned out to be.

    ``rows`` are by the message that they turned out to be the rows (chat, uid as it is archived, when sent) that told so, and its own.
    """

    known: Mapping[tuple[str, str], str] = field(default_factory=dict)
    rows: Mapping[tuple[str, str], frozenset[tuple[str, str, int]]] = field(default_factory=dict)

    def apply(self, rows: pa.Table) -> pa.Table:
        """Return rows of messages or files under the uids that they turned out to have."""
        if not self.known:
            return rows
        uids = rows.column("message_uid")
        mask = pc.starts_with(uids, PROVISIONAL_PREFIX)
        if not pc.any(mask, min_count=0).as_py():
            return rows
        chats, found = rows.column("chat_id").to_pylist(), uids.to_pylist()
        meant = [self.known.get(key, key[1]) for key in zip(chats, found, strict=True)]
        place = rows.schema.get_field_index("message_uid")
        return rows.set_column(place, "message_uid", pa.array(meant, pa.string()))

    def own(self, rows: pa.Table) -> pa.BooleanArray:
        """Return which rows, as they were read, are of no other message than the one whose uid they bear."""
        if self.known:
            mask = pc.starts_with(rows.column("message_uid"), PROVISIONAL_PREFIX)
            if pc.any(mask, min_count=0).as_py():
                keys = zip(rows.column("chat_id").to_pylist(), rows.column("message_uid").to_pylist(), strict=True)
                return pa.array([key not in self.known for key in keys], pa.bool_())
        return pa.repeat(pa.scalar(value=True), rows.num_rows)


def read_identities(store: Store, head: Head) -> Identities:
    """Read what the messages without a uid turned out to be; raises `DamageFoundError`."""
    records = files_of(head, "messages")
    nameless = list(_rows(store, [record for record in records if _may_be_provisional(record)], is_provisional=True))
    if not nameless:
        return Identities()
    wanted = {_likeness(row) for row in nameless}
    first, last = (edge(row["sent_at"] for row in nameless) for edge in (min, max))
    near = [
        record
        for record in records
        if int(record.ranges["sent_at"][1]) >= first - ARRIVES_WITHIN_MS
        and int(record.ranges["sent_at"][0]) <= last + ARRIVES_WITHIN_MS
    ]
    clients = pa.array(sorted({row["client_id"] for row in nameless if row["client_id"] is not None}), pa.string())
    candidates: dict[_Likeness, list[dict[str, Any]]] = {}
    for row in _rows(store, near, is_provisional=False, clients=clients):
        likeness = _likeness(row)
        if likeness in wanted:
            candidates.setdefault(likeness, []).append(row)
    return _clear(nameless, candidates)


def _clear(nameless: Sequence[dict[str, Any]], candidates: Mapping[_Likeness, list[dict[str, Any]]]) -> Identities:
    """Return which provisional uids are one other message and no other, of which no second provisional uid is true."""
    # By provisional uid and found uid the better of whether both tell the same time (1) or times that agree (0).
    pairs: dict[tuple[str, str], dict[str, int]] = {}
    for row in nameless:
        for other in candidates.get(_likeness(row), ()):
            if _agree(row, other):
                is_exact = int(_OBSERVED not in (row["sent_at_basis"], other["sent_at_basis"]))
                found = pairs.setdefault((row["chat_id"], row["message_uid"]), {})
                found[other["message_uid"]] = max(is_exact, found.get(other["message_uid"], 0))
    rivals: dict[tuple[str, str, int], int] = {}
    for (chat_id, _), found in pairs.items():
        for uid, is_exact in found.items():
            rivals[chat_id, uid, is_exact] = rivals.get((chat_id, uid, is_exact), 0) + 1
    known: dict[tuple[str, str], str] = {}
    for (chat_id, provisional), found in pairs.items():
        best = max(found.values())
        rated = [uid for uid, is_exact in found.items() if is_exact == best]
        if len(rated) == 1 and (best == 1 or rivals[chat_id, rated[0], best] == 1):
            known[chat_id, provisional] = rated[0]
    return Identities(known, _rows_by_message(known, chain(nameless, *candidates.values())))


def _rows_by_message(
    known: Mapping[tuple[str, str], str], rows: Iterable[dict[str, Any]]
) -> dict[tuple[str, str], frozenset[tuple[str, str, int]]]:
    """Return the rows of what turned out to be one message, by that message."""
    meant = {(chat_id, uid) for (chat_id, _), uid in known.items()}
    by_message: dict[tuple[str, str], set[tuple[str, str, int]]] = {}
    for row in rows:
        chat_id, uid = row["chat_id"], row["message_uid"]
        message = chat_id, known.get((chat_id, uid), uid)
        if message in meant:
            by_message.setdefault(message, set()).add((chat_id, uid, row["sent_at"]))
    return {message: frozenset(found) for message, found in by_message.items()}


def _agree(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether the times of a nameless message and of another one agree."""
    sent_at, found_at = one["sent_at"], other["sent_at"]
    is_told, is_found_told = (row["sent_at_basis"] != _OBSERVED for row in (one, other))
    if is_told and is_found_told:
        return bool(sent_at == found_at)
    if is_told:
        return bool(sent_at - CLOCKS_DIFFER_BY_MS <= found_at <= sent_at + ARRIVES_WITHIN_MS)
    if is_found_told:
        return bool(found_at - CLOCKS_DIFFER_BY_MS <= sent_at <= found_at + ARRIVES_WITHIN_MS)
    return bool(abs(sent_at - found_at) <= ARRIVES_WITHIN_MS)


def _rows(
    store: Store, records: Sequence[FileRecord], *, is_provisional: bool, clients: pa.Array | None = None
) -> Iterator[dict[str, Any]]:
    def keep(batch: pa.RecordBatch) -> pa.BooleanArray:
        mask = pc.starts_with(batch.column("message_uid"), PROVISIONAL_PREFIX)
        mask = mask if is_provisional else pc.invert(mask)
        return mask if clients is None else pc.and_(mask, pc.is_in(batch.column("client_id"), value_set=clients))

    for batch in read_rows(store, records, _COLUMNS, keep=keep):
        yield from rows_of(batch)


def _likeness(row: Mapping[str, Any]) -> _Likeness:
    # SQL finds no two unknown client ids equal, and neither do we: nothing without one is ever a candidate.
    return row["chat_id"], row["sender_id"], row["client_id"], row["text"]


def _may_be_provisional(record: FileRecord) -> bool:
    least, greatest = record.ranges["message_uid"]
    return str(least) < _END_OF_PREFIX and str(greatest) >= PROVISIONAL_PREFIX
