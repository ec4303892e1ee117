"""Where a walk through the pages of a chat goes on, and when it is at its end or goes in circles.

Pure rules over one page after the other. A source is not trusted to end: a cursor that comes again, pages that repeat, and
pages that stay empty are noticed, and a walk that they end has not reached its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from archiver.capture.history_place import Walk
from archiver.capture.history_rows import PageItems
from archiver.capture.history_source import HistorySource, Page, text_at

# A page may come again for good reasons: as many new messages as fill one came in meanwhile.
REPEATED_PAGES_MAX: Final = 3
EMPTY_PAGES_MAX: Final = 50

Verdict = Literal["on", "end", "lost", "later"]


@dataclass(frozen=True, slots=True)
class Way:
    """What follows from a page: go ``on`` at ``cursor``, the ``end``, ``lost`` (begin anew another time) or ``later`` (go on here).

    ``problem`` says why it is lost or put off; where it goes on all the same, what may have been missed.
    """

    verdict: Verdict
    cursor: str | None = None
    problem: str = ""


_END: Final = Way("end")


class Course:
    """The course of one walk in this run; it remembers which cursors and pages there were."""

    def __init__(self, source: HistorySource) -> None:
        self._source = source
        self._cursors: set[str] = set()
        self._pages: set[int] = set()
        self._repeated = 0
        self._empty = 0

    def after(self, walk: Walk, page: Page, read: PageItems) -> Way:
        """Return where a walk goes on after the page that it stands at."""
        if self._is_far_enough(walk, read) or page.ends is True:
            return _END
        if self._goes_round(page, read):
            return Way("lost", problem="the same pages come again and again")
        if self._source.cursor == "token":
            way = self._by_token(walk, page)
        elif self._source.cursor == "uid":
            way = self._by_uid(walk, page)
        else:
            way = self._by_time(walk, page, read)
        if way.cursor is not None:
            if way.cursor in self._cursors:
                return Way("lost", problem="a cursor came a second time")
            self._cursors.add(way.cursor)
        return way

    def _is_far_enough(self, walk: Walk, read: PageItems) -> bool:
        """Tell whether a tip has left what it looks for behind it: a whole page lies beyond, and every message tells its time."""
        times_ms = read.all_times_ms()
        return walk.reaches_ms is not None and bool(times_ms) and max(times_ms or ()) < walk.reaches_ms

    def _goes_round(self, page: Page, read: PageItems) -> bool:
        if not page.items:
            return False
        said = hash(tuple(uid or raw for uid, raw in zip(read.uids, read.raws, strict=True)))
        self._repeated = self._repeated + 1 if said in self._pages else 0
        self._pages.add(said)
        return self._repeated > REPEATED_PAGES_MAX

    def _by_token(self, walk: Walk, page: Page) -> Way:
        cursor = page.next_cursor
        if cursor is None:
            if page.ends is False:
                return Way("later", problem="the answer says that there is more and names no cursor")
            return _END
        if cursor == walk.cursor:
            return Way("lost", problem="a cursor leads to itself")
        self._empty = 0 if page.items else self._empty + 1
        if self._empty > EMPTY_PAGES_MAX:
            return Way("later", problem=f"{self._empty} pages in a row are empty and name a further one")
        return Way("on", cursor)

    def _by_uid(self, walk: Walk, page: Page) -> Way:
        uids = filter(None, (text_at(raw, self._source.uid) for raw in reversed(page.items)))
        last = next(uids, None)
        if not page.items:
            return _END
        if last is None:
            return Way("lost", problem="no item of a page has a uid to go on from")
        if last == walk.cursor:
            return _END if len(page.items) == 1 else Way("lost", problem="a page ends where it began")
        return Way("on", last)

    def _by_time(self, walk: Walk, page: Page, read: PageItems) -> Way:
        """Go on at the last instant of the page; if that is where the page began, past it.

        Only an empty page is the end: one that brings the messages of its first instant alone may stand before others.
        """
        if not page.items:
            return _END
        times_ms = read.told_ms()
        if not times_ms:
            return Way("lost", problem="no item of a page has a time to go on from")
        forward = -1 if self._source.newest_first else 1
        last_ms = min(times_ms) if self._source.newest_first else max(times_ms)
        if walk.cursor is None or (last_ms - int(walk.cursor)) * forward > 0:
            return Way("on", str(last_ms))
        problem = ""
        if len(page.items) >= self._source.page_size:
            problem = f"more messages than fill a page may share one instant ({last_ms}), and then not all of them can be reached"
        return Way("on", str(int(walk.cursor) + forward), problem)
