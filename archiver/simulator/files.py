"""The file host and the host of signed URLs, on two ports (flock-api.md 13).

A file answers in one of the observed or feared ways: its bytes directly, a redirect to a signed URL that expires, 403, a login page
with status 200, or 404. Its bytes are never kept: they follow from its key, type and size.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import zlib
from collections.abc import AsyncIterator, Iterator
from random import Random
from urllib.parse import parse_qs, quote, urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from archiver.clock import Clock
from archiver.simulator.answers import spoil
from archiver.simulator.delivery import Delivery, Violation
from archiver.simulator.faults import Fault, Faults
from archiver.simulator.records import HostedFile
from archiver.simulator.workspace import Workspace

CHUNK_BYTES = 64 * 1024
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_SIDE = 8
_LOGIN_PAGE = "<!DOCTYPE html><html><head><title>Sign in to Flock</title></head><body><form>…</form></body></html>"
_DENIED = (
    '<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>Access denied</Message></Error>'
)
_WORDS = b"minutes agenda budget draft review plan figures notes summary report "


def chunks_of(file: HostedFile) -> Iterator[bytes]:
    """Yield a file's bytes in chunks: a small valid PNG first where it is one, words where it is text, else noise."""
    left = file.size
    start = _start_of(file)[:left]
    if start:
        yield start
        left -= len(start)
    noise = Random(file.key)
    words = (_WORDS * (CHUNK_BYTES // len(_WORDS) + 1))[:CHUNK_BYTES]
    is_text = file.mime.startswith("text/")
    while left > 0:
        size = min(left, CHUNK_BYTES)
        yield words[:size] if is_text else noise.randbytes(size)
        left -= size


def digest_of(file: HostedFile) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    for chunk in chunks_of(file):
        digest.update(chunk)
    return digest.hexdigest()


class FileHosts:
    """Serves the workspace's files; ``signed_url`` is the origin of the second host."""

    def __init__(
        self, workspace: Workspace, delivery: Delivery, faults: Faults, clock: Clock, *, signed_url: str
    ) -> None:
        self._workspace = workspace
        self._delivery = delivery
        self._faults = faults
        self._clock = clock
        self._signed_url = signed_url
        self._key = workspace.mint.secret("file host").encode()
        self._key_pair_id = workspace.mint.secret("key pair")[:20].upper()

    def app(self) -> Starlette:
        """Return the ASGI application of the host that ``src`` URLs name."""
        return Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET"])])

    def signed_app(self) -> Starlette:
        """Return the ASGI application of the host that redirects lead to."""
        return Starlette(routes=[Route("/{path:path}", self._answer_signed, methods=["GET"])])

    async def _answer(self, request: Request) -> Response:
        self._look_for_tokens(request)
        path = request.url.path
        file = self._workspace.files.get(path)
        if file is None:
            return Response("Not found", 404, media_type="text/plain")
        file.requests += 1
        fault = self._faults.draw("files", path)
        mode = fault.kind if fault and fault.kind in ("forbidden", "login_page", "missing") else file.mode
        if mode == "forbidden":
            return Response(_DENIED, 403, media_type="application/xml")
        if mode == "login_page":
            return HTMLResponse(_LOGIN_PAGE)
        if mode == "missing":
            return Response("Not found", 404, media_type="text/plain")
        if mode == "redirect":
            answer: Response = RedirectResponse(self._sign(file), 302)
            return answer if fault is None else spoil(answer, fault)
        return _whole(file, {}, fault)

    async def _answer_signed(self, request: Request) -> Response:
        self._look_for_tokens(request)
        path = request.url.path
        file = self._workspace.files.get(path)
        query = parse_qs(request.url.query)
        expires = query.get("Expires", [""])[0]
        signature = query.get("Signature", [""])[0]
        expected = self._signature(path, expires)
        genuine = hmac.compare_digest(signature.encode(), expected.encode())
        if file is None or not genuine or int(expires) * 1000 < self._clock.now_ms():
            return Response(_DENIED, 403, media_type="application/xml")
        disposition = query.get("response-content-disposition", ["inline"])[0]
        return _whole(file, {"content-disposition": disposition}, self._faults.draw("files", f"signed:{path}"))

    def _sign(self, file: HostedFile) -> str:
        expires = str(self._clock.now_ms() // 1000 + self._delivery.switches.file_url_seconds)
        query = urlencode(
            {
                "response-content-disposition": f"attachment; filename*=UTF-8''{quote(file.name, safe='', errors='replace')}",
                "Expires": expires,
                "Signature": self._signature(file.path, expires),
                "Key-Pair-Id": self._key_pair_id,
            }
        )
        return f"{self._signed_url}{quote(file.path)}?{query}"

    def _signature(self, path: str, expires: str) -> str:
        return hmac.new(self._key, f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest()

    def _look_for_tokens(self, request: Request) -> None:
        """Record a Flock token that was sent to a file host, which has no business with it."""
        carried = [*request.headers.getlist("authorization"), *request.query_params.values(), *request.cookies.values()]
        words = {word for value in carried for word in value.split()}
        if not words.isdisjoint(self._workspace.grants):
            self._delivery.violations.append(
                Violation("token_at_file_host", request.url.path, "a Flock token came with this request")
            )


def _whole(file: HostedFile, headers: dict[str, str], fault: Fault | None) -> Response:
    headers = {**headers, "content-length": str(file.size), "cache-control": "private"}
    media_type = file.mime or None
    if fault is not None:
        return spoil(Response(b"".join(chunks_of(file)), 200, headers, media_type), fault)

    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks_of(file):
            yield chunk

    return StreamingResponse(stream(), 200, headers, media_type)


def _start_of(file: HostedFile) -> bytes:
    return _png(file.key) if file.mime == "image/png" else b""


def _png(key: str) -> bytes:
    """Return a small picture of one colour that follows from the key (PNG, ISO/IEC 15948)."""
    colour = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=3).digest()
    rows = (b"\0" + colour * _PNG_SIDE) * _PNG_SIDE
    header = struct.pack(">IIBBBBB", _PNG_SIDE, _PNG_SIDE, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return _PNG_SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
