"""Regular expressions that people write into files of ours: RE2's, whose time has a bound.

RE2 comes with pyarrow and matches in time as long as the text by construction: that is the time limit. What it cannot do so (back
references, looking around) it refuses. For each letter it may take as long as the pattern is large once repetitions are written
out, so that is limited as well: at most some microseconds a letter for the worst pattern, and nanoseconds for usual ones.
"""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

# How large a pattern may be, its counted repetitions written out.
PATTERN_SIZE_MAX = 400

# An escape, a class of letters, what opens a group, a counted repetition, and any other sign.
_PART = re.compile(
    r"(?P<escape>\\(?:[pPx]\{[^}]*\}|.))|(?P<letters>\[\^?\]?(?:\[:[^]]*:\]|\\.|[^]\\])*\])"
    r"|(?P<open>\((?:\?P?<[^>]*>|\?[a-zA-Z-]*:)?)|(?P<close>\))|\{(?P<least>[0-9]+),?(?P<most>[0-9]*)\}|(?P<sign>.)",
    re.DOTALL,
)
_UNSUPPORTED = (
    (re.compile(r"\(\?(?:[=!]|<[=!])"), "looking ahead or behind"),
    (re.compile(r"(?<!\\)(?:\\\\)*\\[1-9]"), "back references"),
    (re.compile(r"\(\?>|[*+?}]\+"), "atomic groups and possessive repetition"),
)
# Arrow compiles a pattern only if there is a text to look at.
_SOME_TEXT = pa.array([""], type=pa.string())


def check_regex(pattern: str) -> str:
    """Return a pattern that RE2 takes; raises `ValueError` that ends a sentence which begins with the key."""
    try:
        pc.match_substring_regex(_SOME_TEXT, pattern)
    except pa.ArrowException as error:
        for found, what in _UNSUPPORTED:
            if found.search(pattern):
                raise ValueError(
                    f"is no regular expression of RE2, which has no {what} because their time has no bound"
                ) from None
        reason = str(error).removeprefix("Invalid regular expression: ")
        raise ValueError(f"is no regular expression that RE2 takes: {reason}") from None
    size = _size(pattern)
    if size > PATTERN_SIZE_MAX:
        raise ValueError(
            f"is too large: with its repetitions written out it has {size} parts, of at most {PATTERN_SIZE_MAX}"
        )
    return pattern


def _size(pattern: str) -> int:
    """Return of how many parts a pattern that RE2 takes consists, counted repetitions written out."""
    groups, last = [0], 0
    for part in _PART.finditer(pattern):
        kind = part.lastgroup
        if kind == "open":
            groups.append(0)
        elif kind in ("least", "most"):
            times = int(part["most"] or part["least"])
            groups[-1] += last * max(times - 1, 0)
        else:
            last = groups.pop() if kind == "close" and len(groups) > 1 else int(part.group() not in "*+?|")
            groups[-1] += last
    return sum(groups)
