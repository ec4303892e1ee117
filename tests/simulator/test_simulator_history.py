"""`chat.history`, which a customer's gateway may offer and Flock does not: off unless switched on, paged, both ways, members only."""

from __future__ import annotations

import pytest

from archiver.simulator.server import Simulator


@pytest.fixture
def channel(flock: Simulator):
    flock.configure(history=True)
    return next(iter(flock.channels.values()))


@pytest.fixture
def members(flock: Simulator, channel) -> list[str]:
    return [user for user in channel.members if user in flock.user_tokens]


@pytest.fixture
def said(flock, channel, members) -> list[str]:
    return [flock.send(members[0], channel.channel_id, text=f"message {n}") for n in range(23)]


def page(flock, call, user, chat, **parameters):
    answer = call("chat.history", flock.user_tokens[user], chat=chat, **parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def walk(flock, call, user, chat, **parameters) -> list[list[str]]:
    """The uids of all pages."""
    pages, cursor = [], {}
    while True:
        found = page(flock, call, user, chat, **parameters, **cursor)
        pages.append([message["uid"] for message in found["messages"]])
        assert found["more"] == (found["next"] is not None)
        if not found["more"]:
            return pages
        cursor = {"cursor": found["next"]}


def flat(pages: list[list[str]]) -> list[str]:
    return [uid for found in pages for uid in found]


def test_it_does_not_exist_unless_switched_on(flock, call, token):
    answer = call("chat.history", token, chat="g:1")
    assert (answer.status_code, answer.json()["error"]) == (404, "NoSuchMethod")


@pytest.mark.parametrize("kind", ["place", "offset"])
def test_the_pages_hold_everything_once_newest_or_oldest_first(flock, call, channel, said, kind):
    reader = next(user for user in channel.members if user in flock.user_tokens)
    flock.configure(history_cursor=kind)
    newest = walk(flock, call, reader, channel.channel_id, limit="10")
    assert [len(found) for found in newest] == [10, 10, 3]
    assert flat(newest) == said[::-1]
    assert flat(walk(flock, call, reader, channel.channel_id, limit="10", order="oldest")) == said


def test_a_page_goes_on_after_a_uid_or_at_an_instant(flock, call, channel, members, said):
    at_ms = int(said[5].partition("-")[0])
    for order, from_uid, from_time in (("newest", said[4::-1], said[5::-1]), ("oldest", said[6:], said[5:])):
        by_uid = page(flock, call, members[0], channel.channel_id, order=order, from_uid=said[5])
        by_time = page(flock, call, members[0], channel.channel_id, order=order, from_time=str(at_ms))
        assert [message["uid"] for message in by_uid["messages"]] == from_uid
        assert [message["uid"] for message in by_time["messages"]] == from_time


def test_it_shows_what_the_messages_say_now_and_none_that_are_gone(flock, call, channel, members, said):
    flock.edit(said[3], text="better")
    flock.delete(said[4])
    found = {
        message["uid"]: message["text"] for message in page(flock, call, members[1], channel.channel_id)["messages"]
    }
    assert found[said[3]] == "better"
    assert said[4] not in found


def test_a_deletion_shifts_a_cursor_that_counts_and_no_other(flock, call, channel, members, said):
    for kind, missed in (("offset", 1), ("place", 0)):
        flock.configure(history_cursor=kind)
        first = page(flock, call, members[1], channel.channel_id, limit="5", order="oldest")
        flock.delete(first["messages"][0]["uid"])
        second = page(flock, call, members[1], channel.channel_id, limit="5", order="oldest", cursor=first["next"])
        expected = said.index(first["messages"][-1]["uid"]) + 1 + missed
        assert second["messages"][0]["uid"] == said[expected]


def test_only_those_in_a_chat_may_read_it_and_a_direct_chat_holds_both_directions(flock, call, channel, members, said):
    one, other, third = members[:3]
    uids = [flock.send(one, other, text="there"), flock.send(other, one, text="and back")]
    assert walk(flock, call, one, other, order="oldest") == [uids]
    assert walk(flock, call, other, one, order="oldest") == [uids]
    assert page(flock, call, third, one)["messages"] == []
    flock.leave(channel.channel_id, third)
    answer = call("chat.history", flock.user_tokens[third], chat=channel.channel_id)
    assert (answer.status_code, answer.json()["error"]) == (400, "UnknownChat")


def test_what_is_limited_is_shown_to_those_it_is_for(flock, call, channel, members, said):
    uid = flock.send(members[0], channel.channel_id, text="psst", visibleTo=[members[1]])
    shown = [walk(flock, call, user, channel.channel_id)[0][0] == uid for user in (members[0], members[1], members[2])]
    assert shown == [True, True, False]


@pytest.mark.parametrize(
    "wrong",
    [{"limit": "0"}, {"limit": "x"}, {"order": "sideways"}, {"cursor": "?"}, {"cursor": "eA=="}, {"from_uid": "no"}],
)
def test_wrong_parameters_are_refused_by_name(flock, call, channel, members, wrong):
    answer = call("chat.history", flock.user_tokens[members[0]], chat=channel.channel_id, **wrong)
    assert (answer.status_code, answer.json()["parameter"]) == (400, next(iter(wrong)))
