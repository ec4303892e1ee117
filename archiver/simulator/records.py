"""What a workspace consists of: people, channels, messages with their versions, files, and the actions of a script.

Messages and their versions are `msgspec.Struct` values without garbage-collector tracking, because a data set brings a
quarter of a million of them. Times are milliseconds since 1970 UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

Role = Literal["user", "admin", "guest"]
Affiliation = Literal["moderator", "member"]
FileMode = Literal["direct", "redirect", "forbidden", "login_page", "missing"]
TokenKind = Literal["user", "bot"]

FILE_MODES: tuple[FileMode, ...] = ("direct", "redirect", "forbidden", "login_page", "missing")


@dataclass(frozen=True, slots=True)
class Person:
    """A user or a bot, as `users.getInfo` and the profiles show them (flock-api.md 6.6 and 6.7).

    ``outsider`` marks a contact from another team; ``source_id`` is the id in the data set this person comes from.
    """

    user_id: str
    first_name: str
    last_name: str = ""
    email: str = ""
    role: Role = "user"
    timezone: str = "+00:00"
    profile_image: str | None = None
    is_bot: bool = False
    outsider: bool = False
    source_id: str | None = None


class Version(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a message says from ``at_ms`` on: the content fields of flock-api.md 6.1 (``attachments`` and ``send_as`` as JSON)."""

    at_ms: int
    text: str = ""
    flockml: str | None = None
    notification: str | None = None
    app_id: str | None = None
    mentions: tuple[str, ...] = ()
    send_as: dict[str, Any] | None = None
    attachments: tuple[dict[str, Any], ...] = ()
    on_behalf_of: str = ""
    visible_to: tuple[str, ...] = ()


class Message(msgspec.Struct, gc=False, kw_only=True):
    """One message; ``versions`` grow with edits, ``position`` counts messages in the order in which they appeared.

    ``feed`` names the incoming webhook or the webhook's answer that posted it, empty for people and bots. ``answers`` is the uid of the
    message that it answers, which Flock shows to nobody (flock-api.md 9, point 2).
    """

    uid: str
    chat_id: str
    sender: str
    recipient: str
    versions: tuple[Version, ...]
    deleted_at_ms: int | None = None
    position: int = 0
    feed: str = ""
    source_id: str | None = None
    answers: str = ""

    @property
    def sent_at_ms(self) -> int:
        """Return when it was sent."""
        return self.versions[0].at_ms

    @property
    def latest(self) -> Version:
        """Return what it says now."""
        return self.versions[-1]


@dataclass(slots=True)
class Membership:
    """One stay of a user in a channel; ``until_ms`` is None while it lasts."""

    channel_id: str
    user_id: str
    affiliation: Affiliation
    since_ms: int
    until_ms: int | None = None


@dataclass(slots=True)
class Channel:
    """A channel with its names since it began and its members of now, in the order in which they came."""

    channel_id: str
    names: list[tuple[int, str]]
    purpose: str = ""
    private: bool = False
    profile_image: str | None = None
    members: dict[str, Membership] = field(default_factory=dict)
    source_id: str | None = None

    @property
    def name(self) -> str:
        """Return its name of now."""
        return self.names[-1][1]


@dataclass(slots=True)
class HostedFile:
    """A file on the file host: ``path`` begins with a slash; its bytes follow from ``key``, ``mime`` and ``size``."""

    path: str
    name: str
    mime: str
    size: int
    key: str
    mode: FileMode
    requests: int = 0


class Post(msgspec.Struct, frozen=True, gc=False):
    """Script: somebody sends a message."""

    at_ms: int
    message: Message


class Edit(msgspec.Struct, frozen=True, gc=False):
    """Script: the sender changes a message; the new version carries the time."""

    at_ms: int
    uid: str
    version: Version


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Script: somebody removes a message."""

    at_ms: int
    uid: str


class Rename(msgspec.Struct, frozen=True, gc=False):
    """Script: a channel gets another name."""

    at_ms: int
    channel_id: str
    name: str


class Join(msgspec.Struct, frozen=True, gc=False):
    """Script: a user enters a channel."""

    at_ms: int
    channel_id: str
    user_id: str
    affiliation: Affiliation = "member"


class Leave(msgspec.Struct, frozen=True, gc=False):
    """Script: a user leaves a channel."""

    at_ms: int
    channel_id: str
    user_id: str


class ClientEvent(msgspec.Struct, frozen=True, gc=False):
    """Script: a user acts on the app, and its listener gets an event (flock-api.md 10.3)."""

    at_ms: int
    name: str
    user_id: str
    attributes: dict[str, Any]


Action = Post | Edit | Delete | Rename | Join | Leave | ClientEvent
