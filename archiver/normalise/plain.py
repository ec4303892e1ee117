"""Read many pushed messages at once, those that say nothing but a text: nearly all are, and this takes a third of the time.

Whatever is out of the ordinary, however little, is left to `archiver.normalise.message.read_message`; what is read here
is exactly what that would say. The type of each field is what makes it so: a decoder that forbids unknown fields and
knows every type has looked at each byte of the body, so its text is valid and nothing in it is nested.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec

from archiver.ids import CHANNEL_PREFIX
from archiver.normalise.message import (
    IDENTIFIER_LENGTH_MAX_CHARACTERS,
    PLAUSIBLE_AHEAD_MS,
    PLAUSIBLE_FROM_MS,
)

_Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=IDENTIFIER_LENGTH_MAX_CHARACTERS)]
_Nothing = Annotated[str, msgspec.Meta(max_length=0)] | None
_Nobody = Annotated[list[str], msgspec.Meta(max_length=0)] | None


class PlainMessage(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A message to a channel with a uid, a sending time and a text; attributes as in `archiver.model.message.Message`."""

    message_uid: _Identifier = msgspec.field(name="uid")
    sender_id: _Identifier = msgspec.field(name="from")
    chat_id: _Identifier = msgspec.field(name="to")
    sent_at_ms: Annotated[int, msgspec.Meta(ge=PLAUSIBLE_FROM_MS)] = msgspec.field(name="timestampInMillis")
    text: str = ""
    client_id: str | None = msgspec.field(default=None, name="id")
    timestamp: str | int | None = None
    onBehalfOf: _Nothing = None  # noqa: N815 -- Flock's own spelling
    visibleTo: _Nobody = None  # noqa: N815 -- Flock's own spelling
    flockml: _Nothing = None
    notification: _Nothing = None
    appId: _Nothing = None  # noqa: N815 -- Flock's own spelling
    mentions: _Nobody = None
    attachments: _Nobody = None


_decode = msgspec.json.Decoder(PlainMessage).decode


def read_plain_messages(bodies: Iterable[bytes], received_at_ms: Iterable[int]) -> list[PlainMessage | None]:
    """Return the plain message that each pushed body is, None for a body that is anything else."""
    found: list[PlainMessage | None] = []
    for body, at_ms in zip(bodies, received_at_ms, strict=True):
        try:
            message = _decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            found.append(None)
            continue
        chat_id = message.chat_id
        if (
            message.sent_at_ms <= at_ms + PLAUSIBLE_AHEAD_MS
            and chat_id.startswith(CHANNEL_PREFIX)
            and "@" not in chat_id
            and "@" not in message.sender_id
        ):
            found.append(message)
        else:
            found.append(None)
    return found
