"""Calling Flock, over real HTTP against a server that answers what a test scripts."""

from __future__ import annotations

import gzip
import json
import logging
import traceback
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
import structlog

from archiver.clock import SystemClock
from archiver.errors import ConfigError, FlockMethodError, FlockUnreachableError, TokenRefusedError
from archiver.flock import client as module
from archiver.flock.client import FlockClient, FlockOptions
from archiver.flock.tokens import Secret, UserToken
from tests.manual_clock import ManualClock
from tests.servers.scripted import Answer, ScriptedServer

SECRET = "0f8fad5b-d9cb-469f-a165-70867728950e"
TOKEN = UserToken("u:ada", Secret(SECRET))


def error(status, **fields):
    return Answer(json.dumps(fields).encode(), status=status)


@pytest.fixture
def flock():
    with ScriptedServer(lambda _: Answer(b"[]")) as server:
        yield server


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def client(flock, clock):
    with make_client(flock, clock) as made:
        yield made


def make_client(flock, clock, **options):
    return FlockClient(FlockOptions(base_url=f"{flock.origin}/v1", requests_per_second=1000, **options), clock=clock)


def answers(flock, *script):
    """Let the server give these answers one after the other and then the last one for ever."""
    left = list(script)
    flock.script = lambda _: left.pop(0) if len(left) > 1 else left[0]


class TestTheWire:
    def test_a_call_is_a_form_post_to_the_method_under_the_base_url(self, flock, client):
        client.channels_list_members(TOKEN, "g:one")
        (request,) = flock.requests
        assert (request.verb, request.target) == ("POST", "/v1/channels.listMembers")
        assert request.headers["content-type"] == "application/x-www-form-urlencoded"
        assert request.form == {"channelId": "g:one", "showPublicProfile": "true", "token": SECRET}

    def test_arrays_travel_as_json_text(self, flock, client):
        client.fetch_messages(TOKEN, "u:bo b&c", ["1-ä-m201", 'q"'])
        form = flock.requests[0].form
        assert form["chat"] == "u:bo b&c"
        assert json.loads(form["uids"]) == ["1-ä-m201", 'q"']

    @pytest.mark.parametrize(
        "chat", ["".join(map(chr, range(1, 128))), "ä=&+ \U0001f600", "%41+"], ids=["ascii", "beyond", "escapes"]
    )
    def test_every_character_arrives_as_it_was(self, flock, client, chat):
        client.fetch_messages(TOKEN, chat, ["1"])
        assert flock.requests[0].form["chat"] == chat

    @pytest.mark.parametrize(("auth", "in_body", "in_header"), [("both", 1, 1), ("body", 1, 0), ("header", 0, 1)])
    def test_the_token_travels_where_the_setting_says_and_never_in_the_url(
        self, flock, clock, auth, in_body, in_header
    ):
        with make_client(flock, clock, auth=auth) as client:
            client.roster_list_contacts(TOKEN)
        (request,) = flock.requests
        assert request.form.get("token") == (SECRET if in_body else None)
        assert request.headers.get("authorization") == (f"Bearer {SECRET}" if in_header else None)
        assert SECRET not in request.target

    def test_every_method_has_its_documented_name_and_parameters(self, flock, client):
        flock.script = lambda request: Answer(b"{}" if request.method[-4:] in ("Info", "file") else b"[]")
        client.users_get_info(TOKEN)
        client.roster_list_contacts(TOKEN)
        client.users_get_public_profile(TOKEN, "u:bob")
        client.channels_list(TOKEN)
        client.channels_get_info(TOKEN, "g:one")
        client.channels_list_members(TOKEN, "g:one", show_public_profile=False)
        client.fetch_messages(TOKEN, "g:one", ["1"])
        sent = [(r.method, {k: v for k, v in r.form.items() if k != "token"}) for r in flock.requests]
        assert sent == [
            ("users.getInfo", {}),
            ("roster.listContacts", {}),
            ("users.getPublicProfile", {"userId": "u:bob"}),
            ("channels.list", {}),
            ("channels.getInfo", {"channelId": "g:one"}),
            ("channels.listMembers", {"channelId": "g:one", "showPublicProfile": "false"}),
            ("chat.fetchMessages", {"chat": "g:one", "uids": '["1"]'}),
        ]

    def test_nothing_in_the_client_can_write_to_flock(self):
        public = {name for name in vars(FlockClient) if not name.startswith("_")}
        assert not [name for name in public if any(verb in name for verb in ("send", "create", "add_m", "remove"))]

    @pytest.mark.parametrize("uids", [[], [str(n) for n in range(26)]])
    def test_more_uids_than_flock_takes_are_refused_before_anything_is_sent(self, flock, client, uids):
        with pytest.raises(ValueError):
            client.fetch_messages(TOKEN, "g:one", uids)
        assert flock.requests == []

    def test_a_cookie_given_for_one_user_is_not_sent_for_the_next(self, flock, client):
        answers(flock, Answer(b"[]", headers={"Set-Cookie": "session=ada; Path=/"}))
        client.channels_list(TOKEN)
        client.channels_list(UserToken("u:bob", Secret("other")))
        assert "cookie" not in flock.requests[1].headers

    def test_a_redirect_is_not_followed_because_it_would_carry_the_token_away(self, flock, client):
        answers(flock, Answer(status=302, headers={"Location": "/v1/elsewhere"}))
        with pytest.raises(FlockMethodError, match="302"):
            client.channels_list(TOKEN)
        assert len(flock.requests) == 1

    @pytest.mark.parametrize(
        "url", ["api.flock.co/v1", "ftp://x/v1", "", "https://", "https://u:pw@x/v1", "https://x/v1?a=b"]
    )
    def test_a_base_url_that_is_none_is_a_configuration_error(self, clock, url):
        with pytest.raises(ConfigError, match=r"flock\.base_url") as caught:
            FlockClient(FlockOptions(base_url=url), clock=clock)
        assert "pw" not in str(caught.value)


