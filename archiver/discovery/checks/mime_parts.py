"""A mail read part by part, however large or malformed: what lies in a part goes to a temporary file, never whole into memory.

The standard library's parser takes a mail whole. Here only headers go to it, which are small or refused. What breaks RFC 5322 or RFC 2045
is told to a callable as a place, a code and a sentence; reading goes on wherever something can still be read.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.parser import BytesHeaderParser
from email.utils import getaddresses
from tempfile import SpooledTemporaryFile
from typing import IO, BinaryIO, cast

LINE_BYTES_MAX = 998
"""Of a line without its CRLF, RFC 5322 (2.1.1)."""
HEADER_BYTES_MAX = 4_000_000
DEPTH_MAX = 10
PARTS_MAX = 100_000
MEMORY_BYTES_MAX = 8_000_000

Problem = Callable[[str, str, str], None]

_READ_BYTES = 65_536
_FOLD = re.compile(r"\r?\n(?=[ \t])")


@dataclass(frozen=True, slots=True)
class Part:
    """The mail itself or a part of it. ``place`` numbers it, ``0`` for the mail, ``2.1`` for the first part of its second.

    ``body`` is what it holds, decoded, and lives until the next part is asked for; None if it holds parts.
    """

    place: str
    headers: Message
    body: IO[bytes] | None

    @property
    def media_type(self) -> str:
        """Its media type, in lower case, without parameters."""
        return self.headers.get_content_type()

    @property
    def is_attachment(self) -> bool:
        """Tell whether it is to be saved and not shown."""
        return self.headers.get_content_disposition() == "attachment"

    @property
    def file_name(self) -> str:
        """The name it is to be saved under, decoded; empty if it has none."""
        try:
            name = self.headers.get_filename("")
        except (LookupError, ValueError, TypeError):
            return ""
        return name if isinstance(name, str) else ""

    def header(self, name: str) -> str | None:
        """Return the text of a header, unfolded and decoded; None if it is not there."""
        value = self.headers.get(name)
        return None if value is None else decoded(str(value))

    def mailboxes(self, name: str) -> list[tuple[str, str]]:
        """Return the names, decoded, and addresses of a header that has people."""
        pairs = getaddresses([_unfolded(str(value)) for value in self.headers.get_all(name, [])])
        return [(decoded(shown), address) for shown, address in pairs if shown or address]


def _unfolded(value: str) -> str:
    return _FOLD.sub("", value)


def decoded(value: str) -> str:
    """Return the text of a header's value: unfolded, with its encoded words read."""
    unfolded = _unfolded(value)
    try:
        words = decode_header(unfolded)
    except (HeaderParseError, ValueError):
        return unfolded
    found = []
    for word, charset in words:
        if isinstance(word, bytes):
            try:
                found.append(word.decode(charset or "ascii", "replace"))
            except LookupError:
                found.append(word.decode("utf-8", "replace"))
        else:
            found.append(word)
    return "".join(found)


def read_parts(stream: BinaryIO, problem: Problem) -> Iterator[Part]:
    """Yield the mail and then its parts, each before what lies in it."""
    lines = _Lines(stream, problem)
    yield from _read(lines, problem, place="", boundaries=[])
    if lines.count == 0:
        problem("", "header", "the file is empty")


class _Lines:
    """The lines of a file with their ends, counted; tells once of each kind of mistake in them."""

    def __init__(self, stream: BinaryIO, problem: Problem) -> None:
        self._stream = stream
        self._problem = problem
        self._told: set[str] = set()
        self.count = 0
        self.last = b""

    def next(self) -> bytes:
        """Return the next line, or a part of one that is longer than any may be; empty at the end."""
        line = self._stream.readline(_READ_BYTES)
        self.last = line
        if not line:
            return line
        self.count += 1
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            self._tell("line-end", "a line does not end in CRLF, or has a CR inside")
        if len(line) > LINE_BYTES_MAX + 2:
            self._tell("line-length", f"a line is longer than {LINE_BYTES_MAX} bytes")
        return line

    def _tell(self, code: str, what: str) -> None:
        if code not in self._told:
            self._told.add(code)
            self._problem(f"line {self.count}", code, what)


