"""A search finds exactly the messages of which a version meets the expression, in order, with the index, without it and with half of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archiver.archive.reader import Archive, Head
from archiver.discovery.index import OpenIndex
from archiver.discovery.search_candidates import candidates
from archiver.discovery.search_count import count_messages
from archiver.discovery.search_places import Order
from archiver.store.memory import MemoryStore
from tests.discovery.searched import (
    add_rows,
    all_pages,
    archive_of,
    drawn_rows,
    expected,
    labels_of,
    places_of,
    refreshed,
)
from tests.expression.expressions import EXPRESSIONS, parsed


@dataclass(frozen=True)
class Searched:
    archive: Archive
    head: Head
    rows: list[dict[str, Any]]
    indexes: dict[str, OpenIndex | None]


def searched(folder: Path, seed: int) -> Searched:
    rows = drawn_rows(seed, 60)
    half = len(rows) // 2
    archive, head = archive_of(MemoryStore(), rows[:half], commits=1)
    index = refreshed(archive, head, folder)
    head = add_rows(archive, head, rows[half:], commits=1)
    behind = index.open(head)
    whole = refreshed(archive, head, folder / "whole").open(head)
    assert behind.others
    assert behind.shards
    assert not whole.others
    return Searched(archive, head, rows, {"whole": whole, "behind": behind, "none": None})


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    return searched(tmp_path_factory.mktemp("index"), 5)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=EXPRESSIONS,
    order=st.sampled_from(["newest", "oldest"]),
    limit=st.sampled_from([7, 1000, 1000]),
    using=st.sampled_from(["whole", "behind", "none"]),
)
def test_every_way_to_search_finds_what_a_plain_reading_finds(
    small: Searched, text: str, order: Order, limit: int, using: str
) -> None:
    check(small, text, order, limit, using)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@settings(max_examples=2_000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=EXPRESSIONS,
    order=st.sampled_from(["newest", "oldest"]),
    limit=st.sampled_from([1, *[30, 1_000] * 8]),  # a page costs as much as a search, and most have all in a few
    using=st.sampled_from(["whole", "behind"]),
)
def test_many_more_expressions_find_what_a_plain_reading_finds(
    small: Searched, text: str, order: Order, limit: int, using: str
) -> None:
    check(small, text, order, limit, using)


def check(small: Searched, text: str, order: Order, limit: int, using: str) -> None:
    expression = parsed(text)
    places = places_of(small.archive, small.head, small.indexes[using], expression, labels_of(small.rows))
    hits = all_pages(places, expression, order=order, limit=limit)
    wanted = expected(expression, small.rows, order=order)
    assert [(hit.position.at_ms, hit.position.chat_id, hit.position.message_uid) for hit in hits] == wanted
    assert count_messages(places, expression, at_any_cost=True) == len(wanted)
    narrowed = candidates(places, expression)
    for hit in hits if narrowed else ():
        for version in hit.versions:
            rows = narrowed.rows_of(version.key)
            assert not version.is_hit or rows is None or version.row in rows
    assert count_messages(places, expression, at_any_cost=False) in (None, len(wanted))
