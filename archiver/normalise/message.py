"""Read one Flock message object (flock-api.md 6.1): pushed or fetched, in the documented or the observed shape."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NoReturn

import msgspec

from archiver.clock import DAY_MS, to_ms
from archiver.errors import UnparseableError
from archiver.ids import chat_of, from_xmpp
from archiver.model.message import Attachment, Message, SentAtBasis, Source
from archiver.normalise.content import digest_of, digest_of_text
from archiver.normalise.flockml import to_plain_text

PROVISIONAL_PREFIX = "provisional:"

# A sending time outside this window is a unit mix-up, an overflow or a lie: the next best fact decides, and
# sent_at_basis says so.
PLAUSIBLE_FROM_MS = to_ms(datetime(2000, 1, 1, tzinfo=UTC))
PLAUSIBLE_AHEAD_MS = 2 * DAY_MS

# Flock's longest known identifier has 42 characters. Uids also stand in the ledger, which must stay small.
IDENTIFIER_LENGTH_MAX_CHARACTERS = 512

_UNSET = msgspec.UNSET
_DIGITS_MAX = 20


@dataclass(frozen=True, slots=True)
class Observed:
    """How a capture came: when it was received, which way, and the feed or the user whose token saw it."""

    at_ms: int
    source: Source
    captured_by: str


class _Wire(msgspec.Struct, gc=False):
    """The fields we read, untyped on purpose: a wrong type must name its field, an unknown field must not fail."""

    uid: Any = _UNSET
    from_: Any = msgspec.field(default=_UNSET, name="from")
    to: Any = _UNSET
    id: Any = _UNSET
    timestamp: Any = _UNSET
    timestampInMillis: Any = _UNSET  # noqa: N815 -- Flock's own spelling
    text: Any = _UNSET
    flockml: Any = _UNSET
    notification: Any = _UNSET
    appId: Any = _UNSET  # noqa: N815 -- Flock's own spelling
    mentions: Any = _UNSET
    sendAs: Any = _UNSET  # noqa: N815 -- Flock's own spelling
    attachments: Any = _UNSET
    onBehalfOf: Any = _UNSET  # noqa: N815 -- Flock's own spelling
    visibleTo: Any = _UNSET  # noqa: N815 -- Flock's own spelling


_decode = msgspec.json.Decoder(_Wire).decode
_encode_text = msgspec.json.Encoder(order="deterministic").encode


def read_message(raw: bytes, observed: Observed) -> Message:
    """Return the message that one JSON object shows; raises `UnparseableError` with the reason if it shows none.

    Required are a sender and a recipient; everything else may be absent. A missing uid is replaced by a provisional
    one.
    """
    try:
        raw_text = raw.decode()
    except UnicodeDecodeError as error:
        raise UnparseableError(f"not UTF-8: {error.reason} at byte {error.start}") from None
    wire = _read_wire(raw)
    sender = from_xmpp(_identifier(wire.from_, "from"))
    recipient = from_xmpp(_identifier(wire.to, "to"))
    text = wire.text if type(wire.text) is str else _text_or_empty(wire.text, "text")
    uid, provisional = _uid_of(wire, observed.at_ms)
    chat_id, chat_kind = chat_of(sender, recipient)
    sent_at_ms, basis = _sent_at(wire, uid, observed.at_ms)
    raw_digest = sha256(raw).hexdigest()
    client_id = wire.id if type(wire.id) is str else _scalar_text(wire.id)
    if _is_plain(wire):
        return Message(
            chat_id=chat_id, chat_kind=chat_kind, message_uid=uid, uid_provisional=provisional,
            sent_at_ms=sent_at_ms, sent_at_basis=basis,
            observed_at_ms=observed.at_ms, source=observed.source, captured_by=observed.captured_by,
            sender_id=sender, send_as_name=None, on_behalf_of=None, app_id=None,
            text=text, flockml=None, notification=None, plain_text=text,
            mentions=None, visible_to=None, attachments=None, files=(),
            client_id=client_id, raw=raw_text, raw_digest=raw_digest, content_digest=digest_of_text(text),
        )  # fmt: skip
    flockml = _text_or_none(wire.flockml, "flockml")
    attachments = _list_or_none(wire.attachments, "attachments")
    return Message(
        chat_id=chat_id, chat_kind=chat_kind, message_uid=uid, uid_provisional=provisional,
        sent_at_ms=sent_at_ms, sent_at_basis=basis,
        observed_at_ms=observed.at_ms, source=observed.source, captured_by=observed.captured_by,
        sender_id=sender,
        send_as_name=_send_as_name(wire.sendAs),
        on_behalf_of=_text_or_none(wire.onBehalfOf, "onBehalfOf"),
        app_id=_text_or_none(wire.appId, "appId"),
        text=text,
        flockml=flockml,
        notification=_text_or_none(wire.notification, "notification"),
        plain_text=to_plain_text(flockml) if flockml else text,
        mentions=_identifiers(wire.mentions, "mentions"),
        visible_to=_identifiers(wire.visibleTo, "visibleTo"),
        attachments=_encode_text(attachments).decode() if attachments else None,
        files=tuple(_files_of(attachments)) if attachments else (),
        client_id=client_id, raw=raw_text, raw_digest=raw_digest,
        content_digest=digest_of(content_fields(wire)),
    )  # fmt: skip


def read_content(raw: str) -> dict[str, Any]:
    """Return the content fields that a message's raw JSON carries, for `archiver.normalise.content.relation`."""
    return content_fields(_read_wire(raw.encode()))


