"""Globs of policies, for names; none takes longer than its text is long. Patterns for text are RE2's (`archiver.scope.regex`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

_GLOB = re.compile(r"[*?]")


def is_glob(pattern: str) -> bool:
    """Tell whether a pattern stands for more than itself."""
    return bool(_GLOB.search(pattern))


def glob_matcher(patterns: Iterable[str], *, folded: bool = False) -> Callable[[str], bool]:
    """Return what tells whether a text is one of these patterns; ``folded`` texts and patterns are compared whatever their case."""
    exact: set[str] = set()
    globs: list[str] = []
    for pattern in patterns:
        wanted = pattern.casefold() if folded else pattern
        if is_glob(wanted):
            globs.append(_glob_regex(wanted))
        else:
            exact.add(wanted)
    compiled = re.compile("|".join(globs), re.DOTALL) if globs else None

    def matches(text: str) -> bool:
        text = text.casefold() if folded else text
        return text in exact or (compiled is not None and compiled.fullmatch(text) is not None)

    return matches


def _glob_regex(pattern: str) -> str:
    """Return a glob as Python's regular expression that never tries a star's other places: the first fit of each part will do."""
    first, *others = ["".join("." if sign == "?" else re.escape(sign) for sign in part) for part in pattern.split("*")]
    if not others:
        return first
    *middle, last = others
    return first + "".join(f"(?>.*?{part})" for part in middle if part) + f".*{last}"
