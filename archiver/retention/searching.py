"""Search expressions in policies: the same grammar and the same meaning as in a search or a hold.

The key ``words`` is such an expression too, of quoted phrases one of which is said; so a word is the same word everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from zoneinfo import ZoneInfo

from archiver.expression import Expression, ExpressionError, parse_expression

_QUOTED = str.maketrans({'"': '\\"', "\\": "\\\\"})


def check_search(text: str) -> str:
    """Return an expression that a policy can use; raises `ValueError` that ends a sentence which begins with the key.

    Labels and what Flock did not return are no matter of an expression here: a rule has a key for labels, and how long a message
    is kept may not hang on whether Flock returned it last night.
    """
    try:
        expression = expression_of(text, zone="UTC")
    except ExpressionError as error:
        raise ValueError(f"cannot be read at character {error.position + 1}: {error.problem}") from None
    if expression.needs_labels:
        raise ValueError("cannot ask for labels; a rule has the key `label` for them")
    if expression.needs_missing:
        raise ValueError("cannot ask what Flock returned, which changes from night to night")
    return text


@lru_cache(1_024)
def expression_of(text: str, *, zone: str) -> Expression:
    """Return an expression, whose days are those of the zone; raises `ExpressionError`."""
    return parse_expression(text, zone=ZoneInfo(zone))


def any_phrase(phrases: Iterable[str]) -> str:
    """Return the expression that one of these words or phrases is said; one that ends in a star may go on."""
    return " OR ".join(
        f'"{phrase.removesuffix("*").translate(_QUOTED)}"{"*" * phrase.endswith("*")}' for phrase in phrases
    )
