"""Messages as plain text, for whatever has room for text only: the body of a mail, the extracted text of a load file.

A message opens with a line in the first column, its text stands four columns in, and what is told of it two columns in after two
hyphens. No text can fake another message, because no line of a text reaches the first column: everything that some viewer breaks a line at
begins a new indented line. Names lose what could break or turn a line round; texts keep every other character.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from zoneinfo import ZoneInfo

from archiver.clock import DAY_MS, EARLIEST_MS, LATEST_MS, from_ms, to_text
from archiver.discovery.export.formats.instants import zoned
from archiver.discovery.export.record import Conversation, File, GapNote, Message, Person

NOT_RETURNED_MEANING = (
    "it may have been deleted, have expired, or no longer be shown to the account that asked; its text is as captured"
)
EMBEDDED_BYTES_MAX = 1_400_000_000
"""Of one file in a mail or RSMF: base64 makes 1.9 GB of it, and an RSMF may have 2 GB. A larger file stays among the natives."""

LEFT_OUT = "the bytes of files were left out of this export"

_TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_CONTROLS = re.compile("[\x00-\x20\x7f-\x9f\u2028\u2029]+")
# Of ``2026-11-22T19:05:00.123+01:00``; an offset to the second makes it longer.
_LOCAL_CHARACTERS = 29


def one_line(text: str) -> str:
    """Return a name that stays in its line: controls become one space, characters that turn the direction of writing U+FFFD."""
    if (
        text.isprintable() and "  " not in text
    ):  # nearly every name, and much quicker than to look for what is not there
        return text.strip(" ")
    return _TURNING.sub("\ufffd", _CONTROLS.sub(" ", text)).strip()


@lru_cache(maxsize=4_096)
def local_text(at_ms: int, zone: ZoneInfo) -> str:
    """Return an instant as RFC 3339 in a zone, to the millisecond, in UTC where the zone's offset is no whole minute there.

    Zones had offsets to the second before about 1900, which RFC 3339 cannot say.
    """
    if not EARLIEST_MS + DAY_MS < at_ms < LATEST_MS - DAY_MS:  # the zone's clock may show a year that there is not
        try:
            offset = from_ms(at_ms).astimezone(zone).utcoffset()
        except OverflowError:
            offset = None
        if offset is None:
            return to_text(at_ms)
    text = zoned(at_ms, zone)
    return text if len(text) == _LOCAL_CHARACTERS else to_text(at_ms)


@lru_cache(maxsize=4_096)
def addressed(person: Person) -> str:
    """Return a person's name with their address and id, in one line, each only once."""
    name, email, user_id = one_line(person.shown), one_line(person.email or ""), one_line(person.user_id)
    further = [part for part in (email, user_id) if part and part != name]
    return f"{name} ({', '.join(further)})" if further else name


def conversation_title(conversation: Conversation) -> str:
    """Return what a conversation is called, in one line, for subjects and headings."""
    return one_line(conversation.shown) or one_line(conversation.chat_id) or "conversation"


def part_of_day(part: int, parts: int, *, piece: int = 1, pieces: int = 1) -> str:
    """Return ``part N of M`` of a day that is split, else nothing; a part that a format had to split further says so too."""
    if parts == 1:
        return f"part {piece} of {pieces}" if pieces > 1 else ""
    return f"part {part} of {parts}" + (f", piece {piece} of {pieces}" if pieces > 1 else "")


def is_embedded(file: File) -> bool:
    """Tell whether a file's bytes go into a mail: they are in the package, and not too large for any mail."""
    return file.path is not None and file.sha256 is not None and (file.size or 0) <= EMBEDDED_BYTES_MAX


