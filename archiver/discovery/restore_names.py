"""Names of restored files that are safe wherever they land: what a sender called a file is no path, no option and no device."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

NAME_BYTES_MAX: Final = 120
DIGEST_CHARACTERS: Final = 16

# Separators, what Windows and shells read as something else, and the control characters with the marks that reorder a line.
_UNSAFE: Final = re.compile(
    r"""[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff/\\:*?"<>|`$&;!']"""
)
_NAMELESS: Final = "file"


def safe_name(digest: str, declared: str | None) -> str:
    """Return the name of a file: the beginning of its SHA-256, then what its sender called it, as far as that is safe.

    The digest comes first, so that no two contents have one name and no name begins with a dot or a hyphen.
    """
    text = unicodedata.normalize("NFC", declared or "")
    text = _UNSAFE.sub("_", text.replace("\\", "/").rpartition("/")[2]).strip(" .")
    stem, dot, ending = text.rpartition(".")
    ending = dot + ending if stem and len(ending.encode()) <= DIGEST_CHARACTERS else ""
    stem = _cut(text.removesuffix(ending) if ending else text, NAME_BYTES_MAX - len(ending.encode()))
    return f"{digest[:DIGEST_CHARACTERS]}-{(stem + ending) or _NAMELESS}"


def _cut(text: str, bytes_max: int) -> str:
    return text.encode()[:bytes_max].decode(errors="ignore").rstrip(" .")
