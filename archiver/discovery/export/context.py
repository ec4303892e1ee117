"""What stands around the hits of an export: as spans of time in each conversation, found before anything is taken.

Hours are hours. Messages are counted in the order in which they were sent, also beyond the days that were asked for, as far as it takes;
of several from the same millisecond all come along.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from itertools import groupby

import pyarrow as pa
import pyarrow.compute as pc

from archiver.clock import DAY_MS, EARLIEST_MS, LATEST_MS, day_of
from archiver.discovery.export.asked import Context
from archiver.discovery.export.selection import Selection
from archiver.discovery.export.stretches import Stretch, is_day_within
from archiver.scope.membership import Span, merged

_EPOCH = date(1970, 1, 1)
_PLACES = ("chat_id", "message_uid", "sent_at")
_By = dict[str, list[int]]


def windows_of(selection: Selection, context: Context) -> dict[str, tuple[Span, ...]]:
    """Return by chat the spans around the hits of a selection, which has no windows yet; in order and apart from each other."""
    found = (
        _spans_of_time(selection, context.span_ms) if context.span_ms else _Counting(selection, context.messages).run()
    )
    return {
        chat_id: tuple((max(start, EARLIEST_MS), min(end, LATEST_MS)) for start, end in merged(spans))
        for chat_id, spans in found.items()
        if spans
    }


def _spans_of_time(selection: Selection, span_ms: int) -> dict[str, list[Span]]:
    spans: dict[str, list[Span]] = {}
    for stretch in _stretches(selection):
        for chat_id, instants in _by_chat(selection.hits_of(stretch)).items():
            around = [(at_ms - span_ms, at_ms + span_ms + 1) for at_ms in instants]
            spans[chat_id] = list(merged([*spans.get(chat_id, ()), *around]))
    return spans


class _Counting:
    """Counts messages before and after each hit, chat by chat, through the days asked for and then on both sides of them."""

    def __init__(self, selection: Selection, count: int) -> None:
        self._selection = selection
        self._count = count
        self._spans: dict[str, list[Span]] = {}
        # By chat: the last instants seen, how many messages are still to come after a hit, and how many lack before the first one.
        self._seen: _By = {}
        self._owed: dict[str, int] = {}
        self._lacking: dict[str, int] = {}

    def run(self) -> dict[str, list[Span]]:
        selection, reach = self._selection, self._selection.question.reach
        waiting, hits_waiting = self._scattered()
        for stretch, may_have_hits in self._days_asked_for():
            hits = _by_chat(selection.hits_of(stretch)) if may_have_hits else {}
            end_ms = (stretch.last_on - _EPOCH).days * DAY_MS + DAY_MS
            for chat_id, instants in _by_chat(selection.identities.apply(stretch.messages)).items():
                due = [at_ms for at_ms in waiting.get(chat_id, ()) if at_ms < end_ms]
                if due:
                    waiting[chat_id] = [at_ms for at_ms in waiting[chat_id] if at_ms >= end_ms]
                self._walk(chat_id, sorted((*due, *instants)), {*hits.get(chat_id, ()), *hits_waiting.get(chat_id, ())})
        for chat_id, instants in waiting.items():
            self._walk(chat_id, instants, set(hits_waiting.get(chat_id, ())))
        if reach.until_ms is not None:
            self._after((reach.until_ms - 1) // DAY_MS * DAY_MS + DAY_MS)
        if reach.from_at_ms is not None:
            self._before(reach.from_at_ms // DAY_MS * DAY_MS)
        return self._spans

    def _days_asked_for(self) -> Iterator[tuple[Stretch, bool]]:
        """Yield the stretches of the days asked for in their order; of days without hits only what counting needs."""
        source, reach, likely = self._selection.source, self._selection.question.reach, self._selection.likely
        span = (reach.from_at_ms, reach.until_ms)
        for is_likely, days in groupby(source.days_between(*span), lambda on: likely is None or on in likely):
            columns = self._selection.columns if is_likely else _PLACES
            for stretch in source.stretches(columns, from_ms=span[0], until_ms=span[1], among=frozenset(days)):
                yield stretch, is_likely

    def _scattered(self) -> tuple[_By, _By]:
        """Return the instants of the scattered messages by chat that were sent in the days asked for, and those of their hits."""
        selection, reach = self._selection, self._selection.question.reach
        inside: _By = {}
        hits: _By = {}
        for stretch in selection.source.scattered_stretches(selection.columns):
            for chat_id, instants in _by_chat(selection.hits_of(stretch)).items():
                hits.setdefault(chat_id, []).extend(instants)
            for chat_id, instants in _by_chat(selection.identities.apply(stretch.messages)).items():
                inside.setdefault(chat_id, []).extend(
                    at_ms for at_ms in instants if is_day_within(day_of(at_ms), reach.from_at_ms, reach.until_ms)
                )
        for by_chat in (inside, hits):
            for instants in by_chat.values():
                instants.sort()
        for chat_id, instants in hits.items():
            self._spans[chat_id] = [(at_ms, at_ms + 1) for at_ms in instants]
        return inside, hits

    def _walk(self, chat_id: str, instants: Iterable[int], hits: set[int]) -> None:
        seen = self._seen.setdefault(chat_id, [])
        for at_ms in instants:
            if at_ms in hits:
                if len(seen) < self._count:
                    self._lacking.setdefault(chat_id, self._count - len(seen))
                self._add(chat_id, (seen[0] if seen else at_ms, at_ms + 1))
                self._owed[chat_id] = self._count
            elif self._owed.get(chat_id):
                self._take_after(chat_id, at_ms)
            seen.append(at_ms)
            del seen[: -self._count]

    def _add(self, chat_id: str, span: Span) -> None:
        spans = self._spans.setdefault(chat_id, [])
        if spans and spans[-1][0] <= span[0] <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(span[1], spans[-1][1]))
        else:
            spans.append(span)

    def _take_after(self, chat_id: str, at_ms: int) -> None:
        self._owed[chat_id] -= 1
        start, end = self._spans[chat_id][-1]
        self._spans[chat_id][-1] = (start, max(end, at_ms + 1))

    def _after(self, from_ms: int) -> None:
        if not any(self._owed.values()):
            return
        selection = self._selection
        for stretch in selection.source.stretches(_PLACES, from_ms=from_ms):
            for chat_id, instants in _by_chat(selection.identities.apply(stretch.messages)).items():
                for at_ms in instants[: self._owed.get(chat_id, 0)]:
                    self._take_after(chat_id, at_ms)
            if not any(self._owed.values()):
                return

    def _before(self, until_ms: int) -> None:
        lacking = self._lacking
        selection = self._selection
        firsts = {chat_id: min(start for start, _ in self._spans[chat_id]) for chat_id in lacking}
        if not lacking:
            return
        for stretch in selection.source.stretches(_PLACES, until_ms=until_ms, backwards=True):
            for chat_id, instants in _by_chat(selection.identities.apply(stretch.messages)).items():
                wanted = lacking.get(chat_id, 0)
                if wanted:
                    taken = instants[-wanted:]
                    self._spans[chat_id].insert(0, (taken[0], firsts[chat_id] + 1))
                    firsts[chat_id] = min(taken[0], firsts[chat_id])
                    lacking[chat_id] -= len(taken)
            if not any(lacking.values()):
                return


def _stretches(selection: Selection) -> Iterator[Stretch]:
    reach = selection.question.reach
    yield from selection.source.scattered_stretches(selection.columns)
    yield from selection.source.stretches(
        selection.columns, from_ms=reach.from_at_ms, until_ms=reach.until_ms, among=selection.likely
    )


def _by_chat(rows: pa.Table) -> _By:
    """Return by chat the instants of its messages in order, one for each message: its earliest."""
    times = rows.select(["chat_id", "message_uid"]).append_column(
        "sent_at", pc.cast(rows.column("sent_at"), pa.int64())
    )
    first = times.group_by(["chat_id", "message_uid"]).aggregate([("sent_at", "min")])
    by_chat: _By = {}
    for chat_id, at_ms in zip(
        first.column("chat_id").to_pylist(), first.column("sent_at_min").to_pylist(), strict=True
    ):
        by_chat.setdefault(chat_id, []).append(at_ms)
    return {chat_id: sorted(instants) for chat_id, instants in sorted(by_chat.items())}
