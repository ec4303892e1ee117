"""The truth: everything that ever happened in a workspace, to compare an archive with.

Each row is a JSON object with a ``kind``:

===============  =======================================================================================
``workspace``    ``team_id``, ``app_id``, ``bot_id``, ``now_ms``
``user``         ``user_id``, names, ``email``, ``role``, ``bot``, ``installed``, ``source_id``
``channel``      ``channel_id``, ``name``, ``names`` as ``[{at_ms, name}]``, ``purpose``, ``private``, ``source_id``
``membership``   ``channel_id``, ``user_id``, ``affiliation``, ``since_ms``, ``until_ms``
``message``      ``uid``, ``chat_id``, ``from``, ``to``, ``position``, ``sent_at_ms``, ``deleted_at_ms``, ``feed``, ``source_id``,
                 ``answers`` (the uid that a reply is to, which Flock shows to nobody) and
                 ``versions`` in order, each with the content fields of flock-api.md 6.1 and ``at_ms``
``file``         ``url``, ``path``, ``name``, ``mime``, ``size``, ``sha256``, ``mode``, ``requests``; those that messages offered
``push``         ``feed``, ``name`` of the event, ``uid``, ``status``, ``fault``: every delivery that was tried, in order of their ends
===============  =======================================================================================

``chat_id`` is a channel's id or the two users of a one-to-one chat in order, joined by a comma; ``source_id`` is the id in the
data set. Only what has happened is told: the part of a script that was not played is not yet true.
"""

from __future__ import annotations

from collections.abc import Iterator

from archiver.simulator.delivery import Delivery, PushRecord
from archiver.simulator.files import digest_of
from archiver.simulator.records import Channel, HostedFile, Membership, Message, Person, Version
from archiver.simulator.render import Json
from archiver.simulator.workspace import Workspace


def tell(workspace: Workspace, delivery: Delivery, *, files_url: str) -> Iterator[Json]:
    """Return the rows, in the order of the table above; what happens while one reads is not in them."""
    installed = {grant.user_id for grant in workspace.grants.values() if grant.kind == "user"}
    people, channels = (
        list(workspace.people.values()),
        [_channel_row(channel) for channel in workspace.channels.values()],
    )
    stays, messages = list(workspace.memberships), list(workspace.messages.values())
    pushes = list(delivery.records)
    head = {
        "kind": "workspace",
        "team_id": workspace.team_id,
        "app_id": workspace.app_id,
        "bot_id": workspace.bot_id,
        "now_ms": workspace.now_ms,
    }

    def rows() -> Iterator[Json]:
        yield head
        yield from (_user_row(person, installed=person.user_id in installed) for person in people)
        yield from channels
        yield from map(_membership_row, stays)
        yield from map(message_row, messages)
        yield from (
            _file_row(workspace.files[path], files_url)
            for path in _paths_in(messages, files_url)
            if path in workspace.files
        )
        yield from map(_push_row, pushes)

    return rows()


def message_row(message: Message) -> Json:
    """Return the truth about one message."""
    return {
        "kind": "message",
        "uid": message.uid,
        "chat_id": message.chat_id,
        "from": message.sender,
        "to": message.recipient,
        "position": message.position,
        "sent_at_ms": message.sent_at_ms,
        "deleted_at_ms": message.deleted_at_ms,
        "feed": message.feed,
        "source_id": message.source_id,
        "answers": message.answers,
        "versions": [_version(version) for version in message.versions],
    }


def _paths_in(messages: list[Message], files_url: str) -> list[str]:
    """Return the paths of the files that messages offer, in the order in which they were first offered."""
    offered = (
        src
        for message in messages
        for version in message.versions
        for attachment in version.attachments
        for src in _sources_in(attachment)
    )
    return list(dict.fromkeys(src.removeprefix(files_url) for src in offered if src.startswith(files_url)))


def _sources_in(attachment: Json) -> Iterator[str]:
    """Yield every ``src`` of an attachment; it is what a client sent, so nothing about its shape is certain."""
    waiting: list[object] = [attachment.get("downloads"), attachment.get("views")]
    while waiting:
        thing = waiting.pop(0)
        if isinstance(thing, dict):
            src = thing.get("src")
            if isinstance(src, str):
                yield src
            waiting.extend(thing.values())
        elif isinstance(thing, list):
            waiting.extend(thing)


def _version(version: Version) -> Json:
    return {
        "at_ms": version.at_ms,
        "text": version.text,
        "flockml": version.flockml,
        "notification": version.notification,
        "appId": version.app_id,
        "mentions": list(version.mentions),
        "sendAs": version.send_as,
        "attachments": list(version.attachments),
        "onBehalfOf": version.on_behalf_of,
        "visibleTo": list(version.visible_to),
    }


def _user_row(person: Person, *, installed: bool) -> Json:
    return {
        "kind": "user",
        "user_id": person.user_id,
        "first_name": person.first_name,
        "last_name": person.last_name,
        "email": person.email,
        "role": person.role,
        "bot": person.is_bot,
        "installed": installed,
        "source_id": person.source_id,
    }


def _channel_row(channel: Channel) -> Json:
    return {
        "kind": "channel",
        "channel_id": channel.channel_id,
        "name": channel.name,
        "names": [{"at_ms": at_ms, "name": name} for at_ms, name in channel.names],
        "purpose": channel.purpose,
        "private": channel.private,
        "members": list(channel.members),
        "source_id": channel.source_id,
    }


def _membership_row(stay: Membership) -> Json:
    return {
        "kind": "membership",
        "channel_id": stay.channel_id,
        "user_id": stay.user_id,
        "affiliation": stay.affiliation,
        "since_ms": stay.since_ms,
        "until_ms": stay.until_ms,
    }


def _file_row(file: HostedFile, files_url: str) -> Json:
    return {
        "kind": "file",
        "url": files_url + file.path,
        "path": file.path,
        "name": file.name,
        "mime": file.mime,
        "size": file.size,
        "sha256": digest_of(file),
        "mode": file.mode,
        "requests": file.requests,
    }


def _push_row(push: PushRecord) -> Json:
    return {
        "kind": "push",
        "feed": push.feed,
        "name": push.name,
        "uid": push.uid,
        "status": push.status,
        "fault": push.fault,
    }
