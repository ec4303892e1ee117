"""What leaves is found in a few days at a time, and is the same as if all rows had been looked at together."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from archiver.archive.reader import Archive, Head
from archiver.clock import from_ms
from archiver.retention.context import Context
from archiver.retention.coverage import read_coverage
from archiver.retention.day_rows import Stretch
from archiver.retention.evaluate import Evaluator
from archiver.retention.finding import Found, find
from archiver.retention.judging import Judge
from archiver.retention.plan import horizon_of, start_of
from tests.archive.archive_steps import InlineExecutor
from tests.retention.lived import at_ms, attached, held, lived, sent, stated_uid
from tests.retention.policies import policy

AS_OF = date(2026, 11, 27)
OLD, NEXT, LATER, FAR = date(2020, 1, 1), date(2020, 1, 2), date(2026, 6, 1), date(2028, 6, 1)
ONE_STRETCH, EACH_DAY = 10**6, 1
MOVED, MOVED_FAR = stated_uid(OLD, 1), stated_uid(OLD, 2)
RULES = policy({"name": "all", "delete": "1y"})


def stored(name: str, size: int) -> dict[str, Any]:
    return {"status": "stored", "blob_bytes": size, "blob_digest": name * 64}


@pytest.fixture(scope="module")
def archived() -> tuple[Archive, Head]:
    """Messages whose versions lie under one day, under several that are judged, and under one that is too young to be judged."""
    first = {
        "messages": [
            sent("whole", OLD),
            sent("torn", OLD),
            sent("torn far", OLD),
            sent("torn", OLD, chat_id="g:held"),
            sent(MOVED, OLD),
            sent(MOVED_FAR, OLD),
            sent("torn later", LATER),
            sent("young", FAR),
        ],
        "files": [
            attached("whole", OLD, 0, **stored("a", 1_000)),
            attached("whole", OLD, 1, **stored("c", 70)),
            attached("torn", OLD, **stored("b", 500)),
            attached("torn", OLD, chat_id="g:held", **stored("d", 300)),
            attached("young", FAR, **stored("c", 70)),
        ],
    }
    edits = {
        "messages": [
            sent("torn", NEXT, version=2),
            sent("torn far", FAR, version=2),
            sent("torn", NEXT, version=2, chat_id="g:held"),
            sent(MOVED, LATER, version=2),
            sent(MOVED_FAR, FAR, version=2),
            sent("torn later", LATER + timedelta(days=1), version=2),
        ],
        "files": [
            attached("torn", NEXT, version=2, **stored("b", 500)),
            attached("torn", NEXT, version=2, chat_id="g:held", **stored("d", 300)),
        ],
    }
    archive, head = lived([first, edits])
    return archive, held(archive, head, "case", chats=("g:held",))


def finding(archived: tuple[Archive, Head], *, stretch_rows: int, as_of: date = AS_OF, progress: Any = None) -> Found:
    archive, head = archived
    instants = {"as_of_ms": start_of(as_of, zone="UTC"), "horizon_ms": horizon_of(as_of, zone="UTC")}
    judge = Judge(Evaluator(RULES, Context()), read_coverage(archive.store, head), **instants)

    def is_chosen(day: Stretch) -> bool:
        return day.first_sent_at_ms < at_ms(FAR)

    executor = InlineExecutor()
    return find(
        archive.store, head, judge, chosen=is_chosen, executor=executor, progress=progress, stretch_rows=stretch_rows
    )


@pytest.fixture(scope="module", params=[EACH_DAY, ONE_STRETCH])
def found(request: pytest.FixtureRequest, archived: tuple[Archive, Head]) -> Found:
    return finding(archived, stretch_rows=request.param)


class TestHoweverManyRowsATaskHas:
    def test_an_item_is_due_with_all_its_rows_or_not_at_all(self, found: Found) -> None:
        items = found.items.select(["kind", "message_uid", "ordinal", "rows", "day"])
        assert sorted(tuple(item.values()) for item in items.to_pylist()) == [
            ("file", "torn", 0, 2, NEXT),
            ("file", "whole", 0, 1, OLD),
            ("file", "whole", 1, 1, OLD),
            ("message", "torn", None, 2, NEXT),
            ("message", "whole", None, 1, OLD),
        ]

    def test_what_a_hold_keeps_is_counted_once(self, found: Found) -> None:
        tally = found.tally
        assert {hold: count.items for hold, count in tally.held.items()} == {"case": 2}
        assert tally.held_in_all == tally.held["case"]

    def test_what_leaves_later_is_counted_once_and_by_its_latest_version(self, found: Found) -> None:
        tally = found.tally
        counted = {key: count.items for key, count in tally.later.items() if count.items}
        assert {(from_ms(at).date(), *further): count for (at, *further), count in counted.items()} == {
            (date(2027, 6, 2), "all", "message"): 1,
            (date(2027, 6, 3), "all", "message"): 1,
        }

    def test_a_blob_is_lost_if_no_row_names_it_that_stays(self, found: Found) -> None:
        assert (found.blobs, found.blob_bytes) == (2, 1_500)


def test_where_nothing_is_due_no_blob_is_lost(archived: tuple[Archive, Head]) -> None:
    nothing = finding(archived, stretch_rows=ONE_STRETCH, as_of=OLD)
    assert (nothing.items.num_rows, nothing.blobs, nothing.blob_bytes) == (0, 0, 0)


def test_what_is_found_weighs_the_same_however_many_rows_a_task_has(archived: tuple[Archive, Head]) -> None:
    by_day, at_once = (finding(archived, stretch_rows=rows) for rows in (EACH_DAY, ONE_STRETCH))
    assert by_day.items == at_once.items
    assert by_day.tally.held == at_once.tally.held
    assert by_day.tally.held_in_all == at_once.tally.held_in_all
    later = [{at: count for at, count in found.tally.later.items() if count.items} for found in (by_day, at_once)]
    assert later[0] == later[1]
    assert all(count.bytes == 0 for count in by_day.tally.later.values() if not count.items)


def test_progress_is_told_of_each_task_and_of_how_many_there_are(archived: tuple[Archive, Head]) -> None:
    told: list[tuple[int, int]] = []
    finding(archived, stretch_rows=EACH_DAY, progress=lambda done, of: told.append((done, of)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
