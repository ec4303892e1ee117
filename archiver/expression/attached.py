"""What the attachments of a message say (flock-api.md 6.2), as texts: titles, descriptions, what is shown, and the names of files."""

from __future__ import annotations

import html
import re
from typing import Final

import msgspec

# Members whose value people read, at any depth.
_READ: Final = frozenset({"title", "description", "filename", "name", "flockml", "inline"})
_MARKUP: Final = frozenset({"flockml", "inline"})
_TAG: Final = re.compile(r"<[^<>]*>")


def texts_of(attachments: str) -> list[str]:
    """Return the texts in the JSON of a message's attachments; what is no JSON is one text itself."""
    try:
        document = msgspec.json.decode(attachments)
    except (msgspec.DecodeError, RecursionError):
        return [attachments]
    texts: list[str] = []
    waiting: list[tuple[str, object]] = [("", document)]
    while waiting:
        name, value = waiting.pop()
        match value:
            case dict():
                waiting += value.items()
            case list():
                waiting += ((name, entry) for entry in value)
            case str() if name in _READ:
                texts.append(html.unescape(_TAG.sub(" ", value)) if name in _MARKUP else value)
            case _:
                pass
    return texts
