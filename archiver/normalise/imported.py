"""Messages that somebody brought in a file: what their record says in Flock's terms, beside the record as it stood there.

A record of another system is no message object of Flock's, so what it says is not read from ``raw`` again, as it is
everywhere else, but from the columns: they and ``content_digest`` hold exactly what the import made of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

import msgspec

from archiver.ids import ChatKind
from archiver.model.message import Message, Source
from archiver.normalise.content import canonical_json, digest_of, digest_of_text
from archiver.normalise.flockml import to_plain_text
from archiver.normalise.message import PROVISIONAL_PREFIX, files_of

IMPORT: Final[Source] = "import"

# Where a content field of Flock's stands in a row of messages; ``sendAs`` and ``attachments`` are objects and go their own way.
_COLUMN_OF: Final = {
    "appId": "app_id",
    "flockml": "flockml",
    "mentions": "mentions",
    "notification": "notification",
    "onBehalfOf": "on_behalf_of",
    "visibleTo": "visible_to",
}
# The columns of a row of messages that tell what an imported message says.
SAID_COLUMNS: Final = ("text", "send_as_name", "attachments", *_COLUMN_OF.values())


class ImportedMessage(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What one record says: ids as in the archive, the time in milliseconds, attachments as Flock writes them.

    ``plain_text`` is given where a reader sees something else than ``text``. ``raw`` is the record as it stood in the file.
    ``sender_name`` is what the record calls the sender, for the directory.
    """

    chat_id: str
    chat_kind: ChatKind
    uid: str
    sent_at_ms: int
    sender_id: str
    raw: str
    uid_provisional: bool = False
    text: str = ""
    plain_text: str | None = None
    flockml: str | None = None
    notification: str | None = None
    send_as_name: str | None = None
    on_behalf_of: str | None = None
    app_id: str | None = None
    mentions: list[str] | None = None
    visible_to: list[str] | None = None
    attachments: list[dict[str, Any]] | None = None
    client_id: str | None = None
    sender_name: str | None = None


def to_message(said: ImportedMessage, *, observed_at_ms: int, captured_by: str) -> Message:
    """Return an imported message as the archive knows messages."""
    plain = said.plain_text
    if plain is None:
        plain = to_plain_text(said.flockml) if said.flockml else said.text
    columns: dict[str, Any] = {
        "text": said.text,
        "send_as_name": said.send_as_name or None,
        "attachments": canonical_json(said.attachments).decode() if said.attachments else None,
        "app_id": said.app_id or None,
        "flockml": said.flockml or None,
        "mentions": said.mentions or None,
        "notification": said.notification or None,
        "on_behalf_of": said.on_behalf_of or None,
        "visible_to": said.visible_to or None,
    }
    # Most messages say nothing but a text, and telling that is quicker than writing it out.
    says_more = any(value for column, value in columns.items() if column != "text")
    return Message(
        chat_id=said.chat_id,
        chat_kind=said.chat_kind,
        message_uid=said.uid,
        uid_provisional=said.uid_provisional,
        sent_at_ms=said.sent_at_ms,
        sent_at_basis="timestamp",
        observed_at_ms=observed_at_ms,
        source=IMPORT,
        captured_by=captured_by,
        sender_id=said.sender_id,
        plain_text=plain,
        files=tuple(files_of(said.attachments)) if said.attachments else (),
        client_id=said.client_id,
        raw=said.raw,
        raw_digest=sha256(said.raw.encode()).hexdigest(),
        content_digest=digest_of(_content(columns)) if says_more else digest_of_text(said.text),
        **columns,
    )


def message_of_row(row: Mapping[str, Any], *, observed_at_ms: int, sent_at_ms: int) -> Message:
    """Return the imported message that a row of messages was made of; the row has all columns that a message decides."""
    attachments = json.loads(row["attachments"]) if row["attachments"] else []
    kept: dict[str, Any] = {name: row[name] for name in Message.__struct_fields__ if name in row}
    kept |= {"sent_at_ms": sent_at_ms, "observed_at_ms": observed_at_ms, "files": tuple(files_of(attachments))}
    return Message(uid_provisional=row["message_uid"].startswith(PROVISIONAL_PREFIX), **kept)


def said_columns(message: Message) -> dict[str, Any]:
    """Return what an imported message says, by column."""
    return {column: getattr(message, column) for column in SAID_COLUMNS}


def said_text(columns: Mapping[str, Any]) -> str:
    """Return what a row's `SAID_COLUMNS` say as a JSON object with Flock's content fields, as ``raw`` says it of Flock's own."""
    return canonical_json(_content(columns)).decode()


def _content(columns: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {"text": columns["text"]}
    fields |= {name: columns[column] for name, column in _COLUMN_OF.items() if columns[column]}
    if columns["send_as_name"]:
        fields["sendAs"] = {"name": columns["send_as_name"]}
    if columns["attachments"]:
        fields["attachments"] = json.loads(columns["attachments"])
    return fields
