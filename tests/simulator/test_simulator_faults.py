"""Answers that go wrong on purpose (checklist line 10)."""

from __future__ import annotations

import time

import httpx
import pytest

from archiver.errors import UsageError
from archiver.simulator.faults import Fault
from archiver.simulator.limits import RateLimiter
from archiver.simulator.switches import Switches
from tests.manual_clock import ManualClock


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("too_many_requests", (429, "TooManyRequests")),
        ("internal_error", (500, "InternalServerError")),
        ("unavailable", (503, "ServiceUnavailable")),
        ("request_timeout", (408, "RequestTimeout")),
        ("invalid_token", (403, "InvalidToken")),
    ],
)
def test_an_error_of_flocks_own(flock, call, token, kind, expected):
    flock.inject(kind, "api", count=1)
    answer = call("users.getInfo", token)
    assert (answer.status_code, answer.json()["error"]) == expected
    assert call("users.getInfo", token).status_code == 200


def test_a_proxys_error_page(flock, call, token):
    flock.inject("bad_gateway", "api", count=1)
    answer = call("users.getInfo", token)
    assert answer.status_code == 502
    assert answer.headers["content-type"].startswith("text/html")


def test_an_error_without_body_and_content_type(flock, call, token):
    flock.inject("empty_error", "api", count=1)
    answer = call("users.getInfo", token)
    assert (answer.status_code, answer.content) == (500, b"")
    assert "content-type" not in answer.headers


def test_a_200_that_is_not_json(flock, call, token):
    flock.inject("not_json", "api", count=1)
    answer = call("users.getInfo", token)
    assert answer.status_code == 200
    with pytest.raises(ValueError, match="Unterminated"):
        answer.json()


def test_a_body_that_breaks_off(flock, call, token):
    flock.inject("truncated", "api", count=1)
    with pytest.raises(httpx.RemoteProtocolError, match="complete message body"):
        call("channels.list", token)
    assert call("channels.list", token).status_code == 200


def test_a_connection_that_closes_without_an_answer(flock, call, token):
    flock.inject("disconnect", "api", count=1)
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        call("channels.list", token)
    assert call("channels.list", token).status_code == 200


def test_an_answer_that_does_not_come(flock, http, token):
    flock.inject("hang", "api", count=1, seconds=60)
    started = time.monotonic()
    with pytest.raises(httpx.ReadTimeout):
        http.post(f"{flock.base_url}/users.getInfo", data={"token": token}, timeout=0.1)
    assert time.monotonic() - started < 5


def test_an_answer_that_comes_in_drops_is_whole(flock, call, token):
    whole = call("channels.list", token).content
    flock.inject("slow", "api", count=1, seconds=0.05)
    started = time.monotonic()
    assert call("channels.list", token).content == whole
    assert time.monotonic() - started >= 0.04


def test_a_simulator_stops_at_once_while_somebody_waits(flock, http, token):
    flock.inject("hang", "api", count=1, seconds=60)
    with pytest.raises(httpx.ReadTimeout):
        http.post(f"{flock.base_url}/users.getInfo", data={"token": token}, timeout=0.05)
    started = time.monotonic()
    flock.stop()
    assert time.monotonic() - started < 2


def test_a_fault_can_be_for_one_method_only(flock, call, token):
    flock.inject("internal_error", "api:channels.list", count=1)
    assert call("users.getInfo", token).status_code == 200
    assert call("channels.list", token).status_code == 500


def test_a_call_that_goes_wrong_does_nothing(flock, call, token):
    user = list(flock.user_tokens)[1]
    flock.inject("internal_error", "api", count=1)
    call("chat.sendMessage", token, to=user, text="x")
    assert list(flock.truth("message")) == []


def test_faults_are_counted_by_what_was_answered(flock, call, token):
    flock.inject("unavailable", "api", count=2)
    for _ in range(3):
        call("users.getInfo", token)
    assert flock.counters()["methods"] == {"users.getInfo": {"unavailable": 2, "200": 1}}
    flock.reset_counters()
    assert flock.counters()["methods"] == {}


@pytest.mark.parametrize(
    ("kind", "where", "often"),
    [
        ("explode", "api", {"count": 1}),
        ("drop", "api", {"count": 1}),
        ("drop", "nowhere", {"count": 1}),
        ("drop", "webhooks", {}),
        ("drop", "webhooks", {"count": 1, "probability": 0.5}),
        ("drop", "webhooks", {"probability": 1.5}),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(kind, where, often):
    with pytest.raises(UsageError):
        Fault(kind, where, **often)


def test_the_same_seed_strikes_the_same_calls():
    def strikes() -> list[bool]:
        fault = Fault("drop", "webhooks", probability=0.3, seed=11)
        return [fault.strikes("webhooks", "x") for _ in range(200)]

    assert strikes() == strikes()
    assert 30 < sum(strikes()) < 90


def test_a_bucket_fills_with_time_up_to_its_burst():
    clock = ManualClock()
    limiter = RateLimiter(clock)
    switches = Switches(calls_per_second=2.0, calls_burst=2)

    def let_through() -> bool:
        return limiter.wait_for("token", "users.getInfo", switches) == 0.0

    assert [let_through() for _ in range(3)] == [True, True, False]
    clock.turn(0.5)
    assert [let_through() for _ in range(2)] == [True, False]
    assert limiter.wait_for("token", "users.getInfo", switches) == pytest.approx(0.5)
    clock.turn(3600)
    assert [let_through() for _ in range(3)] == [True, True, False]
    assert limiter.wait_for("other token", "users.getInfo", switches) == 0.0
