"""What a search expression says, as a tree of frozen facts. `archiver.expression.parser` builds it, `canonical` writes it down again."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Literal
from zoneinfo import ZoneInfo

PersonRole = Literal["from", "to"]
DayRelation = Literal["before", "after", "on"]
MessageKind = Literal["channel", "direct", "app", "person"]
MessageState = Literal["edited", "missing"]


@dataclass(frozen=True, slots=True)
class Words:
    """Folded words that follow each other in a text; with ``is_prefix`` the last one may go on."""

    words: tuple[str, ...]
    is_prefix: bool = False


@dataclass(frozen=True, slots=True)
class Near:
    """Parts, each a sequence of folded words, that all stand in a stretch of a text with at most ``others_max`` more words."""

    parts: tuple[tuple[str, ...], ...]
    others_max: int


@dataclass(frozen=True, slots=True)
class Person:
    """Who sent it, or to whom it was sent directly."""

    role: PersonRole
    pattern: str


@dataclass(frozen=True, slots=True)
class Chat:
    """In which channel or one-to-one conversation it was sent."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Days:
    """When it was sent: before, after or on the days from ``first`` to ``last``, both included, in the expression's zone."""

    relation: DayRelation
    first: date
    last: date
    written: str


@dataclass(frozen=True, slots=True)
class HasFile:
    """A file is attached to it."""


@dataclass(frozen=True, slots=True)
class Mime:
    """A file of this media type is attached to it."""

    pattern: str


@dataclass(frozen=True, slots=True)
class State:
    """It was edited, or Flock did not return it when it was last asked."""

    state: MessageState


@dataclass(frozen=True, slots=True)
class Kind:
    """Where it was said, or whether an app or bot said it."""

    kind: MessageKind


@dataclass(frozen=True, slots=True)
class Label:
    """It carries this label."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Not:
    """Everything that ``node`` is not true of."""

    node: Node


@dataclass(frozen=True, slots=True)
class And:
    """All of them are true."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of them is true."""

    nodes: tuple[Node, ...]


TextTerm = Words | Near
Filter = Person | Chat | Days | HasFile | Mime | State | Kind | Label
Term = TextTerm | Filter
Node = Term | Not | And | Or


@dataclass(frozen=True, slots=True)
class Expression:
    """A search expression that was read: its tree, the zone of its days, and how it was written.

    Two expressions are equal if they say the same, however they were written. ``columns`` are the columns of the table ``messages`` that
    it looks at; ``needs_files``, ``needs_missing`` and ``needs_labels`` say which further facts must be brought
    (`archiver.expression.facts.Facts`).
    """

    root: Node
    zone: ZoneInfo
    written: str = field(compare=False)
    canonical: str = field(compare=False)
    columns: tuple[str, ...] = field(compare=False)
    needs_files: bool = field(compare=False)
    needs_missing: bool = field(compare=False)
    needs_labels: bool = field(compare=False)


def terms_of(node: Node) -> list[Term]:
    """Return the terms of a tree from left to right."""
    match node:
        case Not(inner):
            return terms_of(inner)
        case And(nodes) | Or(nodes):
            return [term for inner in nodes for term in terms_of(inner)]
        case _:
            return [node]


def asked_for(node: Node, *, is_denied: bool = False) -> list[TextTerm]:
    """Return the words and phrases that a match shows: those that are not denied."""
    match node:
        case Words() | Near():
            return [] if is_denied else [node]
        case Not(inner):
            return asked_for(inner, is_denied=not is_denied)
        case And(nodes) | Or(nodes):
            return [term for inner in nodes for term in asked_for(inner, is_denied=is_denied)]
        case _:
            return []