class TestAnswers:
    def test_elements_are_the_very_bytes_flock_sent(self, flock, client):
        answers(flock, Answer(b'[ {"uid" : "1", "unknown":{"x":1.0}} ,\n {"text":"\\u00e4", "uid":"2"}]'))
        assert client.fetch_messages(TOKEN, "g:one", ["1", "2"]) == [
            b'{"uid" : "1", "unknown":{"x":1.0}}',
            b'{"text":"\\u00e4", "uid":"2"}',
        ]

    def test_a_compressed_answer_is_read(self, flock, client):
        answers(flock, Answer(gzip.compress(b'[{"id":"g:1"}]'), headers={"Content-Encoding": "gzip"}))
        assert client.channels_list(TOKEN) == [b'{"id":"g:1"}']

    def test_a_chunked_answer_is_read(self, flock, client):
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        answers(flock, Answer(raw=head + b'5\r\n[{"a"\r\n4\r\n:1}]\r\n0\r\n\r\n'))
        assert client.channels_list(TOKEN) == [b'{"a":1}']

    @pytest.mark.parametrize(
        "bad",
        [
            Answer(b"<html>maintenance</html>", headers={"Content-Type": "text/html"}),
            Answer(b""),
            Answer(b'[{"uid":"1"},{"ui'),
            Answer(b'[{"uid":"1"}]', body_sent=5),
            Answer(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[1,2"),
            Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope"),
            Answer(raw=b""),
            Answer(raw=b"SSH-2.0-OpenSSH_9.6\r\n"),
            Answer(b'{"uid":"1"}'),
            *[error(status, error="x") for status in (408, 429, 500, 502, 503, 504)],
            Answer(b"", status=503),
            Answer(b"<html>", status=502),
        ],
    )
    def test_an_unusable_answer_is_asked_for_again(self, flock, client, bad):
        answers(flock, bad, bad, Answer(b'[{"uid":"1"}]'))
        assert client.fetch_messages(TOKEN, "g:one", ["1"]) == [b'{"uid":"1"}']
        assert client.stats()["chat.fetchMessages"].retries == 2

    def test_after_all_tries_flock_is_unreachable(self, flock, client, clock):
        answers(flock, Answer(b"", status=500))
        with pytest.raises(FlockUnreachableError, match=r"users\.getInfo.*HTTP 500"):
            client.users_get_info(TOKEN)
        assert len(flock.requests) == 6
        waits = [seconds for seconds in clock.slept if seconds >= 0.5]
        assert len(waits) == 5
        assert all(0.5 * 2**n <= wait <= 0.5 * 2**n + 0.5 for n, wait in enumerate(waits))

    def test_a_server_that_does_not_listen_is_unreachable(self, clock):
        with ScriptedServer(lambda _: Answer()) as gone:
            pass
        with make_client(gone, clock) as client, pytest.raises(FlockUnreachableError, match="ConnectError"):
            client.users_get_info(TOKEN)

    def test_a_server_that_never_answers_times_out(self, flock, clock):
        release = Event()
        answers(flock, Answer(raw=b"HTTP/1.1 200 OK\r\n", hold=release))
        with make_client(flock, clock, timeout_seconds=0.05, tries_max=2) as client:
            with pytest.raises(FlockUnreachableError, match="ReadTimeout"):
                client.users_get_info(TOKEN)
            release.set()
        assert len(flock.requests) == 2

    def test_an_answer_without_end_is_cut_off(self, flock, client):
        endless = b"HTTP/1.1 200 OK\r\n\r\n[" + b"0," * (module.ANSWER_BYTES_MAX // 2 + 1)
        answers(flock, Answer(raw=endless))
        with pytest.raises(FlockUnreachableError, match="larger than"):
            client.channels_list(TOKEN)
        assert len(flock.requests) == 1

    def test_while_flock_is_down_further_calls_try_only_once_and_a_success_restores_patience(self, flock, client):
        answers(flock, Answer(status=503))
        for _ in range(module.UNREACHABLE_IN_A_ROW_MAX):
            with pytest.raises(FlockUnreachableError):
                client.channels_list(TOKEN)
        before = len(flock.requests)
        with pytest.raises(FlockUnreachableError):
            client.channels_list(TOKEN)
        assert len(flock.requests) == before + 1
        answers(flock, Answer(b"[]"))
        client.channels_list(TOKEN)
        answers(flock, Answer(status=503), Answer(b"[]"))
        assert client.channels_list(TOKEN) == []


class TestRefusals:
    @pytest.mark.parametrize(
        ("answer", "code"),
        [
            (error(403, error="InvalidToken", description="no"), "InvalidToken"),
            (error(403, error="InvalidUserToken"), "InvalidUserToken"),
            (error(403, error="AppDisabled", disabledBy="team"), "AppDisabled"),
            (error(400, error="MissingUserToken"), "MissingUserToken"),
            (error(401, error="Whatever"), "Whatever"),
            (Answer(b"", status=401), "InvalidToken"),
            (Answer(b"<html>", status=403), ""),
        ],
    )
    def test_a_refused_token_is_told_at_once(self, flock, client, answer, code):
        answers(flock, answer)
        with pytest.raises(TokenRefusedError, match="u:ada") as caught:
            client.users_get_info(TOKEN)
        assert caught.value.code == code
        assert len(flock.requests) == 1

    def test_who_disabled_the_app_is_said(self, flock, client):
        answers(flock, error(403, error="AppDisabled", disabledBy="team"))
        with pytest.raises(TokenRefusedError, match="disabled by team"):
            client.users_get_info(TOKEN)

    @pytest.mark.parametrize(
        ("answer", "told"),
        [
            (error(400, error="UnknownChat", description="unknown"), (400, "UnknownChat", "")),
            (error(400, error="InvalidParameter", parameter="uids"), (400, "InvalidParameter", "uids")),
            (error(404, error="NoSuchMethod"), (404, "NoSuchMethod", "")),
            (error(403, error="SomethingElse"), (403, "SomethingElse", "")),
            (error(400, error=["not", "text"], parameter=7), (400, "", "")),
            (Answer(b"", status=404), (404, "", "")),
            (Answer(b"\xff" * 100_000, status=400), (400, "", "")),
            (Answer(b"", status=204, headers={"Content-Length": "0"}), (204, "", "")),
            (Answer(b"", status=501), (501, "", "")),
        ],
    )
    def test_any_other_error_concerns_the_call_and_is_not_tried_again(self, flock, client, answer, told):
        answers(flock, answer)
        with pytest.raises(FlockMethodError) as caught:
            client.fetch_messages(TOKEN, "g:one", ["1"])
        assert (caught.value.status, caught.value.code, caught.value.parameter) == told
        assert len(flock.requests) == 1

    @pytest.mark.parametrize("text", ["", "with blank", "line\r\nbreak", "ünïcode", "nul\x00"])
    def test_a_token_that_cannot_be_sent_is_refused_without_sending_it(self, flock, client, text):
        with pytest.raises(TokenRefusedError, match="cannot be sent") as caught:
            client.users_get_info(UserToken("u:ada", Secret(text)))
        assert not text or text not in str(caught.value)
        assert flock.requests == []


class TestRates:
    def test_retry_after_is_waited_for(self, flock, client, clock):
        answers(flock, Answer(status=429, headers={"Retry-After": "40"}), Answer(b"[]"))
        client.channels_list(TOKEN)
        assert clock.monotonic() == pytest.approx(40, abs=2)

    def test_retry_after_with_503_is_waited_for_too(self, flock, client, clock):
        answers(flock, Answer(status=503, headers={"Retry-After": "40"}), Answer(b"[]"))
        client.channels_list(TOKEN)
        assert clock.monotonic() == pytest.approx(40, abs=2)

    def test_without_retry_after_a_429_slows_the_token(self, flock, clock):
        answers(flock, *[Answer(status=429)] * 3, Answer(b"[]"))
        with FlockClient(FlockOptions(base_url=flock.origin, requests_per_second=0.1), clock=clock) as client:
            client.channels_list(TOKEN)
        assert len(flock.requests) == 4
        assert clock.monotonic() > 10 + 20 + 40

    def test_calls_retries_throttles_and_failures_are_counted_by_method(self, flock, client):
        answers(flock, Answer(status=429), Answer(status=500), Answer(b"[]"))
        client.channels_list(TOKEN)
        answers(flock, error(400, error="UnknownChat"))
        with pytest.raises(FlockMethodError):
            client.fetch_messages(TOKEN, "g:one", ["1"])
        assert client.stats() == {
            "channels.list": module.MethodStats(calls=1, retries=2, throttled=1, failed=0),
            "chat.fetchMessages": module.MethodStats(calls=1, retries=0, throttled=0, failed=1),
        }

    def test_many_threads_share_one_client(self, flock):
        flock.script = lambda request: Answer(b'[{"channel":"%s"}]' % request.form["channelId"].encode())
        with make_client(flock, SystemClock()) as client, ThreadPoolExecutor(8) as threads:
            seen = list(threads.map(lambda n: client.channels_list_members(TOKEN, f"g:{n}"), range(100)))
        assert seen == [[b'{"channel":"g:%d"}' % n] for n in range(100)]


class TestSecrets:
    @pytest.mark.parametrize(
        "answer",
        [
            error(403, error="InvalidToken", description=f"token {SECRET} is not valid"),
            error(400, error=SECRET, description=SECRET, parameter=SECRET),
            error(500, error="InternalServerError", description=f"{SECRET}"),
            Answer(raw=f"HTTP/1.1 200 OK\r\n{SECRET}\r\n\r\n".encode()),
            Answer(b"", body_sent=0, headers={"Content-Length": "7"}),
            Answer(raw=b""),
        ],
    )
    def test_no_failure_shows_the_token_anywhere(self, flock, clock, answer, caplog):
        answers(flock, answer)
        caplog.set_level(logging.DEBUG)
        with structlog.testing.capture_logs() as events, make_client(flock, clock, tries_max=2) as client:
            with pytest.raises((TokenRefusedError, FlockMethodError, FlockUnreachableError)) as caught:
                client.users_get_info(TOKEN)
            shown = [
                str(caught.value),
                repr(caught.value),
                repr(client),
                repr(vars(caught.value)),
                caplog.text,
                repr(events),
            ]
        shown += traceback.format_exception(caught.value)
        assert SECRET not in "".join(shown)
        assert caught.value.__context__ is None or SECRET not in repr(vars(caught.value.__context__))

    def test_the_http_libraries_stay_quiet_even_when_everything_is_logged(self, flock, client, caplog):
        caplog.set_level(logging.DEBUG)
        client.channels_list(TOKEN)
        assert [record for record in caplog.records if record.name.startswith("http")] == []

    def test_every_429_is_logged_with_method_and_fingerprint(self, flock, client):
        answers(flock, Answer(status=429, headers={"Retry-After": "3"}), Answer(b"[]"))
        with structlog.testing.capture_logs() as events:
            client.channels_list(TOKEN)
        (throttled,) = [event for event in events if event["event"] == "flock throttles"]
        assert (throttled["method"], throttled["fingerprint"]) == ("channels.list", TOKEN.fingerprint)
        assert throttled["retry_after_seconds"] == 3
