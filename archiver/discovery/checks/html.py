"""Reads the HTML transcript back: nothing runs, nothing is fetched, every link leads to what is here, no message is missing."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from html import escape
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import Final
from urllib.parse import unquote, urlsplit

from archiver.discovery.checks.findings import Finding, PackageFacts
from archiver.discovery.checks.html_reader import PageReader
from archiver.discovery.checks.tally import Tally, files_in

PAGE_BYTES_MAX: Final = 128 * 1024 * 1024
PAGES_OF_A_CONVERSATION_MAX: Final = 1_000_000
_INDEX: Final = "data/html/index.html"
# A direction that outlives its line makes what follows look other than it is.
_TURNS: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
_PICTURES_FROM: Final = frozenset({"'self'", "file:", "'none'"})
_NOTHING: Final = ("default-src", "base-uri", "form-action")
_BY_DIGEST: Final = {"style-src": "style", "script-src": "script"}
_DIGEST: Final = re.compile(r"'sha256-[A-Za-z0-9+/]{43}='")


def check(folder: Path, facts: PackageFacts) -> Iterator[Finding]:
    """Yield whatever is wrong with the HTML transcript of a package."""
    paths, findings = files_in(folder, "html", facts)
    yield from findings
    if _INDEX not in paths:
        yield Finding(_INDEX, None, "missing", "there is no index")
        return
    yield from _Transcript(folder, facts, set(paths)).findings()


class _Transcript:
    def __init__(self, folder: Path, facts: PackageFacts, paths: set[str]) -> None:
        self._folder = folder
        self._facts = facts
        self._paths = paths
        self._tally = Tally("html", facts)
        self._read: set[str] = set()
        self._anchors: dict[str, dict[str, str]] = {}

    def findings(self) -> Iterator[Finding]:
        """Read the index and every page that it leads to, conversation by conversation."""
        index, wrong = self._page(_INDEX)
        yield from wrong
        if index is None:
            return
        for row in index.rows:
            counted = 0
            path: str | None = _target(_INDEX, row.href)
            for _ in range(PAGES_OF_A_CONVERSATION_MAX):
                if path is None or path not in self._paths or path in self._read:
                    break
                page, wrong = self._page(path)
                yield from wrong
                if page is None:
                    break
                counted += len(page.messages)
                yield from self._messages(page, path, row.chat_id)
                path = None if page.next_page is None else _target(path, page.next_page)
            if str(counted) != row.messages:
                what = f"it says {row.messages} messages of {row.chat_id!r}; its pages have {counted}"
                yield Finding(_INDEX, None, "count", what)
            yield from self._fragments()
        for path in sorted(self._paths - self._read):
            yield Finding(path, None, "stray", "no link leads to this page")
        yield from self._tally.differences(_INDEX)

    def _page(self, path: str) -> tuple[PageReader | None, list[Finding]]:
        self._read.add(path)
        place = self._folder / path
        if place.stat().st_size > PAGE_BYTES_MAX:
            return None, [Finding(path, None, "bomb", f"the page is larger than {PAGE_BYTES_MAX} bytes")]
        try:
            text = place.read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            return None, [Finding(path, None, "encoding", f"this is no UTF-8: {error.reason}")]
        reader = PageReader()
        try:
            reader.feed(text)
            reader.close()
        except (AssertionError, ValueError) as error:
            return None, [Finding(path, None, "markup", f"it cannot be read: {error}")]
        found = [Finding(path, where, code, what) for where, code, what in reader.wrong]
        found += [Finding(path, None, "policy", what) for what in _policy(reader)]
        found += list(self._links(reader, path))
        if _TURNS.search(text):
            found.append(Finding(path, None, "direction", "a character turns the direction of what follows it"))
        return reader, found

    def _links(self, page: PageReader, path: str) -> Iterator[Finding]:
        for line, address in page.addresses:
            place = f"line {line}"
            target = _target(path, address)
            if target is None:
                yield Finding(path, place, "external", f"{address[:200]!r} leads out of the package")
                continue
            fragment = unquote(urlsplit(address).fragment)
            if target == path and fragment:
                if fragment not in page.anchors:
                    yield Finding(path, place, "link", f"nothing on this page is called {fragment!r}")
            elif target not in self._paths and target not in self._facts.natives:
                yield Finding(path, place, "link", f"there is no {target!r}")
            elif fragment:
                self._anchors.setdefault(target, {})[fragment] = path

    def _fragments(self) -> Iterator[Finding]:
        """Yield links to a place on another page that is not there."""
        for target, wanted in sorted(self._anchors.items()):
            text = (self._folder / target).read_text("utf-8", "replace") if target in self._paths else ""
            for fragment, path in sorted(wanted.items()):
                if f'id="{escape(fragment)}"' not in text:
                    yield Finding(path, None, "link", f"nothing in {target!r} is called {fragment!r}")
        self._anchors = {}

    def _messages(self, page: PageReader, path: str, chat_id: str) -> Iterator[Finding]:
        for message in page.messages:
            place = message.anchor
            yield from self._tally.message(path, place, chat_id=chat_id, uid=message.uid)
            yield from self._tally.time(path, place, text=message.time, at_ms=None)
            self._tally.versions(message.versions)
            for file in message.files:
                native = None if file.href is None else _target(path, file.href)
                yield from self._tally.file(path, place, native=native, sha256=file.sha256)


def _target(path: str, address: str) -> str | None:
    """Return where a relative address leads from a file of the package; None if it leads out, or is none."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    if parts.scheme or parts.netloc or parts.query or address.startswith(("/", "\\")) or "\0" in address:
        return None
    if not parts.path:
        return path
    target = normpath(join(dirname(path), unquote(parts.path)))
    return target if target.startswith("data/") and "\\" not in target else None


def _policy(page: PageReader) -> Iterator[str]:
    """Yield in what a page's Content-Security-Policy is not strict, or does not fit its scripts and styles."""
    if len(page.policies) != 1:
        yield f"{len(page.policies)} policies; a page has one"
        return
    given: dict[str, list[str]] = {}
    for directive in filter(None, map(str.split, page.policies[0].split(";"))):
        if directive[0] in given:
            yield f"{directive[0]} is said twice"
        given[directive[0]] = directive[1:]
    for name in _NOTHING:
        if given.get(name) != ["'none'"]:
            yield f"{name} is {' '.join(given.get(name, ['not said']))}"
    if not set(given.get("img-src", ())) <= _PICTURES_FROM:
        yield f"img-src is {' '.join(given['img-src'])}"
    for name in sorted(given.keys() - {*_NOTHING, *_BY_DIGEST, "img-src"}):
        yield f"{name} has no place here"
    for name, element in _BY_DIGEST.items():
        yield from _digests(page, name, element, given.get(name, []))


def _digests(page: PageReader, name: str, element: str, allowed: list[str]) -> Iterator[str]:
    if not all(_DIGEST.fullmatch(value) for value in allowed):
        yield f"{name} allows more than what it names by digest: {' '.join(allowed)}"
    for tag, text in page.scripts:
        if tag == element and f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" not in allowed:
            yield f"a {element} is not the one that {name} names"
