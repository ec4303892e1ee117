"""Reads a Slack zip back: a zip that harms nobody, people and conversations that are listed, days of unique, sorted messages."""

from __future__ import annotations

import json
import re
import stat
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from archiver.discovery.checks.findings import Finding, PackageFacts
from archiver.discovery.checks.remembered import Notes, Remembered
from archiver.discovery.checks.tally import Tally, files_in, zone_of

MEMBERS_MAX: Final = 5_000_000
MEMBER_BYTES_MAX: Final = 4 * 1024 * 1024 * 1024
GROWTH_MAX: Final = 200

_PATH: Final = "data/slack/slack-export.zip"
_LISTS: Final = ("users.json", "channels.json", "groups.json", "dms.json", "mpims.json")
_OURS: Final = "gaps.json"
_DAY_FILE: Final = re.compile(r"([^/\\\0]+)/(\d{4}-\d{2}-\d{2})\.json")
_TS: Final = re.compile(r"\d{1,12}\.\d{6}")
# What must not stand in a text: markup of Slack's that nobody escaped.
_BARE: Final = re.compile(r"[<>]|&(?!(?:amp|lt|gt);)")
_MESSAGE_EVENT: Final = "flock_message"
_GAP_EVENT: Final = "flock_gap"


def check(folder: Path, facts: PackageFacts) -> Iterator[Finding]:
    """Yield whatever is wrong with the Slack zip of a package."""
    paths, findings = files_in(folder, "slack", facts)
    yield from findings
    yield from (Finding(path, None, "stray", "this is no file of this format") for path in paths if path != _PATH)
    if _PATH not in paths:
        return
    tally = Tally("slack", facts)
    try:
        with zipfile.ZipFile(folder / _PATH) as archive, Remembered() as remembered:
            harm = list(_harm(archive))
            yield from harm
            if not harm:
                yield from _Export(archive, facts, tally, seen=remembered.notes()).findings()
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, ValueError) as error:
        yield Finding(_PATH, None, "zip", f"it cannot be read: {error}")
    yield from tally.differences(_PATH)


def _harm(archive: zipfile.ZipFile) -> Iterator[Finding]:
    """Yield what in a zip could harm who unpacks it: paths that leave the folder, links, bombs, names that come twice."""
    members = archive.infolist()
    if len(members) > MEMBERS_MAX:
        yield Finding(_PATH, None, "bomb", f"{len(members)} members")
        return
    seen: set[str] = set()
    for member in members:
        name = member.filename
        parts = name.split("/")
        if (
            name.startswith("/")
            or "\\" in name
            or "\0" in name
            or ":" in parts[0]
            or any(part in ("", ".", "..") for part in parts)
        ):
            yield Finding(_PATH, name, "path", "a path that leaves the folder, or is none")
        if name.casefold() in seen:
            yield Finding(
                _PATH, name, "duplicate", "a name that comes twice, at least where capitals make no difference"
            )
        seen.add(name.casefold())
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
            yield Finding(_PATH, name, "path", "this is no plain file")
        if member.flag_bits & 1:
            yield Finding(_PATH, name, "zip", "it is encrypted")
        if member.file_size > MEMBER_BYTES_MAX or member.file_size > GROWTH_MAX * max(member.compress_size, 1):
            yield Finding(_PATH, name, "bomb", f"{member.compress_size} bytes that would become {member.file_size}")


