"""Read one Flock message object (flock-api.md 6.1): pushed or fetched, in the documented or the observed shape."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NoReturn

import msgspec

from archiver.clock import DAY_MS, to_ms
from archiver.errors import UnparseableError
from archiver.ids import chat_of, from_xmpp
from archiver.model.message import Attachment, Message, SentAtBasis, Source
from archiver.normalise.content import CONTENT_FIELDS, canonical_json, digest_of, digest_of_flat, digest_of_text
from archiver.normalise.flockml import to_plain_text

PROVISIONAL_PREFIX = "provisional:"
PROVISIONAL_DIGITS = 32

# A sending time outside this window is a unit mix-up, an overflow or a lie: the next best fact decides, and
# sent_at_basis says so.
PLAUSIBLE_FROM_MS = to_ms(datetime(2000, 1, 1, tzinfo=UTC))
PLAUSIBLE_AHEAD_MS = 2 * DAY_MS

# Flock's longest known identifier has 42 characters. Uids also stand in the ledger, which must stay small.
IDENTIFIER_LENGTH_MAX_CHARACTERS = 512

# Real messages nest less than ten deep. The cap is far below what any reader of JSON gives up at, so whether a message
# can be read never depends on who reads it, nor on how deep in a call that is.
NESTING_MAX = 100

_BYTE_ORDER_MARK = "\ufeff"
_DIGITS_MAX = 20
_INTEGER_DIGITS_MAX = 4_000  # beyond a few more, Python refuses to read an integer
_STRING_OR_BRACKET = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]', re.DOTALL)


class Observed(msgspec.Struct, frozen=True, gc=False):
    """How a capture came: when it was received, which way, and the feed or the user whose token saw it."""

    at_ms: int
    source: Source
    captured_by: str


class _Wire(msgspec.Struct, gc=False):
    """The fields we read. Times and the client's id are untyped: whatever they are, the message is still one."""

    uid: str | int | None = None
    from_: str | None = msgspec.field(default=None, name="from")
    to: str | None = None
    id: Any = None
    timestamp: Any = None
    timestampInMillis: Any = None  # noqa: N815 -- Flock's own spelling
    text: str | None = None
    flockml: str | None = None
    notification: str | None = None
    appId: str | None = None  # noqa: N815 -- Flock's own spelling
    mentions: list[str] | None = None
    sendAs: dict[str, Any] | None = None  # noqa: N815 -- Flock's own spelling
    attachments: list[Any] | None = None
    onBehalfOf: str | None = None  # noqa: N815 -- Flock's own spelling
    visibleTo: list[str] | None = None  # noqa: N815 -- Flock's own spelling


class _Placed(msgspec.Struct, gc=False):
    """What tells where a message stands among others, and that somebody sent it to somebody."""

    uid: str
    from_: str = msgspec.field(name="from")
    to: str
    timestamp: Any = None
    timestampInMillis: Any = None  # noqa: N815 -- Flock's own spelling


# ``type`` is in the documented webhook sample and says nothing (flock-api.md 6.1).
_KNOWN_FIELDS = frozenset({"type", *(field.encode_name for field in msgspec.structs.fields(_Wire))})
_TYPE_OF_A_MESSAGE = "message"

_decode = msgspec.json.Decoder(_Wire).decode
_decode_places = msgspec.json.Decoder(list[_Placed]).decode


