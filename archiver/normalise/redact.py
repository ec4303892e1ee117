"""Take the tokens out of JSON text that is kept, and leave every other byte as it came.

``app.install`` brings a user's token in clear, and an event token can open our own door (flock-api.md 10.1 to 10.3).
The text may be cut, nested, escaped or no JSON at all: this reads it piece by piece and trusts nothing but quotes and
brackets, so that a body which nobody can parse cannot carry a secret into the archive either.
"""

from __future__ import annotations

import json
import re

REDACTED = "[redacted]"

# Names of members whose value is a secret, compared without case: what `app.install` brings, early apps included, and
# the parameters that carry an event token.
SECRET_NAMES = frozenset({"token", "usertoken", "flockeventtoken", "flockvalidationtoken"})

_REDACTED_JSON = json.dumps(REDACTED).encode()
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)'
_NAME = re.compile(rb"(" + _STRING + rb")\s*+:\s*+", re.DOTALL)
_STRING_OR_BRACKET = re.compile(_STRING + rb"|[\[\]{}]", re.DOTALL)
_STRING_ONLY = re.compile(_STRING, re.DOTALL)
_SCALAR = re.compile(rb"[^\s,\]}]*")
_NO_SECRET = frozenset({b"", b"null", b'""'})


def without_secrets(body: bytes) -> bytes:
    """Return a body with the values of its secrets replaced by ``"[redacted]"``; unchanged if it holds none."""
    if b"token" not in body.lower() and b"\\u" not in body:
        return body
    kept: list[bytes] = []
    done = position = 0
    while string := _STRING_ONLY.search(body, position):
        position = string.end()
        name = _NAME.match(body, string.start())
        if name is None:
            continue
        position = name.end()
        if not _is_secret(name[1]):
            continue
        end = _end_of_value(body, position)
        if body[position:end] not in _NO_SECRET:
            kept += [body[done:position], _REDACTED_JSON]
            done = end
        position = end
    return b"".join([*kept, body[done:]]) if kept else body


def _is_secret(quoted: bytes) -> bool:
    name = quoted.strip(b'"').decode(errors="replace")
    if "\\" in name:
        try:
            name = json.loads(quoted)
        except ValueError:
            return False
    return name.lower() in SECRET_NAMES


def _end_of_value(body: bytes, start: int) -> int:
    """Return where the value ends that starts at a place; one that never ends takes all there is."""
    first = body[start : start + 1]
    if first not in (b"{", b"["):
        value = (_STRING_ONLY if first == b'"' else _SCALAR).match(body, start)
        return value.end() if value else start
    depth = 0
    for piece in _STRING_OR_BRACKET.finditer(body, start):
        depth += {b"{": 1, b"[": 1, b"}": -1, b"]": -1}.get(piece[0], 0)
        if depth == 0:
            return piece.end()
    return len(body)
