"""Who and what a Slack export tells of in the lists at its top: people, channels, groups and one-to-one chats."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from zipfile import ZipInfo

from archiver.capture.imports.records import Directory, Person, Room, Tally, Unreadable, unreadable
from archiver.capture.imports.slack_zip import LISTS, SlackZip
from archiver.clock import LATEST_MS
from archiver.errors import UnparseableError, UsageError
from archiver.ids import direct_chat_id, foreign_id
from archiver.normalise.content import canonical_json
from archiver.normalise.message import read_object

ORIGIN_PREFIX: Final = "slack-"
_TEAM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,39}")
# These are remembered, so there is an end to them: a list like that is none of people or chats.
UNREAD_MAX: Final = 1_000
_TEXT_CHARACTERS_MAX: Final = 65_536


@dataclass(slots=True)
class SlackDirectory:
    """People by Slack's id, chats by their folder in the zip, and what in the lists cannot be read."""

    origin: str
    people: dict[str, Person] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    rooms: dict[str, Room] = field(default_factory=dict)
    room_names: dict[str, str] = field(default_factory=dict)
    unread: list[Unreadable] = field(default_factory=list)

    def id_of(self, identifier: str) -> str:
        """Return the archive's id of somebody or something of this workspace."""
        return foreign_id(self.origin, identifier)

    def room_of(self, folder: str) -> Room:
        """Return the chat whose messages lie in a folder; one that no list has is named by its folder."""
        room = self.rooms.get(folder)
        if room is None:
            raw = canonical_json({"folder": folder}).decode()
            room = Room(self.id_of(f"folder/{folder}"), "channel", ((None, folder),), raw)
            self.rooms[folder] = room
        return room

    def directory(self, tally: Tally) -> Directory:
        """Return people and chats, with the names that chats had before, as far as messages tell of renames."""
        rooms = {room.chat_id: room for room in self.rooms.values()}
        return Directory(
            people=tuple(self.people.values()),
            rooms=tuple(_with_former_names(room, tally.renames.get(room.chat_id, ())) for room in rooms.values()),
        )


def read_directory(export: SlackZip, *, team: str | None) -> SlackDirectory:
    """Read the lists; raises `UsageError` if nothing says which workspace it is."""
    entries: dict[str, list[tuple[str, bytes, dict[str, Any]]]] = {}
    unread: list[Unreadable] = []
    for name in LISTS:
        entries[name] = []
        for number, info in enumerate(export.lists[name]):
            if number:
                error = "a member of this name stood before it"
                unread.append(unreadable(name, error, export.bytes_of(info)))
                continue
            for place, raw, fields in _entries(name, export, info, unread):
                entries[name].append((place, raw, fields))
    found = SlackDirectory(f"{ORIGIN_PREFIX}{_team_of(team, entries['users.json'])}", unread=unread)
    for place, raw, fields in entries["users.json"]:
        _take_person(found, place, raw, fields)
    for name in LISTS[1:]:
        for place, raw, fields in entries[name]:
            _take_room(found, place, raw, fields, kind=name)
    return found


def text_of(fields: Mapping[str, Any], name: str) -> str | None:
    """Return a field's text, None if it has none or something else."""
    value = fields.get(name)
    return value[:_TEXT_CHARACTERS_MAX] if isinstance(value, str) and value else None


def _entries(
    name: str, export: SlackZip, info: ZipInfo, unread: list[Unreadable]
) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    already = len(unread)
    for number, raw in enumerate(export.elements(info)):
        if len(unread) - already >= UNREAD_MAX:
            error = f"{UNREAD_MAX} of its entries cannot be read; the rest of them is not looked at"
            unread.append(unreadable(name, error, export.bytes_of(info)))
            return
        if isinstance(raw, Unreadable):
            unread.append(raw)
            continue
        place = f"{name}[{number}]"
        try:
            fields = read_object(raw)
        except UnparseableError as error:
            unread.append(unreadable(place, error.what, raw))
            continue
        if text_of(fields, "id") is None:
            unread.append(unreadable(place, "it has no id", raw))
        else:
            yield place, raw, fields


def _team_of(given: str | None, users: Sequence[tuple[str, bytes, dict[str, Any]]]) -> str:
    if given is not None and not _TEAM.fullmatch(given):
        raise UsageError(
            "--team must be 1 to 40 letters, digits and hyphens", next_step="give the workspace's id, such as T0123ABCD"
        )
    # Guests from elsewhere are in the list too; most people are the workspace's own.
    counts: dict[str, int] = {}
    for _, _, fields in users:
        team = text_of(fields, "team_id") or ""
        if _TEAM.fullmatch(team):
            counts[team] = counts.get(team, 0) + 1
    found = given or max(sorted(counts), key=lambda team: counts[team], default=None)
    if found is None:
        raise UsageError(
            "the export does not say which workspace it is: users.json names no team_id",
            next_step="name the workspace with --team; all ids from this export will carry that name",
        )
    return found


