"""What changed from one text to the next, word by word, at a cost that no text can drive up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Final, Literal

Change = Literal["same", "removed", "added"]

# Scripts that are written without spaces are compared letter by letter, everything else by words.
_TOKEN: Final = re.compile(
    "[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f\u0e00-\u0eff\uac00-\ud7af]|\\w+|\\s+|.", re.DOTALL
)
# What is left between a common beginning and a common end is compared only up to this many pairs of words; comparing takes a time that
# grows with them. Beyond it the whole of it counts as replaced.
_PAIRS_MAX: Final = 250_000


def word_diff(old: str, new: str) -> Iterator[tuple[Change, str]]:
    """Yield what stayed, went and came, in reading order; what is not removed, put together, is the new text."""
    before, after = _TOKEN.findall(old), _TOKEN.findall(new)
    start = _common(before, after)
    end = _common(before[start:][::-1], after[start:][::-1])
    middle = before[start : len(before) - end], after[start : len(after) - end]
    pieces: list[tuple[Change, list[str]]] = [("same", before[:start])]
    if len(middle[0]) * len(middle[1]) > _PAIRS_MAX:
        pieces += [("removed", middle[0]), ("added", middle[1])]
    else:
        pieces += _compared(*middle)
    pieces.append(("same", before[len(before) - end :]))
    for change, tokens in pieces:
        if tokens:
            yield change, "".join(tokens)


def _compared(before: list[str], after: list[str]) -> Iterator[tuple[Change, list[str]]]:
    steps = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    kept = sum(len(token) for kind, a, b, _, _ in steps if kind == "equal" for token in before[a:b] if token.isalnum())
    if kept * _KEPT_OF < min(sum(map(len, before)), sum(map(len, after))):
        yield "removed", before
        yield "added", after
        return
    for kind, a, b, c, d in steps:
        if kind == "equal":
            yield "same", before[a:b]
        else:
            yield "removed", before[a:b]
            yield "added", after[c:d]


# Texts that share less than one letter in so many are two texts, and easier to read one after the other than woven together.
_KEPT_OF: Final = 4


def _common(left: list[str], right: list[str]) -> int:
    """Return how many of the first words of both are the same."""
    count = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        count += 1
    return count
