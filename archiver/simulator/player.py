"""Makes a script happen: each action changes the workspace, and what Flock would push of it is pushed, at most once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from archiver.clock import Clock
from archiver.errors import RefusedError, UsageError
from archiver.ids import chat_of
from archiver.simulator.delivery import Delivery, Push
from archiver.simulator.events import action_attributes
from archiver.simulator.records import Action, ClientEvent, Delete, Edit, Join, Leave, Post, Rename
from archiver.simulator.workspace import Workspace

# A listener that makes many pushes durable with one sync needs many at once.
CONNECTIONS = 32
# An action that pushes nothing never waits; others get a turn after this many.
_ACTIONS_PER_TURN = 256


@dataclass(frozen=True, slots=True)
class PlayReport:
    """What was played: actions by kind, pushes by status answered, how long it took, and how many actions are left."""

    actions: dict[str, int] = field(default_factory=dict)
    pushes: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    remaining: int = 0


class Player:
    """Holds the script and how far it was played."""

    def __init__(self, workspace: Workspace, delivery: Delivery, clock: Clock, script: Sequence[Action]) -> None:
        self._workspace = workspace
        self._delivery = delivery
        self._clock = clock
        self._script = script
        self._next = 0
        self._playing = False
        self._kept: asyncio.Task[PlayReport] | None = None

    @property
    def remaining(self) -> int:
        """Return how many actions have not happened yet."""
        return len(self._script) - self._next

    @property
    def playing(self) -> bool:
        """Tell whether somebody plays now."""
        return self._playing

    async def play(
        self,
        *,
        count: int | None = None,
        until_ms: int | None = None,
        rate: float | None = None,
        connections: int = CONNECTIONS,
        push: bool = True,
    ) -> PlayReport:
        """Play the next ``count`` actions, or those up to a time, or all, and wait until every push is answered.

        ``rate`` is actions a second, None as fast as the listener answers; with one connection pushes keep the order of
        the script. Without ``push`` things happen as if before the webhooks were set up. Raises `RefusedError` while
        another play runs.
        """
        if self._playing:
            raise RefusedError("the script is being played already", next_step="wait for it to end")
        if rate is not None and rate <= 0:
            raise UsageError("a rate is more than 0 actions a second")
        self._playing = True
        pace = _Pace(self._clock, first=self._next, rate=rate)
        statuses = Counter(self._delivery.statuses)
        last = len(self._script) if count is None else min(len(self._script), self._next + max(0, count))
        actions: Counter[str] = Counter()
        workers = [self._work(last, until_ms, pace, actions, push=push) for _ in range(max(1, connections))]
        try:
            await asyncio.gather(*workers)
            await self._delivery.settle()
            if until_ms is not None:
                self._workspace.pass_time(until_ms)
        finally:
            self._playing = False
        return PlayReport(
            actions=dict(actions),
            pushes=dict(self._delivery.statuses - statuses),
            seconds=pace.elapsed(),
            remaining=self.remaining,
        )

    def keep(self, playing: asyncio.Task[PlayReport]) -> None:
        """Hold on to a play that nobody waits for."""
        self._kept = playing

    async def _work(self, last: int, until_ms: int | None, pace: _Pace, actions: Counter[str], *, push: bool) -> None:
        while True:
            await pace.wait_for(lambda: self._next)
            # From here to the end of `_happen` nobody else gets a turn, so actions happen in their order.
            if self._next >= last or (until_ms is not None and self._script[self._next].at_ms > until_ms):
                return
            action = self._script[self._next]
            self._next += 1
            actions[type(action).__name__.lower()] += 1
            # All pushes of an action show one moment, whatever happens while the first is under way.
            pushes = list(self._happen(action))
            if push:
                for one in pushes:
                    await self._delivery.send(one)

    def _happen(self, action: Action) -> Iterable[Push]:
        """Let an action happen; one whose message or person was taken away by hand does not."""
        workspace, delivery = self._workspace, self._delivery
        match action:
            case Post():
                return delivery.of_message(workspace.post(action.message))
            case Edit() if self._is_there(action.uid):
                return delivery.of_message(workspace.edit(action.uid, action.version), edited=True)
            case Delete() if self._is_there(action.uid):
                workspace.delete(action.uid, at_ms=action.at_ms)
            case Rename():
                workspace.rename(action.channel_id, action.name, at_ms=action.at_ms)
            case Join():
                workspace.join(action.channel_id, action.user_id, affiliation=action.affiliation, at_ms=action.at_ms)
            case Leave():
                workspace.leave(action.channel_id, action.user_id, at_ms=action.at_ms)
            case ClientEvent():
                attributes = self._attributes(action)
                if attributes is not None:
                    return delivery.of_event(action.name, action.user_id, attributes)
        return ()

    def _is_there(self, uid: str) -> bool:
        message = self._workspace.messages.get(uid)
        return message is not None and message.deleted_at_ms is None

    def _attributes(self, action: ClientEvent) -> dict[str, Any] | None:
        """Return what an event carries at this very moment; None where the user could not act so any more.

        Of the messages that a user meant to select, those are selected that are still there. Only who installed the app has its action.
        """
        if action.name != "client.messageAction":
            return action.attributes
        chat = action.attributes["chat"]
        chat_id, _ = chat_of(action.user_id, chat)
        uids = [uid for uid in action.attributes["messageUids"] if self._is_there(uid)]
        has_app = action.user_id in self._workspace.tokens("user")
        if not uids or not has_app or not self._workspace.may_read(action.user_id, chat_id):
            return None
        return action_attributes(self._workspace, action.user_id, chat, uids, self._delivery.switches)


class _Pace:
    """Says when an action is due: so many a second, or at once with a turn for others now and then."""

    def __init__(self, clock: Clock, *, first: int, rate: float | None) -> None:
        self._clock = clock
        self._first = first
        self._rate = rate
        self._started = clock.monotonic()

    def elapsed(self) -> float:
        """Return the seconds since the beginning."""
        return self._clock.monotonic() - self._started

    async def wait_for(self, number: Callable[[], int]) -> None:
        """Wait until the action that is next is due; which one that is can change meanwhile."""
        if self._rate is None:
            if number() % _ACTIONS_PER_TURN == 0:
                await asyncio.sleep(0)
            return
        while (left := (number() - self._first) / self._rate - self.elapsed()) > 0:  # noqa: ASYNC110 -- time itself is awaited
            await asyncio.sleep(left)
