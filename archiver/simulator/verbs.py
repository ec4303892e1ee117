"""The verbs of `stage.Stage` as plain methods that may be called from any thread, and return when the deed is done.

`server.Simulator` brings the event loop on which they are carried out.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar

from archiver.simulator.faults import DELAY_SECONDS, Fault
from archiver.simulator.player import CONNECTIONS, PlayReport
from archiver.simulator.records import Affiliation, Channel, FileMode, HostedFile, Person
from archiver.simulator.render import Json
from archiver.simulator.stage import Stage
from archiver.simulator.webhooks import PushShape

Value = TypeVar("Value")


class Verbs(abc.ABC):
    """What can be done to a simulated Flock, and what can be asked of it."""

    @abc.abstractmethod
    def _await(self, verb: Callable[[Stage], Coroutine[Any, Any, Value]]) -> Value:
        """Carry out a verb on the event loop and wait for its value."""

    def _do(self, verb: Callable[[Stage], Value]) -> Value:
        async def do(stage: Stage) -> Value:
            return verb(stage)

        return self._await(do)

    # Who is there

    @property
    def app_id(self) -> str:
        """Return the id of the app under test."""
        return self._do(lambda stage: stage.workspace.app_id)

    @property
    def app_secret(self) -> str:
        """Return the secret that signs event tokens."""
        return self._do(lambda stage: stage.workspace.app_secret)

    @property
    def bot_id(self) -> str:
        """Return the app's bot; messages to it reach the listener."""
        return self._do(lambda stage: stage.workspace.bot_id or "")

    @property
    def user_tokens(self) -> dict[str, str]:
        """Return user id to token of those who installed the app."""
        return self._do(lambda stage: stage.workspace.tokens("user"))

    @property
    def bot_tokens(self) -> dict[str, str]:
        """Return bot id to token."""
        return self._do(lambda stage: stage.workspace.tokens("bot"))

    @property
    def people(self) -> dict[str, Person]:
        """Return users and bots by id."""
        return self._do(lambda stage: dict(stage.workspace.people))

    @property
    def channels(self) -> dict[str, Channel]:
        """Return channels by id; they are the simulator's own and change under one's hands."""
        return self._do(lambda stage: dict(stage.workspace.channels))

    @property
    def now_ms(self) -> int:
        """Return the workspace's own time."""
        return self._do(lambda stage: stage.workspace.now_ms)

    @property
    def remaining(self) -> int:
        """Return how many actions of the script have not happened yet."""
        return self._do(lambda stage: stage.player.remaining)

    # Playing the script

    def play_all(self, *, rate: float | None = None, connections: int = CONNECTIONS, push: bool = True) -> PlayReport:
        """Play what is left of the script and wait until every push is answered; see `Player.play`."""
        return self._await(lambda stage: stage.player.play(rate=rate, connections=connections, push=push))

    def play_next(
        self, count: int, *, rate: float | None = None, connections: int = CONNECTIONS, push: bool = True
    ) -> PlayReport:
        """Play the next actions."""
        return self._await(lambda stage: stage.player.play(count=count, rate=rate, connections=connections, push=push))

    def play_until(
        self, at_ms: int, *, rate: float | None = None, connections: int = CONNECTIONS, push: bool = True
    ) -> PlayReport:
        """Play the actions up to a moment, that one included."""
        return self._await(
            lambda stage: stage.player.play(until_ms=at_ms, rate=rate, connections=connections, push=push)
        )

    def settle(self) -> None:
        """Wait until no push is under way."""
        self._await(lambda stage: stage.delivery.settle())

    # How it behaves

    def configure(self, **changes: object) -> Json:
        """Set switches (`switches.Switches`) by name; return them all."""
        return self._do(lambda stage: stage.configure(**changes))

    def inject(
        self,
        kind: str,
        where: str,
        *,
        count: int | None = None,
        probability: float | None = None,
        seed: int = 0,
        seconds: float = DELAY_SECONDS,
    ) -> None:
        """Let something go wrong the next ``count`` times or with a probability; kinds and places: `faults`."""
        fault = Fault(kind, where, count=count, probability=probability, seed=seed, seconds=seconds)
        self._do(lambda stage: stage.inject(fault))

    def clear_faults(self) -> None:
        """Let nothing go wrong any more."""
        self._do(lambda stage: stage.faults.clear())

    def host(self, files: Iterable[HostedFile]) -> None:
        """Put further files on the file host; no message names them yet."""
        self._do(lambda stage: stage.workspace.host(files))

    def set_file_mode(self, path: str, mode: FileMode) -> None:
        """Choose how a file answers, by its path or URL."""
        self._do(lambda stage: stage.set_file_mode(path, mode))

    # Webhooks, listener, installations

    def add_webhook(self, owner: str, channel: str, url: str, *, name: str = "", shape: PushShape = "observed") -> str:
        """Create an outgoing webhook and return its token; an owner's eleventh raises `RefusedError`."""
        return self._do(lambda stage: stage.add_webhook(owner, channel, url, name=name, shape=shape))

    def add_webhooks(self, url: str, *, shape: PushShape = "observed") -> dict[str, str]:
        """Give every channel that has none a webhook named ``channel-<n>``; ``{name}`` in the URL becomes it. Return name to token."""
        return self._do(lambda stage: stage.add_webhooks(url, shape=shape))

    def remove_webhook(self, token: str) -> None:
        """Remove an outgoing webhook."""
        self._do(lambda stage: stage.remove_webhook(token))

    def add_incoming_webhook(self, owner: str, channel: str, *, name: str = "") -> str:
        """Create an incoming webhook and return the URL to post to."""
        return self._do(lambda stage: stage.add_incoming_webhook(owner, channel, name=name))

    def set_listener(self, url: str | None) -> None:
        """Send app events to this URL from now on, or nowhere."""
        self._do(lambda stage: stage.set_listener(url))

    def install(self, user: str) -> str:
        """Install the app for a user, return the token; raises `RefusedError` unless the listener answers ``app.install`` with 200."""
        return self._await(lambda stage: stage.install(user))

    def uninstall(self, user: str) -> None:
        """Remove the app for a user."""
        self._await(lambda stage: stage.uninstall(user))

    def disable(self, user: str, *, by: Literal["user", "team"] | None = "user") -> None:
        """Switch the app off for a user, or on again with ``by=None``."""
        self._do(lambda stage: stage.disable(user, by=by))

    # What people do

    def send(self, sender: str, to: str, **content: Any) -> str:
        """Send a message with content fields in Flock's spelling (``text``, ``flockml``, …); return its uid."""
        return self._await(lambda stage: stage.send(sender, to, **content))

    def edit(self, uid: str, **content: Any) -> None:
        """Change a message; fields that are not named stay."""
        self._await(lambda stage: stage.edit(uid, **content))

    def delete(self, uid: str) -> None:
        """Remove a message."""
        self._do(lambda stage: stage.delete(uid))

    def rename(self, channel: str, name: str) -> None:
        """Give a channel another name."""
        self._do(lambda stage: stage.rename(channel, name))

    def join(self, channel: str, user: str, *, affiliation: Affiliation = "member") -> None:
        """Let a user into a channel."""
        self._do(lambda stage: stage.join(channel, user, affiliation=affiliation))

    def leave(self, channel: str, user: str) -> None:
        """Let a user go from a channel."""
        self._do(lambda stage: stage.leave(channel, user))

    def change_person(self, user: str, **profile: str) -> None:
        """Change ``first_name``, ``last_name`` or ``email``."""
        self._do(lambda stage: stage.change_person(user, **profile))

    def message_action(self, user: str, chat: str, uids: list[str]) -> str:
        """Let a user select messages and press the app's action; return the status answered."""
        return self._await(lambda stage: stage.message_action(user, chat, uids))

    def send_event(self, name: str, user: str, attributes: Mapping[str, Any] | None = None) -> str:
        """Send any event (`events.EVENT_FIELDS`); return the status answered."""
        return self._await(lambda stage: stage.send_event(name, user, dict(attributes or {})))

    # What happened

    def truth(self, *kinds: str) -> Iterator[Json]:
        """Return the rows of the truth, all or those of some kinds (`truth`)."""
        return self._do(lambda stage: stage.truth(*kinds))

    def violations(self) -> list[Json]:
        """Return what the archiver did and must not: ``kind``, ``where``, ``detail``."""
        return self._do(lambda stage: stage.violations())

    def counters(self) -> Json:
        """Return calls by method and status, ways in which tokens came, pushes by status, and file requests."""
        return self._do(lambda stage: stage.counters())

    def reset_counters(self) -> None:
        """Count from zero."""
        self._do(lambda stage: stage.reset_counters())
