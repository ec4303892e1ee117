"""Mails read part by part: what lies in a part, and what is told of one that is malformed."""

from __future__ import annotations

import base64
import io

import pytest

from archiver.discovery.checks.mime_parts import read_parts

MAIL = (
    b"From: a@b.cc\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\npreamble\r\n--x\r\n%s\r\n--x--\r\nepilogue\r\n"
)


def read(part: bytes) -> tuple[list[bytes], list[str]]:
    """Return what lies in the parts of a mail with this one, and the codes of what is told."""
    codes: list[str] = []
    parts = read_parts(io.BytesIO(MAIL % part), lambda _place, code, _what: codes.append(code))
    return [found.body.read() for found in parts if found.body is not None], codes


@pytest.mark.parametrize(
    ("encoding", "body", "decoded"),
    [
        (b"base64", b"aGVsbG8=", b"hello"),
        (b"BASE64", b"aGVs\r\nbG8=", b"hello"),
        (b"quoted-printable", b"h=65l=\r\nlo=0D", b"hello\r"),
        (b"8bit", b"a\r\n\r\nb\r\n", b"a\r\n\r\nb\r\n"),
        (b"7bit", b"", b""),
    ],
)
def test_a_part_holds_what_was_put_into_it(encoding: bytes, body: bytes, decoded: bytes) -> None:
    assert read(b"Content-Transfer-Encoding: " + encoding + b"\r\n\r\n" + body) == ([decoded], [])


def test_a_large_part_is_whole() -> None:
    data = bytes(range(256)) * 1_000
    lines = base64.encodebytes(data).replace(b"\n", b"\r\n")
    assert read(b"Content-Transfer-Encoding: base64\r\n\r\n" + lines) == ([data], [])


@pytest.mark.parametrize(
    "body", [b"aGVs$G8=", b"aGVsbG8", b"aGVsbG8=aGVs", base64.b64encode(b"x" * 49_151) + b"\r\naGVs"]
)
def test_base64_that_is_malformed_is_told_of(body: bytes) -> None:
    lines = b"\r\n".join(body[at : at + 76] for at in range(0, len(body), 76))
    assert read(b"Content-Transfer-Encoding: base64\r\n\r\n" + lines)[1] == ["base64"]


def test_parts_in_parts_have_places_and_end_where_they_say() -> None:
    inner = b"Content-Type: multipart/alternative; boundary=y\r\n\r\n--y\r\n\r\none\r\n--y\r\n\r\ntwo\r\n--y--\r\n--x\r\n\r\nthree"
    places = [
        (part.place, part.body and part.body.read()) for part in read_parts(io.BytesIO(MAIL % inner), lambda *_: None)
    ]
    assert places == [("0", None), ("1", None), ("1.1", b"one"), ("1.2", b"two"), ("2", b"three")]
