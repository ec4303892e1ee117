"""App events and their signed tokens (flock-api.md 10; checklist line 8)."""

from __future__ import annotations

import time

import jwt
import pytest

from archiver.errors import RefusedError, UsageError
from archiver.simulator.events import EVENT_FIELDS


@pytest.fixture
def listening(flock, listener):
    flock.set_listener(f"{listener.url}/events")
    return listener


@pytest.fixture
def user(flock) -> str:
    return next(iter(flock.user_tokens))


@pytest.fixture
def channel(flock) -> str:
    return next(iter(flock.channels))


def _claims(flock, request, **options) -> dict:
    token = request.headers["x-flock-event-token"]
    return jwt.decode(token, flock.app_secret, algorithms=["HS256"], options=options)


def _attributes(flock, channel: str, name: str) -> dict:
    known = {"chat": channel, "message": {"uid": "1"}, "messageUids": ["1"]}
    return {field: known.get(field, f"a {field}") for field in EVENT_FIELDS[name]}


@pytest.mark.parametrize("name", EVENT_FIELDS)
def test_every_documented_event_is_signed_for_its_user(flock, listening, user, channel, name):
    attributes = _attributes(flock, channel, name)
    assert flock.send_event(name, user, attributes) == "200"
    (request,) = listening.received
    assert request.path == "/events"
    assert request.headers["content-type"] == "application/json"
    body = request.json()
    assert (body["name"], body["userId"]) == (name, user)
    assert attributes.items() <= body.items()
    if name.startswith("client."):
        assert body["userName"]
        assert body["chatName"] == flock.channels[channel].name
    header = jwt.get_unverified_header(request.headers["x-flock-event-token"])
    assert header == {"alg": "HS256", "typ": "JWT"}
    claims = _claims(flock, request)
    assert set(claims) == {"appId", "userId", "exp", "iat", "jti"}
    assert (claims["appId"], claims["userId"]) == (flock.app_id, user)
    assert claims["exp"] - claims["iat"] == 8
    assert abs(claims["iat"] - time.time()) < 5


def test_a_field_that_is_missing_is_refused(flock, listening, user):
    with pytest.raises(UsageError, match="messageUids"):
        flock.send_event("client.messageAction", user, {"chat": "g:x"})


def test_what_flock_never_sends_to_a_listener_is_not_sent(flock, listening, user):
    with pytest.raises(UsageError, match="never reaches a listener"):
        flock.send_event("client.openAttachmentWidget", user, {})
    assert listening.received == []


def test_an_event_nobody_wrote_down_passes(flock, listening, user):
    assert flock.send_event("app.mention", user, {"chat": "g:x"}) == "200"


def test_installing_needs_a_200(flock, listening, call):
    user, before = next(iter(flock.user_tokens.items()))
    token = flock.install(user)
    assert listening.bodies() == [{"name": "app.install", "userId": user, "token": token}]
    assert call("users.getInfo", token).json()["id"] == user
    listening.status = 500
    tokens = flock.user_tokens
    with pytest.raises(RefusedError, match="500, not 200"):
        flock.install(user)
    assert flock.user_tokens == tokens
    assert before != token


def test_uninstalling_is_told_even_to_a_listener_that_fails(flock, listening, user, call):
    token = flock.user_tokens[user]
    listening.status = 500
    flock.uninstall(user)
    assert listening.bodies() == [{"name": "app.uninstall", "userId": user}]
    assert call("users.getInfo", token).status_code == 403


def test_a_message_to_the_bot_reaches_the_listener(flock, listening, user):
    uid = flock.send(user, flock.bot_id, text="hello bot")
    (body,) = listening.bodies()
    assert (body["name"], body["userId"]) == ("chat.receiveMessage", user)
    assert body["message"]["uid"] == uid
    assert body["message"]["to"] == flock.bot_id
    assert body["message"]["timestampInMillis"]
    assert "token" not in body


def test_a_message_to_another_bot_or_a_channel_does_not(flock, listening, user, channel):
    other_bot = next(p.user_id for p in flock.people.values() if p.is_bot and p.user_id != flock.bot_id)
    flock.send(user, other_bot, text="x")
    flock.send(user, channel, text="x")
    assert listening.received == []


