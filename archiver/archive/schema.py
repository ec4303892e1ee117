"""The tables of archive format 1: columns, types, order. What a column means stands here and nowhere else.

Instants are ``timestamp('ms', tz='UTC')``, digests are SHA-256 as 64 hex digits (so that ``sha256sum`` can be held
against them), JSON stays JSON text. Each table lies in ``<table>/dt=YYYY-MM-DD/``, where the day is the UTC day of the
table's `Table.day_column`.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

FORMAT = 1

_INSTANT = pa.timestamp("ms", tz="UTC")
_STRINGS = pa.list_(pa.field("element", pa.string(), nullable=False))


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its schema, the instant that decides the partition, and how its files are laid out.

    ``sort`` is the order of rows in every file; ``dictionary`` names the columns with few distinct values; ``bloom``
    the columns that are looked up by value; ``range_columns`` those whose least and greatest value the ledger keeps
    for each file. ``added`` are columns that files written by earlier versions of the software do not have.
    """

    name: str
    schema: pa.Schema
    day_column: str
    sort: tuple[str, ...]
    dictionary: tuple[str, ...]
    bloom: tuple[str, ...]
    range_columns: tuple[str, ...]
    open_when: tuple[str, frozenset[str]] | None = None
    added: tuple[str, ...] = ()


def _column(name: str, kind: pa.DataType, meaning: str, *, required: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=not required, metadata={"meaning": meaning})


def _text(name: str, meaning: str, *, required: bool = False) -> pa.Field:
    return _column(name, pa.string(), meaning, required=required)


def _instant(name: str, meaning: str, *, required: bool = False) -> pa.Field:
    return _column(name, _INSTANT, meaning, required=required)


_CHAT_ID = _text(
    "chat_id", "channel id, or the two user ids of a one-to-one chat in order, joined by a comma", required=True
)
_CHAT_KIND = _text("chat_kind", "channel or direct", required=True)
_MESSAGE_UID = _text(
    "message_uid", "Flock's uid, or that of an imported record; a derived one starts with provisional:", required=True
)
_VERSION = _column("version", pa.int32(), "1 for the first content seen of this message, counting up", required=True)
_CAPTURED_BY = _text("captured_by", "the feed, the user whose token saw it, or the import", required=True)
_OBSERVED_AT = _instant("observed_at", "when we received it", required=True)

MESSAGES = Table(
    name="messages",
    schema=pa.schema(
        [
            _CHAT_ID,
            _CHAT_KIND,
            _MESSAGE_UID,
            _VERSION,
            _instant("sent_at", "when Flock, or the imported record, says it was sent", required=True),
            _text(
                "sent_at_basis",
                "the fact that sent_at rests on: timestampInMillis, timestamp, uid or observed",
                required=True,
            ),
            _OBSERVED_AT,
            _text("source", "webhook, event, fetch, history or import", required=True),
            _CAPTURED_BY,
            _text("sender_id", "user id of the true sender", required=True),
            _text("sender_name", "the sender's name in the directory when the message was archived"),
            _text("send_as_name", "the name shown instead of the sender's (sendAs)"),
            _text("on_behalf_of", "the user a bot posted for"),
            _text("app_id", "the sending app"),
            _text("text", "the text exactly as sent", required=True),
            _text("flockml", "the FlockML exactly as sent"),
            _text("notification", "the notification text"),
            _text(
                "plain_text",
                "what a reader sees: FlockML as text if there is any, else the text; equal to flockml where that cannot be read",
                required=True,
            ),
            _column("mentions", _STRINGS, "user ids mentioned"),
            _column("visible_to", _STRINGS, "user ids that could see it, if limited"),
            _text("attachments", "the attachments as received, JSON; of an imported message in Flock's form"),
            _column("blob_digests", _STRINGS, "SHA-256 of the files stored with this version when it was committed"),
            _text("client_id", "the id the client chose; not unique"),
            _text(
                "raw",
                "the message exactly as received, JSON; of an imported one its record as it stood in the file",
                required=True,
            ),
            _text("raw_digest", "SHA-256 of raw", required=True),
            _text("content_digest", "SHA-256 of the canonical form of what the message says", required=True),
            _text("supersedes", "content_digest of the version before"),
        ]
    ),
    day_column="sent_at",
    sort=("chat_id", "sent_at", "message_uid", "version", "observed_at"),
    dictionary=(
        "chat_id",
        "chat_kind",
        "version",
        "sent_at_basis",
        "source",
        "captured_by",
        "sender_id",
        "sender_name",
        "send_as_name",
        "on_behalf_of",
        "app_id",
    ),
    bloom=("message_uid",),
    range_columns=("sent_at", "message_uid", "chat_id"),
)

