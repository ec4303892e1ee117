"""A portion of a conversation as the HTML part of a mail: text in the simplest of elements, every value escaped, nothing that is fetched.

Each message is an ``article`` and carries its digests, which a mail's other parts have no place for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

from archiver.discovery.export.formats.plain_transcript import (
    conversation_title,
    facts_of,
    file_text,
    gap_text,
    local_text,
    one_line,
)
from archiver.discovery.export.formats.portions import Portion
from archiver.discovery.export.record import Message, Terms, Version

_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")
_TEXT = 'dir="auto" style="white-space:pre-wrap"'


def page_chunks(portion: Portion) -> Iterator[bytes]:
    """Yield the page in UTF-8, a message at a time."""
    terms, part = portion.terms, portion.part
    title = conversation_title(part.conversation)
    label = f", {portion.label}" if portion.label else ""
    head = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{_safe(title)}, {part.day}</title></head><body>\n"
        f"<h1><bdi>{_safe(title)}</bdi>, {part.day}{label}</h1>\n"
        f"<p>Times in {_safe(terms.zone.key)}. Matter {_safe(one_line(terms.matter))}, archive {_safe(terms.archive_id)}, "
        f"commit {terms.head_sequence}, {_safe(terms.head_digest)}.</p>\n"
    )
    gaps = "".join(f"<p><b>{_safe(gap_text(gap, terms.zone))}</b></p>\n" for gap in part.gaps)
    yield (head + gaps).encode()
    for message in portion.piece.messages:
        yield _article(message, terms).encode()
    yield b"</body></html>\n"


def _article(message: Message, terms: Terms) -> str:
    sender = message.sender
    sent = local_text(message.sent_at_ms, terms.zone)
    further = [*facts_of(message, terms.zone), *(f"file {file_text(file)}" for file in message.files)]
    facts = "".join(f"<li>{_safe(fact)}</li>" for fact in further)
    earlier = "".join(
        f"<blockquote><p>Version {version.number}, seen {local_text(version.observed_at_ms, terms.zone)}</p>"
        f"<div {_TEXT}>{_safe(version.text)}</div></blockquote>\n"
        for version in message.versions[:-1]
    )
    digests = "<br>".join(_digests(version) for version in message.versions)
    return (
        f"<article><p><b><bdi>{_safe(one_line(sender.shown))}</bdi></b> "
        f"<bdi>{_safe(one_line(sender.email or ''))}</bdi> {_safe(sender.user_id)} {sent} "
        f"{_safe(message.control_number)} <bdi>{_safe(one_line(message.message_uid))}</bdi></p>\n"
        f"<div {_TEXT}>{_safe(message.newest.text)}</div>\n"
        f"{f'<ul>{facts}</ul>' if facts else ''}\n{earlier}<p><small>{digests}</small></p></article>\n"
    )


def _digests(version: Version) -> str:
    return (
        f"version {version.number}: content SHA-256 {_safe(version.content_digest)}, as received {_safe(version.raw_digest)}, "
        f"commit {version.commit}, {_safe(version.object_key)}"
    )


def _safe(text: str) -> str:
    return escape(_CONTROLS.sub("\ufffd", text))
