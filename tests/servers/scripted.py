"""An HTTP/1.1 server on a raw socket that answers exactly the bytes a test scripts, also those no framework would send."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Received:
    """One request as it arrived."""

    verb: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def method(self) -> str:
        """Flock's method name, the last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True, strict_parsing=bool(self.body)))


@dataclass(frozen=True)
class Answer:
    """What to answer; ``raw`` replaces everything else, ``body_sent`` is how much of the body is sent before closing."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    body_sent: int | None = None
    hold: threading.Event | None = None

    def wire(self) -> bytes:
        if self.raw is not None:
            return self.raw
        headers = {"Content-Type": "application/json", "Content-Length": str(len(self.body)), **self.headers}
        head = f"HTTP/1.1 {self.status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return head.encode() + b"\r\n" + self.body[: self.body_sent]


Script = Callable[[Received], Answer]


class ScriptedServer:
    """Runs `script` for every request on a loopback port; with a TLS context it speaks https."""

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None) -> None:
        self.script = script
        self.requests: list[Received] = []
        self.server_names: list[str | None] = []
        self._tls = tls
        self._lock = threading.Lock()
        if tls is not None:
            tls.sni_callback = lambda _socket, name, _context: self.server_names.append(name)
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                outer._serve(self.request)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def origin(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as reader:
                while (received := _read_request(reader)) is not None:
                    with self._lock:
                        self.requests.append(received)
                    answer = self.script(received)
                    connection.sendall(answer.wire())
                    if answer.hold is not None:
                        answer.hold.wait(20)
                    if answer.raw is not None or answer.body_sent is not None:
                        return
        except OSError:
            return  # the client went away, as some tests make it do


def _read_request(reader: object) -> Received | None:
    line = reader.readline().decode("latin-1").strip()  # type: ignore[attr-defined]
    if not line:
        return None
    verb, target, _ = line.split(" ", 2)
    headers: dict[str, str] = {}
    while field_line := reader.readline().decode("latin-1").strip():  # type: ignore[attr-defined]
        name, _, value = field_line.partition(":")
        headers[name.lower()] = value.strip()
    body = reader.read(int(headers.get("content-length", "0")))  # type: ignore[attr-defined]
    return Received(verb, target, headers, body)
