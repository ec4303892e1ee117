"""Flock's identifiers: opaque, case-sensitive strings with a prefix (flock-api.md 7). Never validated, only told apart.

A chat is a channel (``g:…``) or a one-to-one conversation. Flock names the latter by the *other* party, so the two
sides see two names for one conversation; here its ``chat_id`` is both user ids in order, joined by a comma.

What was imported from elsewhere has ids of its own, ``import:<origin>:<id>``, which Flock never gives and is never asked about.
"""

from __future__ import annotations

from typing import Literal

ChatKind = Literal["channel", "direct"]

CHANNEL_PREFIX = "g:"
USER_PREFIX = "u:"
_BOT_PREFIXES = ("u:B", "b:")
IMPORT_PREFIX = "import:"
_DIRECT_SEPARATOR = ","
_XMPP_USERS = "@go.to"
_XMPP_CHANNELS = "@groups.go.to"


def is_channel(identifier: str) -> bool:
    """Tell whether Flock's identifier names a channel."""
    return identifier.startswith(CHANNEL_PREFIX)


def is_bot(identifier: str) -> bool:
    """Tell whether Flock's identifier looks like a bot's: ``u:B…`` was observed, ``b:…`` is documented once (flock-api.md 7)."""
    return identifier.startswith(_BOT_PREFIXES)


def from_xmpp(identifier: str) -> str:
    """Map the XMPP form of the documented webhook sample to the usual one; return anything else unchanged.

    ``abc@go.to/desktop`` becomes ``u:abc`` and ``0123@groups.go.to`` becomes ``g:0123``. The mapping is our inference
    (flock-api.md 7), so callers keep the original bytes.
    """
    if "@" not in identifier:
        return identifier
    bare, _, _ = identifier.partition("/")
    if bare.endswith(_XMPP_CHANNELS):
        return CHANNEL_PREFIX + bare.removesuffix(_XMPP_CHANNELS)
    if bare.endswith(_XMPP_USERS):
        return USER_PREFIX + bare.removesuffix(_XMPP_USERS)
    return identifier


def direct_chat_id(one: str, other: str) -> str:
    """Return the chat id of the one-to-one conversation between two users, the same from both sides."""
    first, second = sorted((one, other))
    return f"{first}{_DIRECT_SEPARATOR}{second}"


def chat_of(sender: str, recipient: str) -> tuple[str, ChatKind]:
    """Return the chat that a message from ``sender`` to ``recipient`` belongs to, and its kind."""
    if recipient.startswith(CHANNEL_PREFIX):
        return recipient, "channel"
    return direct_chat_id(sender, recipient), "direct"


def parties_of(chat_id: str) -> tuple[str, str] | None:
    """Return the two users of a one-to-one chat id, or None for a channel."""
    if is_channel(chat_id):
        return None
    first, separator, second = chat_id.partition(_DIRECT_SEPARATOR)
    return (first, second) if separator else None


def foreign_id(origin: str, identifier: str) -> str:
    """Return the id of something of another system: it says where it is from and collides with none of Flock's.

    A comma would make two users of one id, so it is written as ``%2C``, and ``%`` as ``%25``.
    """
    return f"{IMPORT_PREFIX}{origin}:{identifier.replace('%', '%25').replace(_DIRECT_SEPARATOR, '%2C')}"


def is_foreign(identifier: str) -> bool:
    """Tell whether an id, also that of a chat, was given to something of another system (`foreign_id`)."""
    return identifier.startswith(IMPORT_PREFIX)