def read_message(raw: bytes, observed: Observed) -> Message:
    """Return the message that one JSON object shows; raises `UnparseableError` with the reason if it shows none.

    Required are a sender and a recipient; everything else may be absent. A missing uid is replaced by a provisional
    one.
    """
    try:
        raw_text = raw.decode()
        if raw.count(b"{") + raw.count(b"[") > NESTING_MAX:
            _refuse_deep_nesting(raw)
        wire = _decode(raw)
    except UnicodeDecodeError as error:
        raise UnparseableError(f"not UTF-8: {error.reason} at byte {error.start}") from None
    except msgspec.MsgspecError:
        wire = _wire_of(_read_leniently(raw_text))
    sender, recipient, uid = wire.from_, wire.to, wire.uid
    # What nearly every message is, is told apart first and without a call: this runs once a message.
    if not (sender and recipient and len(sender) <= IDENTIFIER_LENGTH_MAX_CHARACTERS >= len(recipient)):
        sender, recipient = _identifier(sender, "from"), _identifier(recipient, "to")
    if "@" in sender or "@" in recipient:
        sender, recipient = from_xmpp(sender), from_xmpp(recipient)
    chat_id, chat_kind = chat_of(sender, recipient)
    provisional = not uid and uid != 0
    if provisional:
        uid = _provisional_uid(wire, observed.at_ms)
    elif type(uid) is not str or len(uid) > IDENTIFIER_LENGTH_MAX_CHARACTERS:
        uid = _identifier(uid, "uid")
    sent_at_ms, sent_at_basis = _sent_at(wire, uid, observed.at_ms)
    text = wire.text or ""
    raw_digest = sha256(raw).hexdigest()
    client_id = wire.id if type(wire.id) is str else _as_text(wire.id)
    if _is_plain(wire):
        return Message(
            chat_id, chat_kind, uid, provisional, sent_at_ms, sent_at_basis,
            observed.at_ms, observed.source, observed.captured_by,
            sender, None, None, None, text, None, None, text, None, None, None, (),
            client_id, raw_text, raw_digest, digest_of_text(text),
        )  # fmt: skip
    return Message(
        chat_id, chat_kind, uid, provisional, sent_at_ms, sent_at_basis,
        observed.at_ms, observed.source, observed.captured_by,
        sender, _string(wire.sendAs.get("name")) if wire.sendAs else None, wire.onBehalfOf or None, wire.appId or None,
        text, wire.flockml or None, wire.notification or None, to_plain_text(wire.flockml) if wire.flockml else text,
        wire.mentions or None, wire.visibleTo or None,
        canonical_json(wire.attachments).decode() if wire.attachments else None,
        tuple(files_of(wire.attachments)) if wire.attachments else (),
        client_id, raw_text, raw_digest, _content_digest(wire),
    )  # fmt: skip


def read_places(raws: Sequence[bytes], observed_at_ms: int) -> list[tuple[str, int | None] | None]:
    """Return each message's uid, and when it was sent if it tells: what `read_message` would say, in a fraction of its time.

    None stands for what shows no message, or has no uid. A field that does not matter here may be unreadable all the same.
    """
    try:
        placed = _decode_places(b"[" + b",".join(raws) + b"]")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        placed = []
    if len(placed) != len(raws):
        return [_read_place(raw, observed_at_ms) for raw in raws]
    latest = observed_at_ms + PLAUSIBLE_AHEAD_MS
    found: list[tuple[str, int | None] | None] = []
    for raw, message in zip(raws, placed, strict=True):
        uid, at_ms = message.uid, message.timestampInMillis
        if at_ms is None:
            at_ms = message.timestamp
        if (
            uid
            and message.from_
            and message.to
            and len(uid) <= IDENTIFIER_LENGTH_MAX_CHARACTERS
            and type(at_ms) is int
            and PLAUSIBLE_FROM_MS <= at_ms <= latest
        ):
            found.append((uid, at_ms))
        else:
            found.append(_read_place(raw, observed_at_ms))
    return found


def _read_place(raw: bytes, observed_at_ms: int) -> tuple[str, int | None] | None:
    try:
        message = read_message(raw, Observed(observed_at_ms, "history", ""))
    except UnparseableError:
        return None
    if message.uid_provisional:
        return None
    return message.message_uid, None if message.sent_at_basis == "observed" else message.sent_at_ms


def read_content(raw: str) -> dict[str, Any]:
    """Return the content fields that a message's raw JSON carries, for `archiver.normalise.content.relation`."""
    fields = _read_leniently(raw)
    return {name: fields[name] for name in CONTENT_FIELDS if name in fields}


def read_object(raw: bytes) -> dict[str, Any]:
    """Return the fields of any JSON object as leniently as a message is read; raises `UnparseableError`."""
    try:
        if raw.count(b"{") + raw.count(b"[") > NESTING_MAX:
            _refuse_deep_nesting(raw)
        fields = msgspec.json.decode(raw)
    except UnicodeDecodeError as error:
        raise UnparseableError(f"not UTF-8: {error.reason} at byte {error.start}") from None
    except msgspec.MsgspecError:
        try:
            return _read_leniently(raw.decode())
        except UnicodeDecodeError as error:
            raise UnparseableError(f"not UTF-8: {error.reason} at byte {error.start}") from None
    if not isinstance(fields, dict):
        raise UnparseableError(f"a JSON {type(fields).__name__} where an object was expected")
    return fields


