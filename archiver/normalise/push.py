"""Read what a push carried: a bare message from an outgoing webhook, or an app event (flock-api.md 10.3 and 11.1).

The two are told apart by the presence of ``name``. An event may hold a message, several, or only name them by uid;
the uids whose messages are not in the event are *wanted*: the run fetches them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from archiver.errors import UnparseableError
from archiver.model.capture import Capture
from archiver.model.message import Message
from archiver.normalise.message import Observed, read_message

REDACTED = "[redacted]"
_SECRET_FIELDS = ("token", "userToken")
# An event with these fields alone says nothing beyond its columns and its message, so its body need not be kept twice.
_CARRIER_FIELDS = frozenset({"name", "userId", "message"})


class _Envelope(msgspec.Struct, gc=False):
    name: Any = None
    userId: Any = None  # noqa: N815 -- Flock's own spelling
    chat: Any = None
    message: msgspec.Raw | None = None
    messages: list[msgspec.Raw] | None = None
    messageUid: Any = None  # noqa: N815 -- Flock's own spelling
    messageUids: Any = None  # noqa: N815 -- Flock's own spelling


class Push(msgspec.Struct, frozen=True, gc=False):
    """What one capture says. ``keep_body`` is False where a message row holds every byte of it that matters."""

    name: str | None
    user_id: str | None
    chat_id: str | None
    messages: tuple[Message, ...]
    wanted_uids: tuple[str, ...]
    keep_body: bool


_decode_envelope = msgspec.json.Decoder(_Envelope).decode


def read_push(capture: Capture) -> Push:
    """Return what a capture says; raises `UnparseableError` with the reason if it cannot be read."""
    if capture.feed_kind == "webhook":
        message = read_message(capture.body, Observed(capture.received_at_ms, "webhook", capture.feed))
        return Push(None, None, message.chat_id, (message,), (), False)  # noqa: FBT003 -- once a message
    return _read_event(capture)


def without_secrets(body: bytes) -> bytes:
    """Return an event's body with its tokens replaced; byte for byte unchanged if it holds none or is no object."""
    if not any(field.encode() in body for field in _SECRET_FIELDS):
        return body
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return body
    if not isinstance(fields, dict):
        return body
    secrets = [field for field in _SECRET_FIELDS if fields.get(field) not in (None, REDACTED)]
    if not secrets:
        return body
    return msgspec.json.encode({**fields, **dict.fromkeys(secrets, REDACTED)})


def _read_event(capture: Capture) -> Push:
    try:
        envelope = _decode_envelope(capture.body)
        fields = msgspec.json.decode(capture.body, type=dict[str, msgspec.Raw])
    except RecursionError:
        raise UnparseableError("nested too deeply") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnparseableError(f"not an event: {error}") from None
    if not isinstance(envelope.name, str) or not envelope.name:
        raise UnparseableError("not an event: it has no name")
    observed = Observed(capture.received_at_ms, "event", capture.feed)
    carried = ([envelope.message] if envelope.message else []) + (envelope.messages or [])
    messages = tuple(read_message(bytes(raw), observed) for raw in carried)
    named = _named_uids(envelope)
    present = {message.message_uid for message in messages}
    chat = envelope.chat if isinstance(envelope.chat, str) else None
    return Push(
        name=envelope.name,
        user_id=envelope.userId if isinstance(envelope.userId, str) else None,
        chat_id=chat or (messages[0].chat_id if messages else None),
        messages=messages,
        wanted_uids=tuple(uid for uid in named if uid not in present) if chat else (),
        keep_body=not (messages and fields.keys() <= _CARRIER_FIELDS),
    )


def _named_uids(envelope: _Envelope) -> list[str]:
    named = envelope.messageUids if isinstance(envelope.messageUids, list) else []
    uids = [uid for uid in [*named, envelope.messageUid] if isinstance(uid, str) and uid]
    return list(dict.fromkeys(uids))
