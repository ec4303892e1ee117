"""App events at the door: whose token is believed (flock-api.md 10.2), and that no user's token is ever kept in clear."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import sqlite3
import time

import pytest
from cryptography.fernet import Fernet
from structlog.testing import capture_logs

from archiver.capture.listener import ListenerOptions, listener_app
from archiver.clock import SystemClock
from archiver.errors import ConfigError
from archiver.flock.token_store import TokenStore
from archiver.flock.tokens import Secret, UserToken
from archiver.spool.group_commit import GroupCommitter
from archiver.spool.sqlite import SqliteSpool
from tests.capture.running_listener import (
    APP_SECRET,
    OPTIONS,
    PATH_SECRET,
    USER,
    WEBHOOK_TOKEN,
    event_token,
    running_on_sqlite,
)
from tests.capture.test_listener_webhooks import assert_is_empty

USER_TOKEN = "0d1e2f30-4152-6374-8596-a7b8c9dae0f1"
KEY = Secret(Fernet.generate_key().decode())


def event(name="chat.receiveMessage", **fields):
    return json.dumps({"name": name, "userId": USER} | fields).encode()


@pytest.fixture(scope="module")
def one_listener(tmp_path_factory):
    directory = tmp_path_factory.mktemp("listener")
    with (
        TokenStore(directory / "tokens.sqlite", key=KEY) as tokens,
        running_on_sqlite(directory, tokens=tokens) as running,
    ):
        yield running


@pytest.fixture
def listener(one_listener):
    one_listener.forget()
    return one_listener


@pytest.fixture
def stored(listener):
    """The tokens at rest, as the nightly run would load them."""

    def load():
        with TokenStore(listener.spool_path.with_name("tokens.sqlite"), key=KEY) as tokens:
            return tokens.load()

    return load


def everything_on_disk(listener):
    return b"".join(file.read_bytes() for file in listener.spool_path.parent.iterdir())


def test_an_event_of_flocks_is_kept_byte_for_byte(listener):
    body = (
        b'{ "name":"chat.receiveMessage", "userId":"%s","message":{"uid":"1","n":1.0e2},"new":"\\u00e9" }'
        % USER.encode()
    )

    assert_is_empty(listener.event(body), 200)

    (capture,) = listener.spooled()
    assert capture.body == body
    assert (capture.feed, capture.feed_kind, capture.verified) == ("events", "event", "event-token")
    assert capture.attributes == {"content-type": "application/json"}


@pytest.mark.parametrize("name", ["client.messageAction", "app.mention", "something.nobody.documented", ""])
def test_events_of_any_name_are_kept(listener, name):
    assert_is_empty(listener.event(event(name)), 200)
    assert len(listener.spooled()) == 1


def test_the_same_token_may_come_again(listener):
    token = event_token(jti="the-same")

    assert_is_empty(listener.event(event(), token=token), 200)
    assert_is_empty(listener.event(event(), token=token), 200)
    assert len(listener.spooled()) == 2


UNBELIEVABLE = {
    "no token": lambda: "",
    "no signed token": lambda: "a.b.c",
    "not even parts": lambda: "token",
    "expired": lambda: event_token(at=time.time() - 120),
    "issued in the future": lambda: event_token(at=time.time() + 120),
    "another app": lambda: event_token(appId="app-9999"),
    "no app": lambda: event_token(appId=None),
    "another user": lambda: event_token(userId="u:bob"),
    "no user": lambda: event_token(userId=None),
    "a number for a user": lambda: event_token(userId=1),
    "no end": lambda: event_token(exp=None),
    "no beginning": lambda: event_token(iat=None),
    "a text for an end": lambda: event_token(exp="9999999999"),
    "a flag for an end": lambda: event_token(exp=True),
    "an infinite end": lambda: event_token(exp=float("inf")),
    "another secret": lambda: event_token(secret=APP_SECRET + "x"),
    "no algorithm": lambda: event_token(algorithm="none"),
    "HS384": lambda: event_token(algorithm="HS384"),
    "HS512": lambda: event_token(algorithm="HS512"),
    "a cut signature": lambda: event_token()[:-3],
    "a changed claim": lambda: event_token().replace(".", ".e", 1),
    "very long": lambda: event_token(jti="x" * 5_000),
}


@pytest.mark.parametrize("made", UNBELIEVABLE.values(), ids=UNBELIEVABLE.keys())
def test_a_token_that_is_not_flocks_gets_403_and_nothing_is_kept(listener, made):
    assert_is_empty(listener.event(event(), token=made()), 403)
    assert listener.spooled() == []


def test_without_the_header_there_is_no_way_in(listener):
    """The official Node SDK lets such requests pass (flock-api.md 16); its weakness is not copied."""
    assert_is_empty(listener.http.post(f"{listener.url}/events", content=event()), 403)
    assert_is_empty(
        listener.http.post(f"{listener.url}/events", params={"flockEventToken": event_token()}, content=event()), 403
    )
    assert listener.spooled() == []


@pytest.mark.parametrize(
    "body",
    [b"", b"text", b"[]", b"{}", b'"u:ada"', b'{"userId":1}', b'{"userId":null}', b'{"userId":"u:bob"}', b'{"userId":'],
)
def test_a_body_that_is_not_about_the_tokens_user_gets_403(listener, body):
    assert_is_empty(listener.event(body), 403)
    assert listener.spooled() == []


@pytest.mark.parametrize("skew_seconds", [-50, 50])
def test_clocks_may_differ_by_the_leeway(listener, skew_seconds):
    assert_is_empty(listener.event(event(), token=event_token(at=time.time() + skew_seconds)), 200)


def test_a_stranger_is_refused_before_the_body_is_read(listener):
    """Not 413: a body above the limit is not looked at."""
    assert_is_empty(listener.event(b"x" * 2_000_000, token=""), 403)


def test_an_event_above_the_limit_gets_413(listener):
    assert_is_empty(listener.event(event(text="x" * 10_000)), 413)
    assert listener.spooled() == []


def test_a_packed_event_is_verified_unpacked(listener):
    packed = {"Content-Encoding": "gzip"}

    assert_is_empty(listener.event(gzip.compress(event()), headers=packed), 200)
    assert_is_empty(listener.event(gzip.compress(event(userId="u:bob")), headers=packed), 403)
    assert_is_empty(listener.event(gzip.compress(event())[:-5], headers=packed), 403)
    assert [capture.body for capture in listener.spooled()] == [event()]


@pytest.mark.parametrize("field", ["token", "userToken"])
def test_an_installation_keeps_its_token_encrypted_and_only_there(listener, stored, field):
    body = b'{"name":"app.install", "userId":"%s","n":1.0e2,"%s" : "%s"}' % (
        USER.encode(),
        field.encode(),
        USER_TOKEN.encode(),
    )

    assert_is_empty(listener.event(body), 200)

    assert stored() == [UserToken(USER, Secret(USER_TOKEN))]
    (capture,) = listener.spooled()
    assert capture.body == b'{"name":"app.install","userId":"%s","n":1.0e2,"%s":"[redacted]"}' % (
        USER.encode(),
        field.encode(),
    )
    assert capture.attributes == {
        "content-type": "application/json",
        "body-digest": hashlib.sha256(body).hexdigest(),
        "redacted": "token",
    }
    assert USER_TOKEN.encode() not in everything_on_disk(listener)


@pytest.mark.parametrize(
    "fields",
    [
        b'"token":"%s"',
        b'"t\\u006fken":"%s"',
        b'"token":"first","token":"%s"',
        b'"token":"%s","token":"last"',
        b'"token":["%s"]',
        b'"userToken":{"is":"%s"}',
        b'"token":"0d1e2f30","userToken":"%s"',
    ],
)
@pytest.mark.parametrize("name", [b"client.widgetAction", b"app.uninstall"])
def test_no_event_brings_a_token_into_the_spool(listener, name, fields):
    body = b'{"name":"%s","userId":"%s",' % (name, USER.encode()) + fields % USER_TOKEN.encode() + b"}"

    assert_is_empty(listener.event(body), 200)

    (capture,) = listener.spooled()
    assert json.loads(capture.body)["name"] == name.decode()
    assert b"[redacted]" in capture.body
    assert capture.attributes["body-digest"] == hashlib.sha256(body).hexdigest()
    assert USER_TOKEN.encode() not in everything_on_disk(listener)


def test_the_end_of_an_installation_forgets_the_token(listener, stored):
    listener.event(event("app.install", token=USER_TOKEN))
    assert len(stored()) == 1

    assert_is_empty(listener.event(event("app.uninstall")), 200)
    assert_is_empty(listener.event(event("app.uninstall")), 200)

    assert stored() == []
    assert [json.loads(capture.body)["name"] for capture in listener.spooled()] == ["app.install"] + [
        "app.uninstall"
    ] * 2


@pytest.mark.parametrize("token", [None, "", 7, {"is": USER_TOKEN}])
def test_an_installation_whose_token_we_do_not_find_fails_visibly(listener, stored, token):
    """It may stand under a name that nobody documented, and must not be kept in clear; Flock tells the user (10.3)."""
    listener.event(event("app.uninstall"))
    listener.forget()

    assert_is_empty(listener.event(event("app.install", token=token, secretToken=USER_TOKEN)), 503)

    assert (stored(), listener.spooled()) == ([], [])


def test_without_a_key_an_installation_fails_visibly_and_other_events_pass(tmp_path):
    with running_on_sqlite(tmp_path) as listener:
        assert_is_empty(listener.event(event("app.install", token=USER_TOKEN)), 503)
        assert listener.spooled() == []
        assert_is_empty(listener.event(event("app.uninstall")), 200)
        assert_is_empty(listener.event(event("client.widgetAction", token=USER_TOKEN)), 200)
        assert USER_TOKEN.encode() not in everything_on_disk(listener)


def test_a_token_that_cannot_be_saved_fails_the_installation(tmp_path):
    with (
        TokenStore(tmp_path / "tokens.sqlite", key=KEY, busy_timeout_seconds=0.05) as tokens,
        running_on_sqlite(tmp_path, tokens=tokens) as listener,
        contextlib.closing(sqlite3.connect(tmp_path / "tokens.sqlite", isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        assert_is_empty(listener.event(event("app.install", token=USER_TOKEN)), 503)
        assert listener.spooled() == []
        other.execute("ROLLBACK")
        assert_is_empty(listener.event(event("app.install", token=USER_TOKEN)), 200)


def test_without_an_app_no_event_is_believed(tmp_path):
    options = ListenerOptions(path_secret=OPTIONS.path_secret, webhook_tokens=OPTIONS.webhook_tokens)
    with running_on_sqlite(tmp_path, options=options) as listener:
        assert_is_empty(listener.event(event()), 403)
        assert_is_empty(listener.http.post(f"{listener.url}/events", content=event()), 403)


@pytest.mark.parametrize("options", [{"app_id": "app"}, {"app_secret": Secret(APP_SECRET)}])
def test_an_app_needs_both_its_id_and_its_secret(tmp_path, options):
    with contextlib.closing(SqliteSpool(tmp_path / "spool.sqlite")) as spool, pytest.raises(ConfigError, match="both"):
        listener_app(ListenerOptions(**options), committer=GroupCommitter(spool), clock=SystemClock())


def test_no_secret_is_ever_logged(tmp_path, capfd):
    with (
        capture_logs() as logged,
        TokenStore(tmp_path / "tokens.sqlite", key=KEY) as tokens,
        running_on_sqlite(tmp_path, tokens=tokens) as listener,
    ):
        listener.event(event("app.install", token=USER_TOKEN))
        listener.event(event(), token=event_token(appId="app-9999"))
        listener.push(params={"token": "a-wrong-webhook-token"})
        listener.push()
        listener.http.get(f"{listener.url}/hooks/{PATH_SECRET}/general", params={"token": WEBHOOK_TOKEN})

    written = repr(logged) + "".join(capfd.readouterr())

    assert [line["event"] for line in logged] == ["app installed", "push refused", "push refused", "pushes"]
    assert logged[-1] | {"webhooks": 1, "events": 1, "refused": 2} == logged[-1]
    for secret in (USER_TOKEN, WEBHOOK_TOKEN, "a-wrong-webhook-token", PATH_SECRET, APP_SECRET, "eyJ", "/hooks"):
        assert secret not in written
