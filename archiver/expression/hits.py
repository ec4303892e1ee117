"""Where in a text an expression's words stand, to be highlighted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from archiver.expression import fold
from archiver.expression.nodes import Expression, asked_for
from archiver.expression.saying import first_stretches

# A text of nothing but hits is highlighted up to here.
HITS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Hit:
    """A half-open range of characters of a text."""

    start: int
    end: int


def hits_in(expression: Expression, text: str) -> list[Hit]:
    """Return the places of all words and phrases that are asked for and not denied, in order; what touches or overlaps is one.

    Whether the expression as a whole is true of the message is another question (`matching_rows`).
    """
    terms = asked_for(expression.root)
    if not terms:
        return []
    words = list(fold.located_words(text))
    sequence = f" {' '.join(word.folded for word in words)} "
    places = sorted({place for term in terms for place in first_stretches(term, sequence, count_max=HITS_MAX)})
    hits: list[Hit] = []
    for first, behind in places:
        start, end = words[first].start, words[behind - 1].end
        if hits and start <= hits[-1].end:
            hits[-1] = Hit(hits[-1].start, max(hits[-1].end, end))
        else:
            hits.append(Hit(start, end))
    return hits
