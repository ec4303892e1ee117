"""A listener that can be stopped and started again on the same address, as a service that crashes or is upgraded."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

from starlette.types import ASGIApp

from archiver.capture.listener_server import ListenerServer

DEADLINE_SECONDS = 60
_LOOPBACK = "127.0.0.1"


class Listening:
    """Serves on one port for as long as the block lasts; ``start`` makes the application anew.

    While it is stopped, whoever connects is refused: the port is held, so that no other program is given it, and nobody listens.
    """

    def __init__(self, make_app: Callable[[], ASGIApp]) -> None:
        self._make_app = make_app
        self._held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind((_LOOPBACK, 0))
        self._port = int(self._held.getsockname()[1])
        self._server: ListenerServer | None = None
        self._thread: threading.Thread | None = None
        self.url = f"http://{_LOOPBACK}:{self._port}"

    def start(self) -> None:
        """Return when connections are taken."""
        started = threading.Event()
        self._server = ListenerServer(self._make_app(), host=_LOOPBACK, port=self._port)
        self._thread = threading.Thread(target=self._server.run, kwargs={"announce": lambda _: started.set()})
        self._thread.start()
        assert started.wait(DEADLINE_SECONDS)

    def stop(self) -> None:
        """Let what is under way end, and return when nobody listens any more; does nothing where nobody does."""
        if self._server is None or self._thread is None:
            return
        self._server.stop()
        self._thread.join(DEADLINE_SECONDS)
        assert not self._thread.is_alive()
        self._server = self._thread = None

    def close(self) -> None:
        """Stop for good and let the port go."""
        self.stop()
        self._held.close()
