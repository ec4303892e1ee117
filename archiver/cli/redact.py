"""Keep secrets out of what people and log files see: a last line of defence behind the types that never print them.

Two nets: the exact secrets of the configuration, registered when it is loaded, and the shapes that Flock's and S3's credentials
have wherever they stand (flock-api.md 2, 10.2 and 13: tokens as parameters, signed event tokens, signed file URLs).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

REDACTED = "[redacted]"

# A shorter one would also hit ordinary words.
SECRET_CHARACTERS_MIN = 8

_SECRET_NAME = re.compile(
    r"(token|secret|passw|authorization|credential|cookie|signature|api_?key|private_?key|access_?key)"
    # What only speaks about a secret may be read: token_hash, tokens_file, token_count.
    r"(?!.*_(hash|digest|file|path|count|id)$)",
    re.IGNORECASE,
)
_SHAPES = (
    # A signed token (JWT) in any place.
    (re.compile(r"\beyJ[\w-]{4,}\.[\w-]{4,}\.[\w-]*"), REDACTED),
    # Credentials of an HTTP header.
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"), rf"\1 {REDACTED}"),
    (re.compile(r"(?i)(authorization[\"']?\s*[:=]\s*[\"']?)(?!bearer|basic)[^\s\"',;]+"), rf"\1{REDACTED}"),
    # A secret as a parameter of a URL or a form, such as ?token=… and X-Amz-Signature=….
    (
        re.compile(
            r"(?i)([?&\s\"']|^)((?:[\w-]*token|[\w-]*signature|sig|[\w-]*secret|x-amz-credential|key-pair-id|password)=)[^&\s\"']+"
        ),
        rf"\1\2{REDACTED}",
    ),
    # The same in JSON.
    (re.compile(r"(?i)([\"'][\w-]*(?:token|secret|password)[\"']\s*:\s*)([\"'])[^\"']+\2"), rf"\1\2{REDACTED}\2"),
    # User and password of a URL.
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s:@]+:[^/\s@]+@"), rf"\1{REDACTED}@"),
    # The listener's secret path.
    (re.compile(r"(/hooks/)[^/\s\"']+"), rf"\1{REDACTED}"),
)

_known: set[str] = set()


def register(secrets: Iterable[str]) -> None:
    """Remember secrets of this process, to be replaced wherever they would be shown."""
    _known.update(secret for secret in secrets if len(secret) >= SECRET_CHARACTERS_MIN)


def redact(text: str) -> str:
    """Return a text with every known secret and everything shaped like one replaced by ``[redacted]``."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    for shape, replacement in _SHAPES:
        text = shape.sub(replacement, text)
    return text


def redact_value(name: str, value: object) -> object:
    """Return a log field's value, replaced where its name says that it is a secret; containers are walked."""
    if isinstance(value, (bool, int, float)) or value is None:
        return value
    if _SECRET_NAME.search(name):
        return REDACTED
    if isinstance(value, dict):
        return {key: redact_value(str(key), inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redact_value(name, inner) for inner in value]
    if isinstance(value, bytes):
        return redact(value.decode("utf-8", "backslashreplace"))
    return redact(str(value))
