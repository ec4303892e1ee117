"""Which days are read again tonight, how much of them a night's requests allow, and whether the promise is kept.

Flock tells nobody that a message was edited or deleted (flock-api.md 9), so what is known is asked for again: the days of the last
``hot_days`` every night, every older day again within ``full_within_days``. All of this is rules over facts: what a day is known by
stands in `ArchivedDay`, how far each was read stands in the ledger's cursors, and nothing here asks anybody.

A day is read chat by chat and uid by uid, in order, so one place says how far it came. When all of it was asked for, the beginning of
that reading is the instant since which nothing of that day is older in our hands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zlib import crc32

import msgspec

from archiver.archive.ledger import Gap
from archiver.clock import DAY_MS, day_of, to_ms, to_text
from archiver.flock.client import UIDS_PER_FETCH_MAX

# The cursor of a day is named by its prefix and the day; the night's own says what the night has cost until now.
DAY_CURSOR: Final = "sweep/"
NIGHT_CURSOR: Final = "sweep"
HOUR_MS: Final = 3_600_000

# A tenth of the time, and at least a night and a half, is kept in reserve for nights without a run and for budgets that do not suffice.
_RESERVE_SHARE: Final = 0.1
_RESERVE_DAYS_MIN: Final = 1.5
# What was archived at once must not come due at once: each day has its own time of coming due, in the later half of what is allowed.
_EARLIEST_SHARE: Final = 0.5


@dataclass(frozen=True, slots=True)
class SweepRules:
    """What is read again how often, and how much that may cost.

    A day read less than ``hours_between`` ago is left alone, and what runs within that time shares one budget of ``requests_max``.
    """

    hot_days: int = 7
    full_within_days: int = 30
    requests_max: int = 5_000
    hours_between: float = 12.0

    @property
    def between_ms(self) -> int:
        """The time between two readings of a day, in milliseconds."""
        return int(self.hours_between * HOUR_MS)


class Place(msgspec.Struct, frozen=True):
    """How far a day was read, as its cursor says it.

    Everything of the day was captured or read again at ``since_ms`` or later. A reading that is under way began at ``began_ms`` and
    asked for everything up to ``after``, a chat id and a uid. ``is_swept`` tells whether any reading has come to its end.
    """

    since_ms: int
    is_swept: bool = False
    began_ms: int | None = None
    after: tuple[str, str] | None = None


class Night(msgspec.Struct, frozen=True):
    """What the sweeps of one night have cost until now, as the night's cursor says it."""

    began_ms: int
    requests: int


@dataclass(frozen=True, slots=True)
class ArchivedDay:
    """One day of messages in the archive: how many rows it has, and how far it was read again."""

    day: date
    rows: int
    place: Place


@dataclass(frozen=True, slots=True)
class Conversation:
    """The uids of one chat, in order, that are asked for."""

    chat_id: str
    uids: tuple[str, ...]

    @property
    def requests(self) -> int:
        """How many requests they take."""
        return requests_of([len(self.uids)])


@dataclass(frozen=True, slots=True)
class SweepBound:
    """Whether the promise is kept: the older days that are overdue, the hot days that were not read, and the longest unread day."""

    overdue: tuple[date, ...]
    hot_unread: tuple[date, ...]
    oldest: ArchivedDay | None

    @property
    def is_kept(self) -> bool:
        """Tell whether everything was read again in time."""
        return not (self.overdue or self.hot_unread)


def place_from(text: str) -> Place | None:
    """Read a day's cursor; None for one that cannot be read, and then the day is read again from its beginning."""
    try:
        return msgspec.json.decode(text, type=Place)
    except (msgspec.MsgspecError, UnicodeError):
        return None


def night_from(text: str | None) -> Night | None:
    """Read the night's cursor; None where there is none, or none that can be read."""
    try:
        return None if text is None else msgspec.json.decode(text, type=Night)
    except (msgspec.MsgspecError, UnicodeError):
        return None


def believable(day: date, place: Place, *, now_ms: int, rules: SweepRules) -> Place:
    """Return how far a day was read as far as that can be believed: what a clock wrote that was ahead tells no time.

    Such a day would count as just read until the clock comes there, and nobody would ask for it meanwhile. It counts as unread since it
    was sent, and is read from its beginning. A clock that is ahead by less than the time between two readings does no harm.
    """
    latest_ms = now_ms + rules.between_ms
    if max(place.since_ms, place.began_ms or 0) <= latest_ms:
        return place
    return Place(min(now_ms, to_ms(datetime(day.year, day.month, day.day, tzinfo=UTC))))


def cursor_text(state: Place | Night) -> str:
    """Return the text of a cursor."""
    return msgspec.json.encode(state).decode()


def tonight(night: Night | None, *, now_ms: int, rules: SweepRules) -> Night:
    """Return the night that goes on, or a new one if the last began long enough ago."""
    if night is None or not 0 <= now_ms - night.began_ms < rules.between_ms:
        return Night(now_ms, 0)
    return night


