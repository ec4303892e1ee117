"""A zip as Slack exports a workspace, which opens the archive to every viewer and importer that reads those.

``users.json``, ``channels.json``, ``groups.json``, ``dms.json``, ``mpims.json`` and of each conversation a folder with a file a day. What
Slack has no place for stands where its own programs keep what they know of a message: in ``metadata``, with the uid, the digests and all
versions. What a reader must see (earlier versions, that Flock no longer returns it, that it is context) is an attachment of the message
too, because viewers show those. A gap is a message of its own, from a user that exists for that.

The members are stored and not deflated: compressors differ between machines, and the same export must be the same bytes.
"""

from __future__ import annotations

import zipfile
from collections import OrderedDict
from datetime import datetime
from typing import IO, Any, ClassVar, Final, cast

import msgspec

from archiver.clock import to_ms
from archiver.discovery.export.formats.instants import zoned
from archiver.discovery.export.formats.parts import GapPlaces, Held
from archiver.discovery.export.record import Conversation, File, GapNote, Message, Person, Slice, Terms, Version
from archiver.discovery.export.sink import Sink, Written

ARCHIVE_USER_ID: Final = "FLOCKARCHIVER"
MESSAGE_EVENT: Final = "flock_message"
GAP_EVENT: Final = "flock_gap"
# Back to where a reply can still be tied to what it replies to; the ts of more messages is not kept in memory.
REPLY_REACH_MESSAGES: Final = 100_000

_TIME_OF_MEMBERS: Final = (1980, 1, 1, 0, 0, 0)
_MODE: Final = 0o644 << 16
# The last one is our own: gaps of the whole archive, which belong to no conversation.
_LISTS: Final = ("users.json", "channels.json", "groups.json", "dms.json", "mpims.json", "gaps.json")
_encode = msgspec.json.Encoder().encode


