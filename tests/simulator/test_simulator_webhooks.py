"""Outgoing and incoming webhooks (flock-api.md 11; checklist line 7)."""

from __future__ import annotations

import gzip
from dataclasses import dataclass

import msgspec
import pytest

from archiver.errors import RefusedError, UsageError


@dataclass(frozen=True)
class Room:
    """A channel with everybody in it."""

    channel_id: str
    members: list[str]


@pytest.fixture
def room(flock) -> Room:
    channel = next(iter(flock.channels.values()))
    return Room(channel.channel_id, list(channel.members))


@pytest.fixture
def hook(flock, listener, room) -> str:
    return flock.add_webhook(room.members[0], room.channel_id, f"{listener.url}/hooks/x/general", name="general")


def test_a_message_is_pushed_as_observed(flock, listener, room, hook):
    uid = flock.send(room.members[1], room.channel_id, text="hello é 日本")
    (request,) = listener.received
    assert request.path == "/hooks/x/general"
    assert request.query == {"token": [hook]}
    assert request.headers["content-type"] == "application/json;"
    assert request.headers["accept-encoding"] == "gzip, deflate"
    body = request.json()
    assert body["uid"] == uid
    assert body["timestampInMillis"] == int(uid.partition("-")[0])
    assert body["timestamp"].endswith("Z")
    assert (body["from"], body["to"], body["text"]) == (room.members[1], room.channel_id, "hello é 日本")
    assert (body["onBehalfOf"], body["visibleTo"]) == ("", [])
    assert not {"name", "userId", "type"} & set(body)


def test_the_time_can_be_the_documented_number(flock, listener, room, hook):
    flock.configure(push_timestamp="number")
    flock.send(room.members[0], room.channel_id, text="x")
    assert isinstance(listener.bodies()[0]["timestamp"], int)
    assert "timestampInMillis" not in listener.bodies()[0]


def test_the_documented_shape_has_xmpp_ids_and_no_uid(flock, listener, room):
    flock.add_webhook(room.members[0], room.channel_id, listener.url, shape="documented")
    flock.send(room.members[1], room.channel_id, text="hello")
    (body,) = listener.bodies()
    assert set(body) == {"id", "from", "to", "type", "text"}
    assert body["from"] == f"{room.members[1].removeprefix('u:')}@go.to/desktop"
    assert body["to"] == f"{room.channel_id.removeprefix('g:')}@groups.go.to"
    assert body["type"] == "message"


def test_the_token_is_joined_to_a_query_that_is_there(flock, listener, room):
    token = flock.add_webhook(room.members[0], room.channel_id, f"{listener.url}/x?a=1")
    flock.send(room.members[0], room.channel_id, text="x")
    assert listener.received[0].query == {"a": ["1"], "token": [token]}


def test_only_its_own_channel_and_no_direct_chat_fires_it(flock, listener, room, hook):
    other = next(one for one in flock.channels.values() if one.channel_id != room.channel_id)
    flock.send(next(iter(other.members)), other.channel_id, text="elsewhere")
    flock.send(room.members[0], room.members[1], text="between us")
    assert listener.received == []


def test_an_owner_has_at_most_ten(flock, listener, room):
    for _ in range(10):
        flock.add_webhook(room.members[0], room.channel_id, listener.url)
    with pytest.raises(RefusedError, match="10 webhooks"):
        flock.add_webhook(room.members[0], room.channel_id, listener.url)
    flock.add_webhook(room.members[1], room.channel_id, listener.url)


def test_the_owner_must_be_in_the_channel(flock, listener, room):
    stranger = next(user for user in flock.people if user not in room.members)
    with pytest.raises(UsageError, match="is not in"):
        flock.add_webhook(stranger, room.channel_id, listener.url)


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/", "http://", "/relative", "http://a/\r\nX: y", "http://a/ b", "http://a:x/"]
)
def test_a_callback_that_is_no_url_is_refused(flock, room, url):
    with pytest.raises(UsageError, match="no callback URL"):
        flock.add_webhook(room.members[0], room.channel_id, url)


