"""Names in an expression that nobody has or ever had, and those that they may have been meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from archiver.discovery.search_facts import LabelMeaning
from archiver.expression import Directory, Expression, Known, fold
from archiver.expression.facts import folded_like
from archiver.expression.nodes import Chat, Label, Person, Term, terms_of

NEAREST_MAX: Final = 3
_ALIKE_MIN: Final = 0.7


@dataclass(frozen=True, slots=True)
class UnknownName:
    """A name that a filter asks for and that the archive does not know, with the nearest that it does."""

    filter: str
    name: str
    nearest: tuple[str, ...]


def unknown_names(
    expression: Expression, directory: Directory, labels: Mapping[str, LabelMeaning] | None
) -> tuple[UnknownName, ...]:
    """Return the names in an expression that mean nobody and nothing, each once."""
    found = (_unknown(term, directory, labels or {}) for term in terms_of(expression.root))
    return tuple(dict.fromkeys(unknown for unknown in found if unknown is not None))


def _unknown(term: Term, directory: Directory, labels: Mapping[str, LabelMeaning]) -> UnknownName | None:
    match term:
        case Person(role, pattern) if not directory.people_like(pattern):
            return UnknownName(role, pattern, _nearest(pattern, _called(directory.people)))
        case Chat(pattern) if not directory.chats_like(pattern):
            return UnknownName("in", pattern, _nearest(pattern, _called(directory.chats)))
        case Label(pattern) if not any(map(folded_like(pattern), labels)):
            return UnknownName("label", pattern, _nearest(pattern, labels))
        case _:
            return None


def _called(known: Mapping[str, Known]) -> Iterable[str]:
    for identifier, about in known.items():
        yield from (identifier, *about.names, *about.emails)


def _nearest(pattern: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return the names most alike; of one with several words, a word may be."""
    wanted = fold.fold(pattern)
    likeness: dict[str, float] = {}
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(wanted)
    for name in names:
        folded = fold.fold(name)
        for part in {folded, *folded.replace("@", " ").split()}:
            matcher.set_seq1(part)
            if matcher.real_quick_ratio() >= _ALIKE_MIN and matcher.quick_ratio() >= _ALIKE_MIN:
                likeness[name] = max(likeness.get(name, 0.0), matcher.ratio())
    alike = sorted(
        (name for name, ratio in likeness.items() if ratio >= _ALIKE_MIN), key=lambda name: (-likeness[name], name)
    )
    return tuple(alike[:NEAREST_MAX])
