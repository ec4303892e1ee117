"""Finds texts however they are written: in any case, width and accents, with what nobody sees between their letters.

    black = Spellings(["merger", "Projekt Falke"])
    black.replaced("MÉRGER, projekt-falke", "█")      # ("█, █", 2)

It is for whoever must find every place where a text stands, such as redaction: what a search finds as ``merger`` may be written in full
width, with an accent, or with a joiner inside. Unlike a search it does not ask where words end, so it finds longer words, too.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.expression import fold
from archiver.expression.prefilter import characters_that_fold, code_ranges

# Stands for white space in a text: what separates words, but not whole sentences.
_APART: Final = r"[\W_]{1,8}"
# Letters in a row that are each a part of a ligature or a unit; longer rows are looked for letter by letter.
_ROW_LETTERS_MAX: Final = 8
# So many are looked for by one expression, which must stay small enough to be run without turning back.
_PARTS_AT_ONCE: Final = 500


class Spellings:
    """Every way to write some texts, of which the first that fits is taken; what cannot be seen is never found."""

    def __init__(self, texts: Iterable[str]) -> None:
        folded = [fold.fold(text).split() for text in texts]
        self._texts = [parts for parts in folded if parts]

    def __bool__(self) -> bool:
        return bool(self._texts)

    def may_be_in(self, folded: str) -> bool:
        """Tell quickly whether a text could be found in another one that was folded; of what it cannot be, that is certain."""
        return any(all(part in folded for part in parts) for parts in self._texts)

    @property
    def needed(self) -> tuple[str, ...]:
        """Of each text the longest part, folded: one of these is in every text that was folded and in which any could be found."""
        return tuple(max(parts, key=len) for parts in self._texts)

    def replaced(self, text: str, by: str) -> tuple[str, int]:
        """Return a text with something else in every place that was found, and how many those are."""
        return self._pattern.subn(lambda _: by, text) if self._texts else (text, 0)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(_APART.join(map(_spelt, parts)) for parts in self._texts))


@dataclass(frozen=True, slots=True)
class _Forms:
    """By folded letters the characters that fold to exactly these; and the inside of a class of those that fold to nothing."""

    of: dict[str, str]
    unseen: str
    length_max: int


def _spelt(letters: str) -> str:
    """Return the expression for folded letters: each as any of its characters, several as one where there is such a character."""
    forms = _forms()
    several = [
        [
            behind
            for behind in range(first + 2, min(len(letters), first + forms.length_max) + 1)
            if letters[first:behind] in forms.of
        ]
        for first in range(len(letters))
    ]
    parts: list[str] = []
    place = 0
    while place < len(letters):
        end = _row_end(place, several)
        is_long = end - place > _ROW_LETTERS_MAX
        parts.append(
            "".join(map(_one, letters[place:end])) if is_long else _row(letters, place, end=end, several=several)
        )
        place = end
    return "".join(parts)


def _row_end(first: int, several: Sequence[Sequence[int]]) -> int:
    """Return where a row of letters ends that no character for several goes out of."""
    place, end = first, first + 1
    while place < end:
        end = max(end, *several[place], place + 1)
        place += 1
    return end


def _row(letters: str, first: int, *, end: int, several: Sequence[Sequence[int]]) -> str:
    """Return the expression for a row of letters, in every way to write some of them as one character."""
    if first == end:
        return ""
    ways = [
        _one(letters[first:behind]) + _row(letters, behind, end=end, several=several)
        for behind in (first + 1, *several[first])
    ]
    return ways[0] if len(ways) == 1 else f"(?:{'|'.join(ways)})"


def _one(letters: str) -> str:
    forms = _forms()
    itself = letters if len(letters) == 1 else ""
    return f"[{_class(forms.of.get(letters, '') + itself)}][{forms.unseen}]*"


def _class(characters: Iterable[str]) -> str:
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in code_ranges(characters))


@cache
def _forms() -> _Forms:
    of: dict[str, list[str]] = defaultdict(list)
    unseen: list[str] = []
    for character in characters_that_fold():
        folded = fold.fold(character)
        if not folded:
            unseen.append(character)
        elif folded != character:
            of[folded].append(character)
    return _Forms({folded: "".join(found) for folded, found in of.items()}, _class(unseen), max(map(len, of)))


def places_to_look(spellings: Iterable[Spellings], folded: pa.Array) -> list[int]:
    """Return where in folded texts any of several could be found at all: all of them are looked for at once, in linear time."""
    needed = sorted({part for each in spellings for part in each.needed})
    found: pa.Array | None = None
    for first in range(0, len(needed), _PARTS_AT_ONCE):
        pattern = "|".join(map(_literal, needed[first : first + _PARTS_AT_ONCE]))
        could = pc.match_substring_regex(folded, pattern=pattern)
        found = could if found is None else pc.or_(found, could)
    return [] if found is None else pc.indices_nonzero(pc.fill_null(found, fill_value=False)).to_pylist()


def _literal(text: str) -> str:
    """Return the expression of RE2 for a text as it stands."""
    return "".join(sign if sign.isalnum() else f"\\x{{{ord(sign):x}}}" for sign in text)