class _Export:
    """A zip whose members are safe to read."""

    def __init__(self, archive: zipfile.ZipFile, facts: PackageFacts, tally: Tally, *, seen: Notes) -> None:
        self._archive = archive
        self._facts = facts
        self._tally = tally
        self._zone = zone_of(facts)
        self._users: set[str] = set()
        self._folders: dict[str, str] = {}
        self._folder = ""
        self._seen = seen

    def findings(self) -> Iterator[Finding]:
        names = self._archive.namelist()
        yield from self._read_lists(names)
        for name in names:
            found = _DAY_FILE.fullmatch(name)
            if found is None:
                if name not in _LISTS and name != _OURS:
                    yield Finding(_PATH, name, "stray", "this is no file of a Slack export")
            elif found[1] not in self._folders:
                yield Finding(_PATH, name, "reference", f"no list of conversations has {found[1]!r}")
            else:
                yield from self._day(name, found[1], found[2])

    def _load(self, name: str) -> Iterator[Finding | list[Any]]:
        """Yield the list that a member is, or what is wrong with it."""
        try:
            value = json.loads(self._archive.read(name))
        except (ValueError, RecursionError, zipfile.BadZipFile) as error:
            yield Finding(_PATH, name, "parse", f"this is no JSON: {error}")
            return
        if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
            yield value
        else:
            yield Finding(_PATH, name, "parse", "this is no list of objects")

    def _read_lists(self, names: list[str]) -> Iterator[Finding]:
        members: list[tuple[str, object]] = []
        for name in _LISTS:
            if name not in names:
                yield Finding(_PATH, name, "missing", "a Slack export has this list")
                continue
            for loaded in self._load(name):
                if isinstance(loaded, Finding):
                    yield loaded
                    continue
                for entry in loaded:
                    yield from self._user(entry) if name == "users.json" else self._conversation(name, entry)
                    listed = entry.get("members")
                    members += [(name, one) for one in listed] if isinstance(listed, list) else []
        for name, member in members:
            if not isinstance(member, str) or member not in self._users:
                yield Finding(_PATH, name, "reference", f"there is no user {member!r}")

    def _user(self, entry: dict[str, Any]) -> Iterator[Finding]:
        identifier = entry.get("id")
        if not isinstance(identifier, str):
            yield Finding(_PATH, "users.json", "field", "a user has no id")
            return
        if identifier in self._users:
            yield Finding(_PATH, "users.json", "duplicate", f"user {identifier!r} is listed twice")
        self._users.add(identifier)

    def _conversation(self, name: str, entry: dict[str, Any]) -> Iterator[Finding]:
        # Messages of a one-to-one chat lie under its id, those of the others under their name.
        folder, chat_id = entry.get("id" if name == "dms.json" else "name"), entry.get("flock_chat_id")
        if not isinstance(folder, str) or not isinstance(chat_id, str):
            yield Finding(
                _PATH, name, "field", "a conversation has no name, or does not tell which of the archive it is"
            )
            return
        if folder in self._folders:
            yield Finding(_PATH, name, "duplicate", f"conversation {folder!r} is listed twice")
        self._folders[folder] = chat_id

    def _day(self, name: str, folder: str, day: str) -> Iterator[Finding]:
        if folder != self._folder:
            self._folder = folder
            self._seen.clear()
        for loaded in self._load(name):
            if isinstance(loaded, Finding):
                yield loaded
                continue
            last = ""
            for at, record in enumerate(loaded):
                place = f"{name} /{at}"
                ts = record.get("ts")
                if not isinstance(ts, str) or not _TS.fullmatch(ts):
                    yield Finding(_PATH, place, "field", f"{ts!r} is no ts")
                    continue
                if not self._seen.put(ts):
                    yield Finding(_PATH, place, "duplicate", f"ts {ts} is not unique in {folder!r}")
                if last and _microseconds(ts) < _microseconds(last):
                    yield Finding(_PATH, place, "order", f"ts {ts} follows {last}")
                last = ts
                yield from self._record(record, place, ts, folder, day)

    def _record(self, record: dict[str, Any], place: str, ts: str, folder: str, day: str) -> Iterator[Finding]:
        if record.get("type") != "message" or not isinstance(record.get("text"), str):
            yield Finding(_PATH, place, "field", "this is no message with a text")
            return
        if _day_of(ts, self._zone) != day:
            yield Finding(_PATH, place, "time", f"ts {ts} is not on {day} in {self._facts.zone}")
        for who in (record.get("user"), record.get("parent_user_id", record.get("user"))):
            if not isinstance(who, str) or who not in self._users:
                yield Finding(_PATH, place, "reference", f"there is no user {who!r}")
        notes = record.get("attachments", [])
        texts = [record["text"], *(note.get("text", "") for note in notes if isinstance(note, dict))]
        if any(_BARE.search(str(text)) for text in texts):
            yield Finding(_PATH, place, "escape", "a text has markup of Slack's that is not escaped")
        if (thread := record.get("thread_ts")) is not None and str(thread) not in self._seen:
            yield Finding(_PATH, place, "reference", f"no message has ts {thread!r}, which its thread begins with")
        metadata = record.get("metadata")
        event = metadata.get("event_type") if isinstance(metadata, dict) else None
        payload = metadata.get("event_payload") if isinstance(metadata, dict) else None
        if event == _GAP_EVENT:
            return
        if event != _MESSAGE_EVENT or not isinstance(payload, dict):
            yield Finding(_PATH, place, "field", "it does not tell which message of the archive it is")
            return
        yield from self._message(record, payload, place, folder=folder, day=day)

    def _message(
        self, record: dict[str, Any], payload: dict[str, Any], place: str, *, folder: str, day: str
    ) -> Iterator[Finding]:
        chat_id, uid, versions = payload.get("chat_id"), payload.get("message_uid"), payload.get("versions")
        if not isinstance(chat_id, str) or not isinstance(uid, str) or not isinstance(versions, list) or not versions:
            yield Finding(_PATH, place, "field", "it does not tell which message of the archive it is")
            return
        if chat_id != self._folders[folder]:
            yield Finding(
                _PATH, place, "reference", f"a message of {chat_id!r} in the folder of {self._folders[folder]!r}"
            )
        yield from self._tally.message(_PATH, place, chat_id=chat_id, uid=uid)
        yield from self._tally.time(_PATH, place, text=payload.get("sent_at"), at_ms=None, day=day)
        self._tally.versions(len(versions))
        newest = versions[-1] if isinstance(versions[-1], dict) else {}
        if ("edited" in record) != (newest.get("number") != 1):
            what = f"the newest version is number {newest.get('number')}, and edited is {record.get('edited')!r}"
            yield Finding(_PATH, place, "field", what)
        said = newest.get("text")
        if not isinstance(said, str) or record["text"] != _escaped(said):
            yield Finding(_PATH, place, "escape", "the text is not that of the newest version, escaped")
        files = record.get("files", [])
        for at, file in enumerate(files if isinstance(files, list) else ()):
            if not isinstance(file, dict):
                yield Finding(_PATH, place, "field", "a file is no object")
                continue
            url = file.get("url_private")
            native = f"data/{url[3:]}" if isinstance(url, str) and url.startswith("../") else None
            if native is None and (url is not None or file.get("mode") != "tombstone"):
                yield Finding(_PATH, f"{place}/files/{at}", "external", f"{url!r} is no file of the package")
            yield from self._tally.file(_PATH, f"{place}/files/{at}", native=native, sha256=file.get("sha256"))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _microseconds(ts: str) -> int:
    return int(ts.replace(".", ""))


def _day_of(ts: str, zone: Any) -> str:
    try:
        instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=_microseconds(ts))
        return instant.astimezone(zone).date().isoformat()
    except OverflowError:
        return ""
