"""A small HTTP/1.1 client for pushes: one POST, one answer, no retry, connections kept open.

It exists because Flock's pushes have a shape that client libraries do not give (a content type that ends in a semicolon, no
Accept, no User-Agent) and because a data set should play at several thousand pushes a second. It speaks plain http and https and
follows no redirects, as a webhook sender should not.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import httptools

from archiver.errors import UsageError

# An answer of any size is read to its end, but only this much of it is kept.
ANSWER_BYTES_MAX = 64 * 1024
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a callback URL points, taken apart once."""

    host: str
    port: int
    tls: bool
    authority: str
    target: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for a push: the status and the beginning of the body, or the reason why nothing came."""

    status: int | None
    body: bytes = b""
    error: str = ""


def address_of(url: str) -> Address:
    """Take a callback URL apart; raises `UsageError` if it is no http or https URL that can be put on a request line."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    written = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or port == -1 or not written:
        raise UsageError(f"{url!r} is no callback URL", next_step="give an absolute http:// or https:// URL")
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    authority = parts.netloc.rpartition("@")[2]
    return Address(parts.hostname, port or _DEFAULT_PORTS[parts.scheme], parts.scheme == "https", authority, target)


class Pusher:
    """Keeps idle connections by origin and sends pushes over them, each at most once."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, int, bool], list[_Connection]] = {}
        self._open: set[_Connection] = set()

    async def post(self, address: Address, headers: str, body: bytes, *, timeout_seconds: float) -> Answer:
        """Send one POST and return its answer; ``headers`` are whole lines, each with its line end. Never raises for the network."""
        head = f"POST {address.target} HTTP/1.1\r\nHost: {address.authority}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        try:
            async with asyncio.timeout(timeout_seconds):
                connection = await self._connection(address)
                try:
                    answer = await connection.exchange(head.encode("latin-1") + body)
                except BaseException:
                    connection.close()
                    raise
        except TimeoutError:
            return Answer(None, error="timeout")
        except (OSError, httptools.HttpParserError) as error:
            return Answer(None, error=type(error).__name__)
        if connection.reusable:
            self._idle.setdefault((address.host, address.port, address.tls), []).append(connection)
        else:
            connection.close()
        return answer

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self._open):
            connection.close()
        self._idle.clear()

    async def _connection(self, address: Address) -> _Connection:
        idle = self._idle.get((address.host, address.port, address.tls), [])
        while idle:
            connection = idle.pop()
            if connection.reusable:
                return connection
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: _Connection(self._open), address.host, address.port, ssl=True if address.tls else None
        )
        return connection


class _Connection(asyncio.Protocol):
    """One connection; at most one exchange at a time."""

    def __init__(self, registry: set[_Connection]) -> None:
        self._registry = registry
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._body = bytearray()
        self._alive = False

    @property
    def reusable(self) -> bool:
        """Tell whether another exchange may follow."""
        return self._alive and self._answer is None

    async def exchange(self, request: bytes) -> Answer:
        """Send a request and return its answer; raises `OSError` if the connection ends before that."""
        if self._transport is None:
            raise ConnectionResetError("the connection is closed")
        self._parser = httptools.HttpResponseParser(self)
        self._body.clear()
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """End the connection at once."""
        self._alive = False
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport."""
        # uvloop's transports are no subclass of asyncio's, though they do the same.
        self._transport = cast("asyncio.Transport", transport)
        self._alive = True
        self._registry.add(self)

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        if self._parser is None:
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._finish(error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what was under way."""
        self._alive = False
        self._transport = None
        self._registry.discard(self)
        self._finish(exc if isinstance(exc, OSError) else ConnectionResetError("closed before the answer ended"))

    # httptools.HttpResponseParser

    def on_body(self, body: bytes) -> None:
        """Keep the beginning of the body."""
        self._body += body[: ANSWER_BYTES_MAX - len(self._body)]

    def on_message_complete(self) -> None:
        """Hand the answer over."""
        assert self._parser is not None
        self._alive = self._alive and self._parser.should_keep_alive()
        self._finish(Answer(self._parser.get_status_code(), bytes(self._body)))

    def _finish(self, outcome: Answer | Exception) -> None:
        waiting, self._answer = self._answer, None
        if waiting is None or waiting.done():
            return
        with contextlib.suppress(asyncio.InvalidStateError):
            if isinstance(outcome, Answer):
                waiting.set_result(outcome)
            else:
                waiting.set_exception(outcome)
