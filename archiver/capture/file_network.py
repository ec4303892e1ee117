"""The way to file hosts: every connection goes to an address that was looked at, and no wait outlasts the download's time.

The name is resolved once, all its addresses are checked, and the connection is made to one of those very addresses. A
name that changes its address between check and use (DNS rebinding) therefore gains nothing. TLS still proves the name.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from threading import local
from typing import Any, Final

import httpcore
import httpx

from archiver.capture.file_hosts import HostPolicy, UrlRefusedError, is_public_address
from archiver.clock import Clock

Resolve = Callable[[str, int], Sequence[str]]

CONNECT_SECONDS_MAX: Final = 15.0
# A host that is silent for so long in the middle of a file is given up before the whole time is spent.
SILENCE_SECONDS_MAX: Final = 60.0


class Deadline:
    """The moment by which the work of the current thread must be done; each thread has its own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._mine = local()

    def set(self, seconds: float) -> None:
        """Give the current thread so many seconds from now."""
        self._mine.at = self._clock.monotonic() + seconds

    def remaining(self, timeout: float | None) -> float:
        """Return how long a wait may last: up to ``timeout``, but not beyond the deadline; 0 if it has passed."""
        at: float | None = getattr(self._mine, "at", None)
        if at is None:
            return SILENCE_SECONDS_MAX if timeout is None else timeout
        left = max(at - self._clock.monotonic(), 0.0)
        return left if timeout is None else min(left, timeout)


class PoolTransport(httpx.BaseTransport):
    """An httpx transport over an httpcore pool whose connections go only where the policy lets them."""

    def __init__(
        self,
        policy: HostPolicy,
        *,
        connections: int,
        deadline: Deadline,
        resolve: Resolve,
        ssl_context: ssl.SSLContext,
    ) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl_context,
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=15.0,
            network_backend=_VettedBackend(policy, deadline, resolve),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; raises `httpx.TransportError`, or `UrlRefusedError` if the name stands for a private address."""
        with _errors_of_httpx():
            answer = self._pool.handle_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(
                        scheme=request.url.raw_scheme,
                        host=request.url.raw_host,
                        port=request.url.port,
                        target=request.url.raw_path,
                    ),
                    headers=request.headers.raw,
                    content=request.read(),
                    extensions=request.extensions,
                )
            )
        assert isinstance(answer.stream, Iterable)
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer.stream))

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


def resolve_addresses(host: str, port: int) -> list[str]:
    """Return the IP addresses of a host name, as the system resolves it; raises `OSError` if it does not."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class _VettedBackend(httpcore.NetworkBackend):
    """Opens connections to addresses that were looked at."""

    def __init__(self, policy: HostPolicy, deadline: Deadline, resolve: Resolve) -> None:
        self._policy = policy
        self._deadline = deadline
        self._resolve = resolve
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Resolve, check and connect; one private address among the public ones is a trap, so it refuses all."""
        try:
            addresses = self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the name {host} cannot be resolved: {error}") from None
        if not self._policy.trusts(host, port) and not all(is_public_address(address) for address in addresses):
            raise UrlRefusedError("private_address")
        problem: Exception = httpcore.ConnectError(f"the name {host} has no address")
        for address in addresses:
            try:
                stream = self._sockets.connect_tcp(
                    address,
                    port,
                    timeout=_positive(self._deadline.remaining(timeout), httpcore.ConnectTimeout),
                    local_address=local_address,
                    socket_options=socket_options,
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                problem = error
            else:
                return _TimedStream(stream, self._deadline)
        raise problem


class _TimedStream(httpcore.NetworkStream):
    """A connection none of whose waits outlasts the deadline of the thread that waits."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _positive(self._deadline.remaining(timeout), httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _positive(self._deadline.remaining(timeout), httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        seconds = _positive(self._deadline.remaining(timeout), httpcore.ConnectTimeout)
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, seconds), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Body(httpx.SyncByteStream):
    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        with _errors_of_httpx():
            yield from self._chunks

    def close(self) -> None:
        if hasattr(self._chunks, "close"):
            self._chunks.close()


def _positive(seconds: float, error: type[Exception]) -> float:
    """Return a timeout that a socket takes as one: 0 would mean not to wait at all."""
    if seconds <= 0:
        raise error("the time for this file is over")
    return seconds


@contextmanager
def _errors_of_httpx() -> Iterator[None]:
    try:
        yield
    except httpcore.TimeoutException as error:
        raise httpx.ReadTimeout(str(error)) from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise httpx.NetworkError(f"{type(error).__name__} {error}") from error
