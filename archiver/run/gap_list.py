"""The list of gaps as people ask for it: what the archive says at its head, with names, and whether the sweep's promise is kept.

It reads the archive and nothing else: neither Flock nor the spool is needed, and neither can say anything that a run has not
committed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any

from archiver.archive import layout
from archiver.archive.reader import Archive, Head, files_of, latest_states, read_rows
from archiver.archive.schema import GAPS
from archiver.archive.tables import rows_of
from archiver.capture.gap_kinds import GAP_KINDS, kind_in_words, reading_order
from archiver.capture.gaps import OPEN, SWEEP_BOUND
from archiver.capture.sweep import SweepRules, sweep_bound
from archiver.clock import from_text, to_text
from archiver.errors import UsageError
from archiver.ids import direct_chat_id, parties_of
from archiver.run.gap_news import CURSOR, NEWS_TABLES
from archiver.run.known_states import States
from archiver.run.session import STATE_KEYS
from archiver.run.sweep_days import archived_days


@dataclass(frozen=True, slots=True)
class GapFilter:
    """Which gaps are wanted: open ones or all, of these kinds (none: of every kind), of one chat by id or name, changed since then."""

    with_closed: bool = False
    kinds: Collection[str] = ()
    chat: str | None = None
    since_ms: int | None = None


@dataclass(frozen=True, slots=True)
class ListedGap:
    """A gap with the names of today beside its ids; instants are ISO 8601 in UTC.

    ``opened_at`` is when it was found to be open, the last time that this happened; ``changed_at`` when what is said of it
    last changed, which for a closed one is when it was found closed.
    """

    gap_id: str
    state: str
    kind: str
    chat_id: str | None
    chat_name: str | None
    user_id: str | None
    user_name: str | None
    subject: str | None
    from_at: str | None
    to_at: str | None
    count: int
    evidence: str
    opened_at: str
    changed_at: str


@dataclass(frozen=True, slots=True)
class KindSummary:
    """How many gaps of a kind are listed, how many things the open ones stand for, and what the kind means."""

    kind: str
    open: int
    closed: int
    count: int
    meaning: str
    action: str


@dataclass(frozen=True, slots=True)
class SweepPromise:
    """Whether everything was read again in time, as of ``judged_at``; ``is_kept`` is None where no message is archived yet.

    Everything of ``oldest_day``, the day that was not read for longest, was captured or read again at ``oldest_read_at`` or later.
    """

    full_within_days: int
    hot_days: int
    is_kept: bool | None
    judged_at: str
    days: int
    overdue_days: int
    hot_unread_days: int
    oldest_day: date | None
    oldest_read_at: str | None


@dataclass(frozen=True, slots=True)
class GapList:
    """What may be missing, as of one commit.

    ``has_looked`` is False where no run has looked for gaps yet, and then no gap means nothing. ``commits_not_looked_at`` have
    brought something since the last look. ``elsewhere`` counts open gaps that were not asked for because they concern no single
    chat.
    """

    location: str
    sequence: int
    digest: str
    at: str | None
    has_looked: bool
    commits_not_looked_at: int
    sweep: SweepPromise
    summary: tuple[KindSummary, ...]
    gaps: tuple[ListedGap, ...]
    elsewhere: int
    is_clean: bool


def list_open_gaps(archive: Archive, wanted: GapFilter, *, now_ms: int, rules: SweepRules) -> GapList:
    """Return what may be missing at the archive's head.

    ``is_clean`` tells that there is nothing of what was asked for: somebody looked, no listed gap is open, and the sweep's promise
    is kept where it was asked about. Raises `UsageError` for a kind or a chat that nobody knows.
    """
    head = archive.head()
    if head.at is not None:
        # A clock behind the one that committed must not make the archive look fresher than it is.
        now_ms = max(now_ms, from_text(head.at))
    rows = _latest(archive, head)
    _require_kinds(wanted.kinds, {row["kind"] for row, _ in rows})
    names = _Names(archive, head)
    chats = None if wanted.chat is None else names.chats(wanted.chat, also={row["chat_id"] for row, _ in rows})
    found = [
        _listed(row, opened_at_ms, names)
        for row, opened_at_ms in rows
        if _is_wanted(row, wanted) and _is_of(row, chats)
    ]
    found.sort(key=_order)
    promise = _promise(archive, head, now_ms=now_ms, rules=rules)
    has_looked = CURSOR in head.cursors or bool(rows)
    asks_for_promise = wanted.chat is None and (not wanted.kinds or SWEEP_BOUND in wanted.kinds)
    return GapList(
        location=archive.store.url,
        sequence=head.sequence,
        digest=head.digest,
        at=head.at,
        has_looked=has_looked,
        commits_not_looked_at=_not_looked_at(head),
        sweep=promise,
        summary=tuple(_summaries(found)),
        gaps=tuple(found),
        elsewhere=sum(row["state"] == OPEN and row["chat_id"] is None for row, _ in rows) if chats is not None else 0,
        is_clean=has_looked
        and all(gap.state != OPEN for gap in found)
        and not (asks_for_promise and promise.is_kept is False),
    )


def _latest(archive: Archive, head: Head) -> list[tuple[dict[str, Any], int]]:
    """Return the newest row of every gap, and when it was found to be open, the last time that this happened."""
    by_gap: dict[str, list[dict[str, Any]]] = {}
    for batch in read_rows(archive.store, files_of(head, "gaps"), GAPS.schema.names):
        for row in rows_of(batch):
            by_gap.setdefault(row["gap_id"], []).append(row)
    found = []
    for rows in by_gap.values():
        rows.sort(key=lambda row: row["valid_from"])
        opened_at_ms = rows[0]["valid_from"]
        for before, row in pairwise(rows):
            if before["state"] != OPEN and row["state"] == OPEN:
                opened_at_ms = row["valid_from"]
        found.append((rows[-1], opened_at_ms))
    return found


class _Names:
    """What chats and users are called by the directory of a head."""

    def __init__(self, archive: Archive, head: Head) -> None:
        def states(table: str) -> States:
            return latest_states(archive.store, head, table, STATE_KEYS[table])

        self._users = {
            user_id: " ".join(filter(None, (row["first_name"], row["last_name"]))) or None
            for (user_id,), row in states("users").items()
        }
        self._chats: dict[str, str | None] = {
            chat_id: row["name"] for (chat_id,), row in states("conversations").items()
        }
        self._chats |= {channel_id: row["name"] for (channel_id,), row in states("channels").items()}

    def user(self, user_id: str | None) -> str | None:
        """Return a user's name, if it is known."""
        return None if user_id is None else self._users.get(user_id)

    def chat(self, chat_id: str | None) -> str | None:
        """Return a channel's name, or who the two of a one-to-one chat are."""
        if chat_id is None:
            return None
        parties = parties_of(chat_id)
        if parties is None:
            return self._chats.get(chat_id)
        known = [self._users.get(party) for party in parties]
        return " and ".join(name or party for name, party in zip(known, parties, strict=True)) if any(known) else None

    def chats(self, wanted: str, *, also: Collection[str | None]) -> set[str]:
        """Return the ids of the chats that somebody means; raises `UsageError` if there is none."""
        ids = self._chats.keys() | {chat_id for chat_id in also if chat_id is not None}
        parties = parties_of(wanted)
        for name in (wanted, direct_chat_id(*parties) if parties else wanted):
            if name in ids:
                return {name}
        called = wanted.removeprefix("#").casefold()
        found = {chat_id for chat_id, name in self._chats.items() if name is not None and name.casefold() == called}
        if not found:
            raise UsageError(
                f"the archive knows no chat {wanted!r}",
                next_step="name a channel by its id or its name of today, a one-to-one chat by its two users as u:…,u:…; "
                '`archiver query "SELECT chat_id, name FROM conversations"` lists them',
            )
        return found


