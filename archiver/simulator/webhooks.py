"""Outgoing and incoming webhooks (flock-api.md 11): who has which, and what an outgoing one sends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import msgspec

from archiver.errors import RefusedError, UsageError
from archiver.simulator.pusher import Address, address_of
from archiver.simulator.records import Message
from archiver.simulator.render import documented_push, pushed_message
from archiver.simulator.switches import Switches
from archiver.simulator.workspace import Workspace

PushShape = Literal["observed", "documented"]

WEBHOOKS_PER_OWNER_MAX = 10
# Flock's own header lines, with the semicolon that ends the type (flock-api.md 11.1).
WEBHOOK_HEADERS = "Content-Type: application/json;\r\nAccept-Encoding: gzip, deflate\r\n"


@dataclass(frozen=True, slots=True)
class OutgoingWebhook:
    """One channel's messages to one callback; ``address`` includes the token, ``url`` is as it was given."""

    token: str
    owner: str
    channel_id: str
    url: str
    name: str
    shape: PushShape
    address: Address
    wrong_address: Address


@dataclass(frozen=True, slots=True)
class IncomingWebhook:
    """A door through which anybody posts into a channel, in the owner's name."""

    hook_id: str
    owner: str
    channel_id: str
    name: str


class Webhooks:
    """The webhooks of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._outgoing: dict[str, OutgoingWebhook] = {}
        self._by_channel: dict[str, list[OutgoingWebhook]] = {}
        self._incoming: dict[str, IncomingWebhook] = {}
        self._made = 0

    def add_outgoing(
        self, owner: str, channel_id: str, url: str, *, name: str = "", shape: PushShape = "observed"
    ) -> OutgoingWebhook:
        """Create a webhook; raises `RefusedError` for an owner's eleventh, `UsageError` for one who is not in the channel."""
        self._require_member(owner, channel_id)
        if sum(hook.owner == owner for hook in self._outgoing.values()) >= WEBHOOKS_PER_OWNER_MAX:
            raise RefusedError(
                f"{owner} has {WEBHOOKS_PER_OWNER_MAX} webhooks, which is Flock's limit",
                next_step="choose another owner or remove a webhook",
            )
        self._made += 1
        token = self._workspace.mint.token(f"webhook/{self._made}")
        joint = "&" if "?" in url else "?"
        hook = OutgoingWebhook(
            token=token,
            owner=owner,
            channel_id=channel_id,
            url=url,
            name=name or f"webhook {self._made}",
            shape=shape,
            address=address_of(f"{url}{joint}token={token}"),
            wrong_address=address_of(f"{url}{joint}token={self._workspace.mint.token(f'wrong/{self._made}')}"),
        )
        self._outgoing[token] = hook
        self._by_channel.setdefault(channel_id, []).append(hook)
        return hook

    def remove_outgoing(self, token: str) -> None:
        """Remove a webhook; raises `UsageError` if there is none with this token."""
        hook = self._outgoing.pop(token, None)
        if hook is None:
            raise UsageError("there is no webhook with this token")
        self._by_channel[hook.channel_id].remove(hook)

    def outgoing(self) -> list[OutgoingWebhook]:
        """Return the webhooks in the order in which they were made."""
        return list(self._outgoing.values())

    def free_owner(self, channel_id: str) -> str:
        """Return a member of a channel who may have one more webhook; raises `RefusedError` if there is none."""
        owned: dict[str, int] = {}
        for hook in self._outgoing.values():
            owned[hook.owner] = owned.get(hook.owner, 0) + 1
        for user_id in self._workspace.channel(channel_id).members:
            if owned.get(user_id, 0) < WEBHOOKS_PER_OWNER_MAX:
                return user_id
        raise RefusedError(f"nobody in {channel_id} may have another webhook")

    def add_incoming(self, owner: str, channel_id: str, *, name: str = "") -> IncomingWebhook:
        """Create an incoming webhook; raises `UsageError` for an owner who is not in the channel."""
        self._require_member(owner, channel_id)
        self._made += 1
        hook = IncomingWebhook(
            self._workspace.mint.token(f"incoming/{self._made}"), owner, channel_id, name or f"incoming {self._made}"
        )
        self._incoming[hook.hook_id] = hook
        return hook

    def incoming(self, hook_id: str) -> IncomingWebhook | None:
        """Return an incoming webhook by the last part of its URL."""
        return self._incoming.get(hook_id)

    def concerned(self, message: Message, switches: Switches, *, edited: bool = False) -> Iterator[OutgoingWebhook]:
        """Yield the webhooks that a message, or its edit, fires. Deletion fires none (flock-api.md 10.4)."""
        hooks = self._by_channel.get(message.recipient)
        if not hooks or (edited and not switches.push_edits):
            return
        if message.latest.visible_to and not switches.push_limited:
            return
        if message.feed and not switches.push_incoming:
            return
        for hook in hooks:
            if switches.push_own or message.sender != hook.owner:
                yield hook

    def _require_member(self, owner: str, channel_id: str) -> None:
        self._workspace.person(owner)
        if owner not in self._workspace.channel(channel_id).members:
            raise UsageError(f"{owner} is not in {channel_id} and cannot create a webhook for it")


def webhook_body(hook: OutgoingWebhook, message: Message, switches: Switches) -> bytes:
    """Return the body a webhook sends for a message, in its shape."""
    shown = documented_push(message) if hook.shape == "documented" else pushed_message(message, switches)
    return msgspec.json.encode(shown)
