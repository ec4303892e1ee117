"""Who makes which webhook: as many channels as possible get a feed, and nobody is asked for more than Flock allows."""

from __future__ import annotations

import re
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from archiver.capture.webhook_plan import (
    ANYBODY,
    GUEST,
    INSTALLED,
    WEBHOOKS_PER_USER_MAX,
    WORKING_TOKEN,
    Uncovered,
    name_of_channel,
    owners_of,
    person_name,
    plan_webhooks,
    webhook_name,
)
from archiver.settings.secrets import WEBHOOK_NAME


def channels(count: int, *users: str) -> dict[str, list[str]]:
    return {f"g:{number:02}": list(users) for number in range(count)}


def test_every_channel_gets_a_webhook_of_one_of_its_members():
    members = {"g:1": ["u:ann"], "g:2": ["u:bob", "u:cid"]}
    plan = plan_webhooks(members, taken={}, ranks={})
    assert plan.owners.keys() == members.keys()
    assert all(owner in members[channel] for channel, owner in plan.owners.items())
    assert plan.uncovered == ()


def test_nobody_is_asked_for_more_than_flock_allows():
    plan = plan_webhooks(channels(25, "u:ann", "u:bob"), taken={"u:ann": 3}, ranks={})
    assert Counter(plan.owners.values()) == {"u:ann": 7, "u:bob": 10}
    assert len(plan.uncovered) == 8
    assert {item.reason for item in plan.uncovered} == {"every member has as many webhooks as Flock allows"}


def test_who_has_more_than_flock_allows_already_is_not_asked():
    assert plan_webhooks(channels(1, "u:ann"), taken={"u:ann": 12}, ranks={}).owners == {}


def test_a_channel_whose_members_nobody_knows_stays_without_one():
    plan = plan_webhooks({"g:1": []}, taken={}, ranks={})
    assert plan.uncovered == (Uncovered("g:1", "no member is known who could make one"),)


def test_users_whose_token_works_come_first_then_those_who_have_the_app():
    ranks = {"u:ann": WORKING_TOKEN, "u:bob": INSTALLED}
    plan = plan_webhooks(channels(22, "u:zoe", "u:bob", "u:ann"), taken={}, ranks=ranks)
    assert Counter(plan.owners.values()) == {"u:ann": 10, "u:bob": 10, "u:zoe": 2}


def test_few_people_are_bothered():
    members = {**channels(5, "u:ann", "u:bob"), "g:99": ["u:bob", "u:cid"]}
    assert set(plan_webhooks(members, taken={}, ranks={}).owners.values()) == {"u:bob"}


def test_who_could_do_all_makes_room_for_who_can_do_one_alone():
    """Ten channels could be made by either, one by Ann alone; whoever gave Ann the ten would leave that one out."""
    members = {**channels(10, "u:ann", "u:bob"), "g:99": ["u:ann"]}
    plan = plan_webhooks(members, taken={}, ranks={"u:ann": WORKING_TOKEN})
    assert plan.uncovered == ()
    assert plan.owners["g:99"] == "u:ann"


def most_possible(members: dict[str, set[str]], free: dict[str, int]) -> int:
    """The size of a largest plan, by trying everything."""
    if not members:
        return 0
    (_, users), *rest = members.items()
    best = most_possible(dict(rest), free)
    for user in users:
        if free[user] > 0:
            best = max(best, 1 + most_possible(dict(rest), {**free, user: free[user] - 1}))
    return best


@given(
    st.dictionaries(st.sampled_from([f"g:{n}" for n in range(6)]), st.sets(st.sampled_from("abc")), max_size=6),
    st.fixed_dictionaries({user: st.integers(0, 3) for user in "abc"}),
    st.fixed_dictionaries({user: st.sampled_from([WORKING_TOKEN, INSTALLED, ANYBODY, GUEST]) for user in "abc"}),
)
def test_no_other_plan_would_cover_more(members, free, ranks):
    taken = {user: WEBHOOKS_PER_USER_MAX - left for user, left in free.items()}
    plan = plan_webhooks(members, taken=taken, ranks=ranks)
    assert len(plan.owners) == most_possible(members, free)
    assert all(owner in members[channel] for channel, owner in plan.owners.items())
    assert all(count <= free[user] for user, count in Counter(plan.owners.values()).items())
    assert plan.owners.keys() | {item.channel_id for item in plan.uncovered} == members.keys()
    for worst in (WORKING_TOKEN, INSTALLED, ANYBODY):
        first = {user for user in "abc" if ranks[user] <= worst}
        alone = {channel: users & first for channel, users in members.items()}
        assert sum(owner in first for owner in plan.owners.values()) == most_possible(alone, free)
    assert plan_webhooks(dict(reversed(members.items())), taken=taken, ranks=ranks) == plan


@given(st.text(), st.one_of(st.none(), st.text()), st.text())
def test_a_name_is_fit_for_an_address_and_found_again_whatever_the_channel_is_called_then(channel_id, name, owner):
    made = webhook_name(channel_id, name, owner=owner)
    assert WEBHOOK_NAME.fullmatch(made)
    assert name_of_channel({made, "other"}, channel_id) == made
    assert name_of_channel({"other"}, channel_id) is None
    assert owners_of({made, "other"}, {owner, owner + "2"}) == {made: owner}
    assert owners_of({made}, {owner + "2"}) == {}


@given(st.text(), st.one_of(st.none(), st.text()))
def test_a_person_s_name_is_no_path(user_id, name):
    assert re.fullmatch(r"[a-z0-9-]{10,60}", person_name(user_id, name))


def test_a_name_can_be_read():
    assert re.fullmatch(r"cafe-team-4-[0-9a-f]{8}-[0-9a-f]{8}", webhook_name("g:1", "Café / Team #4", owner="u:ann"))
    assert re.fullmatch(r"channel-[0-9a-f]{8}-[0-9a-f]{8}", webhook_name("g:1", "日本", owner="u:ann"))
    assert re.fullmatch(r"ann-o-brien-[0-9a-f]{8}", person_name("u:ann", "Ann O'Brien"))
