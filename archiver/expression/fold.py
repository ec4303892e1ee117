"""Texts as a search sees them: folded letters, cut into words that know where they stand.

Folding is Unicode's compatibility decomposition (so that half and full width are one), case folding, and then without accents:
the combining marks that stand above, below or through a letter. Marks that make another letter stay: the voicing of kana (か is not
が), vowel signs, nuktas and viramas, the vowels of Hangul. What nobody can see is dropped: joiners, soft hyphens, variation selectors.

A word is the longest run of letters and digits. In scripts that are written without spaces (Han, kana, Hangul, Thai and the like) each
character with its marks is a word of its own, and so is each symbol, an emoji for one; what is written together there is found as
the sequence of its characters. All else separates words.

Inside, a word that stands alone begins with `ALONE`, and a mark that belongs to what stands before it follows `ATTACHED`; both are
control characters, which no text has left when it is folded.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

ALONE: Final = "\x01"
ATTACHED: Final = "\x02"
SEPARATOR: Final = " "

# A text could hold every character there is; more than this many are folded anew each time instead of being remembered.
REMEMBERED_CHARACTERS_MAX: Final = 65_536

# Combining classes of marks that are accents: overlays, the points of Hebrew and Arabic, and all that stand around a letter.
_OVERLAY_CLASS: Final = 1
_POINT_CLASSES: Final = range(10, 37)
_AROUND_CLASSES: Final = range(200, 256)
# Marks and letters that are seen only by what they do to others: the grapheme joiner, Hangul's fillers, variation selectors.
_UNSEEN: Final = frozenset(map(chr, (0x034F, 0x115F, 0x1160, *range(0x180B, 0x180E), 0x180F, *range(0xFE00, 0xFE10))))
_UNSEEN_SELECTORS: Final = range(0xE0100, 0xE01F0)

# Emoji whose decomposition is nothing but punctuation.
_UNDECOMPOSED: Final = frozenset("\u203c\u2049")
# Emoji and skin tones that Unicode does not count among the other symbols.
_FURTHER_SYMBOLS: Final = frozenset("\u203c\u2049\u2194\u25fb\u25fc\u25fd\u25fe\u3030\u303d") | frozenset(
    map(chr, range(0x1F3FB, 0x1F400))
)
# Symbols; enclosing marks, as of keycaps; private characters; and those that this Python's Unicode does not know yet.
_SYMBOL_CATEGORIES: Final = frozenset({"So", "Me", "Co", "Cn", "Cs"})

# Scripts written without spaces, or with particles written onto the word.
_SPACELESS: Final = (
    range(0x0E00, 0x0F00),  # Thai, Lao
    range(0x1000, 0x10A0),  # Myanmar
    range(0x1100, 0x1200),  # Hangul, decomposed
    range(0x1780, 0x1800),  # Khmer
    range(0x1950, 0x19E0),  # Tai Le, New Tai Lue
    range(0x1A20, 0x1AB0),  # Tai Tham
    range(0x1B00, 0x1B80),  # Balinese
    range(0x2E80, 0x3400),  # radicals, kana, Bopomofo
    range(0x3400, 0xA000),  # Han
    range(0xA960, 0xA9E0),  # Hangul, Javanese
    range(0xA9E0, 0xAA80),  # Myanmar
    range(0xAA80, 0xAAE0),  # Tai Viet
    range(0xAC00, 0xD800),  # Hangul
    range(0xF900, 0xFB00),  # Han
    range(0x16FE0, 0x18D90),  # Tangut, Khitan
    range(0x1AFF0, 0x1B300),  # kana, Nüshu
    range(0x20000, 0x40000),  # Han
)
_SPACELESS_CATEGORIES: Final = frozenset({"Lo", "Lm", "Nl"})
# Vowels and finals of Hangul belong to the consonant before them.
_HANGUL_ATTACHED: Final = (range(0x1160, 0x1200), range(0xD7B0, 0xD800))

# Stands where a character is a mark of whatever is before it, which cannot be told from the character alone.
_LOOSE: Final = "\x04"

_ALONE_WORD: Final = re.compile(f"{ALONE}[^ {ALONE}{ATTACHED}](?:{ATTACHED}[^ ])*")
_WORD: Final = re.compile(f"{ALONE}[^ {ALONE}{ATTACHED}](?:{ATTACHED}[^ ])*|[^ {ALONE}]+")
_MARKS_IN_A_ROW: Final = re.compile(f"(?:{ATTACHED}[^ ]){{2,}}")
_MARKERS: Final = str.maketrans("", "", ALONE + ATTACHED)
_ASCII: Final = {
    code: chr(code).lower() if chr(code).isalnum() else SEPARATOR for code in range(128)
}  # the same as below, in the form that str.translate is fastest with


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text, folded, and the half-open range of characters of the text that it is written with."""

    folded: str
    start: int
    end: int


def fold(text: str) -> str:
    """Return a text with case, width and accents folded; what separates words stays as it is. Folding twice changes nothing."""
    if text.isascii():
        return text.lower()
    folded = text.translate(_PLAIN)
    return folded if unicodedata.is_normalized("NFD", folded) else _in_canonical_order(folded)


