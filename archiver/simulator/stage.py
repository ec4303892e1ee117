"""What can be done to a simulated Flock from outside of it: the verbs that tests call directly and the control interface by HTTP.

Every method runs on the simulator's event loop. Whoever acts through these waits until the pushes that this causes are answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any, Literal

import msgspec

from archiver.clock import Clock
from archiver.errors import RefusedError, UsageError
from archiver.simulator.api import Api
from archiver.simulator.contents import version_from
from archiver.simulator.delivery import Delivery, Push
from archiver.simulator.events import action_attributes
from archiver.simulator.faults import Fault, Faults
from archiver.simulator.files import FileHosts
from archiver.simulator.limits import RateLimiter
from archiver.simulator.player import Player
from archiver.simulator.pusher import address_of
from archiver.simulator.records import FILE_MODES, Affiliation, FileMode
from archiver.simulator.render import Json
from archiver.simulator.seed import Scenario
from archiver.simulator.switches import changed
from archiver.simulator.truth import tell
from archiver.simulator.webhooks import PushShape, Webhooks
from archiver.simulator.workspace import Workspace

_OK = 200


class Stage:
    """A workspace with its script, its webhooks and its faults, and the verbs over them."""

    def __init__(self, scenario: Scenario, clock: Clock, *, api_url: str, files_url: str, signed_url: str) -> None:
        self.workspace: Workspace = scenario.workspace
        self.faults = Faults()
        self.webhooks = Webhooks(self.workspace)
        self.delivery = Delivery(self.workspace, self.webhooks, self.faults, clock)
        self.player = Player(self.workspace, self.delivery, clock, scenario.script)
        self.api = Api(self.workspace, self.delivery, self.webhooks, self.faults, RateLimiter(clock))
        self.hosts = FileHosts(self.workspace, self.delivery, self.faults, clock, signed_url=signed_url)
        self._api_url = api_url
        self._files_url = files_url

    # How this Flock behaves

    def configure(self, **changes: object) -> Json:
        """Set switches by name; return them all."""
        self.delivery.switches = changed(self.delivery.switches, changes)
        return self.switches()

    def switches(self) -> Json:
        """Return the switches."""
        return asdict(self.delivery.switches)

    def inject(self, fault: Fault) -> None:
        """Let something go wrong."""
        self.faults.inject(fault)

    def set_file_mode(self, path: str, mode: FileMode) -> None:
        """Choose how a file answers, by its path or its URL."""
        if mode not in FILE_MODES:
            raise UsageError(f"there is no file mode {mode!r}", next_step=f"choose among {', '.join(FILE_MODES)}")
        file = self.workspace.files.get(path.removeprefix(self._files_url))
        if file is None:
            raise UsageError(f"there is no file {path!r} here")
        file.mode = mode

    # Webhooks, listener, installations

    def add_webhook(self, owner: str, channel: str, url: str, *, name: str = "", shape: PushShape = "observed") -> str:
        """Create an outgoing webhook and return its token."""
        return self.webhooks.add_outgoing(owner, channel, url, name=name, shape=shape).token

    def add_webhooks(self, url: str, *, shape: PushShape = "observed") -> dict[str, str]:
        """Give every channel that has none a webhook; ``{name}`` in the URL becomes its name. Return name to token.

        Names are ``channel-1`` and so on, in the order of the channels; owners are members who may have one more.
        """
        served = {hook.channel_id for hook in self.webhooks.outgoing()}
        made: dict[str, str] = {}
        for number, channel_id in enumerate(self.workspace.channels, start=1):
            if channel_id not in served:
                name, owner = f"channel-{number}", self.webhooks.free_owner(channel_id)
                callback = url.replace("{name}", name)
                made[name] = self.add_webhook(owner, channel_id, callback, name=name, shape=shape)
        return made

    def remove_webhook(self, token: str) -> None:
        """Remove an outgoing webhook."""
        self.webhooks.remove_outgoing(token)

    def add_incoming_webhook(self, owner: str, channel: str, *, name: str = "") -> str:
        """Create an incoming webhook and return the URL to post to."""
        hook = self.webhooks.add_incoming(owner, channel, name=name)
        return f"{self._api_url}/hooks/sendMessage/{hook.hook_id}"

    def set_listener(self, url: str | None) -> None:
        """Send app events to this URL from now on, or nowhere."""
        self.delivery.listen_at(address_of(url) if url else None)

    async def install(self, user: str) -> str:
        """Install the app for a user and return the new token; the listener learns it from ``app.install``.

        Raises `RefusedError`, with nothing installed, unless the listener answers 200 (flock-api.md 10.1).
        """
        token = self.workspace.grant(user, "user")
        for push in self.delivery.of_event("app.install", user, {"token": token}):
            answer = await self.delivery.send(push)
            if answer.status != _OK:
                del self.workspace.grants[token]
                raise RefusedError(f"the listener answered app.install with {answer.status or answer.error}, not 200")
        return token

    async def uninstall(self, user: str) -> None:
        """Remove the app for a user: ``app.uninstall``, and by default the end of their tokens."""
        self.workspace.person(user)
        if self.delivery.switches.uninstall_revokes:
            grants = self.workspace.grants
            for token in [token for token, grant in grants.items() if grant.user_id == user and grant.kind == "user"]:
                del grants[token]
        await self._send_all(self.delivery.of_event("app.uninstall", user, {}))

    def disable(self, user: str, *, by: Literal["user", "team"] | None = "user") -> None:
        """Switch the app off for a user, or on again with ``by=None``: their calls get 403 AppDisabled."""
        self.workspace.person(user)
        for grant in self.workspace.grants.values():
            if grant.user_id == user:
                grant.disabled_by = by

    # What people do

    async def send(self, sender: str, to: str, **content: Any) -> str:
        """Let somebody send a message with content fields in Flock's spelling; return its uid."""
        self.workspace.person(sender)
        if to not in self.workspace.channels:
            self.workspace.person(to)
        version = version_from(content, at_ms=self.workspace.step())
        message = self.workspace.post(self.workspace.compose(sender, to, version))
        await self._send_all(self.delivery.of_message(message))
        return message.uid

    async def edit(self, uid: str, **content: Any) -> None:
        """Let the sender change a message; fields that are not named stay."""
        before = self.workspace.message(uid).latest
        after = version_from({**content_of(before), **content}, at_ms=self.workspace.step())
        await self._send_all(self.delivery.of_message(self.workspace.edit(uid, after), edited=True))

    def delete(self, uid: str) -> None:
        """Remove a message; nothing is pushed."""
        self.workspace.delete(uid)

    def rename(self, channel: str, name: str) -> None:
        """Give a channel another name."""
        self.workspace.rename(channel, name)

    def join(self, channel: str, user: str, *, affiliation: Affiliation = "member") -> None:
        """Let a user into a channel, or change what they are in it."""
        self.workspace.join(channel, user, affiliation=affiliation)

    def leave(self, channel: str, user: str) -> None:
        """Let a user go from a channel."""
        self.workspace.leave(channel, user)

    def change_person(
        self, user: str, *, first_name: str | None = None, last_name: str | None = None, email: str | None = None
    ) -> None:
        """Change a profile."""
        self.workspace.change_person(user, first_name=first_name, last_name=last_name, email=email)

    async def message_action(self, user: str, chat: str, uids: list[str]) -> str:
        """Let a user select messages and press the app's action; return the status answered."""
        attributes = action_attributes(self.workspace, user, chat, uids, self.delivery.switches)
        return await self.send_event("client.messageAction", user, attributes)

    async def send_event(self, name: str, user: str, attributes: Json) -> str:
        """Send any event; return the status answered, or why there is none."""
        return await self._send_all(self.delivery.of_event(name, user, attributes))

    # What happened

    def truth(self, *kinds: str) -> Iterator[Json]:
        """Return the rows of the truth, all or those of some kinds (`truth`)."""
        rows = tell(self.workspace, self.delivery, files_url=self._files_url)
        return (row for row in rows if not kinds or row["kind"] in kinds)

    def violations(self) -> list[Json]:
        """Return what the archiver did and must not."""
        return [asdict(violation) for violation in self.delivery.violations]

    def counters(self) -> Json:
        """Return calls by method and status, ways in which tokens came, pushes by status, and file requests."""
        return {
            "methods": {name: dict(statuses) for name, statuses in sorted(self.api.calls.items())},
            "tokens_in": dict(self.api.tokens_in),
            "pushes": dict(self.delivery.statuses),
            "file_requests": sum(file.requests for file in self.workspace.files.values()),
        }

    def reset_counters(self) -> None:
        """Count from zero; the truth keeps every push."""
        self.api.calls.clear()
        self.api.tokens_in.clear()
        self.delivery.statuses.clear()
        for file in self.workspace.files.values():
            file.requests = 0

    def clear_violations(self) -> None:
        """Forget the violations."""
        self.delivery.violations.clear()

    async def _send_all(self, pushes: Iterable[Push]) -> str:
        status = "no listener"
        for push in list(pushes):
            answer = await self.delivery.send(push)
            status = str(answer.status) if answer.status is not None else answer.error
        return status


def content_of(version: object) -> Json:
    """Return a version's content fields in Flock's spelling, to be read again by `contents.version_from`."""
    fields = msgspec.to_builtins(version)
    spelling = {"app_id": "appId", "send_as": "sendAs", "on_behalf_of": "onBehalfOf", "visible_to": "visibleTo"}
    return {spelling.get(name, name): value for name, value in fields.items() if name != "at_ms"}
