"""The methods of Flock's API (flock-api.md 5): what each does for whose token, on the workspace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Any

from archiver.errors import UsageError
from archiver.ids import chat_of
from archiver.simulator.answers import FlockCallError, invalid_parameter
from archiver.simulator.contents import version_from
from archiver.simulator.delivery import Delivery
from archiver.simulator.parameters import Parameters
from archiver.simulator.records import Channel, Message, Person, TokenKind
from archiver.simulator.render import (
    Json,
    channel_member,
    channel_object,
    fetched_message,
    group_object,
    own_user,
    public_profile,
)
from archiver.simulator.switches import Switches
from archiver.simulator.workspace import Workspace

UIDS_PER_FETCH_MAX = 25
CHANNEL_NAME_CHARACTERS_MAX = 255


@dataclass(frozen=True, slots=True)
class Call:
    """One call that passed every check up to its parameters: who calls, with what, on what."""

    caller: str
    kind: TokenKind
    parameters: Parameters
    workspace: Workspace
    delivery: Delivery

    @property
    def switches(self) -> Switches:
        """Return the switches of the moment."""
        return self.delivery.switches


@dataclass(frozen=True, slots=True)
class Method:
    """What answers a method, and whether a bot's token may call it."""

    answer: Callable[[Call], object]
    bots: bool = False


def _send_message(call: Call) -> Json:
    parameters, workspace = call.parameters, call.workspace
    recipient = parameters.required("to")
    fields: dict[str, Any] = {
        "text": parameters.text("text", default=""),
        "flockml": parameters.text("flockml", default="") or None,
        "notification": parameters.text("notification", default="") or None,
        "mentions": parameters.texts("mentions"),
        "sendAs": parameters.object("sendAs"),
        "attachments": parameters.objects("attachments"),
        "onBehalfOf": parameters.text("onBehalfOf", default=""),
        "visibleTo": parameters.texts("visibleTo"),
    }
    if not (fields["text"] or fields["flockml"] or fields["attachments"]):
        raise FlockCallError(400, "MissingTextOrAttachment", "Either text or an attachment is needed")
    if fields["sendAs"] is not None and not all(
        isinstance(fields["sendAs"].get(key), str) for key in ("name", "profileImage")
    ):
        raise invalid_parameter("sendAs", "sendAs needs name and profileImage")
    _require_sendable(call, recipient, fields["onBehalfOf"])
    version = version_from(fields, at_ms=workspace.step(), app_id=workspace.app_id)
    message = workspace.post(workspace.compose(call.caller, recipient, version))
    for push in call.delivery.of_message(message):
        call.delivery.send_soon(push)
    return {"uid": message.uid}


def _require_sendable(call: Call, recipient: str, on_behalf_of: str) -> None:
    """Raise 400 where this caller cannot write there; a bot writes to a channel only for a member who installed the app."""
    workspace = call.workspace
    unknown = FlockCallError(400, "UnknownRecipient", f"{recipient} is not known")
    if call.kind == "user":
        if recipient not in workspace.people and not workspace.may_read(call.caller, recipient):
            raise unknown
        return
    installed = workspace.tokens("user")
    if recipient in workspace.channels:
        if on_behalf_of not in installed or not workspace.may_read(on_behalf_of, recipient):
            raise invalid_parameter("onBehalfOf", "a bot posts for a member of the channel who installed the app")
    elif recipient not in installed:
        raise unknown


def _fetch_messages(call: Call) -> list[Json]:
    chat = call.parameters.required("chat")
    uids = call.parameters.texts("uids", required=True)
    if len(uids) > UIDS_PER_FETCH_MAX:
        raise invalid_parameter("uids", f"at most {UIDS_PER_FETCH_MAX} uids")
    workspace, switches = call.workspace, call.switches
    chat_id, _ = chat_of(call.caller, chat)
    if (chat not in workspace.channels and chat not in workspace.people) or not workspace.may_read(
        call.caller, chat_id
    ):
        raise FlockCallError(400, "UnknownChat", f"{chat} is not known")
    wanted = (workspace.messages.get(uid) for uid in dict.fromkeys(uids))
    found = [message for message in wanted if message is not None and _visible(message, chat_id, call.caller, switches)]
    if switches.fetch_shuffled:
        Random(" ".join(uids)).shuffle(found)
    return [fetched_message(message, switches) for message in found]


def _visible(message: Message, chat_id: str, user_id: str, switches: Switches) -> bool:
    if message.chat_id != chat_id or (message.deleted_at_ms is not None and not switches.fetch_deleted):
        return False
    limited = message.latest.visible_to
    return not limited or switches.fetch_limited or user_id == message.sender or user_id in limited


def _list_channels(call: Call) -> list[Json]:
    return [channel_object(channel) for channel in _channels_of(call)]


def _list_groups(call: Call) -> list[Json]:
    return [group_object(channel) for channel in _channels_of(call)]


def _channels_of(call: Call) -> list[Channel]:
    return [channel for channel in call.workspace.channels.values() if call.caller in channel.members]


