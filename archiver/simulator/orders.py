"""What the control interface takes: one strict shape for every request."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import msgspec
from starlette.requests import Request

from archiver.errors import UsageError
from archiver.simulator.faults import DELAY_SECONDS
from archiver.simulator.player import CONNECTIONS
from archiver.simulator.records import Affiliation, FileMode
from archiver.simulator.webhooks import PushShape

_Order = TypeVar("_Order")


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    """A request; a field nobody knows is a mistake worth hearing of."""


class WebhookOrder(_Strict):
    """Create an outgoing webhook."""

    owner: str
    channel: str
    url: str
    name: str = ""
    shape: PushShape = "observed"


class WebhooksForAllOrder(_Strict):
    """Give every channel a webhook; the URL may hold ``{name}``."""

    url: str
    shape: PushShape = "observed"


class IncomingOrder(_Strict):
    """Create an incoming webhook."""

    owner: str
    channel: str
    name: str = ""


class ListenerOrder(_Strict):
    """Send app events there, or nowhere."""

    url: str | None


class InstallOrder(_Strict):
    """Install the app for a user."""

    user: str


class DisableOrder(_Strict):
    """Switch the app off, or on with null."""

    disabled_by: Literal["user", "team"] | None


class PlayOrder(_Strict):
    """Play some or all of the script; ``wait`` for the end of it."""

    count: int | None = None
    until_ms: int | None = None
    rate: float | None = None
    connections: int = CONNECTIONS
    push: bool = True
    wait: bool = True


class RenameOrder(_Strict):
    """Give a channel another name."""

    name: str


class JoinOrder(_Strict):
    """Let a user into a channel."""

    user: str
    affiliation: Affiliation = "member"


class ProfileOrder(_Strict):
    """Change a profile."""

    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None


class MessageActionOrder(_Strict):
    """Let a user select messages and press the action."""

    user: str
    chat: str
    uids: list[str]


class EventOrder(_Strict):
    """Send an event."""

    name: str
    user: str
    attributes: dict[str, Any] = {}


class FileOrder(_Strict):
    """Choose how a file answers, by path or URL."""

    path: str
    mode: FileMode


class FaultOrder(_Strict):
    """Let something go wrong."""

    kind: str
    where: str
    count: int | None = None
    probability: float | None = None
    seed: int = 0
    seconds: float = DELAY_SECONDS


async def read(request: Request, kind: type[_Order]) -> _Order:
    """Return a request's JSON, no body being an empty object, as an order; raises `UsageError` for anything else."""
    try:
        return msgspec.json.decode(await request.body() or b"{}", type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"this request cannot be read: {error}") from None
