"""FlockML as the text a reader sees (flock-api.md 8), by a parser that expands nothing.

FlockML is XML with ``<flockml>`` as its root. Document types and entity declarations are refused, nesting and size are capped, so no
document can grow while it is read: the text is always shorter than the markup. What cannot be read falls back to the markup itself,
so that nothing is hidden; and because of the former, the text equals the markup then and only then.

- A line break is one. An element that nobody documents is its content.
- A link whose text is not its address, and an action with a URL, show the address after the text, ``the report (https://…)``: a
  reader must not lose where it leads, above all where the text pretends to be another address.
- A user is the text that the sender gave, or else the user's id.
- A named entity of HTML, which XML does not know, is its character; one that HTML does not know either is shown as it stands.
"""

from __future__ import annotations

import re
from html.entities import html5
from typing import NoReturn
from xml.parsers import expat

DEPTH_MAX = 100
LENGTH_MAX_CHARACTERS = 1_000_000
_ROOT = "flockml"
_ADDRESS_OF = {"a": "href", "action": "url"}
# What a link's text may leave out and still be the address.
_UNSAID = ("", "https://", "http://", "mailto:")

_UNDEFINED_ENTITY = expat.errors.codes[expat.errors.XML_ERROR_UNDEFINED_ENTITY]
_XML_ENTITIES = frozenset({"amp", "lt", "gt", "quot", "apos"})
# HTML's longest name has 31 letters; the bound keeps the search for a semicolon short.
_ENTITY_OR_LITERAL = re.compile(r"&([A-Za-z][A-Za-z0-9]{0,31});|<!\[CDATA\[|<!--|<\?")
_END_OF_LITERAL = {"<![CDATA[": "]]>", "<!--": "-->", "<?": "?>"}


class _RefusedError(Exception):
    """The document does something that FlockML has no use for."""


class _Collector:
    """Gathers the text while expat walks the document."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self._depth = 0
        # Of each open link and user, where its text begins, and its address or id.
        self._open: list[tuple[int, str]] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > DEPTH_MAX or (self._depth == 1 and name != _ROOT):
            raise _RefusedError
        if name == "br":
            self.pieces.append("\n")
        elif name in _ADDRESS_OF:
            self._open.append((len(self.pieces), attributes.get(_ADDRESS_OF[name], "").strip()))
        elif name == "user":
            self._open.append((len(self.pieces), attributes.get("userId", "")))

    def end(self, name: str) -> None:
        self._depth -= 1
        if name in _ADDRESS_OF:
            self._end_link(*self._open.pop())
        elif name == "user":
            first, user_id = self._open.pop()
            if not "".join(self.pieces[first:]).strip():
                self.pieces.append(user_id)

    def refuse(self, *_declaration: object) -> NoReturn:
        raise _RefusedError

    def _end_link(self, first: int, address: str) -> None:
        shown = "".join(self.pieces[first:]).strip()
        if not shown:
            self.pieces.append(address)
        elif address and address.removesuffix("/") not in {unsaid + shown.removesuffix("/") for unsaid in _UNSAID}:
            self.pieces.append(f" ({address})")


def to_plain_text(flockml: str) -> str:
    """Return the text of a FlockML document, or the markup unchanged if it cannot be read."""
    if len(flockml) > LENGTH_MAX_CHARACTERS:
        return flockml
    try:
        return _read(flockml)
    except expat.ExpatError as error:
        if error.code != _UNDEFINED_ENTITY:
            return flockml
    except (_RefusedError, ValueError):
        return flockml
    try:
        return _read(_with_characters(flockml))
    except (_RefusedError, expat.ExpatError, ValueError):
        return flockml


def _read(flockml: str) -> str:
    collector = _Collector()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = collector.start
    parser.EndElementHandler = collector.end
    parser.CharacterDataHandler = collector.pieces.append
    parser.StartDoctypeDeclHandler = collector.refuse
    parser.EntityDeclHandler = collector.refuse
    parser.ExternalEntityRefHandler = collector.refuse
    parser.Parse(flockml, True)  # noqa: FBT003 -- expat takes it by position only
    return "".join(collector.pieces)


def _with_characters(flockml: str) -> str:
    """Return markup in which entities that XML does not know are characters; where markup is literal it stays as it is."""
    pieces: list[str] = []
    done = 0
    while match := _ENTITY_OR_LITERAL.search(flockml, done):
        pieces.append(flockml[done : match.start()])
        done = match.end()
        if match[1] is None:
            end = flockml.find(_END_OF_LITERAL[match[0]], done)
            if end < 0:
                raise _RefusedError  # it never ends, so the rest is no XML whatever it holds
            pieces.append(flockml[match.start() : end])
            done = end
        else:
            pieces.append(_characters_of(match[1]))
    pieces.append(flockml[done:])
    return "".join(pieces)


def _characters_of(name: str) -> str:
    if name in _XML_ENTITIES:
        return f"&{name};"
    characters = html5.get(f"{name};")
    return f"&amp;{name};" if characters is None else "".join(f"&#{ord(character)};" for character in characters)
