"""Outgoing webhooks at the door: who is let in, what is kept, and that the answer never says a word."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest

from archiver.capture.listener import ListenerOptions
from archiver.clock import SystemClock
from archiver.errors import ConfigError
from archiver.flock.tokens import Secret
from tests.capture.running_listener import MESSAGE, OPTIONS, PATH_SECRET, WEBHOOK_TOKEN, Listener, running_on_sqlite


@pytest.fixture(scope="module")
def one_listener(tmp_path_factory):
    with running_on_sqlite(tmp_path_factory.mktemp("listener")) as running:
        yield running


@pytest.fixture
def listener(one_listener) -> Listener:
    one_listener.forget()
    return one_listener


def assert_is_empty(answer, status):
    assert answer.status_code == status
    assert answer.headers["content-length"] == "0"
    assert "transfer-encoding" not in answer.headers
    assert answer.content == b""


def test_a_push_is_kept_byte_for_byte_and_answered_with_nothing(listener):
    """Flock posts what we answer into the channel (flock-api.md 11.1)."""
    assert_is_empty(listener.push(), 200)

    (capture,) = listener.spooled()
    assert capture.body == MESSAGE
    assert (capture.feed, capture.feed_kind, capture.verified) == ("general", "webhook", "webhook-token")
    assert capture.attributes == {"content-type": "application/json;"}
    assert abs(capture.received_at_ms - SystemClock().now_ms()) < 60_000


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b"{}", b"[]", b'{"uid":', b"\xff\xfe\x00", b'{"text":"no uid"}', b"[" * 5_000],
    ids=["empty", "text", "object", "array", "truncated", "binary", "no uid", "deep"],
)
def test_what_cannot_be_read_is_kept_all_the_same(listener, body):
    assert_is_empty(listener.push(body), 200)
    assert [capture.body for capture in listener.spooled()] == [body]


@pytest.mark.parametrize(
    ("path", "params"),
    [
        (f"/hooks/{PATH_SECRET}/general", {"token": "wrong"}),
        (f"/hooks/{PATH_SECRET}/general", {}),
        (f"/hooks/{PATH_SECRET}/general", {"token": ""}),
        (f"/hooks/{PATH_SECRET}/general", {"token": WEBHOOK_TOKEN + "x"}),
        (f"/hooks/{PATH_SECRET}/general", {"token": WEBHOOK_TOKEN[:-1]}),
        (f"/hooks/{PATH_SECRET}/general", {"token": [WEBHOOK_TOKEN, WEBHOOK_TOKEN]}),
        (f"/hooks/{PATH_SECRET}/general", {f"a{n}": "x" for n in range(30)} | {"token": WEBHOOK_TOKEN}),
        (f"/hooks/{PATH_SECRET}/general", {"Token": WEBHOOK_TOKEN}),
        (f"/hooks/{PATH_SECRET}/random", {"token": WEBHOOK_TOKEN}),
        (f"/hooks/{PATH_SECRET}/unknown", {"token": WEBHOOK_TOKEN}),
        (f"/hooks/{PATH_SECRET}/unknown", {}),
        (f"/hooks/{PATH_SECRET}/", {"token": WEBHOOK_TOKEN}),
        (f"/hooks/{PATH_SECRET}", {"token": WEBHOOK_TOKEN}),
        (f"/hooks/{PATH_SECRET}/general/", {"token": WEBHOOK_TOKEN}),
        (f"/hooks/{PATH_SECRET}x/general", {"token": WEBHOOK_TOKEN}),
        ("/hooks/wrong/general", {"token": WEBHOOK_TOKEN}),
        ("/hooks//general", {"token": WEBHOOK_TOKEN}),
        ("/hooks/%00/general", {"token": WEBHOOK_TOKEN}),
        ("/hooks/%ed%a0%80/general", {"token": "%ed%a0%80"}),
    ],
)
def test_a_stranger_gets_403_and_nothing_is_kept(listener, path, params):
    answer = listener.http.post(listener.url + path, params=params, content=MESSAGE)

    assert_is_empty(answer, 403)
    assert listener.spooled() == []


def test_a_token_may_be_percent_encoded_and_stand_beside_other_parameters(tmp_path):
    token = "a+b/c=&d é"
    options = ListenerOptions(path_secret=Secret(PATH_SECRET), webhook_tokens={"general": Secret(token)})
    with running_on_sqlite(tmp_path, options=options) as listener:
        assert_is_empty(listener.push(params={"other": "1", "token": token}), 200)
        assert_is_empty(listener.push(params={"token": token + "x"}), 403)


def test_each_webhook_is_its_own_feed(listener):
    listener.push(b"1", name="general")
    listener.push(b"2", name="random", params={"token": "another-token-0123456789"})

    assert [(capture.feed, capture.body) for capture in listener.spooled()] == [("general", b"1"), ("random", b"2")]


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
@pytest.mark.parametrize(("size", "status"), [(9_999, 200), (10_000, 200), (10_001, 413), (2_000_000, 413)])
def test_the_limit_is_on_the_bytes_that_come(listener, size, status, chunked):
    body = b"x" * size
    sent = (body[start : start + 1_000] for start in range(0, size, 1_000)) if chunked else body

    assert_is_empty(listener.push(sent), status)

    assert [len(capture.body) for capture in listener.spooled()] == ([size] if status == 200 else [])
    # The connection is in order afterwards.
    assert_is_empty(listener.push(b"next"), 200)


@pytest.mark.parametrize(
    ("pack", "encoding"),
    [(gzip.compress, "gzip"), (gzip.compress, "X-GZIP"), (zlib.compress, "deflate")],
)
def test_a_packed_body_is_kept_unpacked_with_a_note(listener, pack, encoding):
    assert_is_empty(listener.push(pack(MESSAGE), headers={"Content-Encoding": encoding}), 200)

    (capture,) = listener.spooled()
    assert capture.body == MESSAGE
    assert capture.attributes == {"content-encoding": encoding.lower()}


def test_a_gzip_body_of_several_members_is_one_body(listener):
    packed = gzip.compress(b"one ") + gzip.compress(b"two")

    assert_is_empty(listener.push(packed, headers={"Content-Encoding": "gzip"}), 200)
    assert listener.spooled()[0].body == b"one two"


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"not packed at all", "gzip"),
        (gzip.compress(MESSAGE)[:-5], "gzip"),
        (gzip.compress(MESSAGE) + b"garbage", "gzip"),
        (gzip.compress(b"") * 400, "gzip"),
        (MESSAGE, "br"),
        (MESSAGE, "gzip, gzip"),
        (b"", "gzip"),
    ],
    ids=["not packed", "truncated", "garbage after", "many members", "unknown", "twice", "empty"],
)
def test_a_body_that_cannot_be_unpacked_is_kept_as_it_came(listener, body, encoding):
    assert_is_empty(listener.push(body, headers={"Content-Encoding": encoding}), 200)

    (capture,) = listener.spooled()
    assert capture.body == body
    assert capture.attributes == {"content-encoding-kept": encoding}


@pytest.mark.parametrize(("size", "status"), [(10_000, 200), (10_001, 413), (50_000_000, 413)])
def test_a_bomb_is_as_large_as_what_it_unpacks_to(listener, size, status):
    packed = gzip.compress(b"0" * size)
    if len(packed) > 10_000:
        packed = packed[:9_000]

    assert_is_empty(listener.push(packed, headers={"Content-Encoding": "gzip"}), status)
    assert len(listener.spooled()) == (1 if status == 200 else 0)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"/hooks/{PATH_SECRET}/general", 405),
        ("PUT", f"/hooks/{PATH_SECRET}/general", 405),
        ("GET", "/", 404),
        ("POST", "/", 404),
        ("POST", "/hook", 404),
        ("POST", "/events/", 404),
        ("GET", "/healthz/", 404),
        ("DELETE", "/events", 405),
    ],
)
def test_other_doors_do_not_exist_and_say_nothing(listener, method, path, status):
    assert_is_empty(listener.http.request(method, listener.url + path), status)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/events", "/healthz"])
def test_a_probe_is_answered(listener, method, path):
    assert_is_empty(listener.http.request(method, listener.url + path), 200)
    assert listener.spooled() == []


def test_without_webhooks_their_door_lets_nobody_in(tmp_path):
    options = ListenerOptions(app_id="app", app_secret=Secret("s" * 40))
    with running_on_sqlite(tmp_path, options=options) as listener:
        for path in (f"/hooks/{PATH_SECRET}/general", "/hooks//general", "/hooks//"):
            assert_is_empty(listener.http.post(listener.url + path, params={"token": ""}), 403)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "nobody to listen to"),
        ({"path_secret": Secret(PATH_SECRET)}, "nobody to listen to"),
        ({"webhook_tokens": {"general": Secret("t")}}, "no secret part"),
    ],
)
def test_a_listener_for_nobody_is_a_wrong_configuration(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        ListenerOptions(**options)


def test_a_message_of_many_bytes_arrives_whole(tmp_path):
    options = ListenerOptions(path_secret=OPTIONS.path_secret, webhook_tokens=OPTIONS.webhook_tokens)
    body = json.dumps({"uid": "1", "text": "é" * 1_500_000}, ensure_ascii=False).encode()
    with running_on_sqlite(tmp_path, options=options) as listener:
        assert_is_empty(listener.push(body), 200)
        assert listener.spooled()[0].body == body
