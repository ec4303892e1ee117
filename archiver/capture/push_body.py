"""A push's body off the wire: counted while it comes, unpacked if it is packed, and never larger than allowed."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, TypeAlias

BODY_BYTES_MAX: Final = 4_194_304

CONTENT_TYPE: Final = "content-type"
# How the body was packed when it came; it is kept unpacked.
CONTENT_ENCODING: Final = "content-encoding"
# How the body is packed still, because we could not unpack it.
CONTENT_ENCODING_KEPT: Final = "content-encoding-kept"

_ATTRIBUTE_CHARACTERS_MAX: Final = 200
# More digits than any length that could be meant, and few enough to be read as a number.
_LENGTH_DIGITS_MAX: Final = 19
# Senders use one; a body of very many empty members would keep us busy for nothing.
_MEMBERS_MAX: Final = 16
_UNPACKED: Final = frozenset({b"", b"identity"})
_PACKED: Final = frozenset({b"gzip", b"x-gzip", b"deflate"})
# zlib's own switch for "gzip or zlib, look at the first bytes".
_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]


class BodyTooLargeError(Exception):
    """The body, or what it unpacks to, is larger than allowed."""


class SenderGoneError(Exception):
    """The connection ended before the body did; there is nobody to answer."""


@dataclass(frozen=True, slots=True)
class PushBody:
    """A whole body and the facts about it that are worth keeping beside it."""

    content: bytes
    attributes: Mapping[str, str]


async def read_push_body(headers: Mapping[bytes, bytes], receive: Receive, *, bytes_max: int) -> PushBody:
    """Read a body from an ASGI server; raises `BodyTooLargeError` and `SenderGoneError`.

    The length that the sender declares is believed only where it is too large; otherwise the bytes are counted. A body that
    is packed in a way we do not know, or badly, is kept as it came: whoever sent it was let in, so it is not ours to lose.
    """
    if _declared_length(headers) > bytes_max:
        raise BodyTooLargeError
    message = await receive()
    # Nearly every push comes in one piece.
    content = await _gathered(message, receive, bytes_max) if message.get("more_body", False) else _part(message)
    if len(content) > bytes_max:
        raise BodyTooLargeError
    content_type = headers.get(b"content-type", b"")
    encoding = headers.get(b"content-encoding", b"").strip().lower()
    if encoding in _UNPACKED:
        return PushBody(content, _attributes(content_type, b"", b""))
    unpacked = _unpack(content, bytes_max) if encoding in _PACKED and content else None
    if unpacked is None:
        return PushBody(content, _attributes(content_type, b"", encoding))
    return PushBody(unpacked, _attributes(content_type, encoding, b""))


async def _gathered(message: Message, receive: Receive, bytes_max: int) -> bytes:
    parts = bytearray(_part(message))
    while message.get("more_body", False) and len(parts) <= bytes_max:
        message = await receive()
        parts += _part(message)
    return bytes(parts)


def _part(message: Message) -> bytes:
    if message["type"] != "http.request":
        raise SenderGoneError
    body: bytes = message.get("body", b"")
    return body


def _declared_length(headers: Mapping[bytes, bytes]) -> int:
    declared = headers.get(b"content-length", b"")
    return int(declared[:_LENGTH_DIGITS_MAX]) if declared.isdigit() else 0


def _unpack(packed: bytes, bytes_max: int) -> bytes | None:
    """Return what gzip or zlib packed, None if it is neither or broken; raises `BodyTooLargeError`."""
    unpacked = bytearray()
    for _ in range(_MEMBERS_MAX):
        member = zlib.decompressobj(_GZIP_OR_ZLIB)
        try:
            # One byte beyond the limit is enough to know, and all that a bomb gets.
            unpacked += member.decompress(packed, bytes_max + 1 - len(unpacked))
        except zlib.error:
            return None
        if len(unpacked) > bytes_max:
            raise BodyTooLargeError
        if not member.eof:
            return None
        packed = member.unused_data
        if not packed:
            return bytes(unpacked)
    return None


@lru_cache(maxsize=256)
def _attributes(content_type: bytes, encoding: bytes, encoding_kept: bytes) -> Mapping[str, str]:
    """Return the attributes as one shared object, which the spool stores once a batch."""
    named = ((CONTENT_TYPE, content_type), (CONTENT_ENCODING, encoding), (CONTENT_ENCODING_KEPT, encoding_kept))
    return MappingProxyType(
        {name: value.decode("latin-1")[:_ATTRIBUTE_CHARACTERS_MAX] for name, value in named if value}
    )
