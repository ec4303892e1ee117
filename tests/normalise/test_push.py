"""What a webhook or an event carried: messages, and uids to fetch (flock-api.md 10.3 and 11.1)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.errors import UnparseableError
from archiver.model.capture import Capture
from archiver.normalise.push import Push, read_push

AT_MS = 1_700_000_005_000
SECRET = "a6b1f0c2-0000-4000-8000-5ec12e7d0a5e"


def message(uid: str = "1700000000123-aBc-m201", **changed: Any) -> dict[str, Any]:
    return {
        "uid": uid,
        "from": "u:ann",
        "to": "u:Bot",
        "text": "hello",
        "timestamp": "2023-11-14T22:13:20.123Z",
        "timestampInMillis": 1_700_000_000_123,
        "onBehalfOf": "",
        "visibleTo": [],
        **changed,
    }


def capture(body: bytes | dict[str, Any], kind: str = "event") -> Capture:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Capture("general" if kind == "webhook" else "events", kind, AT_MS, "token", raw)  # type: ignore[arg-type]


def read(body: bytes | dict[str, Any], kind: str = "event") -> Push:
    return read_push(capture(body, kind))


def reason(body: bytes | dict[str, Any], kind: str = "event") -> str:
    with pytest.raises(UnparseableError) as caught:
        read(body, kind)
    return caught.value.what


class TestAWebhook:
    def test_is_its_message(self) -> None:
        push = read(message(to="g:1"), "webhook")
        assert (push.name, push.user_id, push.chat_id, push.wanted_uids, push.error) == (None, None, "g:1", (), None)
        (only,) = push.messages
        assert (only.source, only.captured_by, only.observed_at_ms) == ("webhook", "general", AT_MS)

    def test_needs_no_body_beside_its_message(self) -> None:
        assert not read(message(extra="unknown"), "webhook").keep_body

    def test_an_event_at_the_webhook_door_is_no_message(self) -> None:
        assert "'from' is missing" in reason({"name": "app.install", "userId": "u:1", "token": SECRET}, "webhook")


class TestReceiveMessage:
    @pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
    def test_its_message_holds_all_it_says(self, separators: tuple[str, str]) -> None:
        inner = message(text='quoted "text" é')
        body = json.dumps({"name": "chat.receiveMessage", "userId": "u:ann", "message": inner}, separators=separators)
        push = read(body.encode())
        (only,) = push.messages
        assert only.raw == json.dumps(inner, separators=separators)
        assert (push.name, push.user_id, push.chat_id) == ("chat.receiveMessage", "u:ann", "u:Bot,u:ann")
        assert (only.source, only.captured_by) == ("event", "events")
        assert not push.keep_body

    @pytest.mark.parametrize(
        "more",
        [{"extra": 1}, {"chat": "u:Bot"}, {"userId": 7}, {"userId": None}, {"messages": []}, {"messageUid": "x"}],
    )
    def test_whatever_else_it_says_is_kept_with_its_body(self, more: dict[str, Any]) -> None:
        assert read({"name": "chat.receiveMessage", "userId": "u:ann", "message": message(), **more}).keep_body

    def test_a_message_with_fields_we_do_not_know_is_kept_with_its_body(self) -> None:
        assert read({"name": "chat.receiveMessage", "userId": "u:ann", "message": message(editedOn=7)}).keep_body

    def test_a_member_given_twice_is_kept_with_its_body(self) -> None:
        twice = b'{"name":"chat.receiveMessage","message":{"from":"u:a","to":"u:b","text":"first"},"message":%b}'
        push = read(twice % json.dumps(message()).encode())
        assert len(push.messages) == 1
        assert push.keep_body

    @pytest.mark.parametrize("absent", [{}, {"message": None}])
    def test_without_a_message_it_is_noted(self, absent: dict[str, Any]) -> None:
        push = read({"name": "chat.receiveMessage", "userId": "u:ann", **absent})
        assert (push.messages, push.wanted_uids, push.error, push.keep_body) == ((), (), None, True)

    @pytest.mark.parametrize("unreadable", [7, "text", [], {"from": "u:a"}, message(text=7)])
    def test_with_a_message_that_cannot_be_read_it_says_why_and_keeps_all(self, unreadable: Any) -> None:
        push = read({"name": "chat.receiveMessage", "userId": "u:ann", "message": unreadable})
        assert push.messages == ()
        assert push.error is not None
        assert push.error.startswith("a message in it: ")
        assert push.keep_body
        assert (push.name, push.user_id) == ("chat.receiveMessage", "u:ann")


class TestMessageAction:
    def event(self, **changed: Any) -> dict[str, Any]:
        return {
            "name": "client.messageAction",
            "userId": "u:ann",
            "userName": "Ann",
            "chat": "g:1",
            "chatName": "general",
            "messageUids": ["m1", "m2"],
            **changed,
        }

    def test_uids_without_messages_are_wanted(self) -> None:
        push = read(self.event())
        assert (push.chat_id, push.user_id, push.wanted_uids, push.messages) == ("g:1", "u:ann", ("m1", "m2"), ())
        assert push.keep_body

    def test_messages_that_it_brings_are_not_wanted(self) -> None:
        push = read(self.event(messages=[message("m1", to="g:1"), message("m2", to="g:1")]))
        assert [item.message_uid for item in push.messages] == ["m1", "m2"]
        assert push.wanted_uids == ()

    def test_of_some_brought_the_others_are_wanted(self) -> None:
        push = read(self.event(messages=[message("m2", to="g:1")]))
        assert [item.message_uid for item in push.messages] == ["m2"]
        assert push.wanted_uids == ("m1",)

    def test_one_that_cannot_be_read_is_wanted_and_harms_no_other(self) -> None:
        push = read(self.event(messages=[message("m1", to="g:1", mentions="everybody"), message("m2", to="g:1")]))
        assert [item.message_uid for item in push.messages] == ["m2"]
        assert push.wanted_uids == ("m1",)
        assert push.error is not None
        assert "mentions" in push.error
        assert push.keep_body

    def test_a_message_nobody_named_is_taken_too(self) -> None:
        assert len(read(self.event(messageUids=[], messages=[message("m9", to="g:1")])).messages) == 1

    def test_a_uid_is_wanted_once(self) -> None:
        assert read(self.event(messageUids=["m1", "m1", "m2"], messageUid="m1")).wanted_uids == ("m1", "m2")

    @pytest.mark.parametrize("uids", [None, "m1", {"m1": 1}, [None, 7, "", {}, ["m1"]]])
    def test_odd_uids_are_not_wanted(self, uids: Any) -> None:
        push = read(self.event(messageUids=uids))
        assert (push.wanted_uids, push.keep_body) == ((), True)

    @pytest.mark.parametrize("chat", [None, 7, "", ["g:1"]])
    def test_without_a_chat_nothing_can_be_asked(self, chat: Any) -> None:
        push = read(self.event(chat=chat))
        assert (push.chat_id, push.wanted_uids, push.keep_body) == (None, (), True)

    def test_a_one_to_one_chat_is_named_by_the_other_party_and_known_by_both(self) -> None:
        push = read(self.event(chat="u:zed", messages=[message("m1", **{"from": "u:zed"}, to="u:ann")]))
        assert push.chat_id == push.messages[0].chat_id == "u:ann,u:zed"

    def test_messages_that_are_no_list_make_it_unreadable(self) -> None:
        assert reason(self.event(messages={"m1": message()})).startswith("not an event: ")


class TestOtherEvents:
    def test_a_button_on_an_attachment_makes_its_message_wanted(self) -> None:
        push = read(
            {
                "name": "client.pressButton",
                "userId": "u:ann",
                "chat": "g:1",
                "button": "attachmentButton",
                "messageUid": "m1",
                "attachmentId": "a",
                "buttonId": "b",
            }
        )
        assert (push.name, push.wanted_uids, push.keep_body) == ("client.pressButton", ("m1",), True)

    @pytest.mark.parametrize(
        "event",
        [
            {"name": "client.slashCommand", "userId": "u:ann", "chat": "g:1", "command": "x", "text": "secret plan"},
            {"name": "app.uninstall", "userId": "u:ann"},
            {"name": "chat.generateUrlPreview", "userId": "u:ann", "url": "https://x", "to": "g:1", "messageId": "d_1"},
            {"name": "some.event.of.the.future", "when": [1, 2]},
        ],
    )
    def test_an_event_without_messages_is_kept_whole(self, event: dict[str, Any]) -> None:
        push = read(event)
        assert (push.name, push.messages, push.wanted_uids, push.keep_body) == (event["name"], (), (), True)


class TestWhatIsNoEvent:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"[]",
            b"null",
            b"7",
            b"{",
            b"\xff",
            b"<html>",
            b'{"name":"x"} y',
            b"[" * 100_000,
            b'{"name":"x","z":' + b"[" * 5_000,
        ],
    )
    def test_is_refused_with_a_reason(self, body: bytes) -> None:
        assert reason(body)

    @pytest.mark.parametrize("name", [None, 7, "", ["chat.receiveMessage"]])
    def test_has_no_name(self, name: Any) -> None:
        assert reason({"name": name, "userId": "u:ann", "message": message()}) == "not an event: it has no name"

    @pytest.mark.parametrize(
        "body",
        [
            {"name": 7, "token": SECRET},
            {"name": "x", "messages": SECRET, "token": SECRET},
            {"name": "x", "message": SECRET},
            {
                "name": "x",
                "messages": [SECRET, {SECRET: SECRET}, {"from": "u:a", "to": "u:b", "mentions": {SECRET: 1}}],
            },
            json.dumps({"name": "x", "token": SECRET}).encode()[:-1],
            json.dumps({"name": "x", "token": SECRET}).encode() + SECRET.encode(),
            SECRET.encode(),
        ],
    )
    def test_a_reason_never_repeats_what_stood_there(self, body: Any) -> None:
        try:
            what = read(body).error
        except UnparseableError as error:
            what = str(error)
        assert what
        assert SECRET not in what


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("name", "userId", "chat", "message", "messages", "messageUid", "messageUids", "token", "other")


def read_or_refuse(given_capture: Capture) -> Push | None:
    try:
        return read_push(given_capture)
    except UnparseableError:
        return None


@given(st.binary(max_size=200), st.sampled_from(["webhook", "event"]))
def test_any_bytes_are_a_push_or_refused_with_a_reason(body: bytes, kind: str) -> None:
    read_or_refuse(capture(body, kind))


@given(st.dictionaries(st.sampled_from(FIELDS), json_values | st.just(message()) | st.just([message(), 7])))
def test_any_object_is_a_push_or_refused_and_nothing_of_it_is_lost(fields: dict[str, Any]) -> None:
    push = read_or_refuse(capture({"name": "x", **fields}))
    if push is not None and not push.keep_body:
        (only,) = push.messages
        assert {"name": push.name, "message": json.loads(only.raw)} == {
            key: value for key, value in {"name": "x", **fields}.items() if key != "userId"
        }
        assert fields.get("userId", push.user_id) == push.user_id
