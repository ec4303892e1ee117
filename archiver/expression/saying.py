"""Whether one text says a word, a phrase or words near each other: exactly, and in time that grows with its length alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from archiver.expression import fold
from archiver.expression.nodes import Near, TextTerm, Words

# Half-open range of words of a text.
Stretch = tuple[int, int]


def says(term: TextTerm) -> Callable[[str], bool]:
    """Return what tells whether a text says it."""
    match term:
        case Words(words, is_prefix):
            needle = _needle(words, is_prefix=is_prefix)
            return lambda text: needle in fold.sequence(text)
        case Near():
            needles = [_needle(part, is_prefix=False) for part in term.parts]

            def is_near(text: str) -> bool:
                sequence = fold.sequence(text)
                return all(needle in sequence for needle in needles) and any(True for _ in stretches(term, sequence))

            return is_near


def stretches(term: TextTerm, sequence: str) -> Iterator[Stretch]:
    """Yield where the words of a `fold.sequence` say it, some perhaps twice; of words near each other, each of them."""
    match term:
        case Words(words, is_prefix):
            yield from _occurrences(words, sequence, is_prefix=is_prefix)
        case Near():
            yield from _near(term, sequence)


def _needle(words: tuple[str, ...], *, is_prefix: bool) -> str:
    """Return what a sequence contains if it says the words; each of its words has a separator on both sides."""
    return f" {' '.join(words)}" + ("" if is_prefix else " ")


def _occurrences(words: tuple[str, ...], sequence: str, *, is_prefix: bool = False) -> Iterator[Stretch]:
    needle = _needle(words, is_prefix=is_prefix)
    place, counted, number = sequence.find(needle), 0, 0
    while place >= 0:
        # The separator that the needle begins with stands before the word of this number.
        number += sequence.count(fold.SEPARATOR, counted, place)
        counted = place
        yield number, number + len(words)
        place = sequence.find(needle, place + 1)


def _near(term: Near, sequence: str) -> Iterator[Stretch]:
    """Yield the parts of every stretch that holds all parts and is no longer than they and ``others_max`` words.

    Of all stretches that end with a given occurrence, the one that takes the latest occurrence of each other part is the shortest.
    """
    length_max = term.others_max + sum(map(len, term.parts))
    found = sorted(
        (end, start, part) for part, words in enumerate(term.parts) for start, end in _occurrences(words, sequence)
    )
    latest: dict[int, Stretch] = {}
    for end, start, part in found:
        latest[part] = (start, end)
        if len(latest) == len(term.parts) and end - min(begin for begin, _ in latest.values()) <= length_max:
            yield from latest.values()


def first_stretches(term: TextTerm, sequence: str, *, count_max: int) -> list[Stretch]:
    """Return at most so many of `stretches`."""
    return list(islice(stretches(term, sequence), count_max))
