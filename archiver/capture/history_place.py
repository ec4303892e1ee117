"""How far a chat was read from a source of paged history: what a cursor in the ledger says, and what follows from it.

Two readings go on beside each other. The *tip* is read every night, from the newest message back to what was there before
and ``lookback_days`` further, because messages arrive late and are edited. The *full* reading goes through the whole chat,
over several nights if it must; the first one fetches the past, and each later one, begun early enough to be done within
``full_within_days``, finds what the tip cannot: what came in below it, and what was skipped because pages shifted.

Of a source that begins with its oldest messages, the tip goes on from a *mark*: a cursor before which everything lies
longer ago than the look-back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from zlib import crc32

import msgspec

from archiver.capture.history_source import HistorySource
from archiver.clock import DAY_MS

# A trail of marks stays this short whatever the look-back, because it stands in the ledger.
MARKS_MAX: Final = 12
# Full readings of different chats begin on different nights, up to this share of the time early.
SPREAD_SHARE: Final = 3


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """A page of a source that begins with the oldest: its cursor, and the newest sending time on the pages before it."""

    before_ms: int | None
    cursor: str | None


class Walk(msgspec.Struct, frozen=True, omit_defaults=True):
    """A reading under way: ``cursor`` is where it goes on, None at its start.

    ``reaches_ms`` is how far back a tip goes, None for to the end. ``newest_ms`` is the newest sending time that it met and
    that did not lie ahead of its start. ``asked_as`` is the user who could read the chat.
    """

    started_at_ms: int
    cursor: str | None = None
    reaches_ms: int | None = None
    newest_ms: int | None = None
    asked_as: str = ""
    trail: tuple[Mark, ...] = ()


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of one chat in one source, for a source declared as ``declared`` says.

    ``reached_ms``: everything up to there was read, or will be by the full reading under way. ``full_started_at_ms`` and
    ``full_took_ms`` tell of the last full reading that came to its end. ``unreadable`` is why no token may read the chat.
    """

    declared: str
    reached_ms: int | None = None
    full_started_at_ms: int | None = None
    full_took_ms: int = 0
    tip: Walk | None = None
    full: Walk | None = None
    trail: tuple[Mark, ...] = ()
    unreadable: str = ""


_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(Place).decode


def key_of(source: HistorySource, chat_id: str) -> str:
    """Return under which name the ledger keeps the cursor of a chat."""
    return f"history/{source.name}/{chat_id}"


def to_text(place: Place) -> str:
    """Return a place as the ledger keeps it."""
    return _encode(place).decode()


def from_text(text: str | None, source: HistorySource) -> Place:
    """Return the place that the ledger keeps; one of a source that was declared otherwise begins anew."""
    fresh = Place(declared=source.fingerprint)
    if text is None:
        return fresh
    try:
        place = _decode(text)
    except msgspec.MsgspecError:
        return fresh  # of a later version, or nonsense: reading again costs time and loses nothing
    return place if place.declared == fresh.declared else fresh


def has_tip(place: Place, source: HistorySource) -> bool:
    """Tell whether there is a tip to read: from the newest as soon as a first page was read, from the oldest after the end."""
    has_begun = source.newest_first and place.reached_ms is not None
    return has_begun or place.full_started_at_ms is not None


def begins_with_tip(now_ms: int) -> bool:
    """Tell whether tonight's tips come before the full readings. Every other night they do not, lest a short night starve either."""
    return now_ms // DAY_MS % 2 == 0


