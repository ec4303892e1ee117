"""A real listener on a free port of this machine, and what Flock would send to it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt

from archiver.capture.listener import ListenerOptions, listener_app
from archiver.capture.listener_server import REQUEST_SECONDS_MAX, ListenerServer
from archiver.clock import Clock, SystemClock
from archiver.flock.token_store import TokenStore
from archiver.flock.tokens import Secret
from archiver.model.capture import Capture
from archiver.spool import Spool
from archiver.spool.group_commit import CAPTURES_WAITING_MAX, GroupCommitter
from archiver.spool.sqlite import SqliteSpool

PATH_SECRET = "path-secret-0123456789abcdef"
WEBHOOK_TOKEN = "webhook-token-0123456789"
APP_ID = "app-0123"
APP_SECRET = "app-secret-" + "0123456789" * 6
USER = "u:ada0123456789abc"
MESSAGE = (
    b'{"id":"d_1","to":"g:0123","from":"u:ada0123456789abc","text":"caf\xc3\xa9","uid":"1-aBc-m201","n":1.0e2, "x":[]}'
)
DEADLINE_SECONDS = 20

OPTIONS = ListenerOptions(
    path_secret=Secret(PATH_SECRET),
    webhook_tokens={"general": Secret(WEBHOOK_TOKEN), "random": Secret("another-token-0123456789")},
    app_id=APP_ID,
    app_secret=Secret(APP_SECRET),
    body_bytes_max=10_000,
)


@dataclass(frozen=True)
class Listener:
    """A running listener: its address, its spool's file, and a client."""

    url: str
    spool_path: Path
    http: httpx.Client

    def push(self, body: bytes = MESSAGE, *, name: str = "general", **how: Any) -> httpx.Response:
        how.setdefault("headers", {"Content-Type": "application/json;"})
        how.setdefault("params", {"token": WEBHOOK_TOKEN})
        return self.http.post(f"{self.url}/hooks/{PATH_SECRET}/{name}", content=body, **how)

    def event(self, body: bytes, *, token: str | None = None, **how: Any) -> httpx.Response:
        headers = {"Content-Type": "application/json", "X-Flock-Event-Token": event_token() if token is None else token}
        return self.http.post(f"{self.url}/events", content=body, headers=headers | how.pop("headers", {}), **how)

    def spooled(self) -> list[Capture]:
        return captures_in(self.spool_path)

    def forget(self) -> None:
        """Empty the spool, so that one listener serves many tests."""
        with contextlib.closing(SqliteSpool(self.spool_path)) as spool:
            spool.discard(through=2**62)


def captures_in(spool_path: Path) -> list[Capture]:
    with contextlib.closing(SqliteSpool(spool_path)) as spool:
        found = spool.read(after=0, captures_max=1_000_000, bytes_max=1_000_000_000)
    return [spooled.capture for spooled in found]


def event_token(*, secret: str = APP_SECRET, algorithm: str = "HS256", at: float | None = None, **claims: Any) -> str:
    """Sign what Flock signs (flock-api.md 10.2), or what it would not."""
    issued = int(time.time() if at is None else at)
    payload = {"appId": APP_ID, "userId": USER, "iat": issued, "exp": issued + 8, "jti": "jti-1"} | claims
    payload = {name: value for name, value in payload.items() if value is not None}
    return jwt.encode(payload, None if algorithm == "none" else secret, algorithm=algorithm)


@contextlib.contextmanager
def running(
    spool: Spool,
    spool_path: Path,
    *,
    options: ListenerOptions = OPTIONS,
    tokens: TokenStore | None = None,
    clock: Clock | None = None,
    captures_waiting_max: int = CAPTURES_WAITING_MAX,
    request_seconds_max: float = REQUEST_SECONDS_MAX,
) -> Iterator[Listener]:
    committer = GroupCommitter(spool, captures_waiting_max=captures_waiting_max)
    app = listener_app(options, committer=committer, clock=clock or SystemClock(), tokens=tokens)
    server = ListenerServer(app, host="127.0.0.1", port=0, request_seconds_max=request_seconds_max)
    started = threading.Event()
    thread = threading.Thread(target=server.run, kwargs={"announce": lambda _: started.set()})
    thread.start()
    try:
        assert started.wait(DEADLINE_SECONDS)
        with httpx.Client(timeout=DEADLINE_SECONDS, trust_env=False) as http:
            yield Listener(server.url, spool_path, http)
    finally:
        server.stop()
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive()


@contextlib.contextmanager
def running_on_sqlite(directory: Path, **how: Any) -> Iterator[Listener]:
    path = directory / "spool.sqlite"
    with contextlib.closing(SqliteSpool(path)) as spool, running(spool, path, **how) as listener:
        yield listener