def _require_kinds(wanted: Collection[str], there: Collection[str]) -> None:
    known = GAP_KINDS.keys() | set(there)
    unknown = sorted(set(wanted) - known)
    if unknown:
        raise UsageError(
            f"there is no kind of gap {', '.join(unknown)}", next_step=f"choose among {', '.join(sorted(known))}"
        )


def _is_wanted(row: Mapping[str, Any], wanted: GapFilter) -> bool:
    return (
        (wanted.with_closed or row["state"] == OPEN)
        and (not wanted.kinds or row["kind"] in wanted.kinds)
        and (wanted.since_ms is None or row["valid_from"] >= wanted.since_ms)
    )


def _is_of(row: Mapping[str, Any], chats: Collection[str] | None) -> bool:
    return chats is None or row["chat_id"] in chats


def _listed(row: Mapping[str, Any], opened_at_ms: int, names: _Names) -> ListedGap:
    return ListedGap(
        gap_id=row["gap_id"],
        state=row["state"],
        kind=row["kind"],
        chat_id=row["chat_id"],
        chat_name=names.chat(row["chat_id"]),
        user_id=row["user_id"],
        user_name=names.user(row["user_id"]),
        subject=row["subject"],
        from_at=_instant(row["from_at"]),
        to_at=_instant(row["to_at"]),
        count=row["count"],
        evidence=row["evidence"],
        opened_at=to_text(opened_at_ms),
        changed_at=to_text(row["valid_from"]),
    )


def _instant(at_ms: int | None) -> str | None:
    return None if at_ms is None else to_text(at_ms)


def _order(gap: ListedGap) -> tuple[object, ...]:
    told_apart = (gap.chat_id or "", gap.user_id or "", gap.subject or "", gap.gap_id)
    return (reading_order(gap.kind), gap.state != OPEN, *told_apart)


def _summaries(found: list[ListedGap]) -> Iterator[KindSummary]:
    for kind in dict.fromkeys(gap.kind for gap in found):
        of_kind = [gap for gap in found if gap.kind == kind]
        states = Counter(gap.state == OPEN for gap in of_kind)
        words = kind_in_words(kind)
        yield KindSummary(
            kind=kind,
            open=states[True],
            closed=states[False],
            count=sum(gap.count for gap in of_kind if gap.state == OPEN),
            meaning=words.meaning,
            action=words.action,
        )


def _promise(archive: Archive, head: Head, *, now_ms: int, rules: SweepRules) -> SweepPromise:
    days = archived_days(archive, head, now_ms=now_ms, rules=rules)
    bound = sweep_bound(days, now_ms=now_ms, rules=rules)
    return SweepPromise(
        full_within_days=rules.full_within_days,
        hot_days=rules.hot_days,
        is_kept=bound.is_kept if days else None,
        judged_at=to_text(now_ms),
        days=len(days),
        overdue_days=len(bound.overdue),
        hot_unread_days=len(bound.hot_unread),
        oldest_day=bound.oldest.day if bound.oldest else None,
        oldest_read_at=to_text(bound.oldest.place.since_ms) if bound.oldest else None,
    )


def _not_looked_at(head: Head) -> int:
    """Return how many commits brought something since the last look, as when a run was killed or its stage gaps left out."""
    through = int(head.cursors.get(CURSOR, "0"))
    brought = (layout.sequence_of_data(record.key) for record in head.files.values() if record.table in NEWS_TABLES)
    return len({sequence for sequence in brought if sequence > through})