def why_missing(file: File) -> str:
    """Say why a file's bytes are not where one looks for them."""
    if file.path is not None and file.sha256 is not None:
        return f"its {file.size} bytes are too many to stand here; they lie in the package at data/{file.path}"
    digest = "" if file.sha256 is None else f"; the SHA-256 of its bytes is {file.sha256}"
    if file.reason is None and file.sha256 is not None:
        return f"{LEFT_OUT}{digest}"
    return f"its bytes are not here ({one_line(file.status)}): {one_line(file.reason or 'no reason is known')}{digest}"


def placeholder(file: File) -> str:
    """Return the text that stands in place of a file."""
    size = "" if file.size is None else f"Size as Flock told it: {file.size} bytes\n"
    return (
        "This stands in place of a file.\n\n"
        f"Control number: {one_line(file.control_number)}\n"
        f"Name: {one_line(file.name)}\n"
        f"{size}"
        f"Why: {why_missing(file)}\n"
    )


def gap_text(gap: GapNote, zone: ZoneInfo) -> str:
    """Say in one line what may be missing."""
    begins = "an unknown time" if gap.from_at_ms is None else local_text(gap.from_at_ms, zone)
    ends = "an unknown time" if gap.to_at_ms is None else local_text(gap.to_at_ms, zone)
    subject = f" Subject: {one_line(gap.subject)}." if gap.subject else ""
    return (
        f"Something may be missing here ({one_line(gap.kind)}, {gap.count}), from {begins} to {ends}: "
        f"{one_line(gap.evidence)}.{subject} Gap {one_line(gap.gap_id)}"
    )


def message_lines(message: Message, zone: ZoneInfo) -> list[str]:
    """Return a message as lines without their ends: who, when, the text, what is told of it, its files, its earlier versions."""
    which = f"{one_line(message.control_number)} / {one_line(message.message_uid)}"
    lines = [
        f"[{local_text(message.sent_at_ms, zone)}] {addressed(message.sender)}  {which}",
        *_indented(message.newest.text),
        *[f"  -- {fact}" for fact in facts_of(message, zone)],
        *[f"  -- file {file_text(file)}" for file in message.files],
    ]
    for version in message.versions[:-1]:
        lines.append(f"  -- version {version.number}, seen {local_text(version.observed_at_ms, zone)}, said:")
        lines += _indented(version.text)
    return lines


def facts_of(message: Message, zone: ZoneInfo) -> Iterator[str]:
    """Yield in a line each what is to be known of a message beside its text and its files."""
    if message.is_context:
        yield "context: this message was not asked for and stands around what was"
    if message.send_as_name:
        yield f"shown under the name {one_line(message.send_as_name)}"
    if message.on_behalf_of is not None:
        yield f"posted on behalf of {addressed(message.on_behalf_of)}"
    if message.app_id:
        yield f"posted by the app {one_line(message.app_id)}"
    if message.visible_to:
        yield f"visible only to {', '.join(map(addressed, message.visible_to))}"
    if message.reply_to:
        yield f"seems to reply to {one_line(message.reply_to)} (inferred)"
    if message.not_returned_since_ms is not None:
        since = local_text(message.not_returned_since_ms, zone)
        yield f"Flock has not returned this message since {since}: {NOT_RETURNED_MEANING}"
    if message.redactions:
        yield f"{message.redactions} places were redacted"
    if len(message.versions) > 1:
        seen = local_text(message.newest.observed_at_ms, zone)
        yield f"edited: this is version {message.newest.number}, seen {seen}; earlier versions follow"


def file_text(file: File) -> str:
    """Tell of a file in one line."""
    told = f"{one_line(file.name)} ({one_line(file.control_number)}"
    if file.size is not None:
        told += f", {file.size} bytes"
    if file.sha256 is not None:
        told += f", SHA-256 {file.sha256}"
    return f"{told})" if file.path is not None else f"{told}) is not here: {why_missing(file)}"


def _indented(text: str) -> list[str]:
    # `splitlines` breaks at everything that a viewer may break a line at, also U+0085 and U+2028.
    return [f"    {line}" for line in text.splitlines()]