def _own_channel(call: Call, *names: str) -> Channel:
    """Return the channel that a parameter names; a channel one is not in is as unknown as one that does not exist."""
    name = next((name for name in names if call.parameters.text(name, default="")), names[0])
    channel = call.workspace.channels.get(call.parameters.required(name))
    if channel is None or call.caller not in channel.members:
        raise invalid_parameter(name, "there is no such channel")
    return channel


def _channel_info(call: Call) -> Json:
    return channel_object(_own_channel(call, "channelId"))


def _group_info(call: Call) -> Json:
    return group_object(_own_channel(call, "groupId", "group_id"))


def _list_members(call: Call) -> list[Json]:
    channel = _own_channel(call, "channelId")
    with_profile = call.parameters.flag("showPublicProfile")
    people = call.workspace.people
    return [channel_member(stay, people[stay.user_id], with_profile=with_profile) for stay in channel.members.values()]


def _group_members(call: Call) -> list[Json]:
    channel = _own_channel(call, "groupId", "group_id")
    return [public_profile(call.workspace.people[user_id]) for user_id in channel.members]


def _create_channel(call: Call) -> Json:
    parameters, workspace = call.parameters, call.workspace
    name = parameters.required("name")
    if len(name) > CHANNEL_NAME_CHARACTERS_MAX:
        raise invalid_parameter("name", f"at most {CHANNEL_NAME_CHARACTERS_MAX} characters")
    kind = parameters.text("type", default="") or "private"
    if kind not in ("public", "private"):
        raise invalid_parameter("type", "type is public or private")
    members = parameters.texts("members", required=True)
    channel = workspace.add_channel(
        Channel(
            channel_id=workspace.mint.channel_id(f"created/{len(workspace.channels)}/{name}"),
            names=[(workspace.step(), name)],
            purpose=parameters.text("purpose", default=""),
            private=kind == "private",
            profile_image=parameters.text("profileImage", default="") or None,
        )
    )
    workspace.join(channel.channel_id, call.caller, affiliation="moderator")
    return {"id": channel.channel_id, "members": {user_id: _add_member(call, channel, user_id) for user_id in members}}


def _add_members(call: Call) -> Json:
    channel = _own_channel(call, "channelId")
    members = call.parameters.texts("members", required=True)
    if not _may_change_members(call, channel):
        return {"members": {user_id: _failed("UserRestricted") for user_id in members}}
    return {"members": {user_id: _add_member(call, channel, user_id) for user_id in members}}


def _remove_members(call: Call) -> Json:
    channel = _own_channel(call, "channelId")
    members = call.parameters.texts("members", required=True)
    outcome: Json = {}
    for user_id in members:
        if not _may_change_members(call, channel):
            outcome[user_id] = _failed("UserRestricted")
        elif user_id not in channel.members:
            outcome[user_id] = _failed("UserNotFound")
        else:
            call.workspace.leave(channel.channel_id, user_id)
            outcome[user_id] = {"status": "removed"}
    return {"members": outcome}


def _may_change_members(call: Call, channel: Channel) -> bool:
    own = channel.members.get(call.caller)
    return own is not None and own.affiliation == "moderator"


def _add_member(call: Call, channel: Channel, user_id: str) -> Json:
    person = call.workspace.people.get(user_id)
    if person is None:
        return _failed("UserNotFound")
    if person.outsider:
        return _failed("UserNotFromSameTeam")
    if person.is_bot:
        return _failed("UserRestricted")
    if user_id not in channel.members:
        call.workspace.join(channel.channel_id, user_id)
    return {"status": "added"}


def _failed(code: str) -> Json:
    return {"status": "failed", "error": code}


def _list_contacts(call: Call) -> list[Json]:
    with_bots = call.switches.roster_bots
    return [
        public_profile(person)
        for person in call.workspace.people.values()
        if person.user_id != call.caller and (with_bots or not person.is_bot)
    ]


def _own_info(call: Call) -> Json:
    return own_user(_person(call, call.caller, "token"), call.workspace, call.switches)


def _profile(call: Call) -> Json:
    return public_profile(_person(call, call.parameters.required("userId"), "userId"))


def _person(call: Call, user_id: str, parameter: str) -> Person:
    try:
        return call.workspace.person(user_id)
    except UsageError:
        raise invalid_parameter(parameter, "there is no such user") from None


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "channels.addMembers": Method(_add_members),
        "channels.create": Method(_create_channel),
        "channels.getInfo": Method(_channel_info),
        "channels.list": Method(_list_channels),
        "channels.listMembers": Method(_list_members),
        "channels.removeMembers": Method(_remove_members),
        "chat.fetchMessages": Method(_fetch_messages, bots=True),
        "chat.sendMessage": Method(_send_message, bots=True),
        "roster.listContacts": Method(_list_contacts),
        "users.getInfo": Method(_own_info),
        "users.getPublicProfile": Method(_profile),
    }
)

# Replaced in 2017, and still what the published Node SDK calls (flock-api.md 5.11).
GROUP_ALIASES: Mapping[str, Method] = MappingProxyType(
    {
        "groups.getInfo": Method(_group_info),
        "groups.getMembers": Method(_group_members),
        "groups.list": Method(_list_groups),
    }
)
