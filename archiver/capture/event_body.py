"""The top level of an app event's body, as far as the door must read it: who, what, and secrets that may not pass.

`app.install` brings the user's token in clear (flock-api.md 10.3). It is taken out here, before anything is kept; every other value
keeps its very bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from archiver.errors import UnparseableError
from archiver.flock.tokens import REDACTED, Secret

# The second is what early apps read (flock-api.md 10.3); a later one of a repeated name wins, as with every reader of JSON.
SECRET_FIELDS: Final = ("token", "userToken")

Fields: TypeAlias = dict[str, msgspec.Raw]

_decode_fields: Final[Callable[[bytes], Fields]] = msgspec.json.Decoder(Fields).decode
_decode_text: Final[Callable[[msgspec.Raw], str]] = msgspec.json.Decoder(str).decode
_REDACTED_JSON: Final = msgspec.Raw(msgspec.json.encode(REDACTED))


def read_fields(body: bytes) -> Fields:
    """Return the fields of a body, their values still encoded; raises `UnparseableError` unless it is a JSON object."""
    try:
        return _decode_fields(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        # Without the parser's own words, which may quote what stands in the body.
        raise UnparseableError("the body is no JSON object") from None


def text_field(fields: Fields, name: str) -> str | None:
    """Return the text of a field, or None if it is absent or something else than a text."""
    value = fields.get(name)
    if value is None:
        return None
    try:
        return _decode_text(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def user_token(fields: Fields) -> Secret | None:
    """Return the user token that an event brings, if it does."""
    for name in SECRET_FIELDS:
        text = text_field(fields, name)
        if text:
            return Secret(text)
    return None


def without_secrets(fields: Fields) -> bytes | None:
    """Return a body with its secrets replaced by ``[redacted]``, or None if it holds none and can be kept as it is."""
    if not any(name in fields for name in SECRET_FIELDS):
        return None
    return msgspec.json.encode({name: _REDACTED_JSON if name in SECRET_FIELDS else fields[name] for name in fields})
