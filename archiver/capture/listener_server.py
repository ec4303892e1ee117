"""The listener as a process: uvicorn on a socket of ours, bounded against hostile senders, stopped without loss.

A stop (SIGTERM, SIGINT, or `ListenerServer.stop`) closes the socket, lets the pushes under way finish, and returns; uvicorn
itself would end the process by the signal. Nothing is logged by the server about a request: paths and queries hold secrets.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from archiver.errors import ConfigError

# A request line and headers of Flock's come to less than 2 KiB.
HEAD_BYTES_MAX: Final = 32_768
# From the first byte of a request to the last; a connection that says nothing at all has as long.
REQUEST_SECONDS_MAX: Final = 60.0
# Longer than a proxy's usual 60, so that it is never us who close a connection that it is about to use.
KEEP_ALIVE_SECONDS: Final = 65
# Less than the 10 that container engines wait before they kill.
SHUTDOWN_SECONDS_MAX: Final = 8
_BACKLOG: Final = 2_048
_GARBAGE_THRESHOLDS: Final = (20_000, 20, 20)
_HEAD_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)


class ListenerServer:
    """Serves one application on one address; binds in the constructor, so that ``url`` is known before `run`.

    ``port`` 0 takes a free one; ``request_seconds_max`` bounds each request from its first byte to its last. Raises
    `ConfigError` if the address cannot be had.
    """

    def __init__(self, app: ASGIApp, *, host: str, port: int, request_seconds_max: float = REQUEST_SECONDS_MAX) -> None:
        protocol = functools.partial(_BoundedProtocol, request_seconds_max=request_seconds_max)
        self._socket = _bound(host, port)
        bound_host, bound_port = self._socket.getsockname()[:2]
        self.url = f"http://[{bound_host}]:{bound_port}" if ":" in bound_host else f"http://{bound_host}:{bound_port}"
        self._server = _Server(
            uvicorn.Config(
                app,
                http=cast("type[asyncio.Protocol]", protocol),
                ws="none",
                lifespan="on",
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=_BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=SHUTDOWN_SECONDS_MAX,
            )
        )

    def run(self, *, announce: Callable[[str], None]) -> None:
        """Serve until stopped; ``announce`` hears the URL once connections are taken. In the main thread signals stop it."""
        self._server.on_started = lambda: announce(self.url)
        try:
            with _rarer_garbage_collection():
                self._server.run(sockets=[self._socket])
        except SystemExit as error:
            # uvicorn's way to say that the application did not start; its exit code means something else here.
            raise RuntimeError("the listener did not start; the log says why") from error
        finally:
            self._socket.close()

    def stop(self) -> None:
        """Ask `run` to finish what is under way and return; from any thread."""
        self._server.should_exit = True


class _Server(uvicorn.Server):
    """uvicorn's server, which tells when it has started and does not die of the signal that stopped it."""

    on_started: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which by itself collects headers of any size for any time, before anybody is let in."""

    def __init__(self, *args: Any, request_seconds_max: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._request_seconds_max = request_seconds_max
        self._in_head = False
        self._in_request = True
        self._head_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        super().connection_made(transport)
        self._bound_time()

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_request = False
        self._bound_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self.transport.write(_HEAD_TOO_LARGE)
                self.transport.close()
        # A request that came as a whole, which is almost every one, never starts a timer.
        if self._in_request == (self._deadline is None):
            self._bound_time()

    def on_message_begin(self) -> None:
        self._in_head = True
        self._in_request = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_request = False
        super().on_message_complete()

    def _bound_time(self) -> None:
        if self._in_request:
            self._deadline = self.loop.call_later(self._request_seconds_max, self.transport.close)
        elif self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


@contextlib.contextmanager
def _rarer_garbage_collection() -> Iterator[None]:
    """Leave what was loaded before out of the search for garbage, and search less often, where the process is the server's own.

    Requests under way are many small objects that live for a moment; searching through them took 7 % of the time.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(
            f"cannot listen on {host} port {port}: {reason}",
            next_step="stop what listens there already, or set listen.host and listen.port",
        ) from None
