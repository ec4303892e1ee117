"""When are two captures of a message the same version? By what they say, never by their clothes.

The canonical form of a message is a JSON object with the fields of `CONTENT_FIELDS` that say something: keys sorted,
no white space, UTF-8, only the escapes that JSON demands. Left out are fields that are absent or empty, a
``notification`` equal to the text (its documented default) and the expiring part of URLs inside attachments.
`digest_of` is the SHA-256 of these bytes.

A field that one answer does not carry at all is unknown, not removed; `relation` compares what both carry and says
which is the richer.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

CONTENT_FIELDS = (
    "appId",
    "attachments",
    "flockml",
    "mentions",
    "notification",
    "onBehalfOf",
    "sendAs",
    "text",
    "visibleTo",
)

# Query parameters that make a file URL expire (CloudFront and S3 signatures; flock-api.md 13). Compared in lower case.
EXPIRING_PARAMETERS = frozenset(
    {
        "expires",
        "signature",
        "key-pair-id",
        "policy",
        "awsaccesskeyid",
        "x-amz-algorithm",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-expires",
        "x-amz-security-token",
        "x-amz-signature",
        "x-amz-signedheaders",
    }
)

Relation = Literal["same", "richer", "poorer", "mixed", "different"]

_encode = msgspec.json.Encoder(order="deterministic").encode
_DEPTH_MAX = 200


def digest_of(fields: Mapping[str, Any]) -> str:
    """Return the content digest of a message's JSON fields: 64 hex digits."""
    return sha256(_encode(canonical(fields))).hexdigest()


def digest_of_text(text: str) -> str:
    """Return what `digest_of` returns for a message that says nothing but this text; most messages do."""
    return sha256(_encode({"text": text} if text else {})).hexdigest()


def canonical(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the canonical form of a message's JSON fields as a plain object."""
    kept = {name: value for name in CONTENT_FIELDS if not _says_nothing(value := _canonical_field(fields, name))}
    if kept.get("notification") == kept.get("text"):
        kept.pop("notification", None)
    return kept


def relation(known: Mapping[str, Any], seen: Mapping[str, Any]) -> Relation:
    """Compare two captures of one message by the content fields that both carry.

    ``same``: they say the same. ``richer``: ``seen`` adds fields that ``known`` does not carry. ``poorer``: ``seen``
    lacks fields that ``known`` carries. ``mixed``: both. ``different``: a field that both carry says something else,
    so it is another version.
    """
    before, after = canonical(known), canonical(seen)
    both = [name for name in CONTENT_FIELDS if name in known and name in seen]
    if any(before.get(name) != after.get(name) for name in both):
        return "different"
    gains = any(name in after and name not in known for name in CONTENT_FIELDS)
    lacks = any(name in before and name not in seen for name in CONTENT_FIELDS)
    if gains and lacks:
        return "mixed"
    if gains:
        return "richer"
    return "poorer" if lacks else "same"


def without_signature(url: str) -> str:
    """Return a URL without the query parameters that make it expire; anything else comes back unchanged."""
    if "?" not in url:
        return url
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return url
    kept = [(name, value) for name, value in pairs if name.lower() not in EXPIRING_PARAMETERS]
    if len(kept) == len(pairs):
        return url
    return urlunsplit(parts._replace(query=urlencode(kept)))


def _canonical_field(fields: Mapping[str, Any], name: str) -> Any:
    value = fields.get(name)
    return _canonical_value(value, depth=0) if name == "attachments" else value


def _canonical_value(value: Any, *, depth: int) -> Any:
    if depth > _DEPTH_MAX:
        return value
    if isinstance(value, dict):
        cleaned = {key: _canonical_value(item, depth=depth + 1) for key, item in value.items()}
        if isinstance(
            cleaned.get("forward"), str
        ):  # the documented sample writes the boolean as text (flock-api.md 6.2)
            cleaned["forward"] = cleaned["forward"] == "true"
        if cleaned.get("forward") is False:  # the documented default
            del cleaned["forward"]
        return {key: item for key, item in cleaned.items() if not _says_nothing(item)}
    if isinstance(value, list):
        return [_canonical_value(item, depth=depth + 1) for item in value]
    if isinstance(value, str):
        return without_signature(value)
    return value


def _says_nothing(value: Any) -> bool:
    return value is None or value in ("", [], {})
