"""Reads the mails of a package back: headers, the two forms of the body, the files, and whether they are as many as the mail says.

A mail of an export has its text twice, as plain text and as HTML of the simplest elements, in which nothing is fetched and nothing runs.
A file's part says the SHA-256 of its bytes, or why they are missing.
"""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from hashlib import sha256
from pathlib import Path
from typing import IO, Final

from archiver.discovery.checks.findings import Finding, PackageFacts
from archiver.discovery.checks.mime_parts import Part, read_parts
from archiver.discovery.checks.remembered import Remembered
from archiver.discovery.checks.tree import files_below

# What a page may be made of, and which values attributes may have there: nothing that fetches, runs or leads elsewhere.
_ELEMENTS: Final = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "body",
        "h1",
        "p",
        "b",
        "bdi",
        "br",
        "ul",
        "li",
        "small",
        "article",
        "div",
        "blockquote",
    ),
}
_ATTRIBUTES: Final = {
    ("html", "lang"): {"en"},
    ("meta", "charset"): {"utf-8"},
    ("div", "dir"): {"auto"},
    ("div", "style"): {"white-space:pre-wrap"},
}
_TAG = re.compile(
    r'<(?:!DOCTYPE html|(?P<closes>/)?(?P<name>[a-z0-9]{1,20})(?P<attributes>(?: [a-z]{1,20}="[^"<>&]{0,40}"){0,4}))>'
)
_ATTRIBUTE = re.compile(r' ([a-z]+)="([^"]*)"')
_TAG_CHARACTERS_MAX = 300

_REQUIRED: Final = ("Date", "From", "To", "Subject", "Message-ID", "MIME-Version")
_MESSAGE_ID = re.compile(r"<[^<>@\s]+@[^<>@\s]+>")
_PATH_CHARACTERS = re.compile(r"[/\\\x00-\x1f\x7f]")
_CHUNK_BYTES = 1 << 20

Told = tuple[str, str, str]


@dataclass(slots=True)
class _Mail:
    """What was found in one mail."""

    told: list[Told] = field(default_factory=list)
    top: Part | None = None
    bodies: list[str] = field(default_factory=list)
    articles: int = 0
    files: int = 0

    def problem(self, place: str, code: str, what: str) -> None:
        self.told.append((place, code, what))


def check(folder: Path, facts: PackageFacts) -> Iterator[Finding]:
    """Yield what is not as RFC 5322, or a mail itself, or the package's report has it."""
    with Remembered() as remembered:
        yield from _check(folder, facts, remembered)


def _check(folder: Path, facts: PackageFacts, remembered: Remembered) -> Iterator[Finding]:
    found: Counter[str] = Counter()
    by_chat: Counter[str] = Counter()
    known = remembered.notes()
    for file in files_below(folder, "data/eml"):
        name = file.path
        if not name.endswith(".eml") or not file.is_plain:
            yield Finding(name, None, "stray", "this is no mail")
            continue
        mail = _read(folder / name)
        found["messages"] += mail.articles
        found["files"] += mail.files
        if mail.top is not None:
            by_chat[mail.top.header("X-Archive-Conversation-ID") or ""] += mail.articles
            identity = (mail.top.header("Message-ID") or "").strip()
            if identity and not known.put(identity, name):
                mail.problem("Message-ID", "id", f"{known.get(identity)} has the same")
        yield from (Finding(name, place or None, code, what) for place, code, what in mail.told)
    said = facts.formats.get("eml")
    if said is not None:
        for kind, wanted in (("messages", said.messages), ("files", said.files)):
            if found[kind] != wanted:
                yield _count(f"{found[kind]} {kind} stand in the mails; the report has {wanted}")
    for chat_id in sorted(facts.conversations.keys() | by_chat.keys()):
        if by_chat[chat_id] != facts.conversations.get(chat_id, 0):
            wanted = facts.conversations.get(chat_id, 0)
            yield _count(f"{by_chat[chat_id]} messages of {chat_id} stand in the mails; the report has {wanted}")


def _count(what: str) -> Finding:
    return Finding("data/eml", None, "count", what)


def _read(path: Path) -> _Mail:
    mail = _Mail()
    alternative: str | None = None
    with path.open("rb") as stream:
        for part in read_parts(stream, mail.problem):
            if mail.top is None:
                mail.top = part
            if part.media_type == "multipart/alternative":
                alternative = part.place
            if part.body is None:
                continue
            if part.is_attachment:
                mail.files += 1
                _attachment(part, part.body, mail)
            elif alternative is not None and part.place.startswith(f"{alternative}."):
                mail.bodies.append(part.media_type)
                _body(part, part.body, mail)
            else:
                mail.problem(part.place, "structure", "a part is neither a body nor an attachment")
    if mail.bodies != ["text/plain", "text/html"]:
        mail.problem("", "structure", "the body is not plain text and then HTML in one multipart/alternative")
    if mail.top is not None:
        _headers(mail.top, mail)
    return mail


