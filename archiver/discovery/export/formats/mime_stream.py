"""Mails written as a stream, the same bytes everywhere: headers, boundaries and base64 without a clock, chance or whole files in memory.

The standard library's `email` folds headers in another way from version to version and holds a message whole, so it is only what reads
these mails back in tests. Lines end in CRLF and stay short, as RFC 5322 (2.1.1) and RFC 2047 (2) ask. Every
body is base64, so that no text can look like a boundary, which has ``_`` in it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from datetime import UTC
from email.utils import format_datetime
from functools import lru_cache
from hashlib import sha256
from operator import itemgetter
from typing import BinaryIO
from urllib.parse import quote
from zoneinfo import ZoneInfo

from archiver.clock import from_ms
from archiver.discovery.export.formats.plain_transcript import one_line
from archiver.discovery.export.record import Person

LINE_CHARACTERS_MAX = 76
"""Of an encoded line, RFC 2045 (6.8) and RFC 2047 (2)."""
WORD_CHARACTERS_MAX = 200
"""Of a word of ASCII in a header, such as a digest; a longer one is encoded, so that no line comes near the 998 of RFC 5322."""
LINE_BYTES = 57
"""What fits into an encoded line."""
CHUNK_BYTES = LINE_BYTES * 4096
"""Of what is encoded at once, whole lines."""

# Where the lines of a chunk are, once it is encoded.
_CUTS = tuple(
    slice(line * LINE_CHARACTERS_MAX, (line + 1) * LINE_CHARACTERS_MAX) for line in range(CHUNK_BYTES // LINE_BYTES)
)
_WORD_BYTES_MAX = 42
_SAFE_PHRASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 '-]{0,60}")
_SAFE_ADDRESS = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+"
)
_ADDRESS_CHARACTERS_MAX = 254
_MIME = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,60}/[a-z0-9][a-z0-9!#$&^_.+-]{0,60}")
_UNSAFE_IN_NAME = re.compile(r'[/\\:*?"<>|]')
_UNSAFE_IN_IDENTIFIER = re.compile(r"[^A-Za-z0-9._-]")
_NAME_CHARACTERS_MAX = 150
_PARAMETER_CHARACTERS = 60


def stable_id(*parts: str) -> str:
    """Return 32 hex digits that stand for these texts, and for no others."""
    joined = "".join(f"{len(part)}:{part}" for part in parts)
    return sha256(joined.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def boundary_of(identity: str, level: str) -> str:
    """Return a boundary that no base64 can hold."""
    return f"=_{level}_{identity}"


def header(name: str, value: str) -> bytes:
    """Return a header line, folded; whatever is no plain word of ASCII travels as encoded words (RFC 2047)."""
    clean = one_line(value)
    words = clean.split(" ")
    if clean.isascii() and "=?" not in clean and all(len(word) <= WORD_CHARACTERS_MAX for word in words):
        return _folded(name, words)
    return _folded(name, list(_encoded_words(clean)))


def structured(name: str, items: Iterable[str], *, separator: str = ",") -> bytes:
    """Return a header whose items are already in their form on the wire, one a line where they are several."""
    joined = f"{separator}\r\n ".join(items)
    return f"{name}: {joined}\r\n".encode("ascii")


@lru_cache(maxsize=4_096)
def mailbox(person: Person) -> str:
    """Return a person as RFC 5322 writes a mailbox; who has no usable address gets one of their id in a domain that cannot exist."""
    name = one_line(person.shown)
    email = person.email or ""
    if not (_SAFE_ADDRESS.fullmatch(email) and len(email) <= _ADDRESS_CHARACTERS_MAX):
        email = f"{_local_part(person.user_id)}@users.flock.invalid"
    phrase = name if _SAFE_PHRASE.fullmatch(name) else "\r\n ".join(_encoded_words(name or person.user_id))
    return f"{phrase}\r\n <{email}>" if len(phrase) + len(email) > LINE_CHARACTERS_MAX - 8 else f"{phrase} <{email}>"


def date(at_ms: int, zone: ZoneInfo) -> str:
    """Return an instant as RFC 5322 writes it, in a zone; in UTC where the zone's offset is no whole minute."""
    instant = from_ms(at_ms)
    try:
        local = instant.astimezone(zone)
    except OverflowError:
        return format_datetime(instant)
    offset = local.utcoffset()
    return format_datetime(local if offset is not None and not offset.total_seconds() % 60 else instant.astimezone(UTC))


