"""App events: their bodies (flock-api.md 10.3) and the signed token that travels with each (10.2)."""

from __future__ import annotations

from typing import Any

import jwt

from archiver.clock import Clock
from archiver.errors import UsageError
from archiver.ids import chat_of
from archiver.simulator.records import Message
from archiver.simulator.render import Json, display_name, pushed_message
from archiver.simulator.switches import Switches
from archiver.simulator.workspace import Workspace

# Sent to the app's listener, with what each must and may carry beyond ``name`` and ``userId``.
_CHAT_FIELDS = ("chat",)
EVENT_FIELDS: dict[str, tuple[str, ...]] = {
    "app.install": ("token",),
    "app.uninstall": (),
    "chat.receiveMessage": ("message",),
    "chat.generateUrlPreview": ("url", "to", "messageId"),
    "client.messageAction": (*_CHAT_FIELDS, "messageUids"),
    "client.pressButton": (*_CHAT_FIELDS, "button"),
    "client.slashCommand": (*_CHAT_FIELDS, "command", "text"),
    "client.widgetAction": (*_CHAT_FIELDS, "messageUid", "attachmentId"),
    "client.flockmlAction": (*_CHAT_FIELDS, "messageId", "messageUid", "attachmentId", "actionId"),
}
# Documented, but delivered to widget URLs only.
NEVER_SENT = frozenset({"client.openAttachmentWidget"})
# An answer to these with a text is shown to the user who acted.
ANSWER_SHOWN = frozenset({"client.slashCommand", "client.pressButton"})

EVENT_TYPE = "Content-Type: application/json\r\n"
TOKEN_HEADER = "X-Flock-Event-Token"  # noqa: S105 -- the name of a header
# The faults after which a token is no good, and so not one to repeat.
_TOKEN_FAULTS = frozenset({"expired", "wrong_app", "wrong_user", "wrong_algorithm", "wrong_secret"})
_ALGORITHM = "HS256"
_EXPIRED_SECONDS = 3600


def event_body(workspace: Workspace, name: str, user_id: str, attributes: Json) -> Json:
    """Return the body of an event; names of the user and the chat are added to client events as Flock adds them.

    Raises `UsageError` if Flock never sends this event to a listener or if a field of it is missing. A name that is not
    documented passes as it is: Flock may have events that nobody wrote down.
    """
    if name in NEVER_SENT:
        raise UsageError(f"{name} never reaches a listener, only a widget")
    missing = [field for field in EVENT_FIELDS.get(name, ()) if field not in attributes]
    if missing:
        raise UsageError(f"{name} needs {', '.join(missing)}")
    body: Json = {"name": name, "userId": user_id}
    chat = attributes.get("chat")
    if name.startswith("client.") and isinstance(chat, str):
        body |= {
            "userName": display_name(workspace.person(user_id)),
            "chat": chat,
            "chatName": _chat_name(workspace, chat),
        }
    return body | attributes


def action_attributes(workspace: Workspace, user_id: str, chat: str, uids: list[str], switches: Switches) -> Json:
    """Return what `client.messageAction` carries; raises `UsageError` unless the user sees every message in that chat."""
    chat_id, _ = chat_of(user_id, chat)
    if not workspace.may_read(user_id, chat_id):
        raise UsageError(f"{user_id} is not in {chat}")
    chosen: list[Message] = []
    for uid in uids:
        message = workspace.message(uid)
        if message.chat_id != chat_id or message.deleted_at_ms is not None:
            raise UsageError(f"message {uid} is not to be seen in {chat}")
        chosen.append(message)
    attributes: Json = {"chat": chat, "messageUids": uids}
    if switches.action_messages:
        attributes["messages"] = [pushed_message(message, switches) for message in chosen]
    return attributes


class EventTokens:
    """Signs event tokens with the app's secret, and signs them wrongly when a fault says so."""

    def __init__(self, workspace: Workspace, clock: Clock) -> None:
        self._workspace = workspace
        self._clock = clock
        self._made = 0
        self._last: dict[str, str] = {}

    def token(self, user_id: str, switches: Switches, *, fault: str = "") -> str:
        """Return a compact JWS over the claims ``appId``, ``userId``, ``exp``, ``iat`` and ``jti`` (RFC 7519, HS256)."""
        if fault == "repeated_token" and user_id in self._last:
            return self._last[user_id]
        self._made += 1
        issued = self._clock.now_ms() // 1000
        claims: dict[str, Any] = {
            "appId": self._workspace.mint.token("another app") if fault == "wrong_app" else self._workspace.app_id,
            "userId": self._workspace.mint.user_id("somebody else") if fault == "wrong_user" else user_id,
            "exp": issued + switches.event_token_seconds,
            "iat": issued,
            "jti": self._workspace.mint.token(f"jti/{self._made}"),
        }
        if fault == "expired":
            claims |= {
                "iat": issued - _EXPIRED_SECONDS,
                "exp": issued - _EXPIRED_SECONDS + switches.event_token_seconds,
            }
        secret = self._workspace.mint.secret("another app") if fault == "wrong_secret" else self._workspace.app_secret
        if fault == "no_algorithm":
            return jwt.encode(claims, "", algorithm="none")
        signed = jwt.encode(claims, secret, algorithm="HS512" if fault == "wrong_algorithm" else _ALGORITHM)
        if fault not in _TOKEN_FAULTS:
            self._last[user_id] = signed
        return signed


def _chat_name(workspace: Workspace, chat: str) -> str:
    if chat in workspace.channels:
        return workspace.channels[chat].name
    return display_name(workspace.person(chat))