def test_every_channel_gets_one_with_its_name_in_the_url(flock, listener):
    tokens = flock.add_webhooks(f"{listener.url}/hooks/{{name}}")
    assert list(tokens) == [f"channel-{number}" for number in range(1, len(flock.channels) + 1)]
    flock.play_all()
    used = {(request.path.rpartition("/")[2], request.query["token"][0]) for request in listener.received}
    assert used == set(tokens.items())
    assert flock.add_webhooks(listener.url) == {}


def test_a_removed_webhook_is_silent(flock, listener, room, hook):
    flock.remove_webhook(hook)
    flock.send(room.members[0], room.channel_id, text="x")
    assert listener.received == []
    with pytest.raises(UsageError):
        flock.remove_webhook(hook)


def test_deletion_pushes_nothing_and_an_edit_only_where_switched_on(flock, listener, room, hook):
    uid = flock.send(room.members[0], room.channel_id, text="one")
    flock.edit(uid, text="two")
    assert len(listener.received) == 1
    flock.configure(push_edits=True)
    flock.edit(uid, text="three")
    assert [body["text"] for body in listener.bodies()] == ["one", "three"]
    assert listener.bodies()[1]["uid"] == uid
    flock.delete(uid)
    assert len(listener.received) == 2


def test_what_else_is_pushed_is_switched(flock, listener, http, room, hook):
    incoming = flock.add_incoming_webhook(room.members[1], room.channel_id)

    def pushed() -> int:
        listener.received.clear()
        flock.send(room.members[1], room.channel_id, text="limited", visibleTo=[room.members[0]])
        flock.send(room.members[0], room.channel_id, text="by the owner")
        http.post(incoming, json={"text": "from outside"})
        flock.settle()
        return len(listener.received)

    assert pushed() == 3
    for switch in ("push_limited", "push_own", "push_incoming"):
        flock.configure(**{switch: False})
        assert pushed() == 2
        flock.configure(**{switch: True})


def test_an_incoming_webhook_posts_under_its_name(flock, http, room):
    url = flock.add_incoming_webhook(room.members[0], room.channel_id, name="Builds")
    assert "/hooks/sendMessage/" in url
    uid = http.post(url, json={"text": "green"}).json()["uid"]
    (row,) = (row for row in flock.truth("message") if row["uid"] == uid)
    assert row["versions"][0]["sendAs"]["name"] == "Builds"
    assert http.post(url, json={"text": ""}).json()["error"] == "MissingTextOrAttachment"
    assert http.post(url, content=b"[").json()["error"] == "InvalidRequestData"
    assert http.post(url + "x", json={"text": "x"}).status_code == 404


class TestAnAnswerWithABodyIsAViolation:
    """Flock posts what the callback answers into the channel (flock-api.md 11.1)."""

    def test_an_empty_answer_is_none(self, flock, listener, room, hook):
        flock.send(room.members[0], room.channel_id, text="x")
        assert flock.violations() == []

    @pytest.mark.parametrize("answer", [b'{"text":"thanks"}', b'{"flockml":"<flockml/>"}', b"{}", b"ok"])
    def test_any_body_is_one(self, flock, listener, room, hook, answer):
        listener.answer = answer
        flock.send(room.members[0], room.channel_id, text="x")
        (violation,) = flock.violations()
        assert (violation["kind"], violation["where"]) == ("webhook_answer", "general")
        assert violation["detail"] == answer.decode()

    def test_a_text_is_posted_and_fires_no_webhook_again(self, flock, listener, room, hook):
        listener.answer = b'{"text":"thanks","mentions":7,"attachments":"x"}'
        flock.send(room.members[1], room.channel_id, text="x")
        flock.settle()
        texts = [row["versions"][0]["text"] for row in flock.truth("message")]
        assert texts == ["x", "thanks"]
        assert len(listener.received) == 1
        flock.configure(post_answers=False)
        flock.send(room.members[1], room.channel_id, text="y")
        assert len(list(flock.truth("message"))) == 3