def full_due_at_ms(place: Place, source: HistorySource, chat_id: str, *, now_ms: int) -> int:
    """Return when the next full reading is to begin, so that it ends within its time if it takes as long as the last one."""
    if place.full is not None or place.full_started_at_ms is None or _is_ahead(place.full_started_at_ms, now_ms):
        return 0
    within_ms = source.full_within_days * DAY_MS
    spare_ms = max(place.full_took_ms, DAY_MS) + crc32(chat_id.encode()) % max(1, within_ms // SPREAD_SHARE)
    return place.full_started_at_ms + max(within_ms - spare_ms, within_ms // 2)


def is_overdue(place: Place, source: HistorySource, *, now_ms: int) -> bool:
    """Tell whether some message of the chat may not have been read again within ``full_within_days``."""
    started_at_ms = place.full_started_at_ms
    if started_at_ms is None:
        return False
    return now_ms - started_at_ms > source.full_within_days * DAY_MS or _is_ahead(started_at_ms, now_ms)


def begun_tip(place: Place, source: HistorySource, *, now_ms: int) -> Walk:
    """Return the tip that goes on, or a new one."""
    if place.tip is not None:
        return place.tip
    if source.newest_first:
        reaches_ms = None if place.reached_ms is None else place.reached_ms - source.lookback_days * DAY_MS
        return Walk(started_at_ms=now_ms, reaches_ms=reaches_ms)
    trail = thinned(place.trail, source, newest_ms=place.reached_ms)
    cursor = trail[0].cursor if trail else None
    return Walk(started_at_ms=now_ms, cursor=cursor, trail=trail[:1], newest_ms=trail[0].before_ms if trail else None)


def begun_full(place: Place, *, now_ms: int) -> Walk:
    """Return the full reading that goes on, or a new one."""
    return place.full or Walk(started_at_ms=now_ms)


def met(walk: Walk, source: HistorySource, times_ms: Iterable[int]) -> Walk:
    """Return a walk that read a page with these sending times; it still stands at that page.

    What lies ahead of the walk's start is a wrong clock somewhere, and must not make the next tip end too early.
    """
    trail = walk.trail
    if not source.newest_first:
        trail = thinned((*trail, Mark(walk.newest_ms, walk.cursor)), source, newest_ms=walk.newest_ms)
    newest_ms = max([*([] if walk.newest_ms is None else [walk.newest_ms]), *_past(times_ms, walk)], default=None)
    return msgspec.structs.replace(walk, newest_ms=newest_ms, trail=trail)


def with_tip(place: Place, walk: Walk, *, ended: bool) -> Place:
    """Return a place whose tip was read on, or to its end."""
    if not ended:
        return msgspec.structs.replace(place, tip=walk, unreadable="")
    trail = walk.trail
    if [mark.before_ms for mark in trail] == [mark.before_ms for mark in place.trail]:
        trail = place.trail  # another cursor for the same page is no news
    return msgspec.structs.replace(
        place, tip=None, trail=trail, reached_ms=_later(place.reached_ms, walk.newest_ms), unreadable=""
    )


def with_full(place: Place, source: HistorySource, walk: Walk, *, ended: bool, now_ms: int) -> Place:
    """Return a place whose full reading was carried on, or to its end."""
    reached_ms, trail = place.reached_ms, place.trail
    if source.newest_first and place.full_started_at_ms is None and reached_ms is None:
        reached_ms = walk.newest_ms  # from here on the tip has something to go back to
    if not ended:
        return msgspec.structs.replace(place, full=walk, reached_ms=reached_ms, unreadable="")
    if not source.newest_first:
        reached_ms, trail = _later(reached_ms, walk.newest_ms), walk.trail
    return msgspec.structs.replace(
        place,
        full=None,
        full_started_at_ms=walk.started_at_ms,
        full_took_ms=now_ms - walk.started_at_ms,
        reached_ms=reached_ms,
        trail=trail,
        unreadable="",
    )


def thinned(trail: tuple[Mark, ...], source: HistorySource, *, newest_ms: int | None) -> tuple[Mark, ...]:
    """Return the marks worth keeping: the last one beyond the look-back, and few of those after it, evenly."""
    if newest_ms is None or not trail:
        return trail[:1]
    bound_ms = newest_ms - source.lookback_days * DAY_MS
    first = max(
        (at for at, mark in enumerate(trail) if mark.before_ms is None or mark.before_ms <= bound_ms), default=0
    )
    step_ms = max(source.lookback_days * DAY_MS // (MARKS_MAX - 2), DAY_MS // 2)
    kept = [trail[first]]
    for mark in trail[first + 1 :]:
        last_ms = kept[-1].before_ms
        if mark.before_ms is not None and (last_ms is None or mark.before_ms - last_ms >= step_ms):
            kept.append(mark)
    return tuple(kept[:MARKS_MAX])


def _is_ahead(at_ms: int, now_ms: int) -> bool:
    """Tell whether an instant was written by a clock that was ahead: when that was, nobody knows."""
    return at_ms > now_ms + DAY_MS


def _past(times_ms: Iterable[int], walk: Walk) -> list[int]:
    return [at_ms for at_ms in times_ms if at_ms <= walk.started_at_ms]


def _later(one: int | None, other: int | None) -> int | None:
    return max((at for at in (one, other) if at is not None), default=None)
