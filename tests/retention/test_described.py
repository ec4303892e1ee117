"""Items as people describe them become what an archive would hold of them: its rows, its directory, its holds."""

from __future__ import annotations

from typing import Any

import pytest

from archiver.archive.ledger import HoldScope
from archiver.clock import from_text
from archiver.errors import UsageError
from archiver.retention.context import Context
from archiver.retention.described import Described, Description
from archiver.retention.policy_test_keys import PolicyTests

ITEM = {"name": "case", "channel": "g:1", "sender": "u:ann", "sent": "2020-03-15"}
NOON_MS = from_text("2020-03-15T11:00:00.000Z")

FACTS: dict[str, Any] = {
    "people": {"u:ann": {"emails": ["Ann@acme.example", "ann@old.example"], "names": "Ann Lee"}},
    "channels": {"g:9": {"names": ["Deals", "deal-room"], "members": ["ann@OLD.example", "u:eve"]}, "odd": {}},
}


def written(*items: dict[str, Any], **further: Any) -> PolicyTests:
    named = [{**ITEM, "name": f"case {place}", **item} for place, item in enumerate(items, 1)]
    return PolicyTests(**{"policy": "p.yaml", "as_of": "2026-01-01", "items": named, **further})


def describing(*items: dict[str, Any], **further: Any) -> Description:
    return Description(written(*items, **further), "Europe/Berlin")


def described(item: dict[str, Any], **further: Any) -> Described:
    tests = written(item, **further)
    return Description(tests, "Europe/Berlin").described(tests.items[0])


