"""Records of a Slack export as messages: senders of all kinds, edits, deletions, files, and text as a reader sees it.

The shapes are those of Slack's documentation of its events and exports. A record stays whole in ``raw``, so threads, reactions
and everything that has no column here are there too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import unescape
from typing import Any, Final

from archiver.capture.imports.instants import TimeRule, instant_of
from archiver.capture.imports.records import Room
from archiver.capture.imports.slack_people import SlackDirectory, text_of
from archiver.errors import UnparseableError
from archiver.normalise.imported import ImportedMessage
from archiver.normalise.message import IDENTIFIER_LENGTH_MAX_CHARACTERS

# Who is behind a record that names nobody.
NOBODY: Final = "nobody"

_TS: Final = re.compile(r"\d{1,12}(\.\d{1,9})?")
_SECONDS: Final = TimeRule(("ts",), unit="seconds")
_MENTION: Final = re.compile(r"<@([A-Z0-9]+)(?:\|[^<>]*)?>")
_MARKUP: Final = re.compile(r"<([@#!]?)([^<>|]+)(?:\|([^<>]*))?>")
# Of these records of an export with edits, one message stands inside another place of the record.
_CHANGED: Final = "message_changed"
_DELETED: Final = "message_deleted"
_OLD: Final = ("previous_message", "previous", "original")
_CANNOT_BE_FETCHED: Final = frozenset({"tombstone", "hidden_by_limit", "file_access"})
_BLOCKS_DEEP_MAX: Final = 12


def said_by(
    fields: Mapping[str, Any], raw: str, room: Room, directory: SlackDirectory, *, now_ms: int
) -> list[ImportedMessage] | str:
    """Return the messages that a record shows, in order, or what it is if it shows none; raises `UnparseableError`.

    An edit shows the message before it and after it; a deletion shows what was deleted.
    """
    subtype = text_of(fields, "subtype")
    if fields.get("type", "message") != "message":
        return f"slack:{text_of(fields, 'type') or 'unknown'}"
    if subtype in (_CHANGED, _DELETED):
        shown = [fields[name] for name in _OLD if isinstance(fields.get(name), dict)][:1]
        if subtype == _CHANGED and isinstance(fields.get("message"), dict):
            shown.append(fields["message"])
        messages = [_message(one, raw, room, directory, now_ms=now_ms) for one in shown]
        return messages or f"slack:{subtype}"
    if subtype == "message_replied":
        return f"slack:{subtype}"
    return [_message(fields, raw, room, directory, now_ms=now_ms)]


def rename_of(fields: Mapping[str, Any], *, now_ms: int) -> tuple[int, str, str] | None:
    """Return when a channel was renamed, from what and to what, if a record tells that."""
    if fields.get("subtype") not in ("channel_name", "group_name"):
        return None
    old, new = text_of(fields, "old_name"), text_of(fields, "name")
    if old is None or new is None:
        return None
    try:
        return _sent_at(fields, now_ms=now_ms)[1], old, new
    except UnparseableError:
        return None


def _sent_at(fields: Mapping[str, Any], *, now_ms: int) -> tuple[str, int]:
    ts = fields.get("ts")
    if not isinstance(ts, str) or not _TS.fullmatch(ts):
        raise UnparseableError("it has no ts, which is Slack's name for a message")
    return ts, instant_of(ts, _SECONDS, now_ms=now_ms)


def _message(
    fields: Mapping[str, Any], raw: str, room: Room, directory: SlackDirectory, *, now_ms: int
) -> ImportedMessage:
    ts, sent_at_ms = _sent_at(fields, now_ms=now_ms)
    text = fields.get("text")
    text = text if isinstance(text, str) else ""
    attachments = [*_files(fields), *_previews(fields)]
    bot = text_of(fields, "app_id") or text_of(fields, "bot_id")
    return ImportedMessage(
        chat_id=room.chat_id,
        chat_kind=room.chat_kind,
        uid=ts,
        sent_at_ms=sent_at_ms,
        sender_id=directory.id_of(_sender(fields)),
        raw=raw,
        text=text,
        plain_text=_plain(text, fields, attachments, directory),
        send_as_name=text_of(fields, "username"),
        app_id=directory.id_of(bot) if bot else None,
        mentions=list(dict.fromkeys(map(directory.id_of, _MENTION.findall(text)))) or None,
        attachments=attachments or None,
        client_id=text_of(fields, "client_msg_id"),
    )


def _sender(fields: Mapping[str, Any]) -> str:
    comment = fields.get("comment")
    candidates = (
        text_of(fields, "user"),
        text_of(fields, "bot_id"),
        text_of(comment, "user") if isinstance(comment, dict) else None,
        text_of(fields, "username"),
    )
    sender = next(filter(None, candidates), NOBODY)
    if len(sender) > IDENTIFIER_LENGTH_MAX_CHARACTERS:
        raise UnparseableError("its sender is too long for an identifier")
    return sender


def _files(fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the files of a message as Flock's attachments; one that is gone keeps its name and Slack's word for that."""
    listed = fields.get("files")
    entries = list(listed) if isinstance(listed, list) else []
    if not entries and isinstance(fields.get("file"), dict):
        entries = [fields["file"]]
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        mode = text_of(entry, "mode")
        is_there = mode not in _CANNOT_BE_FETCHED
        size = entry.get("size")
        facts = {
            "src": (text_of(entry, "url_private_download") or text_of(entry, "url_private")) if is_there else None,
            "filename": text_of(entry, "name") or text_of(entry, "title"),
            "mime": text_of(entry, "mimetype"),
            "size": size if type(size) is int and 0 <= size < 2**63 else None,
            "mode": None if is_there else mode,
            "id": text_of(entry, "id"),
        }
        yield {"downloads": [{name: value for name, value in facts.items() if value is not None}]}


