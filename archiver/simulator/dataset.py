"""A workspace from a data set: gzip'd or plain JSON lines of users, channels and messages, mapped to Flock's ids.

A folder holds ``users``, ``channels`` and ``messages``, each as ``.jsonl`` or ``.jsonl.gz``, and may hold ``revisions``:

- a user has ``id``, ``name``, and ``bot`` if it is one; people who only appear as senders or in mentions are added under their id;
- a channel has ``id``, ``name``, and may have ``type``, ``purpose``, ``former_names``;
- a message has ``channel``, ``id``, ``ts_ms``, ``from``, ``text``, and may have ``mentions``, ``edited_ts_ms``, ``deleted``, ``subtype``
  and ``attachments`` (``id``, ``name``, ``mime``, ``size``, ``url``); what Flock does not have (threads, reactions) is left out;
- a revision has ``channel``, ``id``, ``seen`` (a date) and a message's fields as they were then, the first one first.

Texts stay exactly as they are. Whoever writes in a channel is in it from the start, and the first of them moderates. An edit whose former
text is not known starts from a draft: the text without its last word. Of a file nothing is known but its size, so its bytes are
invented and cut to a limit. Messages of a bot are posted on behalf of a member, as Flock has no bots in channels.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TypeVar, cast

import msgspec

from archiver.clock import DAY_MS, EARLIEST_MS, LATEST_MS, to_ms
from archiver.errors import UsageError
from archiver.simulator.records import (
    Action,
    Channel,
    Delete,
    Edit,
    FileMode,
    HostedFile,
    Person,
    Post,
    Rename,
    Version,
)
from archiver.simulator.seed import Scenario
from archiver.simulator.workspace import Workspace

FILE_BYTES_MAX = 16 * 1024
LINE_BYTES_MAX = 16 * 1024 * 1024

_TEAM_ID = 764_252
_DELETED_AFTER_MS = 60_000
# Of every sixteen files so many answer in each way.
_MODES: tuple[FileMode, ...] = ("direct",) * 7 + ("redirect",) * 6 + ("forbidden", "login_page", "missing")
_ELSEWHERE = frozenset({"external", "quip"})
# "… from X to Y", each name in a pair of single quotation marks.
_RENAMED = re.compile("\u2018(.*)\u2019[^\u2018\u2019]*\u2018(.*)\u2019", re.DOTALL)

# A day is left at the end for edits and deletions that follow.
_Moment = Annotated[int, msgspec.Meta(ge=EARLIEST_MS + DAY_MS, le=LATEST_MS - DAY_MS)]
_Row = TypeVar("_Row")


class _User(msgspec.Struct, gc=False):
    id: str
    name: str
    bot: bool = False


class _Channel(msgspec.Struct, gc=False):
    id: str
    name: str
    type: str = "public"
    purpose: str = ""
    former_names: list[str] = []


class _File(msgspec.Struct, gc=False):
    id: str
    name: str = ""
    mime: str = ""
    size: int = 0
    url: str = ""
    mode: str = ""
    deleted: bool = False


class _Message(msgspec.Struct, gc=False):
    channel: str
    id: str
    ts_ms: _Moment
    from_: str = msgspec.field(name="from")
    text: str
    mentions: list[str] = []
    edited_ts_ms: _Moment | None = None
    deleted: bool = False
    attachments: list[_File] = []
    subtype: str = ""


class _Revision(msgspec.Struct, gc=False):
    channel: str
    id: str
    seen: str
    text: str
    edited_ts_ms: _Moment | None = None
    attachments: list[_File] = []


def build(folder: Path, *, files_url: str, seed: int = 0, file_bytes_max: int = FILE_BYTES_MAX) -> Scenario:
    """Return the scenario of a data set; raises `UsageError` naming the file and the line that cannot be read."""
    reader = _Reader(folder, files_url=files_url, seed=seed, file_bytes_max=file_bytes_max)
    reader.read_people()
    reader.read_channels()
    reader.read_messages()
    return reader.scenario()


class _Reader:
    """Reads a folder once, front to back, and keeps only what the workspace keeps."""

    def __init__(self, folder: Path, *, files_url: str, seed: int, file_bytes_max: int) -> None:
        self._folder = folder
        self._files_url = files_url
        self._file_bytes_max = file_bytes_max
        self._workspace = Workspace(seed=seed, team_id=_TEAM_ID, now_ms=0)
        self._user_ids: dict[str, str] = {}
        self._channel_ids: dict[str, str] = {}
        self._writers: dict[str, dict[str, None]] = {}
        self._files: dict[str, HostedFile] = {}
        self._actions: list[Action] = []
        self._renames: dict[str, list[tuple[int, str, str]]] = {}
        self._former: dict[str, list[str]] = {}
        self._last_ms: dict[str, int] = {}
        self._first_ms = LATEST_MS

    def read_people(self) -> None:
        """Read the users, and add the bot of the app under test."""
        workspace = self._workspace
        for user in _rows(self._folder, "users", _User):
            self._add_user(user.id, user.name, is_bot=user.bot)
        bot = Person(workspace.mint.bot_id("Archive Bot"), "Archive Bot", is_bot=True)
        workspace.bot_id = workspace.add_person(bot).user_id

    def read_channels(self) -> None:
        """Read the channels; each begins under the first name it is known by."""
        for channel in _rows(self._folder, "channels", _Channel):
            channel_id = self._workspace.mint.channel_id(channel.id)
            self._channel_ids[channel.id] = channel_id
            self._writers[channel_id] = {}
            self._former[channel_id] = channel.former_names
            self._workspace.add_channel(
                Channel(
                    channel_id,
                    [(0, channel.name)],
                    channel.purpose,
                    private=channel.type == "private",
                    source_id=channel.id,
                )
            )

    def read_messages(self) -> None:
        """Read the messages and make posts, edits, deletions and renames of them."""
        revisions: dict[tuple[str, str], list[_Revision]] = {}
        if _path(self._folder, "revisions") is not None:
            for revision in _rows(self._folder, "revisions", _Revision):
                revisions.setdefault((revision.channel, revision.id), []).append(revision)
        for message in _rows(self._folder, "messages", _Message):
            self._add_message(message, revisions.get((message.channel, message.id), []))

    def scenario(self) -> Scenario:
        """Return the workspace as of a day before the first message, and the script."""
        workspace = self._workspace
        self._finish_names()
        began_ms = max(EARLIEST_MS, self._first_ms - DAY_MS) if self._actions else 0
        workspace.now_ms = began_ms
        for channel_id, channel in workspace.channels.items():
            channel.names[0] = (began_ms, channel.names[0][1])
            for rank, user_id in enumerate(self._writers[channel_id]):
                workspace.join(channel_id, user_id, affiliation="member" if rank else "moderator", at_ms=began_ms)
        self._actions.sort(key=lambda action: action.at_ms)
        return Scenario(workspace, self._actions)

    def _add_user(self, source_id: str, name: str, *, is_bot: bool = False) -> str:
        mint = self._workspace.mint
        user_id = mint.bot_id(source_id) if is_bot else mint.user_id(source_id)
        self._user_ids[source_id] = user_id
        self._workspace.add_person(
            Person(
                user_id,
                name,
                email="" if is_bot else f"{user_id.removeprefix('u:')}@example.com",
                is_bot=is_bot,
                source_id=source_id,
            )
        )
        return user_id

    def _user_id(self, source_id: str) -> str:
        known = self._user_ids.get(source_id)
        return known if known is not None else self._add_user(source_id, source_id)

    def _add_message(self, message: _Message, revisions: list[_Revision]) -> None:
        channel_id = self._channel_ids.get(message.channel)
        if channel_id is None:
            raise UsageError(
                f"message {message.id!r} names the channel {message.channel!r}, which the data set does not have"
            )
        sender = self._user_id(message.from_)
        writers = self._writers[channel_id]
        on_behalf_of = ""
        send_as = None
        if self._workspace.people[sender].is_bot:
            on_behalf_of = next(iter(writers), "")
            send_as = {"name": self._workspace.people[sender].first_name, "profileImage": ""}
        else:
            writers.setdefault(sender)
        mentions = tuple(self._user_id(mentioned) for mentioned in message.mentions)
        versions = [
            Version(
                at_ms=at_ms,
                text=text,
                mentions=mentions,
                attachments=self._attachments(files, message.ts_ms),
                on_behalf_of=on_behalf_of,
                send_as=send_as,
            )
            for at_ms, text, files in _states(message, revisions)
        ]
        posted = self._workspace.compose(sender, channel_id, versions[0], source_id=message.id)
        self._actions.append(Post(message.ts_ms, posted))
        self._actions.extend(Edit(version.at_ms, posted.uid, version) for version in versions[1:])
        if message.deleted:
            deleted_at_ms = max(versions[-1].at_ms, message.edited_ts_ms or 0) + _DELETED_AFTER_MS
            self._actions.append(Delete(deleted_at_ms, posted.uid))
        self._note_rename(message, channel_id)
        self._first_ms = min(self._first_ms, message.ts_ms)
        self._last_ms[channel_id] = max(self._last_ms.get(channel_id, message.ts_ms), versions[-1].at_ms)

    def _attachments(self, files: list[_File], at_ms: int) -> tuple[dict[str, Any], ...]:
        """Return files as Flock's attachments; what lives elsewhere becomes a link, with nothing to download."""
        attachments: list[dict[str, Any]] = []
        for file in files:
            attachment: dict[str, Any] = {"id": file.id, "title": file.name, "views": {}}
            if file.mode in _ELSEWHERE:
                attachment["url"] = file.url
            else:
                hosted = self._hosted(file, at_ms)
                download = {
                    "src": self._files_url + hosted.path,
                    "filename": file.name,
                    "mime": file.mime,
                    "size": hosted.size,
                }
                attachment["downloads"] = [{name: value for name, value in download.items() if value != ""}]
            attachments.append(attachment)
        return tuple(attachments)

    def _hosted(self, file: _File, at_ms: int) -> HostedFile:
        hosted = self._files.get(file.id)
        if hosted is None:
            workspace = self._workspace
            path = workspace.mint.file_path(str(workspace.team_id), file.id, at_ms)
            hosted = HostedFile(
                path=path,
                name=file.name,
                mime=file.mime,
                size=max(0, min(file.size, self._file_bytes_max)),
                key=file.id,
                mode="missing" if file.deleted else _MODES[int(path[-1], 16) % len(_MODES)],
            )
            self._files[file.id] = hosted
            workspace.host([hosted])
        return hosted

    def _note_rename(self, message: _Message, channel_id: str) -> None:
        if message.subtype != "channel_name":
            return
        found = _RENAMED.search(message.text)
        if found:
            former, name = found.groups()
            renames = self._renames.setdefault(channel_id, [])
            renames.append((message.ts_ms, former, name))

    def _finish_names(self) -> None:
        """Let each channel begin under its first name and end under the one it is known by."""
        for channel_id, channel in self._workspace.channels.items():
            final = channel.name
            renames = sorted(self._renames.get(channel_id, []))
            former = self._former.get(channel_id, [])
            if renames:
                channel.names[0] = (0, renames[0][1])
            elif former:
                channel.names[0] = (0, former[0])
            self._actions.extend(Rename(at_ms, channel_id, name) for at_ms, _, name in renames)
            last = renames[-1][2] if renames else channel.name
            if last != final and channel_id in self._last_ms:
                self._actions.append(Rename(self._last_ms[channel_id], channel_id, final))


