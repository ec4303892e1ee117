"""What each day of a conversation holds, what Flock no longer returns, and what was shown then to whom."""

from __future__ import annotations

from datetime import date
from typing import ClassVar

import pytest

from tests.query.tables_in_memory import (
    Asked,
    Row,
    at_ms,
    channel,
    conversation,
    instant,
    membership,
    message,
    observation,
    second_of,
    user,
)

DAY = 86_400
# EPOCH_MS is 22:13:20 UTC, so this is the first second of the day after.
MIDNIGHT = 6_400


@pytest.fixture(scope="module")
def asked() -> Asked:
    return Asked()


def swept(day: date, second: int, *, chat_id: str = "g:one") -> Row:
    return {
        "observed_at": at_ms(second), "chat_id": chat_id, "asked_as": "u:ann", "outcome": "swept",
        "day_on": day, "asked": 2, "returned": 2,
    }  # fmt: skip


def file(uid: str, ordinal: int, sent: int, *, status: str = "stored", version: int = 1) -> Row:
    return {
        "chat_id": "g:one", "message_uid": uid, "version": version, "ordinal": ordinal, "sent_at": at_ms(sent),
        "observed_at": at_ms(sent), "kind": "download", "url": "https://f/x", "status": status, "attempts": 1,
    }  # fmt: skip


class TestConversationDay:
    def test_counts_messages_versions_senders_and_files_each_once(self, asked: Asked) -> None:
        asked.fill(
            {
                "messages": [
                    message("m1", sent=0, observed=1),
                    message("m1", sent=0, observed=2, version=2, text="edited"),
                    message("m2", sent=9, observed=10, sender_id="u:bob"),
                    message("m3", sent=MIDNIGHT, observed=MIDNIGHT + 1),
                ],
                # Tried twice, and a second file.
                "files": [file("m1", 0, 0, status="pending"), file("m1", 0, 0), file("m1", 1, 0, version=2)],
            }
        )
        first, second = asked.dicts("FROM conversation_day ORDER BY day_on")
        assert (first["messages"], first["versions"], first["senders"], first["files"]) == (2, 3, 2, 2)
        assert (second_of(first["first_sent_at"]), second_of(first["last_sent_at"])) == (0, 9)
        assert (first["day_on"], second["day_on"]) == (date(2023, 11, 14), date(2023, 11, 15))
        assert (second["messages"], second["versions"], second["files"]) == (1, 1, 0)

    def test_says_whether_a_day_was_read_again_and_when_last(self, asked: Asked) -> None:
        asked.fill(
            {
                "messages": [message("m1", sent=0, observed=1), message("m2", sent=MIDNIGHT, observed=MIDNIGHT + 1)],
                "observations": [
                    swept(date(2023, 11, 14), 50),
                    swept(date(2023, 11, 14), 90),
                    swept(date(2023, 11, 15), 70, chat_id="g:other"),
                ],
            }
        )
        rows = asked.dicts("FROM conversation_day ORDER BY day_on")
        assert [(row["is_swept"], second_of(row["swept_at"])) for row in rows] == [(True, 90), (False, None)]

    def test_of_another_time_zone_is_read_again_when_every_utc_day_in_it_was(self, asked: Asked) -> None:
        """The 15th of November in Tokyo begins at 15:00 UTC of the 14th."""
        messages = [message("m1", sent=0, observed=1), message("m2", sent=MIDNIGHT, observed=MIDNIGHT + 1)]
        asked.fill({"messages": messages, "observations": [swept(date(2023, 11, 14), 50)]})
        assert asked.rows("SELECT day_on, messages, is_swept FROM conversation_day_in('Asia/Tokyo')") == [
            (date(2023, 11, 15), 2, False)
        ]
        asked.fill(
            {"messages": messages, "observations": [swept(date(2023, 11, 14), 50), swept(date(2023, 11, 15), 60)]}
        )
        (row,) = asked.dicts("FROM conversation_day_in('Asia/Tokyo')")
        assert (row["is_swept"], second_of(row["swept_at"])) == (True, 50)


