"""Patterns of policies: globs for names, RE2 for text. Neither can take longer than its text is long.

RE2 comes with pyarrow and matches in linear time by construction: that is the time limit. What it cannot do in linear time (back
references, looking around) it refuses, and patterns whose automaton would be too large it refuses too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import pyarrow as pa
import pyarrow.compute as pc

# A letter, mark, digit or underscore of any script: RE2's own \b knows ASCII only.
_WORD = r"[\p{L}\p{M}\p{N}_]"
_NOT_WORD = r"[^\p{L}\p{M}\p{N}_]"
_SPACE = r"\s+"
_META = re.compile(r"[\\.+*?()|\[\]{}^$]")
_GLOB = re.compile(r"[*?]")
_UNSUPPORTED = (
    (re.compile(r"\(\?(?:[=!]|<[=!])"), "looking ahead or behind"),
    (re.compile(r"(?<!\\)(?:\\\\)*\\[1-9]"), "back references"),
    (re.compile(r"\(\?>|[*+?}]\+"), "atomic groups and possessive repetition"),
)
_NOTHING = pa.array([], type=pa.string())


def check_regex(pattern: str) -> str:
    """Return a pattern that RE2 takes; raises `ValueError` that ends a sentence which begins with the key."""
    try:
        pc.match_substring_regex(_NOTHING, pattern)
    except pa.ArrowException as error:
        for found, what in _UNSUPPORTED:
            if found.search(pattern):
                raise ValueError(
                    f"is no regular expression of RE2, which has no {what} because their time has no bound"
                ) from None
        reason = str(error).removeprefix("Invalid regular expression: ")
        raise ValueError(f"is no regular expression that RE2 takes: {reason}") from None
    return pattern


def words_regex(phrases: Iterable[str]) -> str:
    """Return the RE2 pattern that finds one of these words or phrases, as whole words of any script."""
    return "|".join(_phrase(phrase) for phrase in phrases)


def _phrase(phrase: str) -> str:
    escaped = _SPACE.join(_META.sub(r"\\\g<0>", word) for word in phrase.split())
    begins = f"(?:^|{_NOT_WORD})" if _is_word(phrase.strip()[0]) else ""
    ends = f"(?:$|{_NOT_WORD})" if _is_word(phrase.strip()[-1]) else ""
    return f"{begins}{escaped}{ends}"


def _is_word(letter: str) -> bool:
    return bool(pc.match_substring_regex(pa.array([letter]), _WORD)[0].as_py())


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