def _states(message: _Message, revisions: list[_Revision]) -> list[tuple[int, str, list[_File]]]:
    """Return what a message said and since when, each state different from the one before."""
    known = [(_edited_ms(revision), revision.text, revision.attachments) for revision in revisions]
    if not known or (known[-1][1], known[-1][2]) != (message.text, message.attachments):
        known.append((message.edited_ts_ms, message.text, message.attachments))
    if message.deleted and len(known) > 1:
        # The last state is only the note that stands where the message was.
        known.pop()
    edited_first = (revisions[0].edited_ts_ms if revisions else message.edited_ts_ms) is not None
    if edited_first and not message.deleted:
        _, text, files = known[0]
        known.insert(0, (None, _draft_of(text), files))
    states: list[tuple[int, str, list[_File]]] = []
    for edited_ms, text, files in known:
        if not states:
            states.append((message.ts_ms, text, files))
        elif (text, files) != states[-1][1:]:
            states.append((max(states[-1][0] + 1, edited_ms or 0), text, files))
    return states


def _edited_ms(revision: _Revision) -> int | None:
    """Return when a revision was made, or else a moment of the day on which it was first seen."""
    if revision.edited_ts_ms is not None:
        return revision.edited_ts_ms
    try:
        return to_ms(datetime.fromisoformat(revision.seen).replace(tzinfo=UTC))
    except ValueError:
        return None


def _draft_of(text: str) -> str:
    """Return an invented former text: without the last word, or with a mark where that would leave nothing."""
    shorter = text.rstrip().rpartition(" ")[0]
    return shorter or f"{text}…"


def _path(folder: Path, name: str) -> Path | None:
    for candidate in (folder / f"{name}.jsonl.gz", folder / f"{name}.jsonl"):
        if candidate.is_file():
            return candidate
    return None


def _rows(folder: Path, name: str, kind: type[_Row]) -> Iterator[_Row]:
    """Yield the rows of one file; raises `UsageError` naming the line that cannot be read."""
    path = _path(folder, name)
    if path is None:
        raise UsageError(
            f"{folder} has no {name}.jsonl.gz and no {name}.jsonl", next_step="name the folder of a data set"
        )
    decode = msgspec.json.Decoder(kind).decode
    number = 0
    try:
        with _opened(path) as lines:
            while line := lines.readline(LINE_BYTES_MAX):
                number += 1
                if not line.isspace():
                    yield decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}, line {number}: {error}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path}, after line {number}: {error}") from None


def _opened(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")
