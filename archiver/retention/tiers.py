"""Moving what is old to a cheaper storage class: ``tier: {after: 1y, to: GLACIER_IR}``. Nothing is removed, and no byte changes.

What moves is an object, and an object holds what many people said on one day. So a rule moves data objects and blobs only if it is for
everything: with no condition, and with the clock of sending. Others are named as rules that move nothing, instead of moving more than they
say. An object is due when the last of its rows is; a blob, when the last row of ``files`` that names it is.

The class is no fact of the archive: keys, bytes and digests stay, so the ledger has nothing to say, and the store itself tells what lies
where. Moving twice moves once, and what stopped half way goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Final

import pyarrow.compute as pc

from archiver.archive import blobs, layout
from archiver.archive.reader import Head, files_of, read_rows
from archiver.clock import DAY_MS
from archiver.errors import DamageFoundError, ObjectLockedError
from archiver.retention.periods import Calendar
from archiver.retention.policy import Policy, Rule
from archiver.store import Store

_TABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "messages": ("messages", "events"),
    "files": ("files",),
    "both": ("messages", "events", "files"),
}
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Move:
    """An object that is due: its key, the class that it moves to, and the SHA-256 that it has before and after."""

    key: str
    to: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Due:
    """What is due to move, and the rules whose ``tier`` moves nothing because they are not for everything."""

    moves: tuple[Move, ...]
    idle_rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Moved:
    """What was done: objects moved, those that lay there already, and keys that a lock keeps where they are."""

    moved: int
    there: int
    locked: tuple[str, ...]


def due_moves(store: Store, head: Head, policy: Policy, *, as_of_ms: int) -> Due:
    """Return what a policy moves as of an instant; of several rules that are due, the one with the longest period says where to.

    Raises `DamageFoundError` if an object of ``files`` cannot be read.
    """
    tiered = [rule for rule in policy.rules if rule.tier is not None]
    rules = [rule for rule in tiered if _is_for_everything(rule)]
    chosen = partial(_class_of, rules, Calendar(policy.zone), as_of_ms=as_of_ms)
    moves = [
        Move(record.key, to, record.sha256)
        for table in _TABLES["both"]
        for record in files_of(head, table)
        if (to := chosen(table, layout.partition_of(record.key)[1])) is not None
    ]
    if any(rule.on != "messages" for rule in rules):
        moves += [
            Move(layout.blob_key(digest), to, digest)
            for digest, day in sorted(_last_days_of_blobs(store, head).items())
            if (to := chosen("files", day)) is not None
        ]
    return Due(tuple(moves), tuple(rule.name for rule in tiered if rule not in rules))


def move_all(store: Store, moves: Iterable[Move], *, executor: Executor, progress: Progress) -> Moved:
    """Move objects and look at each one's digest afterwards. Call it while holding this machine's run lock.

    Raises `StoreRefusedError` if the store has no classes or not that one, and `DamageFoundError` for an object that is missing or not
    what its digest says: that one is in its new class, and as damaged as it was.
    """
    asked = list(moves)
    counts = {"moved": 0, "there": 0}
    locked: list[str] = []
    for done, (move, outcome) in enumerate(zip(asked, executor.map(partial(_move, store), asked), strict=True), 1):
        if outcome == "locked":
            locked.append(move.key)
        else:
            counts[outcome] += 1
        progress(done, len(asked))
    return Moved(counts["moved"], counts["there"], tuple(locked))


def _is_for_everything(rule: Rule) -> bool:
    return not rule.match.given() and not rule.exclude.given() and rule.clock == "sent"


def _class_of(rules: Iterable[Rule], calendar: Calendar, table: str, day: date, *, as_of_ms: int) -> str | None:
    """Return where an object of one UTC day belongs as of an instant, None if it stays where it is."""
    last_ms = (day.toordinal() - _EPOCH_ORDINAL + 1) * DAY_MS - 1
    local_day = calendar.day_of(last_ms)
    due = [
        rule.tier
        for rule in rules
        if rule.tier is not None
        and table in _TABLES[rule.on]
        and calendar.day_end_ms(rule.tier.after.after(local_day)) <= as_of_ms
    ]
    return max(due, key=lambda tier: tier.after.days_max).to if due else None


def _last_days_of_blobs(store: Store, head: Head) -> dict[str, date]:
    """Return for every blob that rows of ``files`` name the last day (UTC) of any of them."""
    days: dict[str, date] = {}
    for record in files_of(head, "files"):
        day = layout.partition_of(record.key)[1]
        for batch in read_rows(store, [record], ["blob_digest"]):
            for digest in pc.unique(batch.column(0)).to_pylist():
                if digest is not None:
                    days[digest] = max(day, days.get(digest, day))
    return days


def _move(store: Store, move: Move) -> str:
    try:
        if not store.move_to_class(move.key, move.to):
            return "there"
    except ObjectLockedError:
        return "locked"
    with store.open(move.key) as stream:
        found, _ = blobs.digest_of(stream)
    if found != move.sha256:
        raise DamageFoundError(
            f"{move.key} in {store.url} has SHA-256 {found} after it moved to {move.to}, and must have {move.sha256}",
            next_step="run `archiver verify` for a full list, then restore the object from a copy",
        )
    return "moved"
