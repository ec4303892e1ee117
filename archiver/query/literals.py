"""Values of Python's as SQL."""

from __future__ import annotations

from collections.abc import Sequence

from archiver.clock import from_ms


def literal(text: str) -> str:
    """Return text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def text_list(texts: Sequence[str]) -> str:
    """Return texts as an SQL list."""
    return f"[{', '.join(map(literal, texts))}]"


def instant(at_ms: int) -> str:
    """Return an instant, in milliseconds since 1970 UTC, as SQL."""
    return f"TIMESTAMPTZ '{from_ms(at_ms).isoformat()}'"