def told(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what nobody told."""
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


def test_a_message_has_a_row_for_each_of_its_versions_and_its_files_belong_to_the_last() -> None:
    item = {
        "text": "now",
        "earlier": ["first", "then"],
        "source": "history",
        "uid": "m-1",
        "app": "weather",
        "send_as": "Weather",
        "on_behalf_of": "bob@acme.example",
        "files": [{"name": "a.png", "mime": "image/png", "size": "1kB"}, {}],
    }
    found = described(item)
    at = {"chat_id": "g:1", "message_uid": "m-1"}
    seen = {"sent_at": NOON_MS, "observed_at": NOON_MS}
    message = {
        **at,
        "chat_kind": "channel",
        "sent_at_basis": "timestampInMillis",
        "source": "history",
        "captured_by": "policy test",
        "sender_id": "u:ann",
        "send_as_name": "Weather",
        "on_behalf_of": "u:bob@acme.example",
        "app_id": "weather",
    }
    assert [
        row | {key: int(row[key].timestamp() * 1000) for key in ("sent_at", "observed_at")}
        for row in told(found.messages.to_pylist())
    ] == [
        message | seen | {"version": version, "text": text, "plain_text": text}
        for version, text in ((1, "first"), (2, "then"), (3, "now"))
    ]
    stored = {**at, **seen, "version": 3, "kind": "download", "status": "stored", "attempts": 1, "url": ""}
    assert [
        row | {key: int(row[key].timestamp() * 1000) for key in ("sent_at", "observed_at")}
        for row in told(found.files.to_pylist())
    ] == [
        stored | {"ordinal": 0, "name": "a.png", "mime": "image/png", "size": 1_000},
        stored | {"ordinal": 1},
    ]


def test_what_is_not_told_is_what_most_messages_are() -> None:
    found = described({"channel": None, "between": ["u:ann", "u:bob"]})
    (row,) = told(found.messages.to_pylist())
    assert {key: row[key] for key in ("chat_id", "chat_kind", "message_uid", "source", "text", "version")} == {
        "chat_id": "u:ann,u:bob",
        "chat_kind": "direct",
        "message_uid": "item",
        "source": "webhook",
        "text": "",
        "version": 1,
    }
    assert not {"app_id", "on_behalf_of", "send_as_name"} & row.keys()
    assert found.files.num_rows == 0


@pytest.mark.parametrize(
    ("sent", "instant"),
    [
        ("2020-03-15", "2020-03-15T11:00:00.000Z"),
        ("2020-07-15", "2020-07-15T10:00:00.000Z"),
        ("2020-03-15T00:30", "2020-03-14T23:30:00.000Z"),
        ("2020-03-15T00:30:00+05:00", "2020-03-14T19:30:00.000Z"),
    ],
)
def test_a_day_is_its_noon_and_a_time_is_by_the_clock_of_the_zone_unless_it_has_an_offset(
    sent: str, instant: str
) -> None:
    (row,) = described({"sent": sent}).messages.to_pylist()
    assert int(row["sent_at"].timestamp() * 1000) == from_text(instant)


def test_an_item_is_judged_by_itself() -> None:
    """Its conversation's newest message and its sender's departure are those that it tells, whatever other items do."""
    tests = written({"last_activity": "2024-01-01", "departed": "2023-01-01"}, {})
    description = Description(tests, "UTC")
    told_of, plain = (description.described(item).context for item in tests.items)
    assert told_of.last_activity_ms == {"g:1": from_text("2024-01-01T12:00:00.000Z")}
    assert told_of.left_at_ms == {"u:ann": from_text("2023-01-01T12:00:00.000Z")}
    assert plain.last_activity_ms == {"g:1": from_text("2020-03-15T12:00:00.000Z")}
    assert plain.left_at_ms == {}


class TestTheDirectory:
    def test_whoever_is_named_anywhere_is_known_everywhere(self) -> None:
        """A name without an id gets one; in whatever case it is written it is one person, one channel."""
        items = (
            {"channel": "DEALS", "sender": "ann@ACME.example"},
            {"channel": "lunch", "sender": "bob@acme.example", "on_behalf_of": "u:carl"},
            {"channel": "odd", "sender": "Bob@acme.example"},
            {"channel": "g:7"},
        )
        tests = written(*items, **FACTS, pushes=[{"name": "p", "received": "2020-03-15", "channel": "pushed"}])
        description = Description(tests, "UTC")
        first, second, third, fourth = (description.described(item) for item in tests.items)
        assert [
            (row["chat_id"], row["sender_id"])
            for found in (first, second, third, fourth)
            for row in found.messages.to_pylist()
        ] == [("g:9", "u:ann"), ("g:lunch", "u:bob@acme.example"), ("odd", "u:bob@acme.example"), ("g:7", "u:ann")]
        assert first.context == Context(
            names={
                "g:9": frozenset({"Deals", "deal-room", "DEALS"}),
                "odd": frozenset(),
                "g:lunch": frozenset({"lunch"}),
                "g:7": frozenset(),
                "g:pushed": frozenset({"pushed"}),
            },
            emails={
                "u:ann": frozenset({"Ann@acme.example", "ann@old.example", "ann@ACME.example", "ann@OLD.example"}),
                "u:bob@acme.example": frozenset({"bob@acme.example", "Bob@acme.example"}),
                "u:carl": frozenset(),
                "u:eve": frozenset(),
            },
            people={"u:ann": frozenset({"Ann Lee"})},
            last_activity_ms=first.context.last_activity_ms,
        )

    @pytest.mark.parametrize(
        ("hold", "covered"),
        [
            ({"custodians": "ann@OLD.example"}, ["deals", "talk", "push"]),
            ({"custodians": "u:eve"}, ["deals", "push"]),
            ({"custodians": "u:bob"}, ["deals", "talk", "push"]),
            ({"custodians": "u:carl"}, ["lunch", "push"]),
            ({"channels": "deal-room"}, ["deals"]),
            ({"channels": ["DEALS", "g:lunch"]}, ["deals", "lunch"]),
            ({"conversations": "Ann@acme.example,u:bob"}, ["talk"]),
            ({"conversations": "u:eve,u:bob"}, ["push"]),
            ({"search": 'in:deal-room from:"bob ray"'}, ["deals", "push"]),
            ({"custodians": "nobody@acme.example"}, ["push"]),
        ],
    )
    def test_a_hold_finds_people_by_any_address_as_members_and_in_talks_and_channels_by_any_name(
        self, hold: dict[str, Any], covered: list[str]
    ) -> None:
        """Who sent a push, and what it says, cannot be told, so that only another chat keeps it out of a hold."""
        tests = written(
            {"name": "deals", "channel": "deals", "sender": "u:bob"},
            {"name": "talk", "channel": None, "between": ["ann@acme.example", "u:bob"], "sender": "u:bob"},
            {"name": "lunch", "channel": "lunch", "sender": "u:carl"},
            **FACTS | {"people": {**FACTS["people"], "u:bob": {"names": "Bob Ray"}}},
            pushes=[{"name": "push", "received": "2020-03-15", "between": ["u:bob", "u:eve"]}],
            holds={"hold": hold},
        )
        description = Description(tests, "UTC")
        coverage = description.coverage()
        items = {item.name: description.described(item) for item in tests.items}
        masks = {name: coverage.of_messages(item.messages, item.files)["hold"] for name, item in items.items()}
        masks["push"] = coverage.of_pushes(description.pushed(tests.pushes[0]).rows)["hold"]
        assert [name for name, mask in masks.items() if mask.to_pylist() == [True]] == covered


class TestAPush:
    @pytest.mark.parametrize(
        ("push", "chat_id", "activity"),
        [
            ({}, None, {}),
            ({"channel": "g:1"}, "g:1", {}),
            ({"channel": "lunch"}, "g:lunch", {}),
            ({"between": ["u:bob", "u:ann"]}, "u:ann,u:bob", {}),
            ({"channel": "g:1", "last_activity": "2021-01-01"}, "g:1", {"g:1": from_text("2021-01-01T11:00:00.000Z")}),
        ],
    )
    def test_has_its_reception_and_whatever_of_its_chat_is_told(
        self, push: dict[str, Any], chat_id: str | None, activity: dict[str, int]
    ) -> None:
        tests = written({}, pushes=[{"name": "p", "received": "2020-03-15", **push}])
        found = Description(tests, "Europe/Berlin").pushed(tests.pushes[0])
        assert (found.chat_id, found.received_ms, found.context.last_activity_ms) == (chat_id, NOON_MS, activity)
        (row,) = found.rows.to_pylist()
        assert (row["chat_id"], int(row["sent_at"].timestamp() * 1000)) == (chat_id, NOON_MS)


class TestHolds:
    def test_are_those_of_a_file_of_holds_with_days_of_the_policy_s_zone(self) -> None:
        holds = {
            "smith": {
                "custodians": ["u:ann"],
                "channels": "g:1",
                "conversations": "u:ann,u:bob",
                "from": "2020-01-01",
                "until": "2020-12-31",
                "search": "merger on:2020-03-15",
            },
            "all": {"everything": True},
        }
        found = describing({}, holds=holds).coverage().holds
        assert {name: hold.scope for name, hold in found.items()} == {
            "smith": HoldScope(
                custodians=("u:ann",),
                chats=("g:1", "u:ann,u:bob"),
                from_at_ms=from_text("2019-12-31T23:00:00.000Z"),
                until_ms=from_text("2020-12-31T23:00:00.000Z"),
                expression="merger on:2020-03-15",
                zone="Europe/Berlin",
            ),
            "all": HoldScope(),
        }

    @pytest.mark.parametrize(
        ("hold", "said"),
        [
            ({}, "the hold h says nothing of what it covers"),
            ({"everything": True, "custodians": "u:ann"}, "the hold h covers everything and says what it covers"),
        ],
    )
    def test_one_that_is_none_is_refused(self, hold: dict[str, Any], said: str) -> None:
        with pytest.raises(UsageError, match=said):
            describing({}, holds={"h": hold}).coverage()