FILES = Table(
    name="files",
    schema=pa.schema(
        [
            _CHAT_ID,
            _MESSAGE_UID,
            _VERSION,
            _column("ordinal", pa.int32(), "place among the files of this message version, from 0", required=True),
            _instant("sent_at", "when the message was sent", required=True),
            _OBSERVED_AT,
            _text("kind", "download, image or thumbnail", required=True),
            _text("name", "file name as declared; never a path", required=False),
            _text("mime", "media type as declared"),
            _column("size", pa.int64(), "bytes as declared"),
            _text("url", "where Flock says the bytes are", required=True),
            _text("status", "stored, pending, failed (retried at retry_at) or given_up", required=True),
            _text("reason", "why it is not stored"),
            _column("http_status", pa.int32(), "status of the last answer"),
            _column("attempts", pa.int32(), "how often it was tried", required=True),
            _instant("retry_at", "when it is tried again"),
            _text("blob_digest", "SHA-256 of the bytes, the name of the blob"),
            _column("blob_bytes", pa.int64(), "bytes received"),
            _text("mime_received", "media type as served"),
            _text("final_url", "where the bytes came from, its signature removed"),
        ]
    ),
    day_column="sent_at",
    sort=("chat_id", "sent_at", "message_uid", "version", "ordinal", "observed_at"),
    dictionary=("chat_id", "version", "kind", "mime", "status", "reason", "mime_received"),
    bloom=("message_uid",),
    range_columns=("sent_at", "message_uid"),
    open_when=("status", frozenset({"pending", "failed"})),
)

EVENTS = Table(
    name="events",
    schema=pa.schema(
        [
            _instant("received_at", "when the push arrived", required=True),
            _text("spool_id", "the spool that took it", required=True),
            _column("sequence", pa.int64(), "its place in that spool", required=True),
            _text("feed", "the door it came through", required=True),
            _text(
                "feed_kind",
                "webhook or event; fetch for an answer that could not be read; import for a file that was brought",
                required=True,
            ),
            _text("verified", "how it was authenticated", required=True),
            _text("name", "the event's name"),
            _text("user_id", "the user an event speaks of"),
            _text("chat_id", "the chat it speaks of"),
            _text("message_uid", "the message it carried"),
            _column("wanted_uids", _STRINGS, "uids it named without their messages, to be fetched"),
            _text("outcome", "archived, duplicate, noted, wanted or unparsed", required=True),
            _text("error", "why it could not be read"),
            _text("body_digest", "SHA-256 of the body as received", required=True),
            _column("body", pa.binary(), "the body, where no message row holds it; tokens are replaced by [redacted]"),
            _text("attributes", "facts of the request, JSON"),
        ]
    ),
    day_column="received_at",
    sort=("received_at", "spool_id", "sequence"),
    dictionary=(
        "spool_id",
        "feed",
        "feed_kind",
        "verified",
        "name",
        "user_id",
        "chat_id",
        "outcome",
        "error",
        "attributes",
    ),
    bloom=(),
    range_columns=("received_at",),
    open_when=("outcome", frozenset({"wanted"})),
)

OBSERVATIONS = Table(
    name="observations",
    schema=pa.schema(
        [
            _OBSERVED_AT,
            _CHAT_ID,
            _text("message_uid", "the uid asked for; none where the row is about a conversation's day"),
            _text("asked_as", "the user whose token asked", required=True),
            _text(
                "outcome",
                "of a uid: not_returned (Flock skipped it), returned (it came back), unknown_chat (no token may read the chat); "
                "of a conversation's day: swept, unknown_chat",
                required=True,
            ),
            _text("reason", "what Flock answered"),
            _column("day_on", pa.date32(), "the day of messages that was read again"),
            _column("asked", pa.int32(), "how many of its uids were asked for"),
            _column("returned", pa.int32(), "how many of them came back"),
            _column("not_returned", _STRINGS, "those known not to come back"),
        ]
    ),
    day_column="observed_at",
    sort=("chat_id", "observed_at", "message_uid"),
    dictionary=("chat_id", "asked_as", "outcome", "reason"),
    bloom=("message_uid",),
    range_columns=("observed_at", "message_uid"),
    added=("day_on", "asked", "returned", "not_returned"),
)