def safe_type(mime: str | None) -> str:
    """Return a media type that a part with base64 may have; what is none, or would hold parts itself, is octets."""
    known = (mime or "").strip().lower()
    if not _MIME.fullmatch(known) or known.startswith(("message/", "multipart/")):
        return "application/octet-stream"
    return known


def safe_file_name(name: str) -> str:
    """Return a file's own name without what could make it a path; a receiver's mail program saves under it."""
    clean = _UNSAFE_IN_NAME.sub("_", one_line(name)).strip(". ")
    if len(clean) > _NAME_CHARACTERS_MAX:
        stem, dot, extension = clean.rpartition(".")
        tail = f"{dot}{extension}" if dot and len(extension) <= 16 else ""  # noqa: PLR2004 - longer than any extension
        clean = (stem if tail else clean)[: _NAME_CHARACTERS_MAX - len(tail)].rstrip() + tail
    return clean or "file"


def safe_name(identifier: str) -> str:
    """Return an identifier as a name for a file: what is no letter, digit, dot, hyphen or underscore of ASCII becomes one."""
    return _UNSAFE_IN_IDENTIFIER.sub("_", identifier).lstrip(".") or "_"


def disposition(name: str) -> bytes:
    """Return the header that makes a part an attachment of this name (RFC 2231, in sections where it is long)."""
    if _SAFE_PHRASE.fullmatch(name.replace(".", "").replace("_", "")) and len(name) <= _PARAMETER_CHARACTERS:
        return structured("Content-Disposition", ["attachment", f'filename="{name}"'], separator=";")
    sections = list(_sections(quote(name, safe="")))
    if len(sections) == 1:
        return structured("Content-Disposition", ["attachment", f"filename*=UTF-8''{sections[0]}"], separator=";")
    first, *further = sections
    parameters = [f"filename*0*=UTF-8''{first}", *(f"filename*{n}*={text}" for n, text in enumerate(further, 1))]
    return structured("Content-Disposition", ["attachment", *parameters], separator=";")


def base64_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield base64 in lines of 76 characters with CRLF, of bytes that come in chunks of any size."""
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size >= CHUNK_BYTES:
            data = b"".join(held)
            whole = size - size % CHUNK_BYTES
            yield from (_lines(data[at : at + CHUNK_BYTES]) for at in range(0, whole, CHUNK_BYTES))
            held = [data[whole:]]
            size -= whole
    if size:
        yield _lines(b"".join(held))


def chunks_of(stream: BinaryIO) -> Iterator[bytes]:
    """Yield what a stream holds, in chunks."""
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def _lines(data: bytes) -> bytes:
    """Return the lines of a chunk at most."""
    coded = base64.b64encode(data)
    # One call that cuts all lines takes three quarters of cutting each. Of a single line it would return that, and not a tuple of it.
    cuts = _CUTS[: -(-len(coded) // LINE_CHARACTERS_MAX)]
    lines = itemgetter(*cuts)(coded) if len(cuts) > 1 else (coded,)
    return b"\r\n".join((*lines, b""))


def _folded(name: str, words: list[str]) -> bytes:
    lines = [f"{name}:"]
    for word in words:
        if len(lines[-1]) + 1 + len(word) <= LINE_CHARACTERS_MAX or lines[-1] == f"{name}:":
            lines[-1] += f" {word}"
        else:
            lines.append(f" {word}")
    return "\r\n".join([*lines, ""]).encode("ascii")


def _sections(coded: str) -> Iterator[str]:
    """Yield percent-encoded text in sections that leave every escape whole."""
    at = 0
    while at < len(coded):
        end = at + _PARAMETER_CHARACTERS
        while end < len(coded) and "%" in coded[end - 2 : end]:
            end -= 1
        yield coded[at:end]
        at = end


def _encoded_words(text: str) -> Iterator[str]:
    """Yield encoded words of whole characters; readers join adjacent ones without a space."""
    word = b""
    for character in text:
        data = character.encode("utf-8", "replace")
        if len(word) + len(data) > _WORD_BYTES_MAX:
            yield f"=?utf-8?b?{base64.b64encode(word).decode('ascii')}?="
            word = b""
        word += data
    if word:
        yield f"=?utf-8?b?{base64.b64encode(word).decode('ascii')}?="


def _local_part(user_id: str) -> str:
    """Return an id as the local part of an address: letters and digits stay, anything else becomes its code point."""
    coded = "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in user_id)
    return coded if 0 < len(coded) <= 60 else stable_id(user_id)  # noqa: PLR2004 - RFC 5321 allows 64
