"""A page of a transcript as a browser takes it apart: elements, links, scripts, and the messages with their times, versions and files."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final

# Elements that fetch, run or send something, or move where links lead; a transcript needs none of them.
_ACTIVE: Final = frozenset(
    {
        "iframe",
        "frame",
        "object",
        "embed",
        "applet",
        "base",
        "link",
        "audio",
        "video",
        "source",
        "portal",
        "template",
        "math",
        "svg",
        "slot",
    }
)
_VOID: Final = frozenset({"meta", "br", "img", "input", "hr", "wbr"})
_ADDRESSES: Final = frozenset(
    {
        "href",
        "src",
        "srcset",
        "action",
        "formaction",
        "poster",
        "data",
        "background",
        "ping",
        "manifest",
        "cite",
        "longdesc",
        "xlink:href",
    }
)


@dataclass(slots=True)
class FileSeen:
    """A file of a message: where its link leads from the page, None for a placeholder."""

    href: str | None = None
    sha256: str | None = None


@dataclass(slots=True)
class MessageSeen:
    """A message of a page."""

    anchor: str
    uid: str
    time: str = ""
    versions: int = 1
    files: list[FileSeen] = field(default_factory=list)


@dataclass(slots=True)
class RowSeen:
    """A conversation's row in the index."""

    chat_id: str
    messages: str
    href: str = ""


class PageReader(HTMLParser):
    """Reads one page; what it found stands in its attributes when `close` has been called."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.wrong: list[tuple[str, str, str]] = []
        self.policies: list[str] = []
        self.scripts: list[tuple[str, str]] = []
        self.addresses: list[tuple[int, str]] = []
        self.next_page: str | None = None
        self.anchors: set[str] = set()
        self.messages: list[MessageSeen] = []
        self.rows: list[RowSeen] = []
        self._open: list[str] = []
        self._raw = ""
        self._in_message = False
        self._in_edits = False
        self._file: FileSeen | None = None

    def close(self) -> None:
        """End the page."""
        super().close()
        if self._open:
            self._say("markup", f"<{self._open[-1]}> is not closed")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take the beginning of an element."""
        given = {name: value or "" for name, value in attrs}
        if len(given) != len(attrs):
            self._say("markup", f"<{tag}> has an attribute twice")
        self._safe(tag, given)
        if tag not in _VOID:
            self._open.append(tag)
        if tag in ("style", "script"):
            self._raw = ""
        if anchor := given.get("id"):
            if anchor in self.anchors:
                self._say("duplicate", f"two elements have the id {anchor!r}")
            self.anchors.add(anchor)
        self._content(tag, given, set(given.get("class", "").split()))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take an element that ends at once, which in HTML only some can."""
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        """Take the end of an element."""
        if not self._open or self._open[-1] != tag:
            self._say("markup", f"</{tag}> ends what is not open")
            return
        self._open.pop()
        if tag in ("style", "script"):
            self.scripts.append((tag, self._raw))
        elif tag == "article":
            self._in_message = False
        elif tag == "details":
            self._in_edits = False
        elif tag == "li" and self._file is not None:
            self._file = None

    def handle_data(self, data: str) -> None:
        """Take text."""
        if self._open and self._open[-1] in ("style", "script"):
            self._raw += data

    def _safe(self, tag: str, given: dict[str, str]) -> None:
        if tag in _ACTIVE:
            self._say("active", f"<{tag}> has no place in a transcript")
        if tag == "meta" and given.get("http-equiv", "").lower() == "content-security-policy":
            self.policies.append(given.get("content", ""))
        elif tag == "meta" and "http-equiv" in given:
            self._say("active", f"<meta http-equiv={given['http-equiv']!r}>")
        for name, value in given.items():
            if name.startswith("on") or name in ("style", "srcdoc"):
                self._say("active", f"<{tag} {name}=…>")
            elif name in _ADDRESSES:
                self.addresses.append((self.getpos()[0], value))

    def _content(self, tag: str, given: dict[str, str], classes: set[str]) -> None:
        if tag == "article" and "m" in classes:
            self.messages.append(MessageSeen(given.get("id", ""), given.get("data-uid", "")))
            self._in_message = True
        elif tag == "tr" and "data-chat" in given:
            self.rows.append(RowSeen(given["data-chat"], given.get("data-messages", "")))
        elif tag == "a" and "rel" in given and given["rel"] == "next":
            self.next_page = given.get("href")
        elif tag == "a" and self.rows and not self.rows[-1].href:
            self.rows[-1].href = given.get("href", "")
        if self._in_message:
            self._in_article(tag, given, classes)

    def _in_article(self, tag: str, given: dict[str, str], classes: set[str]) -> None:
        message = self.messages[-1]
        if tag == "time" and not message.time:
            message.time = given.get("datetime", "")
        elif tag == "details" and "edits" in classes:
            self._in_edits = True
            message.versions = 0
        elif tag == "li" and self._in_edits:
            message.versions += 1
        elif tag == "li" and "file" in classes:
            self._file = FileSeen(None, given.get("data-sha256"))
            message.files.append(self._file)
        elif tag == "a" and self._file is not None and "fname" in classes:
            self._file.href = given.get("href")

    def _say(self, code: str, what: str) -> None:
        self.wrong.append((f"line {self.getpos()[0]}", code, what))