def _read(lines: _Lines, problem: Problem, *, place: str, boundaries: list[bytes]) -> Iterator[Part]:
    """Yield a part whose headers are next, and what lies in it. On return ``lines.last`` is the delimiter that ended it, or empty."""
    shown = place or "0"
    headers = _headers(lines, problem, shown)
    if headers.get_content_maintype() != "multipart":
        with SpooledTemporaryFile(max_size=MEMORY_BYTES_MAX) as body:
            _decode(lines, boundaries, cast("IO[bytes]", body), headers=headers, place=shown, problem=problem)
            body.seek(0)
            yield Part(shown, headers, cast("IO[bytes]", body))
        return
    yield Part(shown, headers, None)
    boundary = _boundary(headers)
    if not boundary or len(boundaries) >= DEPTH_MAX:
        problem(shown, "boundary", "parts lie in parts too deep" if boundary else "a multipart has no boundary")
        _skip(lines, boundaries)
        return
    inner = [*boundaries, boundary]
    _skip(lines, inner)
    number = 0
    while _delimits(lines.last, [boundary]) == 1:
        number += 1
        if number > PARTS_MAX:
            problem(shown, "boundary", f"there are more than {PARTS_MAX} parts")
            break
        yield from _read(lines, problem, place=f"{place}.{number}".lstrip("."), boundaries=inner)
    if _delimits(lines.last, [boundary]) != 2:  # noqa: PLR2004 - closed
        problem(shown, "boundary", "a multipart is never closed")
        if not _delimits(lines.last, boundaries):
            _skip(lines, boundaries)
        return
    _skip(lines, boundaries)


def _boundary(headers: Message) -> bytes:
    try:
        boundary = headers.get_boundary("")
    except (LookupError, ValueError, TypeError):
        return b""
    return str(boundary).encode("ascii", "replace")


def _headers(lines: _Lines, problem: Problem, place: str) -> Message:
    block: list[bytes] = []
    size = 0
    while (line := lines.next()) not in (b"", b"\r\n", b"\n"):
        size += len(line)
        if size <= HEADER_BYTES_MAX:
            block.append(line)
    if size > HEADER_BYTES_MAX:
        problem(place, "header", f"the headers are larger than {HEADER_BYTES_MAX} bytes")
    headers = BytesHeaderParser().parsebytes(b"".join(block))
    if headers.defects:
        problem(place, "header", "a header line is malformed")
    return headers


def _skip(lines: _Lines, boundaries: list[bytes]) -> None:
    """Read to the next delimiter of one of these, or to the end."""
    while (line := lines.next()) and not _delimits(line, boundaries):
        pass


def _delimits(line: bytes, boundaries: list[bytes]) -> int:
    """Return 1 if a line begins a part of one of these boundaries, 2 if it closes one, else 0."""
    if not line.startswith(b"--"):
        return 0
    bare = line.rstrip(b" \t\r\n")
    for boundary in reversed(boundaries):
        if bare == b"--" + boundary:
            return 1
        if bare == b"--" + boundary + b"--":
            return 2
    return 0


def _decode(
    lines: _Lines, boundaries: list[bytes], body: IO[bytes], *, headers: Message, place: str, problem: Problem
) -> None:
    encoding = str(headers.get("Content-Transfer-Encoding", "7bit")).strip().lower()
    decoder = _Base64(body) if encoding == "base64" else _Plain(body, is_quoted=encoding == "quoted-printable")
    while (line := lines.next()) and not _delimits(line, boundaries):
        decoder.add(line)
    if not decoder.finish():
        problem(place, "base64", "the base64 of a part is malformed")


class _Base64:
    def __init__(self, body: IO[bytes]) -> None:
        self._body = body
        self._rest = bytearray()
        self._is_good = True
        self._has_ended = False

    def add(self, line: bytes) -> None:
        self._rest += line.strip()
        if len(self._rest) >= _READ_BYTES:
            self._take(len(self._rest) - len(self._rest) % 4)

    def finish(self) -> bool:
        self._take(len(self._rest))
        return self._is_good

    def _take(self, count: int) -> None:
        if not (self._is_good and count):
            self._rest.clear()
            return
        chunk = bytes(self._rest[:count])
        del self._rest[:count]
        try:
            data = binascii.a2b_base64(chunk, strict_mode=True)
        except binascii.Error:
            self._is_good = False
            return
        self._is_good = not self._has_ended
        self._has_ended = chunk.endswith(b"=")
        self._body.write(data)


class _Plain:
    def __init__(self, body: IO[bytes], *, is_quoted: bool) -> None:
        self._body = body
        self._is_quoted = is_quoted
        self._held = b""

    def add(self, line: bytes) -> None:
        """Take a line; its end is held back, because the one before a delimiter belongs to that."""
        if self._is_quoted:
            line = binascii.a2b_qp(line)
        bare = line.rstrip(b"\r\n")
        self._body.write(self._held + bare)
        self._held = line[len(bare) :]

    def finish(self) -> bool:
        return True