def _take_person(found: SlackDirectory, place: str, raw: bytes, fields: dict[str, Any]) -> None:
    identifier = str(fields["id"])
    profile = fields.get("profile") if isinstance(fields.get("profile"), dict) else {}
    assert isinstance(profile, dict)
    user_id = found.id_of(identifier)
    full_name = text_of(profile, "real_name") or text_of(fields, "real_name")
    shown = text_of(profile, "display_name") or full_name or text_of(fields, "name") or identifier
    first, last = text_of(profile, "first_name"), text_of(profile, "last_name")
    if first is None:
        first, last = full_name or shown, None
    state = {
        "first_name": first,
        "last_name": last,
        "email": text_of(profile, "email"),
        "team_id": found.id_of(text_of(fields, "team_id") or found.origin.removeprefix(ORIGIN_PREFIX)),
        "role": _role(fields),
        "timezone": _offset(fields.get("tz_offset")),
        "profile_image": text_of(profile, "image_512") or text_of(profile, "image_192"),
    }
    text = _utf8(raw)
    if text is None or user_id in found.people:
        found.unread.append(unreadable(place, "its id stands twice" if text else "not UTF-8", raw))
        return
    found.names[identifier] = shown
    found.people[user_id] = Person(
        user_id,
        {name: value for name, value in state.items() if value},
        f'{{"users.json":{text}}}',
        _instant(fields.get("updated")),
    )


def _take_room(found: SlackDirectory, place: str, raw: bytes, fields: dict[str, Any], *, kind: str) -> None:
    identifier, name = str(fields["id"]), text_of(fields, "name")
    text = _utf8(raw)
    folder = identifier if kind == "dms.json" else name or identifier
    if text is None or folder in found.rooms:
        found.unread.append(unreadable(place, "its folder stands twice" if text else "not UTF-8", raw))
        return
    listed = fields.get("members")
    members = tuple(
        dict.fromkeys(found.id_of(member) for member in listed if isinstance(member, str) and member)
        if isinstance(listed, list)
        else ()
    )
    created_ms = _instant(fields.get("created"))
    topic = fields.get("purpose")
    purpose = text_of(topic, "value") if isinstance(topic, dict) else None
    if kind == "dms.json":
        # Notes to oneself have one member.
        parties = (members[0], members[-1]) if len(members) in (1, 2) else None
        chat_id = direct_chat_id(*parties) if parties else found.id_of(identifier)
        pair = (min(parties), max(parties)) if parties else None
        found.rooms[folder] = Room(chat_id, "direct", ((created_ms, None),), text, participants=pair)
        return
    found.room_names[identifier] = name or identifier
    found.rooms[folder] = Room(
        found.id_of(identifier), "channel", ((created_ms, name or identifier),), text, purpose=purpose, members=members
    )


def _with_former_names(room: Room, renames: Sequence[tuple[int, str, str]]) -> Room:
    """Return a channel with all its names: before the first rename it had the old one, after the last what its list says."""
    [(created_ms, name)] = room.names
    if not renames or room.chat_kind == "direct":
        return room
    ordered = sorted(renames)
    names: list[tuple[int | None, str | None]] = []
    if created_ms is None or created_ms < ordered[0][0]:
        names.append((created_ms if created_ms is not None else ordered[0][0] - 1, ordered[0][1]))
    names += [(at_ms, new) for at_ms, _, new in ordered]
    if names[-1][1] != name:
        names.append((None, name))
    return replace(room, names=tuple(names))


def _role(fields: Mapping[str, Any]) -> str:
    if fields.get("is_admin") is True or fields.get("is_owner") is True:
        return "admin"
    return "guest" if fields.get("is_restricted") is True or fields.get("is_ultra_restricted") is True else "user"


def _offset(value: Any) -> str | None:
    """Return seconds east of Greenwich as ``+09:00``."""
    if type(value) is not int or abs(value) > 86_400:  # noqa: PLR2004 - a day
        return None
    minutes = abs(value) // 60
    return f"{'-' if value < 0 else '+'}{minutes // 60:02}:{minutes % 60:02}"


def _instant(value: Any) -> int | None:
    """Return the milliseconds of whole seconds since 1970 UTC, None for anything that is no instant since then."""
    if type(value) is not int or not 0 < value * 1_000 < LATEST_MS:
        return None
    return value * 1_000


def _utf8(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None
