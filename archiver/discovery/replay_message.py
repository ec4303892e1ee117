"""What a replayed message looks like in Flock: who said it, what, when, what was attached, and a mark by which it is known again.

It is posted by a user who installed the app, shown under the name and picture of its sender where a picture is known (``sendAs`` needs
both, flock-api.md 5.1), else with the name before the text. Nobody is mentioned anew. Flock has no method that takes a file, so a file
is its link, as one attachment where there is one (Flock's stated limit), and is named with its size and SHA-256 in any case.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import msgspec

from archiver.clock import from_ms

# Flock documents no limit; a client in the field takes 32,768 characters (flock-api.md 5.1), and a part stays well below with its mark.
TEXT_CHARACTERS_MAX: Final = 30_000
ATTACHMENT_BYTES_MAX: Final = 64 * 1024
NAME_CHARACTERS_MAX: Final = 100

MARK: Final = re.compile(r"flock-archiver:replay:([0-9a-f]{16})")
_MARK_CHARACTERS: Final = 16
_LINK: Final = re.compile(r"https?://\S+")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class AttachedFile:
    """A file of a message as the archive knows it; ``digest`` is None where its bytes were never captured."""

    name: str
    url: str
    mime: str | None
    bytes: int | None
    digest: str | None


@dataclass(frozen=True, slots=True)
class Source:
    """A message as it is replayed: the last version that the archive has of it. ``image`` is the sender's picture, if known."""

    chat_id: str
    message_uid: str
    sent_at_ms: int
    sender: str
    image: str | None
    text: str
    files: tuple[AttachedFile, ...]


@dataclass(frozen=True, slots=True)
class Post:
    """One call of Flock: the part of a message that it posts, its mark, and its parameters but for the channel."""

    source: Source
    part: int
    mark: str
    fields: Mapping[str, str]


def posts_of(source: Source, *, archive_id: str, channel: str) -> Iterator[Post]:
    """Yield what a message is posted as: one post, or several where its text is too long for one."""
    texts = _parts(source)
    name = _UNPRINTABLE.sub("", source.sender)[:NAME_CHARACTERS_MAX].strip() or source.chat_id
    for number, said in enumerate(texts, 1):
        mark = mark_of(source, number, archive_id=archive_id, channel=channel)
        of = f" · part {number} of {len(texts)}" if len(texts) > 1 else ""
        files = source.files if number == len(texts) else ()
        lines = [
            said if source.image else f"{name}: {said}",
            *map(_described, files),
            f"[sent {_said(source.sent_at_ms)}{of} · replayed from the archive · flock-archiver:replay:{mark}]",
        ]
        fields = {"text": "\n".join(filter(None, lines))}
        if source.image:
            fields["sendAs"] = _json({"name": name, "profileImage": source.image})
        attachment = _attachment(files)
        if attachment is not None:
            fields["attachments"] = attachment
        yield Post(source, number, mark, fields)


def mark_of(source: Source, part: int, *, archive_id: str, channel: str) -> str:
    """Return the mark of one part of a message in one channel: the same whenever it is worked out."""
    what = _json([archive_id, channel, source.chat_id, source.message_uid, part])
    return sha256(what.encode()).hexdigest()[:_MARK_CHARACTERS]


def marks_in(text: str) -> list[str]:
    """Return the marks that a text carries."""
    return MARK.findall(text)


def _parts(source: Source) -> list[str]:
    text = _UNPRINTABLE.sub("", source.text)
    if len(text) <= TEXT_CHARACTERS_MAX:
        return [text]
    parts: list[str] = []
    while text:
        end = (
            len(text)
            if len(text) <= TEXT_CHARACTERS_MAX
            else text.rfind("\n", TEXT_CHARACTERS_MAX // 2, TEXT_CHARACTERS_MAX)
        )
        end = TEXT_CHARACTERS_MAX if end <= 0 else end
        parts.append(text[:end])
        text = text[end:].removeprefix("\n")
    return parts


def _described(file: AttachedFile) -> str:
    size = "size unknown" if file.bytes is None else f"{file.bytes:,} bytes"
    digest = f"SHA-256 {file.digest}" if file.digest else "never captured"
    return f"[file: {_UNPRINTABLE.sub('', file.name)[:NAME_CHARACTERS_MAX]} · {size} · {digest}]"


def _attachment(files: Sequence[AttachedFile]) -> str | None:
    """Return Flock's attachments with the links of the files; None where none has a link, or they are too large for one."""
    downloads: list[dict[str, Any]] = []
    for file in files:
        if _LINK.fullmatch(file.url):
            known = {"src": file.url, "filename": file.name, "mime": file.mime, "size": file.bytes}
            downloads.append({name: value for name, value in known.items() if value is not None})
    text = _json([{"title": "Files of the message, as linked when it was sent", "downloads": downloads}])
    return text if downloads and len(text.encode()) <= ATTACHMENT_BYTES_MAX else None


def _said(at_ms: int) -> str:
    return f"{from_ms(at_ms):%Y-%m-%d %H:%M:%S} UTC"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
