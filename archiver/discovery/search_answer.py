"""One question to an archive, and everything that is answered: hits, how many there are, what stands around them, names nobody has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from archiver.discovery.search import LIMIT_DEFAULT, Page, Position, search
from archiver.discovery.search_around import Neighbour, around
from archiver.discovery.search_count import count_messages
from archiver.discovery.search_facts import Key
from archiver.discovery.search_names import UnknownName, unknown_names
from archiver.discovery.search_places import Order, Places
from archiver.expression import Expression

# The messages before and after one.
Surroundings = tuple[list[Neighbour], list[Neighbour]]


@dataclass(frozen=True, slots=True)
class Question:
    """What to find, in which order, how many on a page, after which position, with how many messages around each.

    ``counts`` asks for the exact number of messages, whatever it costs.
    """

    expression: Expression
    order: Order = "newest"
    limit: int = LIMIT_DEFAULT
    after: Position | None = None
    context: int = 0
    counts: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A page of hits. ``total`` is how many messages there are on all pages, None if that was not asked for and is not told cheaply."""

    page: Page
    total: int | None
    context: Mapping[Key, Surroundings]
    unknown: tuple[UnknownName, ...]


def answer(places: Places, question: Question) -> Answer:
    """Answer a question; raises `DamageFoundError`, and `ShardBrokenError` if the index turns out to be unusable."""
    expression = question.expression
    page = search(places, expression, order=question.order, limit=question.limit, after=question.after)
    if page.after is None and question.after is None:
        total: int | None = len(page.hits)
    else:
        total = count_messages(places, expression, at_any_cost=question.counts)
    context = {}
    if question.context:
        for hit in page.hits:
            at = hit.position
            context[at.chat_id, at.message_uid] = around(
                places,
                chat_id=at.chat_id,
                message_uid=at.message_uid,
                at_ms=hit.sent_at_ms,
                count=question.context,
            )
    knowledge = places.knowledge
    return Answer(page, total, context, unknown_names(expression, knowledge.directory, knowledge.labels))
