r"""Which texts could say a word at all, asked of a whole Arrow column at once, so that few are read one by one.

The answer is a regular expression that RE2 runs in linear time. It is true of every text that says the word (nothing is missed, whatever
its case, width and accents) and of some others, which the exact reading then sorts out.

How that is known: a folded word is what its letters fold to. So in a text that says it, each letter was written as one of the characters
that fold to it, with nothing between them but what folding drops; or several letters as one character that folds to them all (ß, ﬁ,
한). A character that becomes several words at once (½, ㌔) is rare, and a text that has one is always read.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.expression import fold
from archiver.expression.nodes import Near, TextTerm, Words

# The beginning of a phrase must be there if the phrase is; longer patterns find little less, and cost more.
PATTERN_WORDS_MAX: Final = 8
PATTERN_LETTERS_MAX: Final = 16

# Between these and beyond them are ideographs, which fold to themselves, and characters that are private or not assigned.
_FOLDING: Final = (range(0x3400), range(0xA000, 0x20000), range(0x2F800, 0x2FA20), range(0xE0000, 0xE1000))
_SURROGATES: Final = range(0xD800, 0xE000)
_SYLLABLES: Final = range(0xAC00, 0xD7A4)

# What stands most in texts and separates nothing: a pattern lets anything else stand between two words of a phrase.
_USUAL_LETTERS: Final = (
    range(0x30, 0x3A),
    range(0x41, 0x5B),
    range(0x61, 0x7B),
    range(0x3041, 0x3100),
    range(0x4E00, 0xA000),
    _SYLLABLES,
)
_ASCII: Final = range(0x80)
# Not assigned and private: each a symbol.
_UNKNOWN: Final = frozenset({"Cn", "Co"})


@dataclass(frozen=True, slots=True)
class _Sources:
    """From folded letters back to the characters that fold to them.

    ``of`` has the characters that fold to exactly these letters, ``beginning`` those that fold to these letters and more, ``many``
    those that become several words. ``between_words`` and ``between_letters`` are classes of RE2 that hold everything that can stand
    there unseen.
    """

    of: dict[str, str]
    beginning: dict[str, str]
    many: str
    between_words: str
    between_letters: str


def could_say(term: TextTerm, texts: pa.Array) -> pa.BooleanArray:
    """Return of which texts a term could be true; it is true of no other. Null is False."""
    found = None
    for pattern in patterns_of(term):
        could = pc.fill_null(pc.match_substring_regex(texts, pattern=pattern), fill_value=False)
        found = could if found is None else pc.and_(found, could)
    return found


def patterns_of(term: TextTerm) -> tuple[str, ...]:
    """Return regular expressions of RE2 that are all found in every text that says the term."""
    match term:
        case Words(words, is_prefix):
            return (_pattern(words, is_prefix=is_prefix),)
        case Near(parts):
            return tuple(_pattern(part, is_prefix=False) for part in parts)


def _pattern(words: tuple[str, ...], *, is_prefix: bool) -> str:
    sources = _sources()
    kept = words[:PATTERN_WORDS_MAX]
    letters = (
        _letters_pattern(word, is_open=is_prefix and number == len(words), sources=sources)
        for number, word in enumerate(kept, start=1)
    )
    return f"{f'{sources.between_words}*'.join(letters)}|[{sources.many}]"


def _letters_pattern(word: str, *, is_open: bool, sources: _Sources) -> str:
    """Return the pattern for one folded word: it as one character if there is such, or as the characters of its letters."""
    letters = _certain_letters(word)
    is_open = is_open or len(letters) < len(_bare(word))
    count = len(letters)
    classes = [set(sources.of.get(letter, "")) | {letter} for letter in letters]
    # A letter that the character before it may already hold need not come.
    is_needed = [True] * count
    for first in range(count):
        for behind in range(first + 2, count + 1):
            if (first, behind) != (0, count):
                _hold(sources.of.get(letters[first:behind], ""), classes, is_needed, first=first, behind=behind)
        if is_open and first:
            _hold(sources.beginning.get(letters[first:], ""), classes, is_needed, first=first, behind=count)
    spelt = f"{sources.between_letters}*".join(
        f"[{_ranges(found)}]{'' if needed else '?'}" for found, needed in zip(classes, is_needed, strict=True)
    )
    at_once = sources.of.get(letters, "") * (count > 1) + sources.beginning.get(letters, "") * is_open
    return f"(?:[{_ranges(at_once)}]|{spelt})" if at_once else f"(?:{spelt})"


def _hold(characters: str, classes: list[set[str]], is_needed: list[bool], *, first: int, behind: int) -> None:
    if characters:
        for place in range(first, behind):
            classes[place] |= set(characters)
            is_needed[place] = is_needed[place] and place == first


def _certain_letters(word: str) -> str:
    """Return the beginning of a word whose letters stand in a text in this order: marks in a row may stand in another."""
    letters = _bare(word)[:PATTERN_LETTERS_MAX]
    for place in range(1, len(letters)):
        if unicodedata.combining(letters[place - 1]) and unicodedata.combining(letters[place]):
            return letters[: max(1, place - 1)]
    return letters


def _bare(word: str) -> str:
    return word.replace(fold.ALONE, "").replace(fold.ATTACHED, "")


@cache
def _sources() -> _Sources:
    of: dict[str, list[str]] = defaultdict(list)
    beginning: dict[str, list[str]] = defaultdict(list)
    many: list[str] = []
    unseen: set[int] = set()
    for character in characters_that_fold():
        marked = fold.marked_of(ord(character))
        pieces = fold.words_of_marked(marked)
        if not pieces:
            unseen.add(ord(character))
        elif len(pieces) > 1:
            many.append(character)
        else:
            letters = _bare(pieces[0])
            of[letters].append(character)
            for length in range(1, len(letters)):
                beginning[letters[:length]].append(character)
    usual = [code for letters in _USUAL_LETTERS for code in letters if code not in unseen]
    return _Sources(
        of={letters: "".join(found) for letters, found in of.items()},
        beginning={letters: "".join(found) for letters, found in beginning.items()},
        many=_ranges(many),
        between_words=f"[^{_ranges(map(chr, usual))}]",
        between_letters=f"[^{_ranges(map(chr, sorted({*_ASCII, *usual})))}]",
    )


def characters_that_fold() -> Iterator[str]:
    """Yield every character that does not simply fold to itself."""
    for part in _FOLDING:
        for code in part:
            if code in _SURROGATES:
                continue
            character = chr(code)
            category = unicodedata.category(character)
            if category in _UNKNOWN:
                continue
            if (
                category[0] not in "LN"
                or unicodedata.decomposition(character)
                or code in _SYLLABLES
                or character.casefold() != character
                or fold.is_dropped(character)
            ):
                yield character


def _ranges(characters: Iterable[str]) -> str:
    r"""Return the inside of a character class: ``\x{61}-\x{7a}``."""
    return "".join(f"\\x{{{first:x}}}-\\x{{{last:x}}}" for first, last in code_ranges(characters))


def code_ranges(characters: Iterable[str]) -> list[tuple[int, int]]:
    """Return the ranges of code points of some characters, the last of each included."""
    parts: list[tuple[int, int]] = []
    for code in sorted(set(map(ord, characters))):
        if parts and parts[-1][1] == code - 1:
            parts[-1] = (parts[-1][0], code)
        else:
            parts.append((code, code))
    return parts
