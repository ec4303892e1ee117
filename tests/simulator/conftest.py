"""A listener that records what reaches it, and simulators to talk to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import pytest

from archiver.simulator.server import Simulator


@dataclass
class Received:
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


@dataclass
class Listener:
    """What a callback saw; ``answer`` and ``status`` are what it says."""

    url: str = ""
    status: int = 200
    answer: bytes = b""
    received: list[Received] = field(default_factory=list)

    def bodies(self) -> list[Any]:
        return [request.json() for request in self.received]


@pytest.fixture
def listener() -> Iterator[Listener]:
    known = Listener()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            known.received.append(Received(parts.path, parse_qs(parts.query), headers, body))
            self.send_response(known.status)
            self.send_header("Content-Length", str(len(known.answer)))
            self.end_headers()
            self.wfile.write(known.answer)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        # The default of five refuses some of many connections that come at once.
        request_queue_size = 128

    server = Server(("127.0.0.1", 0), Handler)
    known.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield known
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def flock() -> Iterator[Simulator]:
    """A small seeded workspace in which nothing has happened yet."""
    with Simulator(seed=7, messages=60) as simulator:
        yield simulator


@dataclass
class Caller:
    """Calls the API as one user does, by form."""

    flock: Simulator
    http: httpx.Client

    def __call__(self, method: str, token: str | None, **parameters: Any) -> httpx.Response:
        form = {
            name: value if isinstance(value, str) else msgspec.json.encode(value).decode()
            for name, value in parameters.items()
        }
        if token is not None:
            form["token"] = token
        return self.http.post(f"{self.flock.base_url}/{method}", data=form)


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=10) as client:
        yield client


@pytest.fixture
def call(flock: Simulator, http: httpx.Client) -> Caller:
    return Caller(flock, http)


@pytest.fixture
def token(flock: Simulator) -> str:
    return next(iter(flock.user_tokens.values()))
