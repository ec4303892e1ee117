"""Pages of history: of a declared method as Flock's other methods are called, of a gateway's URL without a token in any address."""

from __future__ import annotations

import pytest

from archiver.errors import FlockMethodError, FlockUnreachableError, TokenRefusedError
from archiver.flock.answers import split_array, split_object
from archiver.flock.client import FlockClient, FlockOptions
from archiver.flock.tokens import Secret, UserToken
from tests.manual_clock import ManualClock
from tests.servers.scripted import Answer, ScriptedServer

TOKEN = UserToken("u:ann", Secret("s3cret"))


def client(server, **options):
    return FlockClient(
        FlockOptions(base_url=f"{server.origin}/v1", requests_per_second=1_000, tries_max=2, **options),
        clock=ManualClock(),
    )


def answering(status=200, body=b'{"messages":[]}'):
    return ScriptedServer(lambda _: Answer(body, status))


def ask_gateway(flock, server, verb="GET"):
    url = f"{server.origin}/history/g%3A1"
    return flock.gateway_page(TOKEN, "gateway", url, {"limit": "5", "a b": "ä&"}, split_object, verb=verb)


def test_a_method_is_called_as_the_others_are():
    with answering() as server, client(server) as flock:
        assert flock.method_page(TOKEN, "chat.history", {"chat": "g:1"}, split_object) == {"messages": b"[]"}
        (request,) = server.requests
        assert (request.verb, request.path) == ("POST", "/v1/chat.history")
        assert request.form == {"chat": "g:1", "token": "s3cret"}
        assert flock.stats()["chat.history"].calls == 1


def test_a_gateway_gets_the_token_in_the_header_alone():
    with answering() as server, client(server, auth="body") as flock:
        ask_gateway(flock, server)
        ask_gateway(flock, server, "POST")
        get, post = server.requests
        assert (get.verb, get.target) == ("GET", "/history/g%3A1?limit=5&a+b=%C3%A4%26")
        assert (post.verb, post.target, post.form) == ("POST", "/history/g%3A1", {"limit": "5", "a b": "ä&"})
        for request in (get, post):
            assert request.headers["authorization"] == "Bearer s3cret"
            assert "s3cret" not in request.target
            assert b"s3cret" not in request.body
        assert flock.stats()["gateway"].calls == 2


@pytest.mark.parametrize(
    ("status", "error"), [(401, TokenRefusedError), (403, FlockMethodError), (404, FlockMethodError)]
)
def test_a_gateway_that_keeps_a_chat_from_us_says_nothing_about_the_token(status, error):
    with answering(status, b"no") as server, client(server) as flock, pytest.raises(error):
        ask_gateway(flock, server)


def test_an_answer_that_cannot_be_read_is_asked_for_again():
    with answering(body=b'[1,{"a":') as server, client(server) as flock:
        with pytest.raises(FlockUnreachableError, match="the gateway gave no usable answer"):
            flock.gateway_page(TOKEN, "gateway", server.origin, {}, split_array, verb="GET")
        assert len(server.requests) == 2
