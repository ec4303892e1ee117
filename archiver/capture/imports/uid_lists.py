"""Lists of uids: messages of Flock's that somebody wants archived, one-to-one chats and messages of any age too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from archiver.capture.imports.opened import OpenedFile, lines_of
from archiver.capture.imports.records import Item, Source, Tally, Unreadable, Wanted, unreadable
from archiver.capture.imports.tabular import CsvForm, csv_rows
from archiver.errors import UnparseableError, UsageError
from archiver.ids import direct_chat_id, is_channel, is_foreign, parties_of
from archiver.normalise.message import IDENTIFIER_LENGTH_MAX_CHARACTERS, read_object

ListForm = Literal["lines", "csv", "jsonl"]
_FIELDS: Final = ("chat", "uid", "as")
_INTEGER_MAX: Final = 10**30


@dataclass(frozen=True, slots=True)
class Defaults:
    """The chat and the user of uids that name none, empty if there is none."""

    chat: str = ""
    user_id: str = ""


def uid_list(source: OpenedFile, *, form: ListForm, defaults: Defaults) -> Source:
    """Return a list of uids as a source; raises `UsageError` where plain lines have no chat."""
    if form == "lines" and not defaults.chat:
        raise UsageError(
            "a list of uids alone does not say in which chat they are",
            next_step="name it with --chat, or bring CSV or JSON lines with the fields chat and uid",
        )
    if defaults.chat:
        try:
            _chat_id(defaults.chat, defaults.user_id)
        except UnparseableError as error:
            raise UsageError(f"--chat: {error.what}", next_step="see `archiver import uids --help`") from None

    def items(_tally: Tally) -> Iterator[Item]:
        if form == "csv":
            for row in csv_rows(source, CsvForm()):
                yield row if isinstance(row, Unreadable) else _item(row.place, row.raw.encode(), row.values, defaults)
            return
        for line in lines_of(source):
            if isinstance(line, Unreadable):
                yield line
                continue
            number, data = line
            if data.strip():
                yield _of_line(f"line {number}", data, defaults, is_json=form == "jsonl")

    reading = {"form": form, "chat": defaults.chat, "as": defaults.user_id}
    return Source("uids", source.file, reading, items, source.check_unchanged)


def _of_line(place: str, data: bytes, defaults: Defaults, *, is_json: bool) -> Item:
    try:
        if is_json:
            return _item(place, data, read_object(data), defaults)
        text = data.decode("utf-8-sig").strip()
    except UnparseableError as error:
        return unreadable(place, error.what, data)
    except UnicodeDecodeError as error:
        return unreadable(place, f"not UTF-8: {error.reason}", data)
    return _item(place, data, {"uid": text}, defaults)


def _item(place: str, raw: bytes, fields: Mapping[str, Any], defaults: Defaults) -> Item:
    try:
        return _wanted(place, fields, defaults)
    except UnparseableError as error:
        return unreadable(place, error.what, raw)


def _wanted(place: str, fields: Mapping[str, Any], defaults: Defaults) -> Wanted:
    chat, uid, user_id = (_text(fields, name) for name in _FIELDS)
    if not uid:
        raise UnparseableError("it has no uid")
    if any(character.isspace() or not character.isprintable() for character in uid):
        raise UnparseableError("a uid holds no white space")
    user_id = user_id or defaults.user_id
    chat = chat or defaults.chat
    if not chat:
        raise UnparseableError("it names no chat, and there is no --chat")
    return Wanted(place, _chat_id(chat, user_id), user_id, uid)


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UnparseableError(f"field '{name}' is no text")
    text = value.strip() if isinstance(value, str) else str(value) if abs(value) < _INTEGER_MAX else None
    if text is None or len(text) > IDENTIFIER_LENGTH_MAX_CHARACTERS:
        raise UnparseableError(f"field '{name}' is too long for an identifier")
    return text


def _chat_id(chat: str, user_id: str) -> str:
    """Return the archive's id of a chat that is named as a channel, as two users, or as the side other than ``user_id``."""
    if is_foreign(chat):
        raise UnparseableError("this chat was imported from elsewhere; Flock cannot be asked for it")
    if is_channel(chat):
        return chat
    parties = parties_of(chat)
    if parties is not None:
        if not all(parties) or "," in parties[1]:
            raise UnparseableError("a one-to-one chat is named by its two users, with a comma between them")
        return direct_chat_id(*parties)
    if not user_id:
        raise UnparseableError(
            "a one-to-one chat needs both its users: name them with a comma, or say with 'as' whom to ask as"
        )
    return direct_chat_id(chat, user_id)
