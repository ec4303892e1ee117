"""Asking Flock many things at once: a few threads make the calls, and none of them sleeps while another call could be made.

Each token has its own rate limit, and there may be a thousand tokens. A piece of work is therefore written as a
*dialogue*, a generator that yields an `Ask` and is sent the answer::

    def work(user_id: str) -> Dialogue[int]:
        channels = yield Ask(user_id, client.channels_list)
        return len(channels)

Between its calls a dialogue needs no thread. The threads take whatever call may be made now, whosever it is; only when
there is none does one of them sleep, until the first may be made.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count
from threading import Condition, Lock
from typing import Any, Final, Generic, TypeAlias, TypeVar

from archiver.capture.token_pool import TokenPool
from archiver.clock import Clock
from archiver.errors import FlockError, TokenRefusedError
from archiver.flock.tokens import UserToken
from archiver.flock.turns import NotYetError, Turn

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# Dialogues under way at most. Very many, because whatever waits for a slow token must not keep work from an idle one.
DIALOGUES_MAX: Final = 8_192
# Finished results that wait for the reader are this many times the threads.
RESULTS_PER_THREAD: Final = 2
# A sleeper looks up this often, because what another thread brings may be due before what it waits for.
SLEEP_SECONDS_MAX: Final = 0.02
# Below this, rounding could make a sleep that passes no time at all.
_SLEEP_SECONDS_MIN: Final = 0.000_1


@dataclass(frozen=True, slots=True)
class Ask:
    """One call to be made as a user: ``call(token, turn=turn)`` with a token of this user, such as a method of the client.

    `TokenRefusedError`, from Flock or from ``call`` itself, takes that token out of use and the user's next one is tried;
    it reaches the dialogue once none is left, as every other `FlockError` does at once.
    """

    user_id: str
    call: Callable[..., Any]


Dialogue: TypeAlias = Generator[Ask, Any, _Result]


def ask_unordered(
    work: Callable[[_Item], Dialogue[_Result]],
    items: Iterable[_Item],
    *,
    tokens: TokenPool,
    clock: Clock,
    threads: int,
) -> Generator[_Result, None, None]:
    """Yield what the dialogue ``work(item)`` returns for every item, as they end, reading ``items`` as far as there is room.

    The first exception of a dialogue that is no `FlockError`, or that it does not catch, is raised to the reader. When the
    reader stops early (closes the generator), for whatever reason, calls under way are waited for and the rest is dropped.
    """
    crew = _Crew(work, iter(items), tokens, clock, results_max=threads * RESULTS_PER_THREAD)
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="ask") as pool:
        under_way = [pool.submit(crew.run) for _ in range(threads)]
        try:
            yield from crew.results()
        finally:
            crew.stop()
            wait(under_way)
            crew.close()


@dataclass(eq=False, slots=True)
class _Task(Generic[_Result]):
    """A dialogue under way and the call it waits for."""

    dialogue: Dialogue[_Result]
    ask: Ask
    token: UserToken
    turn: Turn = field(default_factory=Turn)


@dataclass(eq=False, slots=True)
class _Lane(Generic[_Result]):
    """The calls that wait for one token, in order, and until when the token itself must wait.

    ``is_listed`` tells whether the lane stands in the order of what is due; it stands there once.
    """

    tasks: deque[_Task[_Result]] = field(default_factory=deque)
    not_before: float = 0.0
    is_listed: bool = False


class _Crew(Generic[_Item, _Result]):
    """The threads' common knowledge: what is due when, and what came of it. All of it is touched under one lock."""

    def __init__(
        self,
        work: Callable[[_Item], Dialogue[_Result]],
        items: Iterator[_Item],
        tokens: TokenPool,
        clock: Clock,
        *,
        results_max: int,
    ) -> None:
        self._work = work
        self._items = items
        self._tokens = tokens
        self._clock = clock
        self._results_max = results_max
        lock = Lock()
        self._work_changed = Condition(lock)
        self._results_changed = Condition(lock)
        self._due: list[tuple[float, int, _Lane[_Result] | _Task[_Result]]] = []
        self._numbers = count()  # what is due at the same instant is taken in order
        self._lanes: dict[UserToken, _Lane[_Result]] = {}
        self._results: deque[_Result] = deque()
        self._open = 0
        self._items_left = True
        self._somebody_sleeps = False
        self._failure: BaseException | None = None
        self._stopped = False

    # The reader's side

    def results(self) -> Iterator[_Result]:
        """Yield results as they come, until all items are dealt with; raises what a dialogue raised."""
        while True:
            with self._results_changed:
                while not (self._results or self._failure or self._is_over):
                    self._results_changed.wait()
                if self._failure is not None:
                    raise self._failure
                if not self._results:
                    return
                taken = list(self._results)
                self._results.clear()
                self._work_changed.notify_all()
            yield from taken

    def stop(self) -> None:
        """Let every thread end after the call it is at."""
        with self._work_changed:
            self._stopped = True
            self._work_changed.notify_all()

    def close(self) -> None:
        """Close the dialogues that nobody will go on with; no thread may be at work any more."""
        for _, _, due in self._due:
            for task in due.tasks if isinstance(due, _Lane) else (due,):
                task.dialogue.close()

    # The threads' side

    def run(self) -> None:
        """Make calls until nothing is left to do; what one thread runs."""
        try:
            while (job := self._next_job()) is not None:
                if isinstance(job, _Task):
                    self._make_call(job)
                else:
                    self._begin(job[0])
        except BaseException as error:  # noqa: BLE001 -- the reader raises it
            with self._work_changed:
                self._failure = self._failure or error
                self._stopped = True
                self._work_changed.notify_all()
                self._results_changed.notify_all()

    @property
    def _is_over(self) -> bool:
        return not self._items_left and not self._open

    def _next_job(self) -> _Task[_Result] | tuple[_Item] | None:
        """Wait for a call that may be made now or an item that may be begun; None when there will be none."""
        with self._work_changed:
            while not self._stopped and not self._is_over:
                if len(self._results) < self._results_max:
                    job = self._due_task() or self._next_item()
                    if job is not None:
                        self._wake_another()
                        return job
                    if self._due and not self._somebody_sleeps:
                        self._sleep_until_due()
                        continue
                if not self._is_over:  # taking the last item may have ended it all
                    self._work_changed.wait()
            self._work_changed.notify_all()
            self._results_changed.notify_all()
            return None

    def _due_task(self) -> _Task[_Result] | None:
        now = self._clock.monotonic()
        while self._due and self._due[0][0] <= now:
            _, _, due = heapq.heappop(self._due)
            if isinstance(due, _Task):
                return due
            due.is_listed = False
            if due.not_before <= now and due.tasks:
                task = due.tasks.popleft()
                self._list(due)
                return task
            self._list(due)
        return None

    def _next_item(self) -> tuple[_Item] | None:
        if not self._items_left or self._open >= DIALOGUES_MAX:
            return None
        for item in self._items:
            self._open += 1
            return (item,)
        self._items_left = False
        return None

    def _wake_another(self) -> None:
        """See to it that somebody looks after what is left: it may be due, or somebody must sleep until it is."""
        if (self._items_left and self._open < DIALOGUES_MAX) or (
            self._due and (not self._somebody_sleeps or self._due[0][0] <= self._clock.monotonic())
        ):
            self._work_changed.notify()

    def _sleep_until_due(self) -> None:
        seconds = self._due[0][0] - self._clock.monotonic()
        self._somebody_sleeps = True
        self._work_changed.release()
        try:
            self._clock.sleep(min(max(seconds, _SLEEP_SECONDS_MIN), SLEEP_SECONDS_MAX))
        finally:
            self._work_changed.acquire()
            self._somebody_sleeps = False

    def _begin(self, item: _Item) -> None:
        dialogue = self._work(item)
        self._go_on(dialogue, lambda: next(dialogue))

    def _make_call(self, task: _Task[_Result]) -> None:
        dialogue = task.dialogue
        try:
            answer = task.ask.call(task.token, turn=task.turn)
        except NotYetError as not_yet:
            self._put_back(task, not_yet)
            return
        except TokenRefusedError as error:
            self._tokens.refuse(task.token, error)
            self._go_on(dialogue, lambda: task.ask)  # with the user's next token, if there is one
            return
        except FlockError as error:
            problem = error
        else:
            self._tokens.accept(task.token)
            self._go_on(dialogue, lambda: dialogue.send(answer))
            return
        self._go_on(dialogue, lambda: dialogue.throw(problem))

    def _go_on(self, dialogue: Dialogue[_Result], step: Callable[[], Ask]) -> None:
        """Let a dialogue go on until it waits for a call that some token can make, or ends."""
        while True:
            try:
                ask = step()
            except StopIteration as end:
                self._finish(end.value)
                return
            try:
                token = self._tokens.token_of(ask.user_id)
            except TokenRefusedError as error:
                refused = error
            else:
                self._put(_Task(dialogue, ask, token))
                return
            step = _throwing(dialogue, refused)

    def _finish(self, result: _Result) -> None:
        with self._work_changed:
            self._open -= 1
            self._results.append(result)
            self._results_changed.notify()
            if self._is_over:
                self._work_changed.notify_all()

    def _put(self, task: _Task[_Result]) -> None:
        with self._work_changed:
            lane = self._lanes.setdefault(task.token, _Lane())
            lane.tasks.append(task)
            self._list(lane)

    def _put_back(self, task: _Task[_Result], not_yet: NotYetError) -> None:
        """Keep a call for later: where its token must wait, the whole lane waits."""
        with self._work_changed:
            at = self._clock.monotonic() + not_yet.seconds
            if not not_yet.of_token:
                heapq.heappush(self._due, (at, next(self._numbers), task))
                return
            lane = self._lanes.setdefault(task.token, _Lane())
            lane.tasks.appendleft(task)
            lane.not_before = at
            self._list(lane)

    def _list(self, lane: _Lane[_Result]) -> None:
        if lane.tasks and not lane.is_listed:
            lane.is_listed = True
            heapq.heappush(self._due, (lane.not_before, next(self._numbers), lane))


def _throwing(dialogue: Dialogue[Any], error: FlockError) -> Callable[[], Ask]:
    return lambda: dialogue.throw(error)