class TestFaults:
    def _texts(self, listener) -> list[str]:
        return [body["text"] for body in listener.bodies()]

    def _say(self, flock, room, count: int = 8) -> list[str]:
        texts = [f"message {number}" for number in range(count)]
        for text in texts:
            flock.send(room.members[0], room.channel_id, text=text)
        flock.settle()
        return texts

    def test_dropped(self, flock, listener, room, hook):
        flock.inject("drop", "webhooks:general", count=2)
        texts = self._say(flock, room)
        assert self._texts(listener) == texts[2:]
        assert flock.counters()["pushes"] == {"dropped": 2, "200": 6}

    def test_duplicated(self, flock, listener, room, hook):
        flock.inject("duplicate", "webhooks", count=1)
        texts = self._say(flock, room)
        assert self._texts(listener) == [texts[0], *texts]

    def test_reordered(self, flock, listener, room, hook):
        flock.inject("reorder", "webhooks", count=1)
        texts = self._say(flock, room)
        assert self._texts(listener) != texts
        assert sorted(self._texts(listener)) == texts

    def test_delayed(self, flock, listener, room, hook):
        flock.inject("delay", "webhooks", count=1, seconds=0.05)
        texts = self._say(flock, room)
        assert sorted(self._texts(listener)) == texts
        assert self._texts(listener)[0] == texts[1]

    def test_zipped(self, flock, listener, room, hook):
        flock.inject("gzip", "webhooks", count=1)
        flock.send(room.members[0], room.channel_id, text="packed")
        (request,) = listener.received
        assert request.headers["content-encoding"] == "gzip"
        assert b"packed" in gzip.decompress(request.body)

    def test_with_a_wrong_token(self, flock, listener, room, hook):
        flock.inject("wrong_token", "webhooks", count=1)
        flock.send(room.members[0], room.channel_id, text="x")
        assert listener.received[0].query["token"] != [hook]

    @pytest.mark.parametrize("kind", ["not_json", "not_utf8", "no_uid", "absurd_time", "unknown_fields"])
    def test_with_a_spoilt_body(self, flock, listener, room, hook, kind):
        flock.inject(kind, "webhooks", count=1)
        flock.send(room.members[0], room.channel_id, text="x")
        flock.send(room.members[0], room.channel_id, text="x")
        spoilt, whole = (request.body for request in listener.received)
        assert len(whole) > 0
        assert set(listener.received[1].json()) >= {"uid", "text"}
        if kind in ("not_json", "not_utf8"):
            with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
                listener.received[0].json()
        elif kind == "no_uid":
            assert "uid" not in listener.received[0].json()
        else:
            assert spoilt != whole

    def test_a_seed_gives_the_same_faults_again(self, flock, listener, room, hook):
        kept = []
        for _ in range(2):
            listener.received.clear()
            flock.clear_faults()
            flock.inject("drop", "webhooks", probability=0.5, seed=3)
            self._say(flock, room, count=20)
            kept.append(self._texts(listener))
        assert kept[0] == kept[1]
        assert 0 < len(kept[0]) < 20


def test_a_push_is_made_once_whatever_is_answered(flock, listener, room, hook):
    listener.status = 503
    flock.send(room.members[0], room.channel_id, text="x")
    flock.settle()
    assert len(listener.received) == 1
    assert flock.counters()["pushes"] == {"503": 1}
    (push,) = flock.truth("push")
    assert (push["feed"], push["status"]) == ("general", "503")


def test_a_listener_that_is_gone_costs_the_push_and_nothing_else(flock, room):
    flock.add_webhook(room.members[0], room.channel_id, "http://127.0.0.1:1/")
    flock.send(room.members[0], room.channel_id, text="x")
    (push,) = flock.truth("push")
    assert push["status"] == "ConnectionRefusedError"
