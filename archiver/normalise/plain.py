"""Read many pushed messages at once, those that hold nothing but texts: nearly all do, and this takes a third of the time.

Whatever is out of the ordinary, however little, is left to `archiver.normalise.message.read_message`; what is read here
is exactly what that would say. The type of each field is what makes it so: a decoder that forbids unknown fields and
knows every type has looked at each byte of the body, so its text is valid and nothing in it is nested.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec

from archiver.ids import CHANNEL_PREFIX
from archiver.normalise.content import digest_of_flat, digest_of_text
from archiver.normalise.message import (
    IDENTIFIER_LENGTH_MAX_CHARACTERS,
    PLAUSIBLE_AHEAD_MS,
    PLAUSIBLE_FROM_MS,
)

_Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=IDENTIFIER_LENGTH_MAX_CHARACTERS)]
_NoText = Annotated[str, msgspec.Meta(max_length=0)] | None
_NoList = Annotated[list[str], msgspec.Meta(max_length=0)] | None


class PlainMessage(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A message to a channel with a uid and a sending time; attributes as in `archiver.model.message.Message`, empty for None."""

    message_uid: _Identifier = msgspec.field(name="uid")
    sender_id: _Identifier = msgspec.field(name="from")
    chat_id: _Identifier = msgspec.field(name="to")
    sent_at_ms: Annotated[int, msgspec.Meta(ge=PLAUSIBLE_FROM_MS)] = msgspec.field(name="timestampInMillis")
    text: str = ""
    client_id: str | None = msgspec.field(default=None, name="id")
    timestamp: str | int | None = None
    app_id: str | None = msgspec.field(default=None, name="appId")
    mentions: list[str] | None = None
    notification: str | None = None
    on_behalf_of: str | None = msgspec.field(default=None, name="onBehalfOf")
    visible_to: list[str] | None = msgspec.field(default=None, name="visibleTo")
    flockml: _NoText = None
    attachments: _NoList = None

    @property
    def says_more(self) -> bool:
        """Tell whether it says anything beside its text."""
        return bool(self.app_id or self.mentions or self.notification or self.on_behalf_of or self.visible_to)

    @property
    def content_digest(self) -> str:
        """The SHA-256 of the canonical form of what it says."""
        if not self.says_more:
            return digest_of_text(self.text)
        return digest_of_flat(
            {
                "appId": self.app_id,
                "mentions": self.mentions,
                "notification": self.notification,
                "onBehalfOf": self.on_behalf_of,
                "text": self.text,
                "visibleTo": self.visible_to,
            }
        )


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