def carries_unknown_fields(raw: bytes) -> bool:
    """Tell whether a message has fields that no column and no content digest covers."""
    fields = _read_leniently(raw.decode())
    return not fields.keys() <= _KNOWN_FIELDS or fields.get("type", _TYPE_OF_A_MESSAGE) != _TYPE_OF_A_MESSAGE


def _is_plain(wire: _Wire) -> bool:
    """Tell whether the message says nothing but its text: most messages do, so they have a short way."""
    return not (
        wire.flockml
        or wire.attachments
        or wire.appId
        or wire.mentions
        or wire.sendAs
        or wire.onBehalfOf
        or wire.visibleTo
        or wire.notification
    )


def _content_digest(wire: _Wire) -> str:
    if wire.attachments or wire.sendAs:
        return digest_of({name: getattr(wire, name) for name in CONTENT_FIELDS})
    return digest_of_flat(
        {
            "appId": wire.appId,
            "flockml": wire.flockml,
            "mentions": wire.mentions,
            "notification": wire.notification,
            "onBehalfOf": wire.onBehalfOf,
            "text": wire.text,
            "visibleTo": wire.visibleTo,
        }
    )


def _wire_of(fields: dict[str, Any]) -> _Wire:
    try:
        return msgspec.convert(fields, _Wire)
    except msgspec.ValidationError as error:
        raise UnparseableError(f"not a message: {error}") from None


def _refuse_deep_nesting(raw: bytes) -> None:
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(raw):
        if match[0] in (b"{", b"["):
            depth += 1
            if depth > NESTING_MAX:
                raise UnparseableError(f"nested deeper than {NESTING_MAX} levels")
        elif match[0] in (b"}", b"]"):
            depth -= 1


def _read_leniently(raw: str) -> dict[str, Any]:
    """Read what a strict decoder refuses but a person can still read: lone surrogates, boundless numbers, a BOM.

    Lone surrogates, half of a cut emoji, become U+FFFD in the columns; ``raw`` keeps the escape as received.
    """
    try:
        fields = json.loads(
            raw.removeprefix(_BYTE_ORDER_MARK), parse_constant=_refuse_constant, parse_int=_read_integer
        )
    except ValueError as error:
        raise UnparseableError(f"not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise UnparseableError(f"a JSON {type(fields).__name__} where a message object was expected")
    return {_scrubbed(key): _scrubbed(value) for key, value in fields.items()}


def _read_integer(digits: str) -> int | None:
    return int(digits) if len(digits) <= _INTEGER_DIGITS_MAX else None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _scrubbed(value: Any) -> Any:
    """Return a value without lone surrogates and infinities, which neither UTF-8 nor JSON can carry."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_scrubbed(item) for item in value]
    if isinstance(value, dict):
        return {_scrubbed(key): _scrubbed(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _identifier(value: str | int | None, field: str) -> str:
    if not value and value != 0:
        raise UnparseableError(f"field '{field}' is missing or empty, expected an identifier")
    identifier = str(value)
    if len(identifier) > IDENTIFIER_LENGTH_MAX_CHARACTERS:
        raise UnparseableError(f"field '{field}' has {len(identifier)} characters, too long for an identifier")
    return identifier


def _provisional_uid(wire: _Wire, observed_at_ms: int) -> str:
    """Return a uid made of what the message says and when it came, as flock-api.md 11.1 asks where Flock gave none."""
    parts = [wire.to, wire.from_, wire.id, wire.text, observed_at_ms]
    return PROVISIONAL_PREFIX + sha256(canonical_json(parts)).hexdigest()[:PROVISIONAL_DIGITS]


def _sent_at(wire: _Wire, uid: str, observed_at_ms: int) -> tuple[int, SentAtBasis]:
    latest = observed_at_ms + PLAUSIBLE_AHEAD_MS
    at = wire.timestampInMillis
    if type(at) is int and PLAUSIBLE_FROM_MS <= at <= latest:
        return at, "timestampInMillis"
    at = _whole_number(at)
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
    if type(value) is int:
        return value
    if type(value) is float:
        return int(value) if math.isfinite(value) else None
    if type(value) is str and len(value) <= _DIGITS_MAX and value.isascii() and value.isdigit():
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


def files_of(attachments: list[Any]) -> Iterator[Attachment]:
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


def _as_text(value: Any) -> str | None:
    """Return a text as it is and anything else as JSON."""
    if type(value) is str or value is None:
        return value
    return canonical_json(value).decode()


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