class SlackWriter:
    """Writes ``slack-export.zip``."""

    format: ClassVar[str] = "slack"
    by_half: ClassVar[bool] = False

    def __init__(self, terms: Terms, sink: Sink) -> None:
        self._terms = terms
        self._held = Held(sink, "slack/slack-export.zip")
        self._zip = zipfile.ZipFile(cast("IO[bytes]", self._held), "w", zipfile.ZIP_STORED)
        self._member: IO[bytes] | None = None
        self._is_first = True
        self._folders: set[str] = set(_LISTS)
        self._users: dict[str, Person] = {}
        self._channels: list[dict[str, Any]] = []
        self._dms: list[dict[str, Any]] = []
        self._conversation: _Room | None = None
        self._places = GapPlaces()
        self._count = 0
        self._files = 0
        self._moved = 0
        self._untied = 0

    def add(self, part: Slice) -> None:
        """Take the next slice."""
        if self._conversation is None or self._conversation.chat_id != part.conversation.chat_id:
            self._begin_conversation(part.conversation)
        room = self._conversation
        assert room is not None
        if part.part == 1 or self._member is None:
            self._begin_day(part)
        records = [
            self._gap(room, item, part) if isinstance(item, GapNote) else self._message(room, item)
            for item in self._places.in_place(part)
        ]
        self._put(records)
        self._count += len(part.messages)
        if part.part >= part.parts:
            self._end_day()

    def finish(self, _: Written | None = None, /) -> Written:
        """Write the lists of people and conversations, and close."""
        self._end_day()
        users = [_user(person) for _, person in sorted(self._users.items())]
        users.append(_user(Person(ARCHIVE_USER_ID, f"Archive of {self._terms.workspace}", None, is_bot=True)))
        gaps = [self._gap_facts(gap) for gap in self._terms.gaps]
        for name, entries in zip(_LISTS, (users, self._channels, [], self._dms, [], gaps), strict=True):
            with self._zip.open(_member(name), "w", force_zip64=len(entries) > _ENTRIES_OF_SMALL_LISTS_MAX) as member:
                member.write(b"[" + b",\n".join(map(_encode, entries)) + b"]\n")
        self._zip.close()
        self._held.close()
        replaced = {
            "times moved by microseconds, so that a ts is unique in its conversation": self._moved,
            "replies without thread_ts, because what they reply to is not here or too far back": self._untied,
        }
        return Written(1, self._count, self._files, {name: count for name, count in replaced.items() if count})

    def close(self) -> None:
        """Let go of the zip."""
        self._held.abandon()
        if self._member is not None:
            self._member.close()
        self._zip.close()

    def _begin_conversation(self, conversation: Conversation) -> None:
        self._end_day()
        folder = conversation.path_name
        while folder.casefold() in self._folders:
            folder += "_"
        self._folders.add(folder.casefold())
        members = [person.user_id for person in conversation.participants]
        self._users.update((person.user_id, person) for person in conversation.participants)
        entry = {"name": folder, "members": members, "flock_chat_id": conversation.chat_id}
        if conversation.kind == "direct":
            # A viewer looks for the messages in a folder that is called as the conversation's id.
            self._dms.append({"id": folder, **entry})
        else:
            known_as = {"value": escaped(conversation.name or ""), "creator": "", "last_set": 0}
            self._channels.append({"id": conversation.chat_id, **entry, "is_archived": False, "purpose": known_as})
        self._conversation = _Room(conversation.chat_id, folder)

    def _begin_day(self, part: Slice) -> None:
        assert self._conversation is not None
        self._end_day()
        # A part is as large as a slice may be; two gigabytes take many of them.
        member = _member(f"{self._conversation.folder}/{part.day}.json")
        self._member = self._zip.open(member, "w", force_zip64=part.parts > 1)
        self._member.write(b"[")
        self._is_first = True

    def _put(self, records: list[dict[str, Any]]) -> None:
        assert self._member is not None
        if records:
            self._member.write(b"" if self._is_first else b",\n")
            self._member.write(b",\n".join(map(_encode, records)))
            self._is_first = False

    def _end_day(self) -> None:
        if self._member is not None:
            self._member.write(b"]\n")
            self._member.close()
            self._member = None

    def _gap(self, room: _Room, gap: GapNote, part: Slice) -> dict[str, Any]:
        began = datetime.fromisoformat(part.day).replace(tzinfo=self._terms.zone)
        at_ms = max(to_ms(began), gap.from_at_ms if gap.from_at_ms is not None else to_ms(began))
        facts = self._gap_facts(gap)
        span = f" From {facts['from_at'] or 'an unknown time'} to {facts['to_at'] or 'an unknown time'}."
        return {
            "type": "message",
            "user": ARCHIVE_USER_ID,
            "text": escaped(f"What may be missing here ({gap.kind}): {gap.evidence}.{span}"),
            "ts": room.next_ts(at_ms)[0],
            "metadata": {"event_type": GAP_EVENT, "event_payload": facts},
        }

    def _gap_facts(self, gap: GapNote) -> dict[str, Any]:
        zone = self._terms.zone
        return {
            "gap_id": gap.gap_id,
            "chat_id": gap.chat_id,
            "kind": gap.kind,
            "evidence": gap.evidence,
            "count": gap.count,
            "subject": gap.subject,
            "from_at": None if gap.from_at_ms is None else zoned(gap.from_at_ms, zone),
            "to_at": None if gap.to_at_ms is None else zoned(gap.to_at_ms, zone),
        }

    def _message(self, room: _Room, message: Message) -> dict[str, Any]:
        sender, newest = message.sender, message.newest
        self._users.setdefault(sender.user_id, sender)
        ts, was_moved = room.next_ts(message.sent_at_ms)
        self._moved += was_moved
        record: dict[str, Any] = {
            "type": "message",
            "user": sender.user_id,
            "text": escaped(newest.text),
            "ts": ts,
        }
        thread = room.thread_of(message, ts)
        if thread is not None:
            record["thread_ts"], record["parent_user_id"] = thread
        elif message.reply_to is not None:
            self._untied += 1
        if newest.number > 1:
            record["edited"] = {"user": sender.user_id, "ts": _ts(newest.observed_at_ms * 1000)}
        if message.send_as_name is not None:
            record["username"] = message.send_as_name
        if message.app_id is not None:
            record["app_id"] = message.app_id
        if message.files:
            record["files"] = [_file(file) for file in message.files]
            self._files += len(message.files)
        if notes := self._notes(message):
            record["attachments"] = notes
        record["metadata"] = {"event_type": MESSAGE_EVENT, "event_payload": self._payload(message)}
        return record

    def _notes(self, message: Message) -> list[dict[str, Any]]:
        """Return what a reader must see beside the text, as attachments, which every viewer shows."""
        zone = self._terms.zone
        said = []
        if message.is_context:
            said.append(("Context", "Not asked for; it stands around what was."))
        if (since := message.not_returned_since_ms) is not None:
            said.append(
                ("No longer in Flock", f"Flock has not returned it since {zoned(since, zone)}; the text is kept.")
            )
        said += [
            (f"Version {version.number}, seen {zoned(version.observed_at_ms, zone)}", version.text)
            for version in message.versions[:-1]
        ]
        return [{"fallback": escaped(title), "title": title, "text": escaped(text)} for title, text in said]

    def _payload(self, message: Message) -> dict[str, Any]:
        zone = self._terms.zone
        return {
            "chat_id": message.chat_id,
            "message_uid": message.message_uid,
            "control_number": message.control_number,
            "sent_at": zoned(message.sent_at_ms, zone),
            "sent_at_basis": message.sent_at_basis,
            "is_context": message.is_context,
            "not_returned_since": message.not_returned_since_ms and zoned(message.not_returned_since_ms, zone),
            "on_behalf_of": message.on_behalf_of and message.on_behalf_of.user_id,
            "visible_to": [person.user_id for person in message.visible_to],
            "reply_to": message.reply_to,
            "redactions": message.redactions,
            "versions": [_version(version, zoned(version.observed_at_ms, zone)) for version in message.versions],
        }