def _previews(fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what Slack calls attachments: what a bot posted, or the preview of a link."""
    listed = fields.get("attachments")
    for entry in listed if isinstance(listed, list) else ():
        if not isinstance(entry, dict):
            continue
        facts = {
            "title": text_of(entry, "title"),
            "description": text_of(entry, "text") or text_of(entry, "fallback"),
            "url": text_of(entry, "title_link") or text_of(entry, "from_url"),
        }
        if any(facts.values()):
            yield {name: value for name, value in facts.items() if value}


def _plain(text: str, fields: Mapping[str, Any], attachments: list[dict[str, Any]], directory: SlackDirectory) -> str:
    """Return what a reader sees: names for ids, links spelt out, and where there is no text, what blocks or previews say."""
    shown = unescape(_MARKUP.sub(lambda found: _spelt(found, directory), text))
    if shown:
        return shown
    blocks = fields.get("blocks")
    lines = list(_block_texts(blocks, 0)) if isinstance(blocks, list) else []
    if not lines:
        lines = [entry[name] for entry in attachments for name in ("title", "description") if name in entry]
    return unescape(_MARKUP.sub(lambda found: _spelt(found, directory), "\n".join(lines)))


def _spelt(found: re.Match[str], directory: SlackDirectory) -> str:
    sign, target, label = found[1], found[2], found[3]
    if sign == "@":
        return f"@{directory.names.get(target) or label or target}"
    if sign == "#":
        return f"#{label or directory.room_names.get(target) or target}"
    if sign == "!":
        return label or f"@{target.partition('^')[0]}"
    return f"{label} ({target})" if label and label != target else target


def _block_texts(blocks: list[Any], depth: int) -> Iterator[str]:
    """Yield the texts in blocks, in their order."""
    if depth > _BLOCKS_DEEP_MAX:
        return
    for block in blocks:
        if not isinstance(block, dict):
            continue
        text = block.get("text")
        if isinstance(text, str) and text:
            yield text
        elif isinstance(text, dict):
            yield from _block_texts([text], depth + 1)
        for name in ("elements", "fields"):
            if isinstance(block.get(name), list):
                yield from _block_texts(block[name], depth + 1)
