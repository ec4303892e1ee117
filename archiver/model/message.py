"""A message as the archive knows it: what it says, and under which key."""

from __future__ import annotations

from typing import Literal

import msgspec

from archiver.ids import ChatKind

# Where a message came from: pushed by a webhook or an event, fetched by uid, read from a declared source of paged history, or
# imported from a file that somebody brought.
Source = Literal["webhook", "event", "fetch", "history", "import"]

# Which fact the sending time rests on, best first (flock-api.md 6.1, parsing rule).
SentAtBasis = Literal["timestampInMillis", "timestamp", "uid", "observed"]


class Attachment(msgspec.Struct, frozen=True, gc=False):
    """One downloadable file of a message: an entry of ``downloads`` or an image view (flock-api.md 6.2)."""

    ordinal: int
    kind: Literal["download", "image", "thumbnail"]
    url: str
    name: str | None
    mime: str | None
    size: int | None


class Message(msgspec.Struct, frozen=True, gc=False):
    """One content of one message, as a single capture shows it. ``version`` and ``supersedes`` come with the commit.

    ``raw`` is the JSON exactly as received and ``raw_digest`` its SHA-256; ``content_digest`` is the SHA-256 of the
    canonical form of what the message says (see `archiver.normalise.content`). Times are milliseconds since 1970 UTC.
    ``uid_provisional`` is True where Flock gave no uid and ``message_uid`` is derived from the content and the
    arrival time.
    """

    chat_id: str
    chat_kind: ChatKind
    message_uid: str
    uid_provisional: bool
    sent_at_ms: int
    sent_at_basis: SentAtBasis
    observed_at_ms: int
    source: Source
    captured_by: str
    sender_id: str
    send_as_name: str | None
    on_behalf_of: str | None
    app_id: str | None
    text: str
    flockml: str | None
    notification: str | None
    plain_text: str
    mentions: list[str] | None
    visible_to: list[str] | None
    attachments: str | None
    files: tuple[Attachment, ...]
    client_id: str | None
    raw: str
    raw_digest: str
    content_digest: str
