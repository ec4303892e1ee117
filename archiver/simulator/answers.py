"""Answers of the API: results, errors with Flock's codes (flock-api.md 3), and answers spoilt by a fault."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from archiver.simulator.faults import Fault

# The ASGI extension under which a connection's transport is found.
TRANSPORT = "archiver.simulator.transport"

JSON_TYPE = "application/json"
HTML_ERROR = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_NOT_JSON = b'{"error": "this ends too ear'
_DROPS = 8
_PROMISED_BYTES = 64

_ERROR_FAULTS: Mapping[str, tuple[int, str, str]] = {
    "too_many_requests": (429, "TooManyRequests", "The rate limit is reached"),
    "internal_error": (500, "InternalServerError", "An unexpected condition was met"),
    "unavailable": (503, "ServiceUnavailable", "The API is not available"),
    "request_timeout": (408, "RequestTimeout", "The server did not receive the whole request in time"),
    "invalid_token": (403, "InvalidToken", "The token is not valid"),
}


class FlockCallError(Exception):
    """A call that fails the way Flock says it: status, code, description, and attributes at the top level."""

    def __init__(
        self,
        status: int,
        code: str,
        description: str,
        extra: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(description)
        self.status = status
        self.code = code
        self.description = description
        self.extra = extra or {}
        self.headers = headers or {}


def invalid_parameter(name: str, why: str) -> FlockCallError:
    """Return 400 InvalidParameter for one parameter."""
    return FlockCallError(400, "InvalidParameter", why, {"parameter": name})


def result(value: object) -> Response:
    """Return 200 and the value itself, without an envelope (flock-api.md 1)."""
    return Response(msgspec.json.encode(value), media_type=JSON_TYPE)


def failure(error: FlockCallError) -> Response:
    """Return an error as JSON; always with a body and a content type, because the Node SDK breaks without (flock-api.md 16)."""
    body = {"error": error.code, "description": error.description, **error.extra}
    return Response(msgspec.json.encode(body), error.status, dict(error.headers), JSON_TYPE)


class Spoilt(Response):
    """An answer whose bytes come late, in drops, or not all."""

    def __init__(self, whole: Response, fault: Fault) -> None:
        super().__init__(whole.body, whole.status_code, dict(whole.headers))
        self._fault = fault

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Give the answer as the fault has it (ASGI)."""
        body, kind = bytes(self.body), self._fault.kind
        if kind == "disconnect" or (kind == "hang" and await _client_left(receive, self._fault.seconds)):
            await _cut(scope, receive)
            return
        headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
        promised = max(len(body), _PROMISED_BYTES) if kind == "truncated" else len(body)
        headers.append((b"content-length", str(promised).encode()))
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        if kind == "truncated":
            await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
            await _cut(scope, receive)
            return
        drops = _DROPS if kind == "slow" else 1
        size = max(1, -(-len(body) // drops))
        for start in range(0, max(1, len(body)), size):
            if drops > 1 and await _client_left(receive, self._fault.seconds / drops):
                return
            more = start + size < len(body)
            await send({"type": "http.response.body", "body": body[start : start + size], "more_body": more})


def spoil(answer: Response, fault: Fault) -> Response:
    """Return what a fault makes of an answer."""
    if fault.kind in _ERROR_FAULTS:
        return failure(FlockCallError(*_ERROR_FAULTS[fault.kind]))
    if fault.kind in ("bad_gateway", "bad_gateway_after"):
        return Response(HTML_ERROR, 502, media_type="text/html")
    if fault.kind == "empty_error":
        return Response(b"", 500)
    if fault.kind == "not_json":
        return Response(_NOT_JSON, media_type=JSON_TYPE)
    return Spoilt(answer, fault)


async def _client_left(receive: Receive, seconds: float) -> bool:
    """Wait, but not longer than the client does; tell whether it left."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True


async def _cut(scope: Scope, receive: Receive) -> None:
    """Close the connection after what was written; ASGI has no word for it, so the server's door lends its transport."""
    scope["extensions"][TRANSPORT].close()
    while (await receive())["type"] != "http.disconnect":
        pass
