"""When are two captures of a message the same version? By what they say, never by their clothes.

The canonical form of a message is a JSON object with the fields of `CONTENT_FIELDS` that say something: keys sorted,
no white space, UTF-8, only the escapes that JSON demands. Left out are fields that are absent or empty, a
``notification`` equal to the text (its documented default) and the signature of URLs inside attachments. `digest_of`
is the SHA-256 of these bytes, so anyone can repeat it with ``json.dumps(canonical, sort_keys=True,
separators=(",", ":"), ensure_ascii=False)`` and ``hashlib``.

A field that one answer does not carry at all is unknown, not removed; `relation` compares what both carry and says
which is the richer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Literal
from urllib.parse import unquote_plus

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

# Query parameters of a signed URL, which expires (CloudFront and S3; flock-api.md 13). Compared in lower case.
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

# A URL is a signed one only if it carries one of these; `policy` and `expires` alone may mean anything.
_SIGNATURES = frozenset({"signature", "x-amz-signature"})

# The token by which the links of a Slack export open; each export has another one.
_EXPORT_TOKEN = "t=xoxe-"  # noqa: S105 - how one begins

Relation = Literal["same", "richer", "poorer", "mixed", "different"]

_encode_flat = msgspec.json.Encoder().encode
_encode_sorted = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode
_URL = re.compile(r"https?://[^\s?]+\?(\S+)", re.IGNORECASE)


def digest_of(fields: Mapping[str, Any]) -> str:
    """Return the content digest of a message's JSON fields: 64 hex digits."""
    return sha256(canonical_json(canonical(fields))).hexdigest()


def digest_of_text(text: str) -> str:
    """Return what `digest_of` returns for a message that says nothing but this text; most messages do."""
    return sha256(_encode_flat({"text": text} if text else {})).hexdigest()


def digest_of_flat(fields: Mapping[str, str | list[str] | None]) -> str:
    """Return what `digest_of` returns for fields that are given in the order of `CONTENT_FIELDS` and hold no objects.

    Texts and lists of texts need none of the care that objects need; this is five times as quick.
    """
    kept = {name: value for name, value in fields.items() if value}
    if kept.get("notification") == kept.get("text"):
        kept.pop("notification", None)
    return sha256(_encode_flat(kept)).hexdigest()


def canonical_json(value: Any) -> bytes:
    """Return JSON with sorted keys, no white space, in UTF-8, with numbers as Python writes them."""
    return _encode_sorted(value).encode()


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
    if any(_said(before, name) != _said(after, name) for name in both):
        return "different"
    gains = any(name in after and name not in known for name in CONTENT_FIELDS)
    lacks = any(name in before and name not in seen for name in CONTENT_FIELDS)
    if gains and lacks:
        return "mixed"
    if gains:
        return "richer"
    return "poorer" if lacks else "same"


def without_signature(url: str) -> str:
    """Return a signed URL without the parameters of its signature; anything else comes back unchanged.

    A text that only contains a URL is something else: what follows a signature there are words.
    """
    match = _URL.fullmatch(url)
    if match is None:
        return url
    query, hash_sign, fragment = match[1].partition("#")
    parameters = query.split("&")
    names = [unquote_plus(parameter.partition("=")[0]).lower() for parameter in parameters]
    has_token = any(parameter.startswith(_EXPORT_TOKEN) for parameter in parameters)
    if _SIGNATURES.isdisjoint(names) and not has_token:
        return url
    expiring = frozenset() if _SIGNATURES.isdisjoint(names) else EXPIRING_PARAMETERS
    kept = [
        parameter
        for parameter, name in zip(parameters, names, strict=True)
        if name not in expiring and not parameter.startswith(_EXPORT_TOKEN)
    ]
    address = url[: match.start(1) - 1]
    return f"{address}{'?' if kept else ''}{'&'.join(kept)}{hash_sign}{fragment}"


def _said(form: Mapping[str, Any], name: str) -> bytes:
    """Return what a canonical form says in a field; the notification is the text unless it says otherwise."""
    value = form.get(name)
    return canonical_json(form.get("text") if value is None and name == "notification" else value)


def _canonical_field(fields: Mapping[str, Any], name: str) -> Any:
    value = fields.get(name)
    return _canonical_value(value) if name in ("attachments", "sendAs") else value


def _canonical_value(value: Any) -> Any:
    if isinstance(value, dict):
        cleaned = {key: item for key, member in value.items() if not _says_nothing(item := _canonical_value(member))}
        if cleaned.get("forward") in ("true", "false"):  # documented as text too (flock-api.md 6.2)
            cleaned["forward"] = cleaned["forward"] == "true"
        if cleaned.get("forward") is False:  # the documented default
            del cleaned["forward"]
        return cleaned
    if isinstance(value, list):
        return [_canonical_value(item) for item in value]
    if isinstance(value, str):
        return without_signature(value) if "?" in value else value
    if isinstance(value, float) and value.is_integer():  # 10.0 and 10 are one number in JSON
        return int(value)
    return value


def _says_nothing(value: Any) -> bool:
    return value is None or value in ("", [], {})