class TestMessageAction:
    def test_it_names_the_messages_and_shows_them(self, flock, listening, user):
        other = list(flock.user_tokens)[1]
        uids = [flock.send(user, other, text="one"), flock.send(other, user, text="two")]
        assert flock.message_action(user, other, uids) == "200"
        (body,) = listening.bodies()
        assert body["name"] == "client.messageAction"
        assert (body["chat"], body["messageUids"]) == (other, uids)
        assert [message["text"] for message in body["messages"]] == ["one", "two"]

    def test_the_messages_can_be_left_out(self, flock, listening, user, channel):
        uid = flock.send(user, channel, text="one")
        flock.configure(action_messages=False)
        flock.message_action(user, channel, [uid])
        assert "messages" not in listening.bodies()[0]

    def test_nobody_selects_what_they_cannot_see(self, flock, listening, user, channel):
        other, third = list(flock.user_tokens)[1:3]
        uid = flock.send(user, other, text="between us")
        for chat, uids in ((other, [uid]), (channel, [uid]), (user, ["1-aaa-m201"])):
            with pytest.raises(UsageError):
                flock.message_action(third, chat, uids)
        flock.delete(uid)
        with pytest.raises(UsageError):
            flock.message_action(user, other, [uid])


class TestFaults:
    @pytest.mark.parametrize(
        ("kind", "error"),
        [
            ("expired", jwt.ExpiredSignatureError),
            ("wrong_algorithm", jwt.InvalidAlgorithmError),
            ("no_algorithm", jwt.InvalidAlgorithmError),
            ("wrong_secret", jwt.InvalidSignatureError),
        ],
    )
    def test_a_token_that_does_not_verify(self, flock, listening, kind, error):
        flock.inject(kind, "events", count=1)
        flock.send(next(iter(flock.user_tokens)), flock.bot_id, text="x")
        with pytest.raises(error):
            _claims(flock, listening.received[0])

    @pytest.mark.parametrize(("kind", "claim"), [("wrong_app", "appId"), ("wrong_user", "userId")])
    def test_a_token_that_says_something_else(self, flock, listening, user, kind, claim):
        flock.inject(kind, "events", count=1)
        flock.send(user, flock.bot_id, text="x")
        claims = _claims(flock, listening.received[0])
        assert claims[claim] != {"appId": flock.app_id, "userId": user}[claim]

    def test_no_token(self, flock, listening, user):
        flock.inject("no_token", "events", count=1)
        flock.send(user, flock.bot_id, text="x")
        assert "x-flock-event-token" not in listening.received[0].headers

    def test_a_token_sent_twice(self, flock, listening, user):
        flock.send(user, flock.bot_id, text="x")
        flock.inject("repeated_token", "events", count=1)
        flock.send(user, flock.bot_id, text="y")
        first, second = (request.headers["x-flock-event-token"] for request in listening.received)
        assert first == second

    def test_an_unknown_name(self, flock, listening, user):
        flock.inject("unknown_name", "events:chat.receiveMessage", count=1)
        flock.send(user, flock.bot_id, text="x")
        assert listening.bodies()[0]["name"] not in EVENT_FIELDS

    def test_a_fault_can_be_for_one_event_only(self, flock, listening, user, channel):
        flock.inject("drop", "events:app.uninstall", count=1)
        flock.send(user, flock.bot_id, text="x")
        flock.uninstall(user)
        assert [body["name"] for body in listening.bodies()] == ["chat.receiveMessage"]


def test_an_answer_that_would_be_shown_to_the_user_is_a_violation(flock, listening, user, channel):
    listening.answer = b'{"text": "done"}'
    command = {"chat": channel, "command": "archive", "text": ""}
    flock.send_event("client.slashCommand", user, command)
    flock.send(user, flock.bot_id, text="x")
    assert [violation["kind"] for violation in flock.violations()] == ["event_answer"]
    listening.answer = b"{}"
    flock.send_event("client.slashCommand", user, command)
    assert len(flock.violations()) == 1