def _headers(top: Part, mail: _Mail) -> None:
    for name in _REQUIRED:
        values = top.headers.get_all(name, [])
        if len(values) != 1 or not top.header(name):
            mail.problem(
                name, "header", f"there is no {name}" if not values else f"{name} is empty or stands more than once"
            )
    if top.header("Date") and not _is_dated(top.header("Date") or ""):
        mail.problem("Date", "date", "it is no date with a zone")
    for name in ("Message-ID", "In-Reply-To", "References"):
        value = top.header(name)
        if value and not all(map(_MESSAGE_ID.fullmatch, value.split())):
            mail.problem(name, "id", "it is no message id")
    own = (top.header("Message-ID") or "").strip()
    if own and own in (top.header("In-Reply-To") or ""):
        mail.problem("In-Reply-To", "id", "the mail replies to itself")
    for name, number in (("X-Archive-Messages", mail.articles), ("X-Archive-Files", mail.files)):
        said = (top.header(name) or "").strip()
        if said != str(number):
            mail.problem(name, "count", f"it says {said[:20] or 'nothing'}; the mail has {number}")


def _is_dated(text: str) -> bool:
    try:
        return parsedate_to_datetime(text).utcoffset() is not None
    except (ValueError, TypeError, IndexError, OverflowError):
        return False


def _attachment(part: Part, body: IO[bytes], mail: _Mail) -> None:
    name = part.file_name
    if not name or _PATH_CHARACTERS.search(name) or name in (".", ".."):
        mail.problem(part.place, "name", f"{name[:80]!r} is no name to save a file under")
    said = part.header("X-Archive-SHA256")
    if said is None:
        if not part.header("X-Archive-Missing"):
            mail.problem(
                part.place, "digest", "the part says neither the SHA-256 of its bytes nor why they are missing"
            )
        return
    digest = sha256()
    while chunk := body.read(_CHUNK_BYTES):
        digest.update(chunk)
    if digest.hexdigest() != said.strip():
        mail.problem(part.place, "digest", "the SHA-256 of the file is not the one that the part says")


def _body(part: Part, body: IO[bytes], mail: _Mail) -> None:
    """Look at a form of the body, in chunks: that it is UTF-8 and, of HTML, that it is harmless."""
    charset = part.headers.get_content_charset("us-ascii")
    if charset not in ("utf-8", "us-ascii"):
        mail.problem(part.place, "charset", f"the body is in {charset[:40]!r}")
        return
    page = _Page()
    is_page = part.media_type == "text/html"
    decoder = getincrementaldecoder(charset)()
    try:
        while chunk := body.read(_CHUNK_BYTES):
            text = decoder.decode(chunk)
            if is_page:
                page.feed(text)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        mail.problem(part.place, "charset", f"the body is not {charset}")
        return
    if is_page:
        page.close()
        mail.articles = page.articles
        if page.bad:
            mail.problem(part.place, "active", f"the page has {page.bad}")


class _Page:
    """Counts messages and finds the first thing that a page may not have; takes text in chunks.

    A page of an export is so plain that each of its tags matches one pattern. What does not is told of, and not understood: a parser that
    mends what it reads would find another page than a browser.
    """

    def __init__(self) -> None:
        self.articles = 0
        self.bad = ""
        self._rest = ""

    def feed(self, text: str) -> None:
        """Take the next text."""
        if self.bad:
            return
        text = self._rest + text
        at = text.find("<")
        while at >= 0:
            tag = _TAG.match(text, at)
            if tag is None:
                break
            self._look(tag["closes"], tag["name"] or "", tag["attributes"] or "")
            at = text.find("<", tag.end())
        self._rest = text[at:] if at >= 0 else ""
        if len(self._rest) > _TAG_CHARACTERS_MAX or ">" in self._rest:
            self.bad = self.bad or f"markup that is no plain tag: {self._rest[:40]!r}"

    def close(self) -> None:
        """Tell that the page has ended."""
        if self._rest:
            self.bad = self.bad or "a tag that does not end"

    def _look(self, closes: str | None, name: str, attributes: str) -> None:
        self.articles += name == "article" and not closes
        if name and name not in _ELEMENTS:
            self.bad = self.bad or f"an element {name}"
        for attribute, value in _ATTRIBUTE.findall(attributes):
            if value not in _ATTRIBUTES.get((name, attribute), ()):
                self.bad = self.bad or f"an attribute {attribute[:40]} of {name}"
