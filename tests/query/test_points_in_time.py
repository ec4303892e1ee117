"""How things stood at an instant, and who could see what: the views and macros, held against a plain reading of their rules."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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

SECONDS = range(8)
WIDEST = [-1, *SECONDS, 100]


@pytest.fixture(scope="module")
def asked() -> Asked:
    return Asked()


def changes(*columns: st.SearchStrategy[object]) -> st.SearchStrategy[list[tuple[object, ...]]]:
    """Draw states of one thing, each seen at an instant of its own, earliest first."""
    seen = st.lists(st.tuples(st.sampled_from(SECONDS), *columns), max_size=5, unique_by=lambda state: state[0])
    return seen.map(lambda states: sorted(states, key=lambda state: state[0]))


NAMES = st.sampled_from(["a", "b", None])
STATES = st.sampled_from(["member", "left"])
TWO = ("u:ann", "u:bob")


class TestDirectory:
    @settings(max_examples=10, deadline=None)
    @given(
        users=st.fixed_dictionaries({name: changes(NAMES, NAMES) for name in TWO}),
        channels=st.fixed_dictionaries({name: changes(NAMES) for name in ("g:one", "g:two")}),
        groups=st.fixed_dictionaries({name: changes(STATES) for name in TWO}),
    )
    def test_a_state_holds_from_when_it_was_seen_until_another_was(
        self,
        asked: Asked,
        users: dict[str, list[tuple[int, str, str]]],
        channels: dict[str, list[tuple[int, str]]],
        groups: dict[str, list[tuple[int, str]]],
    ) -> None:
        asked.fill(
            {
                "users": [user(name, *state) for name, states in users.items() for state in states],
                "channels": [channel(name, *state) for name, states in channels.items() for state in states],
                "groups": [membership("g:one", name, *state) for name, states in groups.items() for state in states],
            }
        )
        for second in WIDEST:
            of_users = {name: state for name, states in users.items() if (state := last_by(states, second))}
            assert dict(asked.rows(f"SELECT user_id, name FROM users_as_of({instant(second)})")) == {
                name: " ".join(filter(None, state[1:])) or None for name, state in of_users.items()
            }
            of_channels = {name: state for name, states in channels.items() if (state := last_by(states, second))}
            assert dict(asked.rows(f"SELECT channel_id, name FROM channels_as_of({instant(second)})")) == {
                name: state[1] for name, state in of_channels.items()
            }
            members = {name for name, states in groups.items() if (last_by(states, second) or (0, ""))[1] == "member"}
            assert {row[0] for row in asked.rows(f"SELECT user_id FROM members_as_of({instant(second)})")} == members

    def test_an_instant_is_any_text_that_names_one_and_a_day_is_its_midnight(self, asked: Asked) -> None:
        asked.fill({"users": [user("u:ann", 0, "Ann")]})  # at 22:13:20 on the 14th of November 2023
        for text, known in (("2023-11-14", 0), ("2023-11-15", 1), ("2023-11-14 23:13:20+01:00", 1)):
            assert len(asked.rows(f"FROM users_as_of('{text}')")) == known
        assert asked.rows("SELECT count(*) FROM users_as_of(DATE '2023-11-15')") == [(1,)]
        assert asked.rows("SELECT count(*) FROM users_as_of(now())") == [(1,)]

    def test_a_name_is_the_first_and_the_last_as_far_as_there_are_any(self, asked: Asked) -> None:
        asked.fill({"users": [user("u:a", 0, "Ann", "Lee"), user("u:b", 0, "", "Lee"), user("u:c", 0, None)]})
        assert asked.rows("SELECT name FROM user_periods ORDER BY user_id") == [("Ann Lee",), ("Lee",), (None,)]


class TestChanges:
    def test_a_rename_has_both_names_and_a_name_first_known_is_none(self, asked: Asked) -> None:
        asked.fill(
            {
                "channels": [
                    channel("g:one", 0, None), channel("g:one", 1, "general"), channel("g:one", 2, "general", "unlisted"),
                    channel("g:one", 3, "all"), channel("g:one", 4, "general"), channel("g:two", 0, "other"),
                ],
                "users": [user("u:ann", 0, "Ann", "Lee"), user("u:ann", 5, "Ann", "Orr"), user("u:bob", 0, "Bob")],
            }
        )  # fmt: skip
        assert [
            (row["channel_id"], second_of(row["seen_at"]), row["old_name"], row["new_name"])
            for row in asked.dicts("FROM channel_renames ORDER BY seen_at")
        ] == [("g:one", 3, "general", "all"), ("g:one", 4, "all", "general")]
        assert [
            (row["user_id"], second_of(row["seen_at"]), row["old_name"], row["new_name"])
            for row in asked.dicts("FROM user_renames")
        ] == [("u:ann", 5, "Ann Lee", "Ann Orr")]

    def test_who_is_found_at_the_first_look_has_not_joined(self, asked: Asked) -> None:
        asked.fill(
            {
                "groups": [
                    membership("g:one", "u:ann", 1, "member"), membership("g:one", "u:ann", 4, "member", "moderator"),
                    membership("g:one", "u:bob", 2, "member"), membership("g:one", "u:bob", 3, "left"),
                    membership("g:one", "u:bob", 5, "member"), membership("g:two", "u:bob", 3, "member"),
                ]
            }
        )  # fmt: skip
        assert [
            (row["channel_id"], row["user_id"], second_of(row["seen_at"]), row["change"])
            for row in asked.dicts("FROM membership_changes ORDER BY channel_id, seen_at")
        ] == [
            ("g:one", "u:ann", 1, "present"), ("g:one", "u:bob", 2, "joined"), ("g:one", "u:bob", 3, "left"),
            ("g:one", "u:ann", 4, "affiliation"), ("g:one", "u:bob", 5, "joined"), ("g:two", "u:bob", 3, "present"),
        ]  # fmt: skip


# One message: when its versions were first received, each by a push or an answer, and what later questions found.
OBSERVED = st.lists(st.tuples(st.sampled_from(SECONDS), st.sampled_from(["webhook", "fetch"])), min_size=1, max_size=4)
OUTCOMES = changes(st.sampled_from(["not_returned", "returned", "unknown_chat"]))


class TestMessages:
    @settings(max_examples=12, deadline=None)
    @given(
        sent=st.sampled_from(SECONDS),
        received=OBSERVED,
        completed=st.booleans(),
        outcomes=OUTCOMES,
    )
    def test_each_is_shown_as_last_seen_by_then(
        self,
        asked: Asked,
        sent: int,
        received: list[tuple[int, str]],
        completed: bool,
        outcomes: list[tuple[int, str]],
    ) -> None:
        rows = [
            message("m-1", sent=sent, observed=second, version=number, text=str(number), source=source)
            for number, (second, source) in enumerate(received, 1)
        ]
        if completed:  # a second row of the first version, which has more
            rows.append(message("m-1", sent=sent, observed=received[0][0] + 2, text="1", mentions=["u:bob"]))
        seen = [observation("m-1", *outcome) for outcome in outcomes]
        asked.fill({"messages": rows, "observations": [*seen, observation("m-2", 3, "not_returned")]})
        for second in WIDEST:
            found = asked.dicts(f"FROM messages_as_of({instant(second)})")
            expected = shown_at(rows, second)
            assert [(row["version"], row["mentions"], row["basis"]) for row in found] == expected
            assert [second_of(row["not_returned_since"]) for row in found] == [
                absent_since(rows, outcomes, second) for _ in expected
            ]
        newest = [(row["version"], row["mentions"]) for row in found]
        assert newest == asked.rows("SELECT version, mentions FROM current_messages")

    def test_one_that_did_not_come_back_is_marked_and_stays(self, asked: Asked) -> None:
        asked.fill(
            {
                "messages": [message("m-1", sent=1, observed=1), message("m-2", sent=1, observed=1)],
                "observations": [observation("m-1", 3, "not_returned"), observation("m-1", 5, "returned")],
            }
        )
        marked = {
            second: [
                second_of(row["not_returned_since"])
                for row in asked.dicts(f"FROM messages_as_of({instant(second)}) ORDER BY message_uid")
            ]
            for second in (2, 3, 5)
        }
        assert marked == {2: [None, None], 3: [3, None], 5: [None, None]}

    def test_one_sent_by_then_and_received_later_says_so(self, asked: Asked) -> None:
        asked.fill({"messages": [message("m-1", sent=1, observed=5), message("m-1", sent=1, observed=6, version=2)]})
        assert [
            (row["version"], row["basis"])
            for second in (0, 1, 5, 6)
            for row in asked.dicts(f"FROM messages_as_of({instant(second)})")
        ] == [(1, "later"), (1, "observed"), (2, "observed")]

    def test_a_transcript_has_the_names_of_when_it_was_sent(self, asked: Asked) -> None:
        asked.fill(
            {
                "channels": [channel("g:one", 2, "general"), channel("g:one", 5, "all")],
                "users": [user("u:ann", 2, "Ann", "Lee"), user("u:ann", 6, "Ann", "Orr")],
                "messages": [message(f"m-{second}", sent=second, observed=9) for second in (1, 2, 4, 5, 6, 7)],
            }
        )
        assert asked.rows("SELECT message_uid, sent_in, sent_by FROM transcript ORDER BY sent_at") == [
            ("m-1", "general", "Ann Lee"), ("m-2", "general", "Ann Lee"), ("m-4", "general", "Ann Lee"),
            ("m-5", "all", "Ann Lee"), ("m-6", "all", "Ann Orr"), ("m-7", "all", "Ann Orr"),
        ]  # fmt: skip


class TestAudience:
    @settings(max_examples=10, deadline=None)
    @given(
        groups=st.fixed_dictionaries({name: changes(STATES) for name in ("u:bob", "u:cid")}),
        sent=st.sampled_from(SECONDS),
        visible_to=st.sampled_from([None, ["u:bob"], ["u:ann", "u:cid"]]),
    )
    def test_of_a_channel_is_who_was_or_may_have_been_in_it(
        self, asked: Asked, groups: dict[str, list[tuple[int, str]]], sent: int, visible_to: list[str] | None
    ) -> None:
        rows = [membership("g:one", name, *state) for name, states in groups.items() for state in states]
        asked.fill({"groups": rows, "messages": [message("m-1", sent=sent, observed=20, visible_to=visible_to)]})
        listed = min((state[0] for states in groups.values() for state in states), default=0)
        expected = {"u:ann": "sender"}
        for name, states in groups.items():
            basis = why_in(states, sent, listed)
            if basis and (visible_to is None or name in visible_to):
                expected[name] = basis
        assert dict(asked.rows("SELECT user_id, basis FROM message_audience")) == expected

    def test_of_a_one_to_one_chat_is_its_two_users(self, asked: Asked) -> None:
        chat = "u:ann,u:bob"
        asked.fill(
            {
                "conversations": [conversation(chat, 0, ["u:ann", "u:bob"]), conversation("g:one", 0)],
                "messages": [message("m-1", sent=1, observed=1, chat_id=chat, chat_kind="direct")],
            }
        )
        found = asked.rows("SELECT user_id, basis FROM message_audience ORDER BY user_id")
        assert found == [("u:ann", "sender"), ("u:bob", "party")]


# The same rules, read plainly


def last_by(states: Sequence[tuple[int, ...]], second: int) -> tuple[int, ...] | None:
    known = [state for state in states if state[0] <= second]
    return known[-1] if known else None


def shown_at(rows: Sequence[Row], second: int) -> list[tuple[int, list[str] | None, str]]:
    """Return version, mentions and basis of what one message showed, nothing if it was not there yet."""
    known = [row for row in rows if row["observed_at"] <= at_ms(second)]
    if known:
        row = max(known, key=lambda row: (row["version"], row["observed_at"]))
        return [(row["version"], row.get("mentions"), "observed")]
    if rows[0]["sent_at"] > at_ms(second):
        return []
    row = max((row for row in rows if row["version"] == 1), key=lambda row: row["observed_at"])
    return [(row["version"], row.get("mentions"), "later")]


def absent_since(rows: Sequence[Row], outcomes: Sequence[tuple[int, str]], second: int) -> int | None:
    """Return since when Flock did not return the message, if at this instant it did not."""
    present = [((row["observed_at"] - at_ms(0)) // 1_000, "present") for row in rows if row["source"] == "fetch"]
    told = [(at, outcome) for at, outcome in outcomes if outcome != "unknown_chat"]
    since = None
    for at, outcome in sorted([*told, *present], key=lambda item: (item[0], item[1] != "not_returned")):
        if at <= second:
            since = (since if since is not None else at) if outcome == "not_returned" else None
    return since


def why_in(states: Sequence[tuple[int, str]], sent: int, listed: int) -> str | None:
    """Return the best reason to think that a user could see a message sent then; None if known not to be in the channel."""
    reasons = []
    for number, (since, state) in enumerate(states):
        until = states[number + 1][0] if number + 1 < len(states) else 1_000
        if state != "member" or until <= sent:
            continue
        reasons.append("member" if since <= sent else "first_listed" if since == listed else "joined_later")
    return min(reasons, key=["member", "first_listed", "joined_later"].index, default=None)
