"""Reading a chat page by page from a declared source: as whom, how far, and what to do when it does not go well.

A walk is a generator of steps. Each step carries the messages of one page and the place in the chat that is true once they
are committed; whoever commits the two together may be killed at any moment and loses nothing. What a walk needs of the
world, pages and time, is given to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Final, Literal

import msgspec
import structlog

from archiver.capture import history_place as places
from archiver.capture.history_course import Course
from archiver.capture.history_place import Place, Walk
from archiver.capture.history_rows import PageItems, place_items
from archiver.capture.history_source import HistorySource, Page, PageRequest, PageServer
from archiver.capture.token_pool import TokenPool
from archiver.clock import Clock
from archiver.errors import FlockMethodError, FlockUnreachableError, TokenRefusedError
from archiver.ids import parties_of

# The kinds of gaps that paged history may leave; what it does not say again is no more.
HISTORY_UNREADABLE: Final = "history-unreadable"
HISTORY_PROBLEM: Final = "history-problem"
HISTORY_CUT_SHORT: Final = "history-cut-short"
HISTORY_UNREAD: Final = "history-unread"
HISTORY_OVERDUE: Final = "history-overdue"
HISTORY_KINDS: Final = frozenset(
    {HISTORY_UNREADABLE, HISTORY_PROBLEM, HISTORY_CUT_SHORT, HISTORY_UNREAD, HISTORY_OVERDUE}
)

UNKNOWN_CHAT: Final = "UnknownChat"
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
# Refusals that may be the cursor's fault: it expired, or the message that it names is gone.
_REFUSED_CURSOR: Final = frozenset({400, 404, 409, 410, 422})

log = structlog.get_logger(__name__)

Depth = Literal["tip", "full"]
# How a walk ends for tonight. ``done``: at its end. ``no_requests`` and ``no_time``: what tonight may cost is spent.
# ``unreadable``: no token may read the chat. ``unreachable``: the source gives no usable answer. ``lost``: what it answers
# leads nowhere, so it is read from the start another time. ``refused``: it refuses, or answers something undeclared.
End = Literal["done", "no_requests", "no_time", "unreadable", "unreachable", "lost", "refused"]


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat to read: as the archive names it, where the last commit left it, and whom to ask as, first choice first."""

    chat_id: str
    place: Place
    readers: Sequence[str]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a walk: ``place`` is true once ``items`` are committed. The last step of a walk has an ``end``.

    ``problem`` is what may have been missed, or why the walk ended early.
    """

    chat_id: str
    place: Place
    asked_as: str = ""
    at_ms: int = 0
    items: PageItems | None = None
    end: End | None = None
    problem: str = ""


class Budget:
    """How many pages may still be asked for tonight, by all threads together."""

    def __init__(self, requests: int) -> None:
        self._left = requests
        self._lock = Lock()

    @property
    def left(self) -> int:
        """How many are left."""
        return self._left

    def take(self) -> bool:
        """Take one, and tell whether there was one."""
        with self._lock:
            if self._left <= 0:
                return False
            self._left -= 1
            return True


@dataclass(frozen=True, slots=True)
class World:
    """What walks share: the source, its pages, tokens, the time, and whether the run's time is up."""

    source: HistorySource
    server: PageServer
    tokens: TokenPool
    clock: Clock
    is_time_up: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class _Shown:
    """A page and the user who was shown it."""

    user_id: str
    page: Page


class _UnreadableError(Exception):
    """No token may read the chat."""


class _CursorRefusedError(Exception):
    """The source does not take the cursor any more."""


class _NoRequestsError(Exception):
    """Tonight's requests are spent."""


def read_chat(world: World, chat: Chat, depth: Depth, budget: Budget) -> Iterator[Step]:
    """Walk through a chat as deep as asked, from where it was left, and yield a step for each page and one for the end.

    Nothing is raised for what Flock or a gateway does; the last step tells.
    """
    walker = _Walker(world, chat, depth, budget)
    goes_on = chat.place.tip is not None
    yield from walker.walk()
    if goes_on and depth == "tip" and walker.end == "done":
        yield from walker.walk()  # what arrived since that tip was begun


