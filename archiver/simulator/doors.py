"""The simulator's doors: ASGI applications behind listening sockets, on the event loop that is running.

uvicorn's HTTP protocol is used without its `Server`, which has a process to look after: signals, workers, and a clock that ticks
ten times a second. A simulator opens four doors at once and must be gone in milliseconds.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from archiver.errors import UsageError
from archiver.simulator.answers import TRANSPORT

_BACKLOG = 512
_KEEP_ALIVE_SECONDS = 75
_CLOSE_SECONDS = 2.0


class _Protocol(HttpToolsProtocol):
    """Lends its transport to the application, so that a fault can end the connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)["extensions"] = {TRANSPORT: self.transport}


class Door:
    """One listening socket and the application behind it."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._state = ServerState()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """Return the port it listens on."""
        return int(self._listener.getsockname()[1])

    async def open(self, app: ASGIApp) -> None:
        """Start to answer."""
        config = Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
        config.load()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Protocol(config=config, server_state=self._state, app_state={}),
            sock=self._listener,
            backlog=_BACKLOG,
        )

    async def close(self) -> None:
        """Stop to answer, cut every connection and let what was under way see it."""
        if self._server is not None:
            self._server.close()
        self._listener.close()
        for connection in list(self._state.connections):
            cast("_Protocol", connection).transport.abort()
        if self._state.tasks:
            await asyncio.wait(list(self._state.tasks), timeout=_CLOSE_SECONDS)


def listen(host: str, port: int) -> Door:
    """Bind a port, 0 for any that is free; raises `UsageError` if it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
        listener.settimeout(0)
    except OSError as error:
        listener.close()
        raise UsageError(
            f"port {port} on {host} cannot be listened on: {error.strerror}", next_step="choose another port"
        ) from None
    return Door(listener)
