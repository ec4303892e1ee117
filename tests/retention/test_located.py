"""Which rows of which objects a plan takes, which of its items holds keep, and which blobs lose their last reference."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import msgspec
import pytest

from archiver.archive import layout
from archiver.archive.ledger import BlobRecord, HoldScope
from archiver.archive.reader import Archive, Head, PlacedHold
from archiver.clock import DAY_MS
from archiver.errors import RefusedError
from archiver.retention.coverage import read_coverage
from archiver.retention.located import Located, blobs_going, locate, without_held
from archiver.retention.plan_document import Plan
from tests.archive.archive_steps import InlineExecutor
from tests.retention.lived import Row, at_ms, attached, lived, sent
from tests.retention.plans import plan_of

FIRST, SECOND = date(2026, 3, 1), date(2026, 3, 2)
MINUTES, PHOTO = "aa" * 32, "bb" * 32


def stored(uid: str, ordinal: int, digest: str, size: int, **further: Any) -> Row:
    return attached(uid, FIRST, ordinal, status="stored", blob_digest=digest, blob_bytes=size, **further)


def pushed(number: int, uid: str | None, body: bytes | None, **further: Any) -> Row:
    return {
        "received_at": at_ms(FIRST), "spool_id": "s", "sequence": number, "feed": "general", "feed_kind": "webhook",
        "verified": "webhook-token", "outcome": "duplicate", "body_digest": f"{number:02}", "message_uid": uid, "body": body, **further,
    }  # fmt: skip


def user(user_id: str, at: int) -> Row:
    return {
        "user_id": user_id, "valid_from": at, "state": "listed", "first_name": user_id, "captured_by": "u:admin", "raw": "{}",
        "state_digest": f"{user_id} {at}",
    }  # fmt: skip


@pytest.fixture(scope="module")
def built() -> tuple[Archive, Head]:
    return lived(
        [
            {
                "messages": [sent("m-1", FIRST), sent("m-2", FIRST, sender_id="u:bob"), sent("m-3", FIRST, chat_id="g:random")],
                "files": [stored("m-1", 0, MINUTES, 7), stored("m-1", 1, PHOTO, 9), stored("m-2", 0, PHOTO, 9)],
                "events": [
                    pushed(1, "m-1", None), pushed(2, None, b"{broken", outcome="unparsed", chat_id="g:general"),
                    pushed(3, None, b"{x", outcome="unparsed"), pushed(4, "m-2", b"{}"),
                ],
                "users": [user("u:ann", at_ms(FIRST)), user("u:bob", at_ms(FIRST))],
            },
            {
                "messages": [sent("m-1", SECOND, version=2)],
                "files": [attached("m-2", SECOND, 0, status="stored", blob_digest=PHOTO, blob_bytes=9)],
                "users": [user("u:ann", at_ms(SECOND))],
            },
        ]
    )  # fmt: skip


def item(kind: str, **further: Any) -> Row:
    known = {
        "kind": kind,
        "day": FIRST,
        "sent_at": 0,
        "due_at": 0,
        "rule": "r",
        "principle": "p",
        "rows": 1,
        "bytes": 1,
    }
    return known | ({} if kind == "user" else {"chat_id": "g:general"}) | further


M1 = item("message", message_uid="m-1", rows=2)
M2 = item("message", message_uid="m-2")
M3 = item("message", message_uid="m-3", chat_id="g:random")
F10 = item("file", message_uid="m-1", ordinal=0)
F11 = item("file", message_uid="m-1", ordinal=1)
F20 = item("file", message_uid="m-2", ordinal=0, rows=2)
ANN = item("user", user_id="u:ann", rows=2)
P2 = item("event", message_uid="s:2:02", chat_id="g:general")
P3 = item("event", message_uid="s:3:03", chat_id=None)


def located(built: tuple[Archive, Head], *items: Row, told: list[Any] | None = None) -> tuple[Plan, Located]:
    archive, head = built
    plan = plan_of(archive, head, items)
    steps = [] if told is None else told
    found = locate(archive.store, head, plan, executor=InlineExecutor(), progress=lambda *step: steps.append(step))
    return plan, found


def shown(plan: Plan, found: Located) -> dict[str, set[tuple[Any, ...]]]:
    """By table: the commit and day of each object, the places of the rows that go, and the items that these are of."""
    names = [row["user_id"] or row["message_uid"] for row in plan.items.to_pylist()]
    return {
        table: {
            (
                layout.sequence_of_data(one.record.key),
                layout.partition_of(one.record.key)[1].day,
                tuple(place for place, goes in enumerate(one.goes.to_pylist()) if goes),
                tuple(names[number] for number in one.items.to_pylist()),
            )
            for one in touched
        }
        for table, touched in found.touched.items()
    }


def test_every_row_of_every_item_is_found_with_the_item_that_it_is_of(built: tuple[Archive, Head]) -> None:
    told: list[Any] = []
    plan, found = located(built, M1, F11, F20, ANN, P2, P3, told=told)
    rows = shown(plan, found)
    assert rows["messages"] == {(1, 1, (0,), ("m-1",)), (2, 2, (0,), ("m-1",))}
    assert rows["files"] == {(1, 1, (1, 2), ("m-1", "m-2")), (2, 2, (0,), ("m-2",))}
    assert rows["events"] == {(1, 1, (0, 1, 2), ("m-1", "s:2:02", "s:3:03"))}
    assert {(commit, names) for commit, _, _, names in rows["users"]} == {(1, ("u:ann",)), (2, ("u:ann",))}
    assert (found.is_kept.to_pylist(), found.held) == ([False] * 6, {})
    assert told == [
        ("finding messages", 1, 2), ("finding messages", 2, 2), ("finding events", 1, 1), ("finding files", 1, 2),
        ("finding files", 2, 2), ("finding users", 1, 2), ("finding users", 2, 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("items", "tables"),
    [([M3], {"messages", "events"}), ([F10], {"files"}), ([ANN], {"users"}), ([P2], {"events"}), ([], set())],
)
def test_only_tables_that_may_have_rows_of_it_are_asked(
    items: list[Row], tables: set[str], built: tuple[Archive, Head]
) -> None:
    assert set(located(built, *items)[1].touched) == tables


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([M2, M1 | {"rows": 3}], "of 1 items it says another number of rows than there are, of message m-1 in g:general 3 and not 2"),
        ([F20 | {"rows": 1}, F10], "of 1 items it says another number of rows than there are, of file m-2 in g:general 1 and not 2"),
        ([ANN | {"rows": 1}], "of 1 items it says another number of rows than there are, of user u:ann 1 and not 2"),
        ([P2 | {"rows": 2}], "of 1 items it says another number of rows than there are, of event s:2:02 in g:general 2 and not 1"),
        ([P2, P3 | {"day": SECOND}], "of 1 items it says another number of rows than there are, of event s:3:03 in None 1 and not 0"),
        ([M3 | {"chat_id": "g:general"}, M1 | {"rows": 1}], "of 2 items it says another number of rows than there are, of message m-1"),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)  # fmt: skip
def test_a_plan_that_counts_other_rows_does_not_fit(items: list[Row], said: str, built: tuple[Archive, Head]) -> None:
    archive, head = built
    digest = plan_of(archive, head, items).digest
    with pytest.raises(RefusedError) as caught:
        located(built, *items)
    assert caught.value.what.startswith(f"plan {digest} does not fit the archive: {said}")
    assert caught.value.what.endswith("; nothing was changed")
    assert caught.value.next_step == ("run `archiver verify`, then make the plan again with `archiver retention plan`")


@pytest.mark.parametrize(
    ("scopes", "held", "kept"),
    [
        ({}, {}, set()),
        ({"x": {"from_at_ms": at_ms(SECOND, 0) + 2 * DAY_MS}}, {}, set()),
        ({"x": {"chats": ("g:random",)}}, {"x": 2}, {"message m-3", "event s:3:03"}),
        ({"y": {"chats": ("g:general",)}, "x": {"from_at_ms": at_ms(SECOND, 0), "chats": ("g:general",)}},
         {"x": 4, "y": 6}, {"message m-1", "message m-2", "file m-1 0", "file m-2 0", "event s:2:02", "event s:3:03"}),
        ({"x": {"custodians": ("u:bob",), "chats": ("g:general",)}}, {"x": 4},
         {"message m-2", "file m-2 0", "event s:2:02", "event s:3:03"}),
        ({"x": {"expression": "has:file", "chats": ("g:general",)}}, {"x": 6},
         {"message m-1", "message m-2", "file m-1 0", "file m-2 0", "event s:2:02", "event s:3:03"}),
        # None of its files is an image, and of what could not be read nobody can tell.
        ({"x": {"expression": "mime:image/png", "chats": ("g:general",)}}, {"x": 2}, {"event s:2:02", "event s:3:03"}),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)  # fmt: skip
def test_what_a_hold_covers_stays_whole_and_is_counted_for_each_hold(
    scopes: Mapping[str, Mapping[str, Any]], held: dict[str, int], kept: set[str], built: tuple[Archive, Head]
) -> None:
    archive, head = built
    plan, found = located(built, M1, M2, M3, F10, F20, P2, P3)
    held_head = _holding(head, scopes)
    left = without_held(
        archive.store,
        held_head,
        plan,
        found,
        coverage=read_coverage(archive.store, held_head),
        executor=InlineExecutor(),
    )
    assert (left.held, list(left.held)) == (held, sorted(held))
    names = [
        " ".join(str(row[name]) for name in ("kind", "message_uid", "ordinal") if row[name] is not None)
        for row in plan.items.to_pylist()
    ]
    assert {name for name, is_kept in zip(names, left.is_kept.to_pylist(), strict=True) if is_kept} == kept
    going = {names[number] for touched in left.touched.values() for one in touched for number in one.items.to_pylist()}
    assert going == set(names) - kept


def _holding(head: Head, scopes: Mapping[str, Mapping[str, Any]]) -> Head:
    """The head as it would be with these holds in force, without a commit."""
    holds = {
        name: PlacedHold(
            scope=HoldScope(**scope), reason="a case", actor="ann", placed_at="2026-03-04T00:00:00.000Z", sequence=1
        )
        for name, scope in scopes.items()
    }
    return msgspec.structs.replace(head, holds=holds)


@pytest.mark.parametrize(
    ("items", "blobs"),
    [
        ([F10], [BlobRecord(MINUTES, 7)]),
        ([F11], []),
        ([F20], []),
        ([F11, F20], [BlobRecord(PHOTO, 9)]),
        ([F10, F11, F20], [BlobRecord(MINUTES, 7), BlobRecord(PHOTO, 9)]),
        ([M1, M2], []),
    ],
)
def test_a_blob_goes_with_the_last_row_that_names_it(
    items: list[Row], blobs: list[BlobRecord], built: tuple[Archive, Head]
) -> None:
    archive, head = built
    _, found = located(built, *items)
    assert blobs_going(archive.store, head, found, executor=InlineExecutor()) == tuple(blobs)


def test_a_file_whose_message_has_gone_is_held_by_its_own_chat() -> None:
    archive, head = lived([{"files": [attached("gone", FIRST)]}])
    plan, found = located((archive, head), item("file", message_uid="gone", ordinal=0))
    for chat_id, is_held in (("g:general", True), ("g:random", False)):
        head = _holding(head, {"x": {"chats": (chat_id,)}})
        coverage = read_coverage(archive.store, head)
        left = without_held(archive.store, head, plan, found, coverage=coverage, executor=InlineExecutor())
        assert (left.is_kept.to_pylist(), left.held) == ([is_held], {"x": 1} if is_held else {})