_VALID_FROM = _instant("valid_from", "when this state was first seen", required=True)
_STATE_DIGEST = _text(
    "state_digest", "SHA-256 of the canonical state, to tell a change from a repetition", required=True
)

USERS = Table(
    name="users",
    schema=pa.schema(
        [
            _text("user_id", "Flock's user id", required=True),
            _VALID_FROM,
            _text("first_name", "first name"),
            _text("last_name", "last name"),
            _text("email", "e-mail address, known only of users who installed the app"),
            _text("team_id", "team"),
            _text("role", "user, admin or guest"),
            _text("timezone", "UTC offset as Flock gives it"),
            _text("profile_image", "picture URL"),
            _CAPTURED_BY,
            _text("raw", "JSON object: by method, the answer exactly as received", required=True),
            _STATE_DIGEST,
        ]
    ),
    day_column="valid_from",
    sort=("user_id", "valid_from"),
    dictionary=("team_id", "role", "timezone", "captured_by"),
    bloom=(),
    range_columns=("valid_from",),
)

CHANNELS = Table(
    name="channels",
    schema=pa.schema(
        [
            _text("channel_id", "Flock's channel id", required=True),
            _VALID_FROM,
            _text(
                "state", "listed; unlisted: no token sees it any more; or imported: a file told of it", required=True
            ),
            _text("name", "name"),
            _text("purpose", "purpose"),
            _text("profile_image", "picture URL"),
            _column("member_count", pa.int32(), "members as Flock counts them"),
            _CAPTURED_BY,
            _text("raw", "the channel exactly as received, JSON", required=True),
            _STATE_DIGEST,
        ]
    ),
    day_column="valid_from",
    sort=("channel_id", "valid_from"),
    dictionary=("state", "captured_by"),
    bloom=(),
    range_columns=("valid_from",),
)

GROUPS = Table(
    name="groups",
    schema=pa.schema(
        [
            _text("channel_id", "the channel", required=True),
            _text("user_id", "the user", required=True),
            _VALID_FROM,
            _text("state", "member or left", required=True),
            _text("affiliation", "moderator or member"),
            _CAPTURED_BY,
            _STATE_DIGEST,
        ]
    ),
    day_column="valid_from",
    sort=("channel_id", "user_id", "valid_from"),
    dictionary=("channel_id", "state", "affiliation", "captured_by"),
    bloom=(),
    range_columns=("valid_from",),
)

CONVERSATIONS = Table(
    name="conversations",
    schema=pa.schema(
        [
            _CHAT_ID,
            _VALID_FROM,
            _CHAT_KIND,
            _text("name", "the channel's name; none for a one-to-one chat"),
            _column("participants", _STRINGS, "the two users of a one-to-one chat; for channels see groups"),
            _CAPTURED_BY,
            _STATE_DIGEST,
        ]
    ),
    day_column="valid_from",
    sort=("chat_id", "valid_from"),
    dictionary=("chat_kind", "captured_by"),
    bloom=(),
    range_columns=("valid_from",),
)

GAPS = Table(
    name="gaps",
    schema=pa.schema(
        [
            _text("gap_id", "SHA-256 of kind, chat, user and subject: one gap keeps its id", required=True),
            _VALID_FROM,
            _text("state", "open, or closed: its cause is gone, what was missed may be missed still", required=True),
            _text("kind", "what kind of gap it is", required=True),
            _text("chat_id", "the chat that it concerns"),
            _text("user_id", "the user whom it concerns"),
            _text("subject", "what else it concerns: a uid, a feed, a token's fingerprint, a method"),
            _instant("from_at", "from when on something may be missing"),
            _instant("to_at", "until when something may be missing"),
            _column("count", pa.int64(), "how many things it stands for", required=True),
            _text("evidence", "how we know", required=True),
            _STATE_DIGEST,
        ]
    ),
    day_column="valid_from",
    sort=("kind", "chat_id", "user_id", "subject", "valid_from"),
    dictionary=("state", "kind", "chat_id", "evidence"),
    bloom=(),
    range_columns=("valid_from",),
)

TABLES: dict[str, Table] = {
    table.name: table for table in (MESSAGES, FILES, EVENTS, OBSERVATIONS, USERS, CHANNELS, GROUPS, CONVERSATIONS, GAPS)
}
