"""FlockML as the text a reader sees (flock-api.md 8), by a parser that expands nothing.

FlockML is XML with ``<flockml>`` as its root. Document types and entity declarations are refused, nesting and size
are capped, so no document can grow while it is read. What is not well-formed falls back to the markup itself: nothing
is hidden.
"""

from __future__ import annotations

from typing import NoReturn
from xml.parsers import expat

DEPTH_MAX = 100
LENGTH_MAX_CHARACTERS = 1_000_000
_ROOT = "flockml"


class _RefusedError(Exception):
    """The document does something that FlockML has no use for."""


class _Collector:
    """Gathers character data while expat walks the document."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self._depth = 0

    def start(self, name: str, _attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > DEPTH_MAX or (self._depth == 1 and name != _ROOT):
            raise _RefusedError
        if name == "br":
            self.pieces.append("\n")

    def end(self, _name: str) -> None:
        self._depth -= 1

    def characters(self, data: str) -> None:
        self.pieces.append(data)

    def refuse(self, *_declaration: object) -> NoReturn:
        raise _RefusedError


def to_plain_text(flockml: str) -> str:
    """Return the text of a FlockML document, or the markup unchanged if it is not well-formed FlockML."""
    if len(flockml) > LENGTH_MAX_CHARACTERS:
        return flockml
    collector = _Collector()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = collector.start
    parser.EndElementHandler = collector.end
    parser.CharacterDataHandler = collector.characters
    parser.StartDoctypeDeclHandler = collector.refuse
    parser.EntityDeclHandler = collector.refuse
    parser.ExternalEntityRefHandler = collector.refuse
    try:
        parser.Parse(flockml, True)  # noqa: FBT003 -- expat takes it by position only
    except (_RefusedError, expat.ExpatError, ValueError):
        return flockml
    return "".join(collector.pieces)