class _Walker:
    """One chat under way."""

    def __init__(self, world: World, chat: Chat, depth: Depth, budget: Budget) -> None:
        self._world = world
        self._chat = chat
        self._depth: Depth = depth
        self._budget = budget
        self._place = chat.place
        self._strangers: set[str] = set()
        self.end: End | None = None

    def walk(self) -> Iterator[Step]:
        """Walk to the end, or until something keeps us from it."""
        self.end = None
        restarted = False
        walk, course = self._begin(), Course(self._world.source)
        while self.end is None:
            if self._world.is_time_up():
                yield self._ended("no_time")
                return
            try:
                answer = self._ask_or_end(walk)
            except _CursorRefusedError as error:
                self._place = _forgotten(self._place, self._depth)
                if restarted:
                    yield self._ended("lost", f"it takes no cursor of its own: {error}")
                    return
                restarted = True
                walk, course = self._begin(), Course(self._world.source)
                continue
            if isinstance(answer, Step):
                yield answer
            else:
                step, walk = self._take(walk, course, answer)
                yield step

    def _ask_or_end(self, walk: Walk) -> _Shown | Step:
        """Return the page at which a walk stands, or the step that ends it."""
        name = self._world.source.name
        try:
            return self._ask(walk)
        except _NoRequestsError:
            return self._ended("no_requests")
        except _UnreadableError as error:
            self._place = msgspec.structs.replace(self._place, unreadable=str(error))
            return self._ended("unreadable", str(error))
        except FlockUnreachableError as error:
            log.warning("history source gives no usable answer", source=name, reason=error.what)
            return self._ended("unreachable", "it gave no usable answer")
        except TokenRefusedError:
            return self._ended("refused", "every token that could ask for a chat was refused")
        except FlockMethodError as error:
            log.warning("history source refuses", source=name, reason=error.what)
            return self._ended("refused", _said(error))

    def _begin(self) -> Walk:
        now_ms = self._world.clock.now_ms()
        if self._depth == "tip":
            return places.begun_tip(self._place, self._world.source, now_ms=now_ms)
        return places.begun_full(self._place, now_ms=now_ms)

    def _take(self, walk: Walk, course: Course, shown: _Shown) -> tuple[Step, Walk]:
        """Read a page and find out where the walk goes on."""
        page, user_id = shown.page, shown.user_id
        if page.problem:
            return self._ended("refused", page.problem), walk
        source, at_ms = self._world.source, self._world.clock.now_ms()
        items = place_items(page.items, at_ms=at_ms, uid=source.uid)
        walk = places.met(msgspec.structs.replace(walk, asked_as=user_id), source, items.told_ms())
        way = course.after(walk, page, items)
        if way.verdict == "on":
            walk = msgspec.structs.replace(walk, cursor=way.cursor)
        if way.verdict == "lost":
            self._place = _forgotten(self._place, self._depth)
            self.end = "lost"
        else:
            self._place = self._standing(walk, ended=way.verdict == "end", now_ms=at_ms)
            self.end = {"end": "done", "later": "refused"}.get(way.verdict)  # type: ignore[assignment]
        return Step(self._chat.chat_id, self._place, user_id, at_ms, items, self.end, way.problem), walk

    def _standing(self, walk: Walk, *, ended: bool, now_ms: int) -> Place:
        if self._depth == "tip":
            return places.with_tip(self._place, walk, ended=ended)
        return places.with_full(self._place, self._world.source, walk, ended=ended, now_ms=now_ms)

    def _ended(self, end: End, problem: str = "") -> Step:
        self.end = end
        return Step(self._chat.chat_id, self._place, end=end, problem=problem)

    def _ask(self, walk: Walk) -> _Shown:
        """Return a page and who was shown it, asking one reader after the other."""
        reason = "there is no token of anybody who could be in this chat"
        refused: TokenRefusedError | None = None
        for user_id in self._readers(walk.asked_as):
            if not self._budget.take():
                raise _NoRequestsError
            request = PageRequest(
                chat=_name_for(self._chat.chat_id, user_id),
                chat_id=self._chat.chat_id,
                user=user_id,
                cursor=walk.cursor,
            )
            try:
                return _Shown(
                    user_id, self._world.tokens.ask_as(user_id, partial(self._world.server.page, request=request))
                )
            except TokenRefusedError as error:
                refused = error
            except FlockMethodError as error:
                if not _is_kept_from_us(error, walk.cursor):
                    if walk.cursor is not None and error.status in _REFUSED_CURSOR:
                        raise _CursorRefusedError(_said(error)) from None
                    raise
                reason = _said(error)
            self._strangers.add(user_id)
        if refused is not None:
            raise refused
        raise _UnreadableError(reason)

    def _readers(self, first: str) -> list[str]:
        readers = [user_id for user_id in self._chat.readers if user_id not in self._strangers]
        return sorted(readers, key=lambda user_id: user_id != first)


def _name_for(chat_id: str, user_id: str) -> str:
    """Return a chat's name as its reader sees it: a one-to-one chat is named by the other party."""
    parties = parties_of(chat_id)
    if parties is None or user_id not in parties:
        return chat_id
    return parties[1] if user_id == parties[0] else parties[0]


def _is_kept_from_us(error: FlockMethodError, cursor: str | None) -> bool:
    """Tell whether a refusal says that this reader may not read this chat; a cursor may be what is not found."""
    if error.code == UNKNOWN_CHAT or error.status == _FORBIDDEN:
        return True
    return error.status == _NOT_FOUND and cursor is None


def _said(error: FlockMethodError) -> str:
    return f"it answered HTTP {error.status} {error.code}".rstrip()


def _forgotten(place: Place, depth: Depth) -> Place:
    """Return a place without the walk that leads nowhere; from the oldest, its marks are no better than its cursor was."""
    if depth == "full":
        return msgspec.structs.replace(place, full=None)
    return msgspec.structs.replace(place, tip=None, trail=())