class _Room:
    """The conversation that is being written: its folder, its last ts, and the ts of its latest messages for replies."""

    def __init__(self, chat_id: str, folder: str) -> None:
        self.chat_id = chat_id
        self.folder = folder
        self._last_us = 0
        # Of a plain dictionary the oldest entry is found by passing all that were removed before it.
        self._thread_of: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def next_ts(self, at_ms: int) -> tuple[str, int]:
        """Return a ts at that time that no other message of the conversation has, and whether it lies in another millisecond."""
        self._last_us = max(at_ms * 1000, self._last_us + 1)
        return _ts(self._last_us), int(self._last_us // 1000 != at_ms)

    def thread_of(self, message: Message, ts: str) -> tuple[str, str] | None:
        """Return ts and author of what began the thread of a message, None if it is no known reply; and remember it."""
        found = None if message.reply_to is None else self._thread_of.get(message.reply_to)
        self._thread_of[message.message_uid] = found or (ts, message.sender.user_id)
        if len(self._thread_of) > REPLY_REACH_MESSAGES:
            self._thread_of.popitem(last=False)
        return found


# A list of so many entries stays below two gigabytes whatever their names are.
_ENTRIES_OF_SMALL_LISTS_MAX: Final = 10_000


def escaped(text: str) -> str:
    """Return text in which nothing is a link or a mention of Slack's: of its markup only these three characters can be escaped."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _ts(microseconds: int) -> str:
    return f"{microseconds // 1_000_000}.{microseconds % 1_000_000:06d}"


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _TIME_OF_MEMBERS)
    info.create_system = 3
    info.external_attr = _MODE
    return info


def _user(person: Person) -> dict[str, Any]:
    return {
        "id": person.user_id,
        "name": person.user_id,
        "real_name": person.shown,
        "deleted": False,
        "is_bot": person.is_bot,
        "profile": {"real_name": person.shown, "display_name": person.name or "", "email": person.email},
    }


def _version(version: Version, observed_at: str) -> dict[str, Any]:
    return {
        "number": version.number,
        "observed_at": observed_at,
        "text": version.text,
        "flockml": version.flockml,
        "source": version.source,
        "captured_by": version.captured_by,
        "content_digest": version.content_digest,
        "raw_digest": version.raw_digest,
        "object_key": version.object_key,
        "commit": version.commit,
    }


def _file(file: File) -> dict[str, Any]:
    """Return a file as Slack tells of it; one whose bytes are not here is a tombstone, as of a file that Slack lost."""
    _, dot, ending = file.path_name.rpartition(".")
    facts: dict[str, Any] = {
        "id": file.control_number,
        "name": file.name,
        "title": file.name,
        "mimetype": file.mime or "application/octet-stream",
        "filetype": ending.lower() if dot else "",
        "size": file.size,
        "sha256": file.sha256,
        "md5": file.md5,
        "status": file.status,
    }
    if file.path is not None:
        return {**facts, "mode": "hosted", "url_private": f"../{file.path}"}
    return {**facts, "mode": "tombstone", "title": f"{file.name} (not here: {file.reason or file.status})"}