def words(text: str) -> list[str]:
    """Return the folded words of a text in order."""
    if text.isascii():
        return text.translate(_ASCII).split()
    found = text.translate(_SPACED)
    return words_of_marked(text.translate(_MARKED)) if _LOOSE in found else found.split()


def sequence(text: str) -> str:
    """Return the folded words of a text with a separator around each: words that follow each other are a part of this string.

    >>> sequence("Hello, World")
    ' hello world '
    """
    found = words(text)
    return f" {' '.join(found)} " if found else SEPARATOR


def spaced(text: str) -> str:
    """Return the folded words of a text with white space around each, for who cuts at white space himself: the quickest form.

    >>> spaced("Hello, World").split()
    ['hello', 'world']
    """
    if text.isascii():
        return text.translate(_ASCII)
    found = text.translate(_SPACED)
    return " ".join(words(text)) if _LOOSE in found else found


def located_words(text: str) -> Iterator[Word]:
    """Yield the folded words of a text with their places, accents and joiners behind them included."""
    pieces = [_MARKED[ord(character)] for character in text]
    origins = [place for place, piece in enumerate(pieces) for _ in piece]
    for found in _WORD.finditer("".join(pieces)):
        end = origins[found.end() - 1] + 1
        while end < len(text) and not pieces[end]:
            end += 1
        yield Word(_in_order(found.group()), origins[found.start()], end)


def stands_alone(word: str) -> bool:
    """Tell whether a folded word is one character of a script without spaces, or a symbol."""
    return word.startswith(ALONE)


def shown(word: str) -> str:
    """Return a folded word as people write it."""
    return unicodedata.normalize("NFC", word.translate(_MARKERS))


def words_of_marked(marked: str) -> list[str]:
    """Return the words of characters that became what `marked_of` says."""
    return _WORD.findall(_in_order(marked) if ATTACHED in marked else marked)


def marked_of(code: int) -> str:
    """Return what one character becomes: nothing, separators, and letters with the markers of this module."""
    return "".join(map(_with_marker, _plain_of(code)))


def is_dropped(character: str) -> bool:
    """Tell whether nothing of a decomposed character is left: an accent, or what nobody can see."""
    category = unicodedata.category(character)
    if category == "Mn":
        place = unicodedata.combining(character)
        is_accent = place == _OVERLAY_CLASS or place in _POINT_CLASSES or place in _AROUND_CLASSES
        return is_accent or character in _UNSEEN or ord(character) in _UNSEEN_SELECTORS
    return category == "Cf" or character in _UNSEEN


def _in_order(marked: str) -> str:
    """Put marks that follow each other into Unicode's canonical order, for they say the same in any."""
    return _MARKS_IN_A_ROW.sub(_ordered, marked)


def _ordered(found: re.Match[str]) -> str:
    marks = _in_canonical_order(found.group().translate(_MARKERS))
    return "".join(ATTACHED + mark for mark in marks)


def _in_canonical_order(decomposed: str) -> str:
    """Do what Unicode's canonical ordering does to a decomposed text; Python's own takes the square of the length of a row of marks."""
    ordered: list[str] = []
    for is_mark, characters in groupby(decomposed, key=lambda character: unicodedata.combining(character) > 0):
        row = list(characters)
        ordered += sorted(row, key=unicodedata.combining) if is_mark else row
    return "".join(ordered)


def _plain_of(code: int) -> str:
    character = chr(code)
    if character in _UNDECOMPOSED:
        return character
    # Accents go first, for case folding makes a letter of one, the iota below, and that would stand wherever the accent stood.
    folded = _decomposed(character)
    while (again := _decomposed(folded.casefold())) != folded:
        folded = again
    return folded


def _decomposed(text: str) -> str:
    return "".join(part for part in unicodedata.normalize("NFKD", text) if not is_dropped(part))


def _with_marker(character: str) -> str:
    category, code = unicodedata.category(character), ord(character)
    if category in ("Mn", "Mc") or any(code in attached for attached in _HANGUL_ATTACHED):
        return ATTACHED + character
    if category in _SYMBOL_CATEGORIES or character in _FURTHER_SYMBOLS:
        return ALONE + character
    if category in _SPACELESS_CATEGORIES and any(code in script for script in _SPACELESS):
        return ALONE + character
    return character if category[0] in "LN" else SEPARATOR


class _Plain(dict[int, str]):
    """What each character folds to, found out when it is first met."""

    def __missing__(self, code: int) -> str:
        folded = _plain_of(code)
        if len(self) < REMEMBERED_CHARACTERS_MAX:
            self[code] = folded
        return folded


class _Marked(dict[int, str]):
    """What each character becomes with the markers of this module, found out when it is first met."""

    def __missing__(self, code: int) -> str:
        marked = marked_of(code)
        if len(self) < REMEMBERED_CHARACTERS_MAX:
            self[code] = marked
        return marked


class _Spaced(dict[int, str]):
    """What each character becomes where white space tells words apart, found out when it is first met."""

    def __missing__(self, code: int) -> str:
        marked = marked_of(code)
        alone = _LOOSE if marked.startswith(ATTACHED) else _ALONE_WORD.sub(r" \g<0> ", marked)
        if len(self) < REMEMBERED_CHARACTERS_MAX:
            self[code] = alone
        return alone


_PLAIN: Final = _Plain()
_MARKED: Final = _Marked()
_SPACED: Final = _Spaced()
