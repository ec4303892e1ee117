"""Read what a push carried: a bare message from an outgoing webhook, or an app event (flock-api.md 10.3 and 11.1).

The two are told apart by the presence of ``name``. An event may hold a message, several, or only name them by uid;
the uids whose messages are not in the event, or not readable in it, are *wanted*: the run fetches them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from archiver.errors import UnparseableError
from archiver.ids import chat_of, from_xmpp, is_channel
from archiver.model.capture import Capture
from archiver.model.message import Message
from archiver.normalise.message import Observed, carries_unknown_fields, read_message

# An event with these fields alone says nothing beyond its columns and its message, so its body need not be kept twice.
_CARRIER_FIELDS = frozenset({"name", "userId", "message"})
_SPACES_PER_FIELD = 2  # one after the colon and one after the comma, as some writers of JSON like it
_NULL = b"null"


class _Envelope(msgspec.Struct, gc=False):
    name: Any = None
    userId: Any = None  # noqa: N815 -- Flock's own spelling
    chat: Any = None
    message: msgspec.Raw = msgspec.Raw(_NULL)
    messages: list[msgspec.Raw] | None = None
    messageUid: Any = None  # noqa: N815 -- Flock's own spelling
    messageUids: Any = None  # noqa: N815 -- Flock's own spelling


class Push(msgspec.Struct, frozen=True, gc=False):
    """What one capture says. ``keep_body`` is False where a message row holds every byte of it that matters.

    ``error`` says why a message that an event carries could not be read; the others are in ``messages`` all the same.
    """

    name: str | None
    user_id: str | None
    chat_id: str | None
    messages: tuple[Message, ...]
    wanted_uids: tuple[str, ...]
    keep_body: bool
    error: str | None = None


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def read_push(capture: Capture) -> Push:
    """Return what a capture says; raises `UnparseableError` with the reason if it cannot be read."""
    if capture.feed_kind == "webhook":
        message = read_message(capture.body, Observed(capture.received_at_ms, "webhook", capture.feed))
        return Push(None, None, message.chat_id, (message,), (), False)  # noqa: FBT003 -- once a message
    return _read_event(capture)


def _read_event(capture: Capture) -> Push:
    try:
        envelope = _decode_envelope(capture.body)
        members = _decode_members(capture.body)
    except RecursionError:
        raise UnparseableError("nested too deeply") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as reason:
        raise UnparseableError(f"not an event: {reason}") from None
    if not isinstance(envelope.name, str) or not envelope.name:
        raise UnparseableError("not an event: it has no name")
    messages, error = _read_messages(envelope, Observed(capture.received_at_ms, "event", capture.feed))
    present = {message.message_uid for message in messages}
    user_id = envelope.userId if isinstance(envelope.userId, str) else None
    chat_id = _chat_id(envelope.chat, user_id)
    return Push(
        name=envelope.name,
        user_id=user_id,
        chat_id=chat_id or (messages[0].chat_id if messages else None),
        messages=messages,
        wanted_uids=tuple(uid for uid in _named_uids(envelope) if uid not in present) if chat_id else (),
        keep_body=error is not None or not _is_carrier(capture.body, members, user_id, messages),
        error=error,
    )


def _read_messages(envelope: _Envelope, observed: Observed) -> tuple[tuple[Message, ...], str | None]:
    """Return the messages that can be read, and why the first that cannot could not."""
    carried = [] if bytes(envelope.message) == _NULL else [envelope.message]
    messages = []
    error = None
    for raw in [*carried, *(envelope.messages or [])]:
        try:
            messages.append(read_message(bytes(raw), observed))
        except UnparseableError as reason:
            error = error or f"a message in it: {reason.what}"
    return tuple(messages), error


def _chat_id(chat: Any, user_id: str | None) -> str | None:
    """Return the chat that an event names; a one-to-one chat is named by the party other than the event's user."""
    if not isinstance(chat, str) or not chat:
        return None
    named = from_xmpp(chat)
    return named if is_channel(named) or not user_id else chat_of(user_id, named)[0]


def _is_carrier(
    body: bytes, members: dict[str, msgspec.Raw], user_id: str | None, messages: tuple[Message, ...]
) -> bool:
    """Tell whether an event holds its name, its user, a message and nothing else, not even a member given twice.

    A message with fields of which we know nothing counts as something else: if it repeats what is known, no row of
    messages will hold them.
    """
    if not messages or not members.keys() <= _CARRIER_FIELDS or ("userId" in members and user_id is None):
        return False
    if any(carries_unknown_fields(message.raw.encode()) for message in messages):
        return False
    return len(body) - len(msgspec.json.encode(members)) <= _SPACES_PER_FIELD * len(members)


def _named_uids(envelope: _Envelope) -> list[str]:
    named = envelope.messageUids if isinstance(envelope.messageUids, list) else []
    uids = [uid for uid in [*named, envelope.messageUid] if isinstance(uid, str) and uid]
    return list(dict.fromkeys(uids))
