"""Telling files from the pages that hosts give instead of them, mostly to ask for a login, with status 200 (flock-api.md 13)."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from typing import Final

_HTML: Final = frozenset({"text/html", "application/xhtml+xml"})
_HTML_NAMES: Final = (".html", ".htm", ".xhtml", ".shtml")
_UNKNOWN: Final = frozenset({"", "application/octet-stream"})
_STARTS: Final = (b"<!doctype html", b"<html")
# Declared types of which no file begins as a page does. Spreadsheets are not among them: many are pages under another name.
_NEVER_PAGES: Final = ("image/", "audio/", "video/", "application/pdf", "application/zip")
_SPACE_BYTES_MAX: Final = 4096


class LoginPageError(Exception):
    """A host gave a page where the message declares a file that is none."""


def is_page(mime: str | None) -> bool:
    """Tell whether a media type without parameters, in lower case, is that of a page."""
    return mime in _HTML


def is_page_expected(name: str | None, mime: str | None) -> bool:
    """Tell whether the message itself declares HTML; if not, HTML is the host asking for a login."""
    declared = _type_of(mime)
    if declared in _UNKNOWN:
        return (name or "").lower().endswith(_HTML_NAMES)
    return is_page(declared)


def without_page(body: Iterable[bytes], *, declared: str | None) -> Iterator[bytes]:
    """Yield a body; raises `LoginPageError` if it is a page, under whatever type, where the declared type says that it cannot be."""
    chunks = iter(body)
    if _type_of(declared).startswith(_NEVER_PAGES):
        start = b""
        for chunk in chunks:
            start += chunk
            if len(start.lstrip()) >= len(codecs.BOM_UTF8) + max(map(len, _STARTS)) or len(start) >= _SPACE_BYTES_MAX:
                break
        if start.removeprefix(codecs.BOM_UTF8).lstrip().lower().startswith(_STARTS):
            raise LoginPageError
        yield start
    yield from chunks


def _type_of(mime: str | None) -> str:
    return (mime or "").partition(";")[0].strip().lower()
