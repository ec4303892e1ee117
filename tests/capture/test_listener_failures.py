"""When the spool cannot be written, when the machine dies, when the listener is stopped: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import itertools
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import httpx
import pytest

from archiver.capture.listener_server import ListenerServer
from archiver.clock import SystemClock
from archiver.errors import EXIT_USAGE, ConfigError, SpoolError
from archiver.spool.sqlite import SqliteSpool
from tests.capture.running_listener import (
    DEADLINE_SECONDS,
    MESSAGE,
    PATH_SECRET,
    WEBHOOK_TOKEN,
    captures_in,
    running,
    running_on_sqlite,
)
from tests.capture.test_listener_webhooks import assert_is_empty
from tests.manual_clock import ManualClock

REPOSITORY = Path(__file__).resolve().parents[2]
CONNECTIONS = 32
PUSHES_MIN = 400


class BrokenSpool(SqliteSpool):
    """A real spool whose disk fills up and empties again at a word."""

    is_full = False

    def append(self, captures):
        self._refuse_if_full()
        super().append(captures)

    def probe(self):
        self._refuse_if_full()
        super().probe()

    def _refuse_if_full(self):
        if self.is_full:
            raise SpoolError("the spool has no space left", next_step="free some")


@pytest.fixture
def broken(tmp_path):
    spool = BrokenSpool(tmp_path / "spool.sqlite")
    yield spool
    spool.close()


def test_what_cannot_be_kept_is_answered_503_until_it_can(tmp_path, broken):
    with running(broken, tmp_path / "spool.sqlite") as listener:
        broken.is_full = True
        assert_is_empty(listener.push(), 503)
        assert listener.spooled() == []
        broken.is_full = False
        assert_is_empty(listener.push(), 200)
        assert len(listener.spooled()) == 1


def test_a_full_file_is_answered_503(tmp_path):
    path = tmp_path / "spool.sqlite"
    spool = SqliteSpool(path)
    # SQLite answers as on a full disk.
    spool._connection.execute("PRAGMA max_page_count = 8")
    with running(spool, path) as listener:
        assert_is_empty(listener.push(b"x" * 9_000), 200)
        assert_is_empty(listener.push(b"x" * 9_000), 503)
        assert len(listener.spooled()) == 1
    spool.close()


def test_health_says_whether_the_spool_can_be_written(tmp_path, broken):
    clock = ManualClock(now_ms=SystemClock().now_ms())
    with running(broken, tmp_path / "spool.sqlite", clock=clock) as listener:
        health = f"{listener.url}/healthz"
        assert_is_empty(listener.http.get(health), 200)
        broken.is_full = True
        # What was found out holds for a second, so that nobody can make us write at will.
        assert_is_empty(listener.http.get(health), 200)
        clock.turn(1.0)
        assert_is_empty(listener.http.get(health), 503)
        broken.is_full = False
        clock.turn(1.0)
        assert_is_empty(listener.http.get(health), 200)


def test_more_than_may_wait_is_answered_503(tmp_path):
    """Pushes that would only wait in memory are refused, so that their sender knows."""
    gate = threading.Event()

    class SlowSpool(SqliteSpool):
        def append(self, captures):
            assert gate.wait(DEADLINE_SECONDS)
            super().append(captures)

    path = tmp_path / "spool.sqlite"
    spool = SlowSpool(path)
    with running(spool, path, captures_waiting_max=3) as listener, ThreadPoolExecutor(4) as senders:
        pushes = [senders.submit(listener.push) for _ in range(4)]
        first = next(as_completed(pushes, timeout=DEADLINE_SECONDS))
        assert_is_empty(first.result(), 503)
        gate.set()
        assert sorted(push.result().status_code for push in pushes) == [200, 200, 200, 503]
        assert len(listener.spooled()) == 3
    spool.close()


def serve_in_child(spool_path: Path) -> tuple[subprocess.Popen[str], str]:
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.capture.listener_process", str(spool_path)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    return child, child.stdout.readline().strip()


async def push_until_gone(url: str, worker: int, acknowledged: list[bytes], enough: asyncio.Event) -> None:
    async with httpx.AsyncClient(timeout=DEADLINE_SECONDS, trust_env=False) as http:
        for number in range(100_000):
            body = b'{"uid":"%d-%d","text":"%s"}' % (worker, number, b"\xc3\xa9" * (number % 50))
            try:
                answer = await http.post(
                    f"{url}/hooks/{PATH_SECRET}/general", params={"token": WEBHOOK_TOKEN}, content=body
                )
            except httpx.HTTPError:
                return
            assert answer.status_code == 200
            acknowledged.append(body)
            if len(acknowledged) > PUSHES_MIN:
                enough.set()


async def load(url: str, child: subprocess.Popen[str], number: signal.Signals) -> list[bytes]:
    """Push over many connections, send the signal in the middle, and return what was acknowledged."""
    acknowledged: list[bytes] = []
    enough = asyncio.Event()
    pushing = [asyncio.create_task(push_until_gone(url, n, acknowledged, enough)) for n in range(CONNECTIONS)]
    await asyncio.wait_for(enough.wait(), DEADLINE_SECONDS)
    child.send_signal(number)
    await asyncio.gather(*pushing)
    return acknowledged


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_every_acknowledged_push_is_there_after_the_end(tmp_path, number):
    """Killed under load or stopped in order: what was answered 200 is in the spool, byte for byte."""
    path = tmp_path / "spool.sqlite"
    child, url = serve_in_child(path)

    acknowledged = asyncio.run(load(url, child, number))
    code = child.wait(DEADLINE_SECONDS)
    child.stdout.close()

    kept = [capture.body for capture in captures_in(path)]
    assert len(acknowledged) > PUSHES_MIN
    assert set(acknowledged) <= set(kept)
    assert len(kept) == len(set(kept))
    # A push may be kept and its answer lost with the connection; at most one on each.
    assert len(kept) - len(acknowledged) <= CONNECTIONS
    if number is signal.SIGKILL:
        assert code == -signal.SIGKILL
    else:
        assert code == 0
        assert len(kept) == len(acknowledged)


def test_a_push_under_way_is_finished_before_the_listener_ends(tmp_path):
    path = tmp_path / "spool.sqlite"
    child, url = serve_in_child(path)
    host, port = url.removeprefix("http://").split(":")
    head = f"POST /hooks/{PATH_SECRET}/general?token={WEBHOOK_TOKEN} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(MESSAGE)}\r\n"
    with socket.create_connection((host, int(port)), timeout=DEADLINE_SECONDS) as connection:
        connection.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n" + MESSAGE[:10])
        # It has begun to read the body.
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        child.send_signal(signal.SIGTERM)
        until_refused(host, int(port))
        connection.sendall(MESSAGE[10:])
        assert connection.recv(1_000).startswith(b"HTTP/1.1 200")

    assert child.wait(DEADLINE_SECONDS) == 0
    child.stdout.close()
    assert [capture.body for capture in captures_in(path)] == [MESSAGE]


def until_refused(host, port):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            continue  # It was taken at the very moment of the end.
    raise AssertionError("it still takes connections")


def test_an_address_in_use_is_a_wrong_configuration(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1 port {port}") as caught:
            ListenerServer(None, host="127.0.0.1", port=port)

    assert caught.value.exit_code == EXIT_USAGE
    assert "listen.port" in caught.value.next_step


@pytest.mark.parametrize("host", ["no-such-host.invalid", "256.0.0.1", "a" * 100])
def test_an_address_that_is_not_ours_is_a_wrong_configuration(host):
    with pytest.raises(ConfigError, match="cannot listen on"):
        ListenerServer(None, host=host, port=0)


def raw(listener, *given: bytes, then: Iterable[bytes] = ()) -> bytes:
    """Send bytes as they are and return everything that comes back until the listener closes."""
    host, port = listener.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE_SECONDS) as connection:
        try:
            for part in itertools.chain(given, then):
                connection.sendall(part)
        except ConnectionError:
            pass
        answer = b""
        try:
            while chunk := connection.recv(65_536):
                answer += chunk
        except ConnectionError:
            pass
    return answer


def test_a_head_without_end_is_cut_off(tmp_path):
    """The server library collects headers of any size before anybody is let in."""
    sent = 0

    def fillers():
        nonlocal sent
        for sent in range(100_000):
            yield b"x-filler-%d: %s\r\n" % (sent, b"y" * 1_000)

    with running_on_sqlite(tmp_path) as listener:
        answer = raw(listener, b"POST /events HTTP/1.1\r\nHost: x\r\n", then=fillers())

        assert sent < 99_999
        # The answer may be lost, as we go on sending to a closed door.
        assert not answer or answer.startswith(b"HTTP/1.1 431")
        assert_is_empty(listener.push(), 200)


@pytest.mark.parametrize(
    "part",
    [b"", b"POST /events HTTP/1.1\r\nHost: x\r\n", b"POST /healthz HTTP/1.1\r\nContent-Length: 9\r\n\r\nx"],
    ids=["nothing", "half a head", "half a body"],
)
def test_a_request_that_never_ends_is_cut_off(tmp_path, part):
    with running_on_sqlite(tmp_path, request_seconds_max=0.2) as listener:
        assert_is_empty(listener.push(), 200)
        answer = raw(listener, part)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 405")
        # One that is whole has no such end: its connection stays open.
        assert_is_empty(listener.push(), 200)


def test_garbage_is_answered_400_and_harms_nobody(tmp_path):
    with running_on_sqlite(tmp_path) as listener:
        assert raw(listener, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n").startswith(b"HTTP/1.1 400")
        assert raw(listener, b"POST /events HTTP/1.1\r\nContent-Length: -5\r\n\r\n").startswith(b"HTTP/1.1 400")
        assert raw(listener, b"POST /events HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n").startswith(
            b"HTTP/1.1 400"
        )
        assert_is_empty(listener.push(), 200)


def test_a_sender_who_leaves_in_the_middle_leaves_nothing(tmp_path):
    head = (
        f"POST /hooks/{PATH_SECRET}/general?token={WEBHOOK_TOKEN} HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n"
    )
    with running_on_sqlite(tmp_path) as listener:
        host, port = listener.url.removeprefix("http://").split(":")
        for _ in range(5):
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(head.encode() + b"x" * 100)
        assert_is_empty(listener.push(), 200)
        assert [capture.body for capture in listener.spooled()] == [MESSAGE]


def test_pushes_on_one_connection_are_answered_in_turn(tmp_path):
    head = f"POST /hooks/{PATH_SECRET}/general?token={WEBHOOK_TOKEN} HTTP/1.1\r\nHost: x\r\n"
    first = head.encode() + b"Content-Length: 1\r\n\r\n1"
    last = head.encode() + b"Connection: close\r\nContent-Length: 1\r\n\r\n2"
    with running_on_sqlite(tmp_path) as listener:
        assert raw(listener, first + first + last).count(b"HTTP/1.1 200") == 3
        assert [capture.body for capture in listener.spooled()] == [b"1", b"1", b"2"]