def carries_unknown_fields(raw: bytes) -> bool:
    """Tell whether a message has fields that no column and no content digest covers."""
    fields = _read_leniently(raw)
    return bool(fields.keys() - _KNOWN_FIELDS)


def content_fields(wire: _Wire) -> dict[str, Any]:
    """Return the content fields a decoded message carries, empty ones included, absent ones not."""
    carried = {
        "appId": wire.appId,
        "attachments": wire.attachments,
        "flockml": wire.flockml,
        "mentions": wire.mentions,
        "notification": wire.notification,
        "onBehalfOf": wire.onBehalfOf,
        "sendAs": wire.sendAs,
        "text": wire.text,
        "visibleTo": wire.visibleTo,
    }
    return {name: value for name, value in carried.items() if value is not _UNSET}


_KNOWN_FIELDS = frozenset(
    msgspec.structs.fields(_Wire)[i].encode_name for i in range(len(msgspec.structs.fields(_Wire)))
)


def _read_wire(raw: bytes) -> _Wire:
    try:
        return _decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return msgspec.convert(_read_leniently(raw), _Wire)


def _read_leniently(raw: bytes) -> dict[str, Any]:
    """Read what a strict decoder refuses but a person can still read: lone surrogates and numbers beyond 64 bits.

    Lone surrogates, half of a cut emoji, become U+FFFD in the columns; ``raw`` keeps the escape as received.
    """
    try:
        fields = json.loads(raw, parse_constant=_refuse_constant)
    except RecursionError:
        raise UnparseableError("nested too deeply") from None
    except ValueError as error:
        raise UnparseableError(f"not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise UnparseableError(f"a JSON {type(fields).__name__} where a message object was expected")
    return {key: _without_surrogates(value) for key, value in fields.items()}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _is_plain(wire: _Wire) -> bool:
    """Tell whether the message says nothing but its text: what most messages do, so it has a short way."""
    return not (
        (wire.flockml and wire.flockml is not _UNSET)
        or (wire.attachments and wire.attachments is not _UNSET)
        or (wire.appId and wire.appId is not _UNSET)
        or (wire.mentions and wire.mentions is not _UNSET)
        or (wire.sendAs and wire.sendAs is not _UNSET)
        or (wire.onBehalfOf and wire.onBehalfOf is not _UNSET)
        or (wire.visibleTo and wire.visibleTo is not _UNSET)
        or (wire.notification and wire.notification is not _UNSET)
    )


def _identifier(value: Any, field: str) -> str:
    if type(value) is not str or not value:
        raise UnparseableError(f"field '{field}' is {_described(value)}, expected an identifier")
    if len(value) > IDENTIFIER_LENGTH_MAX_CHARACTERS:
        raise UnparseableError(f"field '{field}' has {len(value)} characters, too long for an identifier")
    return value


def _identifiers(value: Any, field: str) -> list[str] | None:
    items = _list_or_none(value, field)
    if not items:
        return None
    if not all(isinstance(item, str) for item in items):
        raise UnparseableError(f"field '{field}' holds something that is not an identifier")
    return items


def _uid_of(wire: _Wire, observed_at_ms: int) -> tuple[str, bool]:
    """Return the uid and whether it is provisional: derived, as flock-api.md 11.1 asks, where Flock gave none."""
    uid = wire.uid
    if type(uid) is str and uid:
        return _identifier(uid, "uid"), False
    if type(uid) is int:
        return str(uid), False
    if uid is _UNSET or uid is None or uid == "":
        parts = [None if part is _UNSET else part for part in (wire.to, wire.from_, wire.id, wire.text)]
        return PROVISIONAL_PREFIX + sha256(_encode_text([*parts, observed_at_ms])).hexdigest()[:32], True
    raise UnparseableError(f"field 'uid' is {_described(uid)}, expected a string")


def _sent_at(wire: _Wire, uid: str, observed_at_ms: int) -> tuple[int, SentAtBasis]:
    latest = observed_at_ms + PLAUSIBLE_AHEAD_MS
    at = _whole_number(wire.timestampInMillis)
    if at is not None and PLAUSIBLE_FROM_MS <= at <= latest:
        return at, "timestampInMillis"
    at = _instant_of(wire.timestamp)
    if at is not None and PLAUSIBLE_FROM_MS <= at <= latest:
        return at, "timestamp"
    at = _whole_number(uid.partition("-")[0])
    if at is not None and PLAUSIBLE_FROM_MS <= at <= latest:
        return at, "uid"
    return observed_at_ms, "observed"


def _whole_number(value: Any) -> int | None:
    kind = type(value)
    if kind is int:
        return value  # type: ignore[no-any-return]
    if kind is float:
        return int(value) if math.isfinite(value) else None
    if kind is str and len(value) <= _DIGITS_MAX and value.isascii() and value.isdigit():
        return int(value)
    return None


def _instant_of(value: Any) -> int | None:
    number = _whole_number(value)
    if number is not None or type(value) is not str:
        return number
    try:
        instant = datetime.fromisoformat(value)
        return to_ms(instant if instant.tzinfo else instant.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return None


def _text_or_empty(value: Any, field: str) -> str:
    return _text_or_none(value, field) or ""


def _text_or_none(value: Any, field: str) -> str | None:
    if type(value) is str:
        return value or None
    if value is _UNSET or value is None:
        return None
    raise UnparseableError(f"field '{field}' is {_described(value)}, expected text")


def _scalar_text(value: Any) -> str | None:
    return None if value is _UNSET or value is None else str(value)


def _list_or_none(value: Any, field: str) -> list[Any] | None:
    if value is _UNSET or value is None:
        return None
    if type(value) is not list:
        raise UnparseableError(f"field '{field}' is {_described(value)}, expected a list")
    return value


def _send_as_name(value: Any) -> str | None:
    if value is _UNSET or value is None:
        return None
    if type(value) is not dict:
        raise UnparseableError(f"field 'sendAs' is {_described(value)}, expected an object")
    return _scalar_text(value.get("name"))


def _described(value: Any) -> str:
    if value is _UNSET:
        return "missing"
    return "null" if value is None else f"{'an empty ' if value in ('', [], {}) else 'a '}{type(value).__name__}"


def _files_of(attachments: list[Any]) -> Iterator[Attachment]:
    """Yield every file the attachments point to: downloads, then the original and the thumbnail of an image view."""
    ordinal = 0
    for attachment in attachments:
        if not isinstance(attachment, dict):
            continue
        for kind, item in _file_entries(attachment):
            if not isinstance(item, dict):
                continue
            url = item.get("src")
            if not isinstance(url, str) or not url:
                continue
            size = item.get("size")
            yield Attachment(
                ordinal=ordinal,
                kind=kind,
                url=url,
                name=_string(item.get("filename")),
                mime=_string(item.get("mime")),
                size=size if type(size) is int and 0 <= size < 2**63 else None,
            )
            ordinal += 1


def _file_entries(attachment: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    downloads = attachment.get("downloads")
    for item in downloads if isinstance(downloads, list) else ():
        yield "download", item
    views = attachment.get("views")
    image = views.get("image") if isinstance(views, dict) else None
    if isinstance(image, dict):
        original = image.get("original")
        if isinstance(original, dict):
            yield "image", {"filename": image.get("filename"), **original}
        yield "thumbnail", image.get("thumbnail")


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
