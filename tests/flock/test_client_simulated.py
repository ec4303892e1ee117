"""The client against a faithful Flock: every documented trouble, over real HTTP."""

from __future__ import annotations

import msgspec
import pytest

from archiver.errors import FlockMethodError, FlockUnreachableError, TokenRefusedError
from archiver.flock.client import FlockClient, FlockOptions
from archiver.flock.tokens import Secret, UserToken
from archiver.simulator.server import Simulator
from tests.manual_clock import ManualClock


@pytest.fixture(scope="module")
def simulator():
    with Simulator(seed=7, people=8, channels=3, messages=60) as running:
        running.play_all(push=False)
        yield running


@pytest.fixture
def flock(simulator):
    yield simulator
    simulator.clear_faults()
    simulator.configure(header_auth=False, fetch_shuffled=False)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def client(flock, clock):
    with FlockClient(options(flock), clock=clock) as made:
        yield made


def options(flock, **changes):
    defaults = {"requests_per_second": 10_000, "timeout_seconds": 5, "tries_max": 4}
    return FlockOptions(base_url=flock.base_url, **{**defaults, **changes})


@pytest.fixture
def token(flock):
    user_id, text = next(iter(flock.user_tokens.items()))
    return UserToken(user_id, Secret(text))


def fields(raw):
    return msgspec.json.decode(raw)


def messages_readable_by(flock, user_id):
    """Return uids by chat id, of what was sent and not deleted in channels of this user."""
    by_chat = {}
    for row in flock.truth("message"):
        mine = row["chat_id"] in flock.channels and user_id in flock.channels[row["chat_id"]].members
        if mine and row["deleted_at_ms"] is None and not any(version.get("visibleTo") for version in row["versions"]):
            by_chat.setdefault(row["chat_id"], []).append(row["uid"])
    return by_chat


def test_every_method_answers_what_the_workspace_is(flock, client, token):
    assert fields(client.users_get_info(token))["id"] == token.user_id
    assert {fields(raw)["id"] for raw in client.roster_list_contacts(token)} <= set(flock.people)
    mine = {key for key, channel in flock.channels.items() if token.user_id in channel.members}
    assert {fields(raw)["id"] for raw in client.channels_list(token)} == mine
    channel_id = min(mine)
    assert fields(client.channels_get_info(token, channel_id))["id"] == channel_id
    members = [fields(raw) for raw in client.channels_list_members(token, channel_id)]
    assert {member["userId"] for member in members} == set(flock.channels[channel_id].members)
    assert all(member["publicProfile"]["id"] == member["userId"] for member in members)
    other = next(user for user in flock.people if user != token.user_id)
    assert fields(client.users_get_public_profile(token, other))["id"] == other


@pytest.mark.parametrize("shuffled", [False, True])
def test_messages_come_back_by_uid(flock, client, token, shuffled):
    flock.configure(fetch_shuffled=shuffled)
    chat_id, uids = max(messages_readable_by(flock, token.user_id).items(), key=lambda item: len(item[1]))
    asked = [*uids[:20], "0-none-m201"]
    assert {fields(raw)["uid"] for raw in client.fetch_messages(token, chat_id, asked)} == set(uids[:20])


@pytest.mark.parametrize("auth", ["both", "body", "header"])
def test_the_token_is_accepted_wherever_the_setting_lets_it_travel(flock, clock, token, auth):
    flock.configure(header_auth=True)
    with FlockClient(options(flock, auth=auth), clock=clock) as client:
        assert fields(client.users_get_info(token))["id"] == token.user_id


def test_a_flock_that_reads_no_header_says_so_and_we_say_what_to_set(flock, clock, token):
    with FlockClient(options(flock, auth="header"), clock=clock) as client:
        with pytest.raises(TokenRefusedError, match=r"flock\.auth") as caught:
            client.users_get_info(token)
        assert caught.value.code == "MissingUserToken"


def test_a_wrong_token_and_a_disabled_app_are_refusals_of_the_token(flock, client, token):
    with pytest.raises(TokenRefusedError) as caught:
        client.users_get_info(UserToken("u:ada", Secret("no-such-token")))
    assert caught.value.code == "InvalidToken"
    flock.disable(token.user_id, by="team")
    try:
        with pytest.raises(TokenRefusedError, match="team") as caught:
            client.users_get_info(token)
        assert caught.value.code == "AppDisabled"
    finally:
        flock.disable(token.user_id, by=None)


def test_an_unknown_chat_concerns_the_call_alone(client, token):
    with pytest.raises(FlockMethodError) as caught:
        client.fetch_messages(token, "g:nowhere", ["1"])
    assert (caught.value.status, caught.value.code) == (400, "UnknownChat")
    with pytest.raises(FlockMethodError) as caught:
        client.channels_get_info(token, "g:nowhere")
    assert caught.value.parameter == "channelId"


@pytest.mark.parametrize(
    "fault",
    [
        *("too_many_requests", "internal_error", "unavailable", "request_timeout", "bad_gateway", "empty_error"),
        *("not_json", "truncated", "slow", "disconnect"),
    ],
)
def test_a_passing_fault_is_overcome(flock, client, token, fault):
    flock.inject(fault, "api:channels.list", count=2, seconds=0.05)
    assert client.channels_list(token)


def test_a_hanging_answer_is_left_after_the_timeout(flock, clock, token):
    flock.inject("hang", "api:channels.list", count=1, seconds=5)
    with FlockClient(options(flock, timeout_seconds=0.1), clock=clock) as client:
        assert client.channels_list(token)
        assert client.stats()["channels.list"].retries == 1


def test_a_lasting_fault_is_an_unreachable_flock(flock, client, token):
    flock.inject("bad_gateway", "api", probability=1.0)
    with pytest.raises(FlockUnreachableError, match="502"):
        client.users_get_info(token)


@pytest.mark.parametrize(
    "limit",
    [{}, {"retry_after": True}, {"retry_after": True, "retry_after_form": "date"}],
)
def test_a_rate_limit_that_nobody_published_is_learned(limit):
    clock = ManualClock()  # one clock for both sides: what the client waits passes for Flock too
    with Simulator(seed=7, people=4, channels=2, messages=4, clock=clock) as flock:
        flock.configure(calls_per_second=0.5, **limit)
        user_id, text = next(iter(flock.user_tokens.items()))
        with FlockClient(options(flock, requests_per_second=4, tries_max=10), clock=clock) as client:
            for _ in range(20):
                client.users_get_info(UserToken(user_id, Secret(text)))
            stats = client.stats()["users.getInfo"]
    assert 0 < stats.throttled < 20
    assert clock.monotonic() > 19 / 0.5 - 1
