"""What a policy knows of an archive beside its rows: every name and address there ever was, and when its clocks began."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from archiver.archive.reader import Archive, Head
from archiver.expression import Known
from archiver.retention.context import Context, read_context
from tests.retention.hold_steps import member
from tests.retention.lived import at_ms, lived, sent
from tests.retention.policies import policy

DAY = date(2020, 3, 15)
TOLD = {"captured_by": "u:admin", "state_digest": "00", "raw": "{}"}


def on(days: int) -> int:
    return at_ms(DAY + timedelta(days=days))


def user(user_id: str, days: int, **further: Any) -> dict[str, Any]:
    return {"user_id": user_id, "valid_from": on(days), **TOLD, **further}


@pytest.fixture(scope="module")
def told() -> tuple[Archive, Head]:
    return lived(
        [
            {
                "users": [user("u:ann", 0, email="ann@old.example", first_name="Ann", last_name="Old"), user("u:bob", 0, first_name="Bob")],
                "channels": [{"channel_id": "g:1", "valid_from": on(0), "state": "listed", "name": "deal", **TOLD}],
                "conversations": [
                    {"chat_id": "u:ann,u:bob", "valid_from": on(0), "chat_kind": "direct", "name": None, **TOLD},
                    {"chat_id": "import:1", "valid_from": on(0), "chat_kind": "channel", "name": "Old room", **TOLD},
                ],
                "groups": [member("g:1", "u:ann", on(0)), member("g:2", "u:ann", on(0)), member("g:1", "u:bob", on(0))],
                "messages": [sent("m-1", DAY), sent("m-2", DAY + timedelta(days=3), chat_id="g:2")],
            },
            {
                "users": [user("u:ann", 9, email="ann@acme.example", first_name="Ann", last_name=None), user("u:cat", 9)],
                "channels": [{"channel_id": "g:1", "valid_from": on(9), "state": "listed", "name": "deal-closed", **TOLD}],
                "groups": [
                    member("g:1", "u:ann", on(5), "left"), member("g:2", "u:ann", on(7), "left"), member("g:1", "u:bob", on(6), "left"),
                    member("g:2", "u:bob", on(8)), member("g:2", "u:cat", on(4), "left"), member("g:1", "u:cat", on(2), "left"),
                ],
                "messages": [sent("m-3", DAY + timedelta(days=2)), sent("m-4", DAY + timedelta(days=1), chat_id="g:2")],
            },
        ]
    )  # fmt: skip


def test_every_name_and_address_there_ever_was_is_known(told: tuple[Archive, Head]) -> None:
    archive, head = told
    known = read_context(archive.store, head, policy({"delete": "1y"}))
    assert known == Context(
        names={"g:1": frozenset({"deal", "deal-closed"}), "import:1": frozenset({"Old room"})},
        kinds={"u:ann,u:bob": "direct", "import:1": "channel"},
        emails={"u:ann": frozenset({"ann@old.example", "ann@acme.example"})},
        people={"u:ann": frozenset({"Ann Old", "Ann"}), "u:bob": frozenset({"Bob"})},
    )
    assert known.names_of("g:1") == {"deal", "deal-closed"}
    assert known.emails_of("u:ann") == {"ann@old.example", "ann@acme.example"}
    assert known.names_of("g:9") == known.emails_of("u:bob") == frozenset()


def test_clocks_are_read_where_a_rule_goes_by_them(told: tuple[Archive, Head]) -> None:
    archive, head = told
    active = read_context(archive.store, head, policy({"from": "last_activity", "delete": "1y"}))
    assert (active.last_activity_ms, active.left_at_ms) == ({"g:general": on(2), "g:2": on(3)}, {})
    left = read_context(archive.store, head, policy({"delete": "1y"}, {"from": "departure", "delete": "1y"}))
    # Bob left one channel and is in another.
    assert (left.last_activity_ms, left.left_at_ms) == ({}, {"u:ann": on(7), "u:cat": on(4)})


def test_an_expression_asks_for_people_by_names_and_addresses(told: tuple[Archive, Head]) -> None:
    archive, head = told
    directory = read_context(archive.store, head, policy({"delete": "1y"})).directory()
    assert directory.people == {
        "u:ann": Known(names=("Ann", "Ann Old"), emails=("ann@acme.example", "ann@old.example")),
        "u:bob": Known(names=("Bob",)),
    }
    assert directory.chats == {"g:1": Known(names=("deal", "deal-closed")), "import:1": Known(names=("Old room",))}
    addressed = Context(emails={"u:cat": frozenset({"cat@acme.example"})}).directory()
    assert addressed.people == {"u:cat": Known(emails=("cat@acme.example",))}
