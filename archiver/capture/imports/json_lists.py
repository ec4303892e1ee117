"""The elements of a JSON list, one at a time and each as it stands there: a list of numbers without end needs no memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from archiver.errors import UnparseableError

_SPACE: Final = re.compile(r"[ \t\n\r]*+")
# Only where an element ends is asked; what its numbers are is not.
_scan: Final = json.JSONDecoder(parse_int=len, parse_float=len, parse_constant=len).raw_decode
_KEEP_BYTES: Final = "surrogateescape"


class BrokenListError(UnparseableError):
    """A JSON list is none from some place on; ``rest`` are the bytes from there."""

    def __init__(self, what: str, rest: bytes) -> None:
        super().__init__(what)
        self.rest = rest


def elements_of(data: bytes) -> Iterator[bytes]:
    """Yield the elements of a JSON list, each exactly as it stands.

    Raises `BrokenListError` where it is a list no more. An element may be anything in JSON's grammar, also with bytes that are no
    UTF-8: who reads it tells.
    """
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", _KEEP_BYTES)
    at = _after_space(text, 0)
    if not text.startswith("[", at):
        raise BrokenListError("it is no JSON list", data)
    at = _after_space(text, at + 1)
    if text.startswith("]", at):
        _expect_end(text, at)
        return
    while True:
        try:
            _, end = _scan(text, at)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deep"
            raise BrokenListError(f"it is no JSON list from here on: {reason}", _bytes(text, at)) from None
        yield text[at:end].encode("utf-8", _KEEP_BYTES)
        at = _after_space(text, end)
        if text.startswith("]", at):
            _expect_end(text, at)
            return
        if not text.startswith(",", at):
            raise BrokenListError("it is no JSON list from here on: no comma and no end", _bytes(text, at))
        at = _after_space(text, at + 1)


def _expect_end(text: str, at: int) -> None:
    """Raise `BrokenListError` if anything stands behind the list's end."""
    behind = _after_space(text, at + 1)
    if behind < len(text):
        raise BrokenListError("something stands behind the JSON list's end", _bytes(text, behind))


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _bytes(text: str, at: int) -> bytes:
    return text[at:].encode("utf-8", _KEEP_BYTES)
