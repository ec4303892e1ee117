"""A kept push that names messages: it goes with them, and once the archive has none of them it goes as one that names nobody."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from archiver.retention.coverage import read_coverage
from archiver.retention.explain import explain
from archiver.retention.held_objects import held_objects
from archiver.retention.plan_document import store_plan
from tests.archive.archive_steps import InlineExecutor
from tests.retention.disposing import apply, every_row, objects_of, places_of, rows_but
from tests.retention.lived import at_ms, held, lived, planned, sent
from tests.retention.test_pushes import CARRIED, DELETES, OLD, TODAY, archived, keys_planned, named, pushed

ABSENT = pushed(11, b'{"uid":"m-9","text":"fuchsia"}', outcome="noted", error=None, message_uid="m-9")
BY_BODY = pushed(12, b'{"list":[{"uid":"m-9"},{"uid":-4}]}', outcome="noted", error=None)


class TestWhenItIsAnItem:
    @pytest.mark.parametrize(
        ("push", "is_own"),
        [
            pytest.param(ABSENT, True, id="its message is not there"),
            pytest.param(BY_BODY, True, id="no message is there that its body names"),
            pytest.param(CARRIED, False, id="its message is there"),
            pytest.param(BY_BODY | {"message_uid": "m-1"}, False, id="one of its messages is there"),
            pytest.param(ABSENT | {"body": b'{"uid":"m-1"}'}, False, id="one that its body names is there"),
            pytest.param(CARRIED | {"chat_id": "g:trading"}, True, id="a message of another chat has the uid"),
            pytest.param(CARRIED | {"chat_id": None}, False, id="it tells no chat and a message has the uid"),
            pytest.param(ABSENT | {"body": None}, False, id="it keeps no body"),
            pytest.param(ABSENT | {"received_at": at_ms(TODAY)}, False, id="it is not old enough"),
        ],
    )
    def test_only_if_no_message_takes_it_along(self, push: dict[str, Any], is_own: bool) -> None:
        assert keys_planned(*archived([push])) == ({named(push)} if is_own else set())

    def test_of_rows_that_say_the_same_one_day_all_are_or_none_is(self) -> None:
        """They are one item and go whole: what keeps one of them keeps the others."""
        fetched = ABSENT | {"spool_id": "", "sequence": 0}
        assert keys_planned(*archived([fetched, fetched | {"message_uid": "m-1"}])) == set()
        assert keys_planned(*archived([fetched, fetched | {"outcome": "wanted", "wanted_uids": ["m-9"]}])) == set()
        assert keys_planned(*archived([fetched, fetched | {"chat_id": "g:general"}])) == {named(fetched)}

    def test_a_message_that_comes_after_all_has_it_again(self) -> None:
        archive, head = lived([{"events": [ABSENT]}, {"messages": [sent("m-9", TODAY)]}])
        assert keys_planned(archive, head) == set()

    def test_explaining_says_so(self) -> None:
        for rows, state in (([ABSENT], "due"), ([ABSENT | {"message_uid": "m-1", "body": b"{}"}], "unknown")):
            archive, head = archived(rows)
            assert explain(archive, head, DELETES, "s:11", chat_id=None, as_of_ms=at_ms(TODAY)).state == state


class TestHolds:
    def test_cover_it_and_its_object_whatever_they_ask_for(self) -> None:
        archive, head = archived([ABSENT])
        head = held(archive, head, "smith", custodians=("u:bob",))
        assert keys_planned(archive, head) == set()
        (key,) = held_objects(archive.store, head, read_coverage(archive.store, head), executor=InlineExecutor())
        assert key.startswith("events/")

    def test_of_other_messages_do_not_cover_one_that_goes_with_its_own(self) -> None:
        archive, head = archived([CARRIED])
        head = held(archive, head, "smith", custodians=("u:bob",))
        assert (
            held_objects(archive.store, head, read_coverage(archive.store, head), executor=InlineExecutor())
            == frozenset()
        )


def test_applying_removes_it_and_nothing_else() -> None:
    archive, head = archived([ABSENT, CARRIED])
    gone = {ABSENT["body_digest"]}
    expected = rows_but(archive.store, head, lambda table, row: table == "events" and row["body_digest"] in gone)
    plan = planned(archive, head, DELETES, TODAY)
    store_plan(archive.store, plan)
    done = apply(archive, head, plan)
    assert every_row(archive.store, done.head) == expected
    assert (places_of("fuchsia", objects_of(archive.store)), done.certificate.items) == (set(), {"event": 1})


def test_one_that_went_by_an_earlier_plan_leaves_no_push_for_ever() -> None:
    """A push about a message that goes is of that message; one that comes again later is an item by its own reception."""
    again = ABSENT | {"received_at": at_ms(date(2024, 5, 1)), "sequence": 13}
    archive, head = lived([{"messages": [sent("m-9", OLD)], "events": [ABSENT, again]}])
    # The message and all that was pushed about it by then:
    plan = planned(archive, head, DELETES, TODAY)
    assert plan.header.counts == {"message": 1}
    store_plan(archive.store, plan)
    assert apply(archive, head, plan).head.rows.get("events", 0) == 0
    # What is archived of it afterwards:
    archive, head = lived([{"events": [again]}])
    assert planned(archive, head, DELETES, date(2027, 5, 1)).header.rows == 0
    assert keys_planned(archive, head) == set()
    assert planned(archive, head, DELETES, date(2027, 5, 2)).header.counts == {"event": 1}
