"""The state of a Flock team and the only code that changes it. No HTTP, no pushes: those watch what the methods return.

One thread uses a workspace: the simulator's event loop.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from archiver.clock import LATEST_MS
from archiver.errors import UsageError
from archiver.ids import chat_of, is_channel, parties_of
from archiver.simulator.marks import Mint
from archiver.simulator.records import (
    Affiliation,
    Channel,
    HostedFile,
    Membership,
    Message,
    Person,
    TokenKind,
    Version,
)

_Found = TypeVar("_Found")

# Two things done by hand in a row are this far apart on the workspace's own clock.
STEP_MS = 1_000


@dataclass(slots=True)
class Grant:
    """What a token gives: to act as this user or bot; ``disabled_by`` is who switched the app off, if anybody did."""

    user_id: str
    kind: TokenKind
    disabled_by: Literal["user", "team"] | None = None


class Workspace:
    """People, channels, chats and messages of one team, with everything that ever happened to them.

    ``now_ms`` is the workspace's own clock: the script moves it, and every change made by hand moves it by a second.
    """

    def __init__(self, *, seed: object, team_id: int, now_ms: int) -> None:
        self.mint = Mint(seed)
        self.team_id = team_id
        self.now_ms = now_ms
        self.app_id = self.mint.token("app")
        self.app_secret = self.mint.secret("app")
        self.people: dict[str, Person] = {}
        self.channels: dict[str, Channel] = {}
        self.messages: dict[str, Message] = {}
        self.memberships: list[Membership] = []
        self.files: dict[str, HostedFile] = {}
        self.grants: dict[str, Grant] = {}
        self.bot_id: str | None = None
        self._installs = 0

    # People and tokens

    def add_person(self, person: Person) -> Person:
        """Add or replace a user or bot."""
        self.people[person.user_id] = person
        return person

    def change_person(
        self, user_id: str, *, first_name: str | None, last_name: str | None, email: str | None
    ) -> Person:
        """Change what a profile shows; raises `UsageError` if there is no such user."""
        person = self.person(user_id)
        return self.add_person(
            replace(
                person,
                first_name=person.first_name if first_name is None else first_name,
                last_name=person.last_name if last_name is None else last_name,
                email=person.email if email is None else email,
            )
        )

    def grant(self, user_id: str, kind: TokenKind) -> str:
        """Give a user, or a bot, a token: a new one at every installation."""
        self.person(user_id)
        self._installs += 1
        token = self.mint.token(f"{kind}/{user_id}/{self._installs}")
        self.grants[token] = Grant(user_id, kind)
        return token

    def tokens(self, kind: TokenKind) -> dict[str, str]:
        """Return user id to token, the newest where there are several."""
        return {grant.user_id: token for token, grant in self.grants.items() if grant.kind == kind}

    def person(self, user_id: str) -> Person:
        """Return a user or bot; raises `UsageError` if there is none."""
        return _known(self.people, user_id, "user")

    # Channels

    def add_channel(self, channel: Channel) -> Channel:
        """Add a channel that has a name and no members yet."""
        self.channels[channel.channel_id] = channel
        return channel

    def channel(self, channel_id: str) -> Channel:
        """Return a channel; raises `UsageError` if there is none."""
        return _known(self.channels, channel_id, "channel")

    def rename(self, channel_id: str, name: str, *, at_ms: int | None = None) -> None:
        """Give a channel another name."""
        self.channel(channel_id).names.append((self._moment(at_ms), name))

    def join(
        self, channel_id: str, user_id: str, *, affiliation: Affiliation = "member", at_ms: int | None = None
    ) -> None:
        """Let a user into a channel, or change what they are in it. Bots stay outside (flock-api.md 12)."""
        channel, person = self.channel(channel_id), self.person(user_id)
        if person.is_bot:
            raise UsageError(f"{user_id} is a bot, and bots cannot join channels")
        present = channel.members.get(user_id)
        if present is not None and present.affiliation == affiliation:
            return
        moment = self._moment(at_ms)
        if present is not None:
            present.until_ms = moment
        membership = Membership(channel_id, user_id, affiliation, moment)
        channel.members[user_id] = membership
        self.memberships.append(membership)

    def leave(self, channel_id: str, user_id: str, *, at_ms: int | None = None) -> None:
        """Let a user go from a channel; nothing happens to one who is not in it."""
        membership = self.channel(channel_id).members.pop(user_id, None)
        if membership is not None:
            membership.until_ms = self._moment(at_ms)

    # Messages

    def compose(
        self, sender: str, recipient: str, version: Version, *, feed: str = "", source_id: str | None = None
    ) -> Message:
        """Return a message with a new uid that nobody has posted yet."""
        chat_id, _ = chat_of(sender, recipient)
        return Message(
            uid=self.mint.uid(version.at_ms),
            chat_id=chat_id,
            sender=sender,
            recipient=recipient,
            versions=(version,),
            feed=feed,
            source_id=source_id,
        )

    def post(self, message: Message) -> Message:
        """Make a message appear in its chat."""
        message.position = len(self.messages) + 1
        self.messages[message.uid] = message
        self._moment(message.sent_at_ms)
        return message

    def edit(self, uid: str, version: Version) -> Message:
        """Give a message another version; raises `UsageError` if it is unknown or deleted."""
        message = self.message(uid)
        if message.deleted_at_ms is not None:
            raise UsageError(f"message {uid} is deleted and cannot be edited")
        message.versions = (*message.versions, version)
        self._moment(version.at_ms)
        return message

    def delete(self, uid: str, *, at_ms: int | None = None) -> Message:
        """Remove a message; its versions stay known to the truth. Raises `UsageError` if it is unknown or deleted."""
        message = self.message(uid)
        if message.deleted_at_ms is not None:
            raise UsageError(f"message {uid} is deleted already")
        message.deleted_at_ms = self._moment(at_ms)
        return message

    def message(self, uid: str) -> Message:
        """Return a message; raises `UsageError` if there is none."""
        return _known(self.messages, uid, "message")

    def may_read(self, user_id: str, chat_id: str) -> bool:
        """Tell whether a user is in a chat."""
        if is_channel(chat_id):
            channel = self.channels.get(chat_id)
            return channel is not None and user_id in channel.members
        return user_id in (parties_of(chat_id) or ())

    # Files

    def host(self, files: Iterable[HostedFile]) -> None:
        """Put files on the file host."""
        for file in files:
            self.files[file.path] = file

    # Time

    def step(self) -> int:
        """Move the workspace's clock by a second and return it: the moment of something done by hand."""
        return self._moment(None)

    def pass_time(self, until_ms: int) -> None:
        """Move the workspace's clock on to a moment, never back."""
        self._moment(until_ms)

    def _moment(self, at_ms: int | None) -> int:
        moment = self.now_ms + STEP_MS if at_ms is None else at_ms
        self.now_ms = min(max(self.now_ms, moment), LATEST_MS)
        return moment


def _known(things: dict[str, _Found], identifier: str, kind: str) -> _Found:
    try:
        return things[identifier]
    except KeyError:
        raise UsageError(f"there is no {kind} {identifier!r} here") from None
