r"""Reading Flock's answers without losing a byte of them: cut an array or object into its parts, read one object.

The bytes of each element go to the archive as they are, so nothing here re-encodes. One bad element must not cost the
others. msgspec, which reads most answers, refuses escaped lone surrogates (``"\ud83d"``, half an emoji, which
JavaScript writes without complaint and RFC 8259 section 8.2 allows), so a slower reader stands behind it.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any, Final, NoReturn

import msgspec

_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OBJECT = msgspec.json.Decoder(dict[str, Any])
_WHITE: Final = b" \t\r\n"
# What moves the depth or ends an element, and strings as a whole so that what stands in them does not count. A quote
# that opens no complete string matches alone.
_MARKS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["\[\]{},]', re.DOTALL)
_MEMBER: Final = re.compile(rb'("(?:[^"\\]++|\\.)*+")[ \t\r\n]*:[ \t\r\n]*', re.DOTALL)
_CLOSES: Final = {ord("["): ord("]"), ord("{"): ord("}")}
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def split_array(body: bytes) -> list[bytes]:
    """Return the elements of a JSON array, each exactly as it stands there; raises `ValueError` if it is no whole array.

    An element may be malformed in itself: the slower way only sees to it that strings and brackets close.
    """
    try:
        return [bytes(element) for element in _ELEMENTS.decode(body)]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return _split_by_marks(body, b"[")


def split_object(body: bytes) -> dict[str, bytes]:
    """Return the members of a JSON object, each value exactly as it stands there; of a repeated name the last.

    Raises `ValueError` if it is no whole object. A value may be malformed in itself, as in `split_array`.
    """
    try:
        return {name: bytes(value) for name, value in _MEMBERS.decode(body).items()}
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        pass
    members = {}
    for member in _split_by_marks(body, b"{"):
        name = _MEMBER.match(member)
        if name is None:
            raise ValueError("a member of the object has no name")
        members[_read_text(name[1])] = member[name.end() :]
    return members


def read_object(raw: bytes) -> dict[str, Any]:
    """Return a JSON object's fields; raises `ValueError` if it is none, nests too deep or is no UTF-8.

    Half emoji in strings become U+FFFD, so that every text can be stored; the bytes keep what was there.
    """
    try:
        raw.decode()  # msgspec does not look into the strings it skips
        return _OBJECT.decode(raw)
    except RecursionError:
        raise ValueError("it nests too deep") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except msgspec.MsgspecError:
        return _read_object_slowly(raw)


def _read_object_slowly(raw: bytes) -> dict[str, Any]:
    try:
        value = _without_lone_surrogates(json.loads(raw, parse_constant=_refuse_constant))
    except RecursionError:
        raise ValueError("it nests too deep") from None
    except ValueError:
        raise ValueError("it is not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - one class for all that can be wrong with an answer
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _without_lone_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, list):
        return [_without_lone_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_lone_surrogates(key): _without_lone_surrogates(item) for key, item in value.items()}
    return value


def _read_text(quoted: bytes) -> str:
    try:
        return str(json.loads(quoted, strict=False))
    except ValueError:
        raise ValueError("the name of a member cannot be read") from None


def _split_by_marks(body: bytes, opens: bytes) -> list[bytes]:
    kind = "array" if opens == b"[" else "object"
    text = body.strip(_WHITE)
    if not text.startswith(opens):
        raise ValueError(f"it is not a JSON {kind}")
    bounds = _outer_bounds(text)
    if bounds[-1] != len(text) - 1:
        raise ValueError(f"something follows the {kind}")
    elements = [text[before + 1 : after].strip(_WHITE) for before, after in pairwise(bounds)]
    if elements == [b""]:
        return []
    if not all(elements):
        raise ValueError(f"an element of the {kind} is missing")
    return elements


def _outer_bounds(text: bytes) -> list[int]:
    """Return where the outer array or object opens, has its commas and closes."""
    bounds = [0]
    closing: list[int] = []
    for mark in _MARKS.finditer(text):
        sign = mark.group()[0]
        if sign in _CLOSES:
            closing.append(_CLOSES[sign])
        elif sign == ord('"'):
            if len(mark.group()) == 1:
                raise ValueError("it ends inside a string")
        elif sign == ord(","):
            if len(closing) == 1:
                bounds.append(mark.start())
        elif closing.pop() != sign:
            raise ValueError("its brackets do not match")
        if not closing:
            return [*bounds, mark.start()]
    raise ValueError("it ends before its last bracket")
