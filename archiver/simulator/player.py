"""Makes a script happen: each action changes the workspace, and what Flock would push of it is pushed, at most once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from archiver.clock import Clock
from archiver.errors import RefusedError
from archiver.simulator.delivery import Delivery, Push
from archiver.simulator.events import action_attributes
from archiver.simulator.records import Action, ClientEvent, Delete, Edit, Join, Leave, Post, Rename
from archiver.simulator.workspace import Workspace

CONNECTIONS = 8
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
        self._push = True

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
        self._playing = True
        self._push = push
        started = self._clock.monotonic()
        first, statuses = self._next, Counter(self._delivery.statuses)
        last = len(self._script) if count is None else min(len(self._script), self._next + max(0, count))
        actions: Counter[str] = Counter()
        workers = [
            self._work(first, last, until_ms=until_ms, rate=rate, started=started, actions=actions)
            for _ in range(max(1, connections))
        ]
        try:
            await asyncio.gather(*workers)
            await self._delivery.settle()
        finally:
            self._playing = False
        return PlayReport(
            actions=dict(actions),
            pushes=dict(self._delivery.statuses - statuses),
            seconds=self._clock.monotonic() - started,
            remaining=self.remaining,
        )

    async def _work(
        self, first: int, last: int, *, until_ms: int | None, rate: float | None, started: float, actions: Counter[str]
    ) -> None:
        while self._next < last:
            action = self._script[self._next]
            if until_ms is not None and action.at_ms > until_ms:
                return
            self._next += 1
            number = self._next - first
            if rate is not None:
                await asyncio.sleep(max(0.0, started + (number - 1) / rate - self._clock.monotonic()))
            elif number % _ACTIONS_PER_TURN == 0:
                await asyncio.sleep(0)
            actions[type(action).__name__.lower()] += 1
            # All pushes of an action show one moment, whatever happens while the first is under way.
            for push in list(self._happen(action)):
                if self._push:
                    await self._delivery.send(push)

    def _happen(self, action: Action) -> Iterable[Push]:
        workspace, delivery = self._workspace, self._delivery
        match action:
            case Post():
                return delivery.of_message(workspace.post(action.message))
            case Edit():
                if action.uid in workspace.messages and workspace.messages[action.uid].deleted_at_ms is None:
                    return delivery.of_message(workspace.edit(action.uid, action.version), edited=True)
            case Delete():
                if action.uid in workspace.messages and workspace.messages[action.uid].deleted_at_ms is None:
                    workspace.delete(action.uid, at_ms=action.at_ms)
            case Rename():
                workspace.rename(action.channel_id, action.name, at_ms=action.at_ms)
            case Join():
                workspace.join(action.channel_id, action.user_id, affiliation=action.affiliation, at_ms=action.at_ms)
            case Leave():
                workspace.leave(action.channel_id, action.user_id, at_ms=action.at_ms)
            case ClientEvent():
                return delivery.of_event(action.name, action.user_id, self._attributes(action))
        return ()

    def _attributes(self, action: ClientEvent) -> dict[str, object]:
        """Return what an event carries at this very moment: the messages a user selected are those still there."""
        if action.name != "client.messageAction":
            return action.attributes
        here = self._workspace.messages
        uids = [uid for uid in action.attributes["messageUids"] if uid in here and here[uid].deleted_at_ms is None]
        chat = action.attributes["chat"]
        return action_attributes(self._workspace, action.user_id, chat, uids, self._delivery.switches)