def is_hot(day: date, *, now_ms: int, rules: SweepRules) -> bool:
    """Tell whether a day is among the last ones, today included; a clock that is a day ahead of ours is no reason to wait."""
    today = day_of(now_ms)
    return today - timedelta(days=rules.hot_days) < day <= today + timedelta(days=1)


def due_days(days: Iterable[ArchivedDay], *, now_ms: int, rules: SweepRules) -> list[ArchivedDay]:
    """Return the days whose turn it is, in their order: the hot ones first, then the older, of each the longest unread first.

    A day whose reading has begun stays due until it is finished.
    """
    hot, older = [], []
    for day in days:
        if is_hot(day.day, now_ms=now_ms, rules=rules):
            if _is_hot_due(day.place, now_ms=now_ms, rules=rules):
                hot.append(day)
        elif day.place.began_ms is not None or now_ms - day.place.since_ms >= due_after_ms(day.day, rules):
            older.append(day)
    # Of days that were never read, and of those read together, the newest is the likeliest to have changed.
    hot.sort(key=lambda item: (item.place.since_ms if item.place.is_swept else 0, -item.day.toordinal()))
    older.sort(key=lambda item: (item.place.since_ms, item.day))
    return [*hot, *older]


def due_after_ms(day: date, rules: SweepRules) -> int:
    """Return how long after its last reading an older day comes due: each day at its own time, in time for the bound."""
    reserve = max(_RESERVE_DAYS_MIN, rules.full_within_days * _RESERVE_SHARE)
    latest = max(0.0, rules.full_within_days - reserve) * DAY_MS
    spread = crc32(day.isoformat().encode()) / 2**32
    return max(rules.between_ms, int(latest * (_EARLIEST_SHARE + (1 - _EARLIEST_SHARE) * spread)))


def requests_of(counts: Iterable[int]) -> int:
    """Return how many requests ask for so many uids of each chat."""
    return sum(-(-count // UIDS_PER_FETCH_MAX) for count in counts)


def cut(
    conversations: Sequence[Conversation], *, uids_max: int, requests_max: int, may_split: bool
) -> list[Conversation]:
    """Return the first conversations that fit, whole; the first alone may be split where nothing else would move."""
    taken: list[Conversation] = []
    for conversation in conversations:
        uids, requests = len(conversation.uids), conversation.requests
        if uids > uids_max or requests > requests_max:
            if may_split and not taken and uids_max > 0 and requests_max > 0:
                count = min(uids_max, requests_max * UIDS_PER_FETCH_MAX)
                taken.append(Conversation(conversation.chat_id, conversation.uids[:count]))
            break
        taken.append(conversation)
        uids_max -= uids
        requests_max -= requests
    return taken


def sweep_bound(
    days: Iterable[ArchivedDay], *, now_ms: int, rules: SweepRules, hot_unread_ms: int | None = None
) -> SweepBound:
    """Tell whether every day was read again in time: an older one within ``full_within_days``, a hot one every night.

    A hot day counts as unread if its last reading is ``hot_unread_ms`` ago or longer; by default a night and the time between two
    readings, which is right at any time of the day. Right after a sweep it is the time between two readings alone.
    """
    hot_unread_ms = DAY_MS + rules.between_ms if hot_unread_ms is None else hot_unread_ms
    overdue, hot_unread = [], []
    oldest: ArchivedDay | None = None
    for day in days:
        age_ms = now_ms - day.place.since_ms
        if is_hot(day.day, now_ms=now_ms, rules=rules):
            never = not day.place.is_swept and hot_unread_ms <= rules.between_ms
            if never or age_ms >= hot_unread_ms:
                hot_unread.append(day.day)
        elif age_ms > rules.full_within_days * DAY_MS:
            overdue.append(day.day)
        if oldest is None or day.place.since_ms < oldest.place.since_ms:
            oldest = day
    return SweepBound(tuple(sorted(overdue)), tuple(sorted(hot_unread)), oldest)


def bound_gaps(bound: SweepBound, *, rules: SweepRules) -> list[Gap]:
    """Return a broken promise as gaps: one for the older days, one for the hot ones."""
    gaps = []
    if bound.overdue and bound.oldest is not None:
        evidence = (
            f"re-read within {rules.full_within_days} nights: no; days from {bound.overdue[0]} to {bound.overdue[-1]} wait longer, "
            f"{bound.oldest.day} since {to_text(bound.oldest.place.since_ms)}: raise sweep.requests_max, or see why Flock was not asked"
        )
        gaps.append(Gap(kind="sweep-bound", count=len(bound.overdue), evidence=evidence, subject="full"))
    if bound.hot_unread:
        evidence = (
            f"the last {rules.hot_days} days re-read every night: no; {bound.hot_unread[0]} to {bound.hot_unread[-1]} were not: "
            "raise sweep.requests_max, or see why Flock was not asked"
        )
        gaps.append(Gap(kind="sweep-bound", count=len(bound.hot_unread), evidence=evidence, subject="hot"))
    return gaps


def _is_hot_due(place: Place, *, now_ms: int, rules: SweepRules) -> bool:
    return not place.is_swept or place.began_ms is not None or now_ms - place.since_ms >= rules.between_ms
