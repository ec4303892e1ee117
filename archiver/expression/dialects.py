"""What other search languages write otherwise than this one, so that it is refused and never silently read as words.

Review platforms, legal databases and mail programs have operators of their own: ``contract!`` and ``contract?`` leave a word open,
``!draft`` excludes, ``merger /s price`` and ``merger NEAR price`` ask for a distance. Read as words they would find less than was meant,
or the opposite, and nobody would be told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from archiver.expression import fold

OPERATORS: Final = ("AND", "OR", "NOT")
QUOTE_IT: Final = 'to search for the text as it stands, put it in quotes: "…"'

# What excludes elsewhere; editors make dashes of a minus.
_EXCLUDING: Final = {"-": "a minus sign", "–": "a dash", "−": "a minus sign", "!": "an exclamation mark"}  # noqa: RUF001 - as above
_DISTANCE: Final = re.compile(r"(?:(?:w|n|pre|near|onear|within|adj)?/|\+)(?:[0-9]+|[sp]|sent|para)\Z", re.IGNORECASE)
_OPERATORS_ELSEWHERE: Final = frozenset({"NEAR", "ONEAR", "ADJ", "XOR", "ANDNOT", "BUTNOT"})
_INNER_WILDCARD: Final = re.compile(r"\w\?\w|\*.")
_OPEN_END: Final = re.compile(r"\w[?!]\Z")
_FUZZY: Final = re.compile(r"\w~[0-9.]*\Z")
_WEIGHT: Final = re.compile(r"\w\^[0-9.]+\Z")
# Beginning and end of what is no quote here.
_QUOTES: Final = ("''", "‘’", "‚‘", "``", "«»", "»«", "‹›", "›‹", "「」", "『』")  # noqa: RUF001 - that they look alike is the reason


@dataclass(frozen=True, slots=True)
class Misread:
    """What is wrong with a bare word, at which of its characters, counted from 0, and what to write instead."""

    problem: str
    at: int
    next_step: str


def misread(written: str) -> Misread | None:
    """Return why a bare word may be meant otherwise than it would be read, None if it is not."""
    if written.upper() in OPERATORS:
        return Misread(
            f"is {written} an operator or a word?",
            0,
            f'write {written.upper()} for the operator, "{written}" in quotes for the word',
        )
    if sign := _EXCLUDING.get(written[0]):
        excluded = written.lstrip("".join(_EXCLUDING)) or "draft"
        return Misread(f"{sign} excludes nothing here", 0, f"write NOT {excluded}, or put it in quotes")
    if _DISTANCE.match(written) or written in _OPERATORS_ELSEWHERE:
        return Misread(
            f"{written} is no operator here",
            0,
            f'write "merger price"~5 for at most five words between the two, and AND, OR, NOT; {QUOTE_IT}',
        )
    if any(written[0] == opening and closing not in written[1:] for opening, closing in _QUOTES):
        return Misread(f"{written[0]} begins no phrase here", 0, 'put a phrase into "double quotes"')
    return _wildcard(written)


def _wildcard(written: str) -> Misread | None:
    """Return what a word has of other languages' signs for other letters, other spellings and weights."""
    if found := _INNER_WILDCARD.search(written):
        at = found.start() + (found.group()[0] != "*")
        return Misread(
            "a word can only be left open at its end", at, f"write merg* for all words that begin so; {QUOTE_IT}"
        )
    if (found := _OPEN_END.search(written)) and not any(map(fold.stands_alone, fold.words(written)[-1:])):
        return Misread(
            f"does {found.group()[-1]} leave this word open, or end a sentence?",
            len(written) - 1,
            f"write {written[:-1]}* for all words that begin so, {written[:-1]} for this one",
        )
    if found := _FUZZY.search(written):
        return Misread(
            "a distance belongs behind a phrase in quotes", found.start() + 1, f'write "merger price"~5; {QUOTE_IT}'
        )
    if found := _WEIGHT.search(written):
        return Misread("no word weighs more than another here", found.start() + 1, f"leave the weight away; {QUOTE_IT}")
    return None