class TestDeletedOrMissing:
    def test_is_what_was_not_returned_when_last_asked_with_what_it_last_said(self, asked: Asked) -> None:
        asked.fill(
            {
                "messages": [
                    message("m1", sent=0, observed=1, text="first"),
                    message("m1", sent=0, observed=2, version=2, text="last"),
                    message("m2", sent=0, observed=1),
                ],
                "observations": [
                    observation("m1", 10, "not_returned"),
                    observation("m2", 10, "not_returned"),
                    observation("m2", 20, "returned"),
                    observation("m9", 30, "not_returned"),
                ],
            }
        )
        found = asked.dicts("FROM deleted_or_missing ORDER BY message_uid")
        assert [(row["message_uid"], row["is_archived"], row["plain_text"]) for row in found] == [
            ("m1", True, "last"),
            ("m9", False, None),
        ]
        assert [second_of(row["not_returned_since"]) for row in found] == [10, 30]


class TestAsOf:
    TABLES: ClassVar[dict[str, list[Row]]] = {
        "messages": [
            message("m1", sent=10, observed=11, text="draft"),
            message("m1", sent=10, observed=40, version=2, text="final"),
            message("m2", sent=12, observed=13, sender_id="u:bob", visible_to=["u:cyd"], text="psst"),
            message("d1", sent=12, observed=13, chat_id="u:ann,u:dan", chat_kind="direct", text="hi"),
        ],
        "groups": [
            membership("g:one", "u:ann", 5, "member"),
            membership("g:one", "u:bob", 5, "member"),
            membership("g:one", "u:cyd", 20, "member"),
            membership("g:one", "u:bob", 30, "left"),
        ],
        "conversations": [conversation("u:ann,u:dan", 5, ["u:ann", "u:dan"])],
        "channels": [channel("g:one", 5, "old name"), channel("g:one", 35, "new name")],
        "users": [user("u:ann", 5, "Ann"), user("u:ann", 35, "Anna")],
    }

    @pytest.fixture
    def filled(self, asked: Asked) -> Asked:
        asked.fill(self.TABLES)
        return asked

    @pytest.mark.parametrize(
        ("second", "basis"),
        [
            (15, {"u:ann": "sender", "u:bob": "member"}),
            (25, {"u:ann": "sender", "u:bob": "member", "u:cyd": "joined_later"}),
            (50, {"u:ann": "sender", "u:cyd": "joined_later"}),
        ],
    )
    def test_who_could_see_a_message_changes_with_who_was_in_the_channel(
        self, filled: Asked, second: int, basis: dict[str, str]
    ) -> None:
        sql = f"SELECT user_id, basis FROM audience_as_of({instant(second)}) WHERE message_uid = 'm1'"
        assert dict(filled.rows(sql)) == basis

    def test_whom_a_message_was_not_visible_to_is_left_out_and_a_sender_who_left_too(self, filled: Asked) -> None:
        def audience(second: int) -> list[str]:
            sql = f"SELECT user_id FROM audience_as_of({instant(second)}) WHERE message_uid = 'm2' ORDER BY 1"
            return [user_id for (user_id,) in filled.rows(sql)]

        assert audience(25) == ["u:bob", "u:cyd"]
        assert audience(50) == ["u:cyd"]

    def test_as_of_shows_text_names_and_audience_of_then(self, filled: Asked) -> None:
        def shown(second: int) -> dict[str, tuple[object, ...]]:
            rows = filled.dicts(f"FROM as_of({instant(second)})")
            return {
                row["message_uid"]: (row["plain_text"], row["shown_in"], row["shown_by"], row["audience"])
                for row in rows
            }

        assert shown(15) == {
            "m1": ("draft", "old name", "Ann", ["u:ann", "u:bob"]),
            "m2": ("psst", "old name", None, ["u:bob"]),
            "d1": ("hi", None, "Ann", ["u:ann", "u:dan"]),
        }
        assert shown(50)["m1"] == ("final", "new name", "Anna", ["u:ann", "u:cyd"])
        assert shown(1) == {}
