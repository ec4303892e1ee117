"""Which objects hold anything that a hold covers, exactly: one more would be marked for nothing, one less could be erased."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from hashlib import sha256
from typing import Any

import pytest

from archiver.archive import layout
from archiver.archive.ledger import HoldScope
from archiver.archive.reader import Archive, Head, PlacedHold
from archiver.retention.coverage import Coverage
from archiver.retention.held_objects import days_of, held_objects, may_cover, read_table
from archiver.scope.membership import read_membership
from tests.archive.archive_steps import InlineExecutor
from tests.retention.lived import Row, at_ms, attached, lived, sent, stated_uid

FIRST, SECOND, THIRD = date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 3)
MINUTES, PHOTO = sha256(b"minutes").hexdigest(), sha256(b"photo").hexdigest()


def pushed(number: int, day: date, uid: str | None, body: bytes | None, **further: Any) -> Row:
    return {
        "received_at": at_ms(day), "spool_id": "s", "sequence": number, "feed": "general", "feed_kind": "webhook",
        "verified": "webhook-token", "outcome": "duplicate", "body_digest": f"{number:02}", "message_uid": uid, "body": body,
        **further,
    }  # fmt: skip


def stored(uid: str, day: date, ordinal: int, digest: str, **further: Any) -> Row:
    return attached(uid, day, ordinal, status="stored", blob_digest=digest, blob_bytes=5, **further)


@pytest.fixture(scope="module")
def built() -> tuple[Archive, Head]:
    """Five commits, so that each object can be told by its commit and its day."""
    return lived(
        [
            {
                "messages": [sent("m-1", FIRST), sent("m-2", FIRST, chat_id="g:random"), sent("m-3", SECOND)],
                "files": [stored("m-1", FIRST, 0, MINUTES), stored("m-2", FIRST, 0, PHOTO, chat_id="g:random")],
            },
            {"messages": [sent("m-1", THIRD, version=2, text="changed")]},
            {"messages": [sent("m-4", THIRD, chat_id="g:random"), sent("m-5", THIRD, chat_id="u:ann,u:bob")]},
            {"events": [pushed(1, FIRST, "m-1", b"{}"), pushed(2, FIRST, None, None)]},
            {"events": [pushed(3, SECOND, "m-2", b"{}"), pushed(4, THIRD, "m-1", None)]},
            {"events": [pushed(5, SECOND, None, b"{broken", outcome="unparsed", chat_id="g:random")]},
            {"files": [attached("m-9", SECOND, chat_id="g:gone", blob_digest=MINUTES)]},
        ]
    )


def covering(archive: Archive, head: Head, **holds: Mapping[str, Any]) -> Coverage:
    placed = {
        name: PlacedHold(
            scope=HoldScope(**scope), reason="a case", actor="ann", placed_at="2026-03-04T00:00:00.000Z", sequence=1
        )
        for name, scope in holds.items()
    }
    return Coverage(placed, read_membership(archive.store, head))


def shown(keys: frozenset[str]) -> set[str]:
    """Objects as table, day of the month and commit; blobs by what they are."""
    names = {layout.blob_key(MINUTES): "blob minutes", layout.blob_key(PHOTO): "blob photo"}
    return {
        names.get(key)
        or f"{layout.partition_of(key)[0]} {layout.partition_of(key)[1].day} of {layout.sequence_of_data(key)}"
        for key in keys
    }


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({"chats": ("g:general",)},
         {"messages 1 of 1", "messages 2 of 1", "messages 3 of 2", "files 1 of 1", "blob minutes", "events 1 of 4"}),
        ({"chats": ("g:random",)},
         {"messages 1 of 1", "messages 3 of 3", "files 1 of 1", "blob photo", "events 2 of 5", "events 2 of 6"}),
        ({"chats": ("u:ann,u:bob",)}, {"messages 3 of 3"}),
        ({"chats": ("g:gone",)}, {"files 2 of 7", "blob minutes"}),
        ({"chats": ("g:nowhere",)}, set()),
        ({"until_ms": at_ms(SECOND, 0)},
         {"messages 1 of 1", "messages 3 of 2", "files 1 of 1", "blob minutes", "blob photo", "events 1 of 4", "events 2 of 5",
          "events 2 of 6"}),
        ({"from_at_ms": at_ms(THIRD, 0)}, {"messages 1 of 1", "messages 3 of 2", "messages 3 of 3", "files 1 of 1", "blob minutes",
                                           "events 1 of 4", "events 2 of 6"}),
        ({"expression": "changed", "chats": ("g:general",)},
         {"messages 1 of 1", "messages 3 of 2", "files 1 of 1", "blob minutes", "events 1 of 4"}),
        ({"expression": "has:file", "chats": ("g:general",)},
         {"messages 1 of 1", "messages 3 of 2", "files 1 of 1", "blob minutes", "events 1 of 4"}),
        ({"expression": "mime:image/png", "chats": ("g:random",)}, {"events 2 of 6"}),
        ({"expression": "nobody"}, {"events 2 of 6", "files 2 of 7", "blob minutes"}),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)  # fmt: skip
def test_each_object_with_a_row_of_a_held_item_and_no_other(
    built: tuple[Archive, Head], scope: dict[str, Any], expected: set[str]
) -> None:
    archive, head = built
    assert (
        shown(held_objects(archive.store, head, covering(archive, head, one=scope), executor=InlineExecutor()))
        == expected
    )


@pytest.mark.parametrize("day", [FIRST, SECOND, THIRD])
def test_under_whichever_day_the_covered_row_lies_the_rest_of_its_message_is_held(day: date) -> None:
    """Of each message some rows lie elsewhere than its uid says: a version, a file, and a file of which the message is gone."""
    edited, filed, other = stated_uid(FIRST, 1), stated_uid(SECOND, 2), stated_uid(FIRST, 3)
    archive, head = lived(
        [
            {"messages": [sent(edited, FIRST), sent(filed, SECOND), sent(other, FIRST, chat_id="g:random")]},
            {"messages": [sent(edited, THIRD, version=2)]},
            {"files": [stored(filed, THIRD, 0, PHOTO), stored(other, FIRST, 0, MINUTES, chat_id="g:random")]},
            {"messages": [sent("quiet", SECOND, chat_id="g:random"), sent(edited, SECOND, chat_id="g:random")]},
            {
                "events": [
                    pushed(1, SECOND, edited, b"{}"),
                    pushed(2, THIRD, filed, b"{}"),
                    pushed(3, FIRST, other, b"{}"),
                ]
            },
        ]
    )
    scope = {"chats": ("g:general",), "from_at_ms": at_ms(day, 0), "until_ms": at_ms(day, 23)}
    expected = {
        FIRST: {"messages 1 of 1", "messages 3 of 2", "events 2 of 5"},
        SECOND: {"messages 2 of 1", "files 3 of 3", "blob photo", "events 3 of 5"},
        # Of a file whose message lies elsewhere the day alone cannot tell, so it is held.
        THIRD: {"messages 1 of 1", "messages 3 of 2", "files 3 of 3", "blob photo", "events 2 of 5", "events 3 of 5"},
    }[day]  # fmt: skip
    coverage = covering(archive, head, one=scope)
    assert shown(held_objects(archive.store, head, coverage, executor=InlineExecutor())) == expected


def test_only_days_to_which_a_later_commit_added_something_are_looked_at_and_told(built: tuple[Archive, Head]) -> None:
    archive, head = built
    coverage = covering(archive, head, one={"chats": ("g:random",)}, two={"chats": ("u:ann,u:bob",)})
    told: list[tuple[int, int]] = []

    def since(commit: int) -> set[str]:
        told.clear()
        return shown(
            held_objects(
                archive.store,
                head,
                coverage,
                executor=InlineExecutor(),
                since=commit,
                progress=lambda done, of: told.append((done, of)),
            )
        )

    everything = {"messages 1 of 1", "messages 3 of 3", "files 1 of 1", "blob photo", "events 2 of 5", "events 2 of 6"}
    assert (since(0), told) == (everything, [(1, 3), (2, 3), (3, 3)])
    assert (since(2), told) == ({"messages 3 of 3", "events 2 of 6"}, [(1, 2), (2, 2)])
    assert (since(6), told) == (set(), [(1, 1)])
    assert (since(5), told) == ({"events 2 of 6"}, [(1, 1)])
    assert (since(7), told) == (set(), [])
    assert held_objects(archive.store, head, covering(archive, head), executor=InlineExecutor()) == frozenset()


def test_a_day_is_its_objects_of_messages_and_files_and_days_come_in_order(built: tuple[Archive, Head]) -> None:
    archive, head = built
    days = days_of(head)
    assert [
        {table: [layout.sequence_of_data(record.key) for record in records] for table, records in day.items()}
        for day in days
    ] == [
        {"messages": [1], "files": [1]},
        {"messages": [1], "files": [7]},
        {"messages": [2, 3], "files": []},
    ]
    texts = read_table(archive.store, days[2]["messages"], ("text", "message_uid"), table="messages")
    assert texts.to_pydict() == {
        "text": ["changed", "good morning", "good morning"],
        "message_uid": ["m-1", "m-4", "m-5"],
    }
    assert read_table(archive.store, [], ("text",), table="messages").schema.names == ["text"]


@pytest.mark.parametrize(
    ("from_at_ms", "until_ms", "days"),
    [
        (at_ms(SECOND), None, [SECOND, THIRD]),
        (at_ms(SECOND) + 1, None, [THIRD]),
        (None, at_ms(SECOND), [FIRST]),
        (None, at_ms(SECOND) + 1, [FIRST, SECOND]),
    ],
)
def test_a_day_is_passed_over_if_none_of_its_rows_can_be_covered(
    built: tuple[Archive, Head], from_at_ms: int | None, until_ms: int | None, days: list[date]
) -> None:
    archive, head = built
    coverage = covering(archive, head, one={"from_at_ms": from_at_ms, "until_ms": until_ms})
    found = [day for day in days_of(head) if may_cover(coverage, day)]
    assert [layout.partition_of(day["messages"][0].key)[1] for day in found] == days
