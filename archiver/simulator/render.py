"""Flock's JSON: how messages, channels and people look to an app (flock-api.md 6), by way and by switch."""

from __future__ import annotations

from typing import Any

from archiver.clock import to_text
from archiver.simulator.marks import client_id
from archiver.simulator.records import Channel, Membership, Message, Person, Version
from archiver.simulator.switches import Switches, TimestampForm
from archiver.simulator.workspace import Workspace

Json = dict[str, Any]

_UNKNOWN_FIELDS: Json = {"futureField": {"nested": [1, "two", None, 3.5]}, "priority": "normal"}


def pushed_message(message: Message, switches: Switches) -> Json:
    """Return a message as outgoing webhooks and events carry it (flock-api.md 6.1, observed)."""
    version = message.latest
    body: Json = {"id": client_id(message.uid), "to": message.recipient, "from": message.sender, "text": version.text}
    _add_time(body, message.sent_at_ms, switches.push_timestamp)
    body["uid"] = message.uid
    body["onBehalfOf"] = version.on_behalf_of
    # App messages were seen without visibleTo, ordinary ones with an empty list.
    if version.visible_to or version.app_id is None:
        body["visibleTo"] = list(version.visible_to)
    _add_content(body, version)
    if switches.unknown_fields:
        body.update(_UNKNOWN_FIELDS)
    return body


def documented_push(message: Message) -> Json:
    """Return the body that the outgoing-webhook page documents: XMPP ids, no uid, no time (flock-api.md 11.1)."""
    return {
        "id": client_id(message.uid),
        "from": f"{message.sender.partition(':')[2]}@go.to/desktop",
        "to": f"{message.recipient.partition(':')[2]}@groups.go.to",
        "type": "message",
        "text": message.latest.text,
    }


def fetched_message(message: Message, switches: Switches) -> Json:
    """Return a message as `chat.fetchMessages` answers it (flock-api.md 5.2 and 6.1)."""
    version = message.latest if switches.fetch_edits else message.versions[0]
    body: Json = {"from": message.sender, "to": message.recipient, "uid": message.uid, "text": version.text}
    if switches.fetch_fields == "documented":
        return body
    body["id"] = client_id(message.uid)
    _add_time(body, message.sent_at_ms, switches.fetch_timestamp)
    if version.on_behalf_of:
        body["onBehalfOf"] = version.on_behalf_of
    if version.visible_to:
        body["visibleTo"] = list(version.visible_to)
    _add_content(body, version)
    if switches.unknown_fields:
        body.update(_UNKNOWN_FIELDS)
    return body


def channel_object(channel: Channel) -> Json:
    """Return a Channel (flock-api.md 6.3)."""
    body: Json = {"id": channel.channel_id, "name": channel.name, "memberCount": len(channel.members)}
    if channel.profile_image:
        body["profileImage"] = channel.profile_image
    if channel.purpose:
        body["purpose"] = channel.purpose
    return body


def group_object(channel: Channel) -> Json:
    """Return the older group object: a Channel without a purpose (flock-api.md 5.11)."""
    return {name: value for name, value in channel_object(channel).items() if name != "purpose"}


def channel_member(membership: Membership, person: Person, *, with_profile: bool) -> Json:
    """Return a ChannelMember (flock-api.md 6.4)."""
    body: Json = {"userId": membership.user_id, "affiliation": membership.affiliation}
    if with_profile:
        body["publicProfile"] = public_profile(person)
    return body


def public_profile(person: Person) -> Json:
    """Return a PublicProfile (flock-api.md 6.6)."""
    body: Json = {"id": person.user_id, "firstName": person.first_name, "lastName": person.last_name}
    if person.profile_image:
        body["profileImage"] = person.profile_image
    return body


def own_user(person: Person, workspace: Workspace, switches: Switches) -> Json:
    """Return the User object of a token's owner (flock-api.md 6.7)."""
    body = public_profile(person)
    body |= {
        "teamId": str(workspace.team_id) if switches.team_id_text else workspace.team_id,
        "email": person.email,
        "role": person.role,
        "timezone": person.timezone,
    }
    return body


def display_name(person: Person) -> str:
    """Return the name that clients show."""
    return f"{person.first_name} {person.last_name}".strip()


def _add_time(body: Json, at_ms: int, form: TimestampForm) -> None:
    if form == "number":
        body["timestamp"] = at_ms
    else:
        body["timestamp"] = to_text(at_ms)
        body["timestampInMillis"] = at_ms


def _add_content(body: Json, version: Version) -> None:
    if version.flockml is not None:
        body["flockml"] = version.flockml
    if version.notification is not None:
        body["notification"] = version.notification
    if version.app_id is not None:
        body["appId"] = version.app_id
    if version.mentions:
        body["mentions"] = list(version.mentions)
    if version.send_as is not None:
        body["sendAs"] = version.send_as
    if version.attachments:
        body["attachments"] = list(version.attachments)
