"""How many pushes a second the listener acknowledges durably, against the same server with a handler that only answers.

    python benchmarks/listener.py [--rounds 5] [--seconds 4] [--connections 32] [--directory DIR]

Each round starts both servers anew, one after the other, and pushes at each over the same connections from a process of its own,
as fast as answers come. Both are `ListenerServer` (uvicorn, uvloop, httptools) with a Starlette application; the other side's
handler is a plain ASGI one that answers an empty 200 without so much as reading the body, which is the least that any can do.
Figures are medians over the rounds; the ratio is the median of the rounds' ratios. The spool lies in DIR (default: beside this
file's repository, not in a memory file system, where a sync costs nothing).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import structlog
import uvloop
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from archiver.capture.listener import ListenerOptions, listener_app  # noqa: E402 - the checkout's own package
from archiver.capture.listener_server import ListenerServer  # noqa: E402 - as above
from archiver.clock import SystemClock  # noqa: E402 - as above
from archiver.flock.tokens import Secret  # noqa: E402 - as above
from archiver.spool.group_commit import GroupCommitter  # noqa: E402 - as above
from archiver.spool.sqlite import SqliteSpool  # noqa: E402 - as above

RATIO_MIN = 0.5
P99_MS_MAX = 50.0
PATH_SECRET = "benchmark-path-secret-0123456789"
TOKEN = "benchmark-webhook-token"
TARGET = f"/hooks/{PATH_SECRET}/general?token={TOKEN}"
WARM_UP_SHARE = 0.2


@dataclass(frozen=True)
class Load:
    """What one run of one side came to."""

    pushes_per_second: float
    p50_ms: float
    p99_ms: float
    longest_ms: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--directory", type=Path, default=REPOSITORY)
    parser.add_argument("--serve", choices=["listener", "answer"], help=argparse.SUPPRESS)
    parser.add_argument("--push-at", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve, given.directory)
        return 0
    if given.push_at:
        load = uvloop.run(push_at(given.push_at, connections=given.connections, seconds=given.seconds))
        print(json.dumps(asdict(load)))
        return 0
    return compare(given)


def compare(given: argparse.Namespace) -> int:
    listener: list[Load] = []
    answer: list[Load] = []
    for number in range(given.rounds):
        # Which side comes first changes, so that neither always meets the warmer machine.
        for side in ("listener", "answer") if number % 2 else ("answer", "listener"):
            (listener if side == "listener" else answer).append(measure(side, given))
        print(f"round {number + 1}: {row(listener[-1])} | only answering: {row(answer[-1])}", flush=True)
    ratio = statistics.median(
        ours.pushes_per_second / theirs.pushes_per_second for ours, theirs in zip(listener, answer, strict=True)
    )
    ours, theirs = median_of(listener), median_of(answer)
    print(f"\nmedians of {given.rounds} rounds of {given.seconds:g} s at {given.connections} connections")
    print(f"  listener, acknowledged durable: {row(ours)}")
    print(f"  same server, only answering:    {row(theirs)}")
    met = ratio >= RATIO_MIN and ours.p99_ms < P99_MS_MAX
    print(f"  ratio {ratio:.2f} (at least {RATIO_MIN}), p99 {ours.p99_ms:.1f} ms (under {P99_MS_MAX:g})", end=": ")
    print("met" if met else "NOT MET")
    return 0 if met else 1


def measure(side: str, given: argparse.Namespace) -> Load:
    with tempfile.TemporaryDirectory(prefix=".benchmark-", dir=given.directory) as directory:
        program = [sys.executable, __file__]
        with subprocess.Popen(
            [*program, "--serve", side, "--directory", directory], stdout=subprocess.PIPE, text=True
        ) as server:
            assert server.stdout is not None
            try:
                url = server.stdout.readline().strip()
                arguments = ["--connections", str(given.connections), "--seconds", str(given.seconds)]
                done = subprocess.run(
                    [*program, "--push-at", url, *arguments], stdout=subprocess.PIPE, text=True, check=True
                )
            finally:
                server.terminate()
        return Load(**json.loads(done.stdout))


def serve(side: str, directory: Path) -> None:
    # Its count of pushes would go to a pipe that nobody reads any more.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with contextlib.ExitStack() as stack:
        if side == "listener":
            spool = stack.enter_context(contextlib.closing(SqliteSpool(directory / "spool.sqlite")))
            options = ListenerOptions(path_secret=Secret(PATH_SECRET), webhook_tokens={"general": Secret(TOKEN)})
            app = listener_app(options, committer=GroupCommitter(spool), clock=SystemClock())
        else:
            app = Starlette(routes=[Route("/hooks/{rest:path}", _OnlyAnswer(), methods=["POST"])])
        ListenerServer(app, host="127.0.0.1", port=0).run(announce=lambda url: print(url, flush=True))


class _OnlyAnswer:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


async def push_at(url: str, *, connections: int, seconds: float) -> Load:
    """Push over some connections, on each the next as soon as the last was answered; the beginning does not count."""
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    begin = time.perf_counter()
    end = begin + seconds * (1 + WARM_UP_SHARE)
    begin += seconds * WARM_UP_SHARE
    pushers = [Pusher(number, counted_from=begin, until=end) for number in range(connections)]
    for pusher in pushers:
        await loop.create_connection(lambda pusher=pusher: pusher, parts.hostname, parts.port)
    await asyncio.gather(*(pusher.ended for pusher in pushers))
    taken = sorted(taken for pusher in pushers for taken in pusher.taken)
    return Load(
        pushes_per_second=len(taken) / seconds,
        p50_ms=taken[len(taken) // 2] * 1_000,
        p99_ms=taken[int(len(taken) * 0.99)] * 1_000,
        longest_ms=taken[-1] * 1_000,
    )


class Pusher(asyncio.Protocol):
    """One connection that pushes without a pause; it does as little as possible, so as not to be what is measured."""

    def __init__(self, number: int, *, counted_from: float, until: float) -> None:
        self.taken: list[float] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests = [request(f"{number}-{n}") for n in range(64)]
        self._sent = 0
        self._sent_at = 0.0
        self._counted_from = counted_from
        self._until = until
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Push."""
        self._transport = transport
        self._push(time.perf_counter())

    def data_received(self, data: bytes) -> None:
        """Note the answer and push again; an answer ends with its head, because its body is empty."""
        self._answer += data
        if not self._answer.endswith(b"\r\n\r\n"):
            return
        now = time.perf_counter()
        if not self._answer.startswith(b"HTTP/1.1 200 "):
            self.ended.set_exception(AssertionError(self._answer))
            return
        self._answer = b""
        if now >= self._until:
            self._transport.close()
            self.ended.set_result(None)
            return
        if self._sent_at >= self._counted_from:
            self.taken.append(now - self._sent_at)
        self._push(now)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail unless we closed it."""
        if not self.ended.done():
            self.ended.set_exception(exc or ConnectionError("the server closed the connection"))

    def _push(self, now: float) -> None:
        self._sent_at = now
        self._sent += 1
        self._transport.write(self._requests[self._sent % len(self._requests)])


def request(uid: str) -> bytes:
    """Return a push as Flock sends it (flock-api.md 6.1, 11.1): about 400 bytes of body."""
    message = {
        "id": f"d_1700000000000_{uid}",
        "to": "g:0123456789abcdef0123456789abcdef",
        "from": "u:aaaabbbbccccdddd",
        "text": "The quarterly figures are in the usual place; please look before four. " * 2,
        "timestamp": "2023-11-14T22:13:20.123Z",
        "timestampInMillis": 1_700_000_000_123,
        "uid": f"1700000000123-{uid}-m201",
        "onBehalfOf": "",
        "visibleTo": [],
    }
    body = json.dumps(message, separators=(",", ":")).encode()
    head = (
        f"POST {TARGET} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json;\r\n"
        f"Accept-Encoding: gzip, deflate\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def median_of(loads: list[Load]) -> Load:
    columns = zip(*(asdict(load).values() for load in loads), strict=True)
    return Load(*(statistics.median(column) for column in columns))


def row(load: Load) -> str:
    return (
        f"{load.pushes_per_second:8,.0f} pushes/s, p50 {load.p50_ms:5.1f} ms, p99 {load.p99_ms:5.1f} ms, "
        f"longest {load.longest_ms:6.1f} ms"
    )


if __name__ == "__main__":
    sys.exit(main())
