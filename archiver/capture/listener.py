"""The doors that Flock knocks at: outgoing webhooks, app events, and a health check.

=============================================  ===================================================================
POST /hooks/<path secret>/<name>?token=…       an outgoing webhook (flock-api.md 11.1)
POST /events                                   an app event with its X-Flock-Event-Token (10.1, 10.2)
GET, HEAD /events                              200: apps are probed that way (10.1)
GET, HEAD /healthz                             200, or 503 when the spool cannot be written
=============================================  ===================================================================

A push is answered 200 only after its bytes are durable, and always with an empty body, because Flock posts whatever a webhook's
answer says into the channel. What is not let in (403) or too large (413) leaves no trace but a count; what cannot be kept is
answered 503. Whatever is let in is kept as it came, whether or not it can be read: reading it is the drain's work.

The doors are plain ASGI applications, not Starlette endpoints: building a request and a response object for each push costs as
much as everything else here together.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final
from urllib.parse import parse_qs, quote

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from archiver.capture.event_body import Fields, read_fields, text_field, user_token, without_secrets
from archiver.capture.event_token import LEEWAY_SECONDS, EventTokenError, EventTokenVerifier, require_user
from archiver.capture.heartbeat import beating
from archiver.capture.push_body import BODY_BYTES_MAX, BodyTooLargeError, PushBody, SenderGoneError, read_push_body
from archiver.capture.push_tally import PERIOD_SECONDS, PushTally
from archiver.clock import Clock
from archiver.errors import ConfigError, SpoolError, StorageError, UnparseableError
from archiver.flock.token_store import TokenStore
from archiver.flock.tokens import Secret, UserToken
from archiver.model.capture import Capture, FeedKind
from archiver.spool.group_commit import GroupCommitter

EVENTS_FEED: Final = "events"
WEBHOOK_VERIFIED: Final = "webhook-token"
EVENT_VERIFIED: Final = "event-token"
# Attributes of a capture whose secrets were taken out.
BODY_DIGEST: Final = "body-digest"
REDACTED_FIELDS: Final = "redacted"

HEALTH_CACHED_SECONDS: Final = 1.0

_OK: Final = 200
_FORBIDDEN: Final = 403
_TOO_LARGE: Final = 413
_BROKEN: Final = 500
_UNAVAILABLE: Final = 503
_QUERY_FIELDS_MAX: Final = 16

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ListenerOptions:
    """Whom to let in: webhooks by the path secret and their tokens by name, events by the app's id and secret.

    Either may be left out. Raises `ConfigError` if both are, or if webhooks have tokens and no path secret.
    """

    path_secret: Secret | None = None
    webhook_tokens: Mapping[str, Secret] = field(default_factory=dict)
    app_id: str = ""
    app_secret: Secret | None = None
    event_leeway_seconds: int = LEEWAY_SECONDS
    body_bytes_max: int = BODY_BYTES_MAX

    def __post_init__(self) -> None:
        if self.webhook_tokens and not self.path_secret:
            raise ConfigError(
                "webhooks have tokens, but their address has no secret part",
                next_step="set listen.path_secret_file (`archiver init` makes one)",
            )
        if not self.webhook_tokens and not self.app_id and not self.app_secret:
            raise ConfigError(
                "there is nobody to listen to: neither a webhook nor an app is configured",
                next_step="put the webhooks' tokens into listen.webhook_tokens_file, or set listen.app_id and "
                "listen.app_secret_file",
            )


def listener_app(
    options: ListenerOptions, *, committer: GroupCommitter, clock: Clock, tokens: TokenStore | None = None
) -> Starlette:
    """Return the listener as an ASGI application; its lifespan runs the committer, and ends when everything is written.

    ``tokens`` keeps what `app.install` brings; without it an installation fails visibly, for the user and in the log.
    Raises `ConfigError` if an app's id comes without its secret, or the other way round.
    """
    tally = PushTally()
    desk = _Desk(committer, clock, tally)
    webhooks = _WebhookDoor(desk, options)
    events = _EventDoor(desk, options, tokens)
    health = _Health(committer, clock)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        reporting = asyncio.create_task(_report(tally))
        try:
            async with committer, beating(committer, clock, listener=secrets.token_hex(8)):
                yield
        finally:
            reporting.cancel()
            with suppress(asyncio.CancelledError):
                await reporting
            tally.report()

    app = Starlette(
        routes=[
            Route("/hooks/{rest:path}", webhooks, methods=["POST"]),
            Route("/events", events, methods=["POST"]),
            Route("/events", _present, methods=["GET"]),
            Route("/healthz", health.answer, methods=["GET"]),
        ],
        exception_handlers={HTTPException: _empty, Exception: _failed},
        lifespan=lifespan,
    )
    # A redirect would name our address back to whoever asked, and Flock's pushes are not known to follow one.
    app.router.redirect_slashes = False
    return app


class _RefusedError(Exception):
    """A push is not taken: with which status, and why, in words of ours."""

    def __init__(self, status: int, reason: str, *, next_step: str = "") -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.next_step = next_step


@dataclass(frozen=True, slots=True)
class _Desk:
    """What both doors share: where captures go, what time it is, and who counts."""

    committer: GroupCommitter
    clock: Clock
    tally: PushTally

    async def keep(self, capture: Capture) -> None:
        """Return when the capture is durable; refuses with 503 if it cannot be."""
        try:
            await self.committer.append(capture)
        except SpoolError as error:
            raise _RefusedError(_UNAVAILABLE, error.what, next_step=error.next_step) from error
        self.tally.accepted(capture.feed_kind, len(capture.body))


class _Door:
    """A door as an ASGI application: `admit` does its work, or raises `_RefusedError`."""

    feed_kind: FeedKind

    def __init__(self, desk: _Desk, *, body_bytes_max: int) -> None:
        self._desk = desk
        self._body_bytes_max = body_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = _OK
        try:
            await self.admit(scope, receive)
        except _RefusedError as refusal:
            status = refusal.status
            self._desk.tally.refused(self.feed_kind, status, refusal.reason, next_step=refusal.next_step)
        except BodyTooLargeError:
            status = _TOO_LARGE
            self._desk.tally.refused(self.feed_kind, status, f"larger than {self._body_bytes_max} bytes")
        except SenderGoneError:
            return
        await send(_STARTS[status])
        await send(_END)

    async def admit(self, scope: Scope, receive: Receive) -> None:
        """Let a push in and keep it."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class _WebhookKey:
    """A webhook's token, and the query string in which Flock sends it: taking a query apart is only for what looks unusual."""

    token: bytes = field(repr=False)
    usual_query: bytes = field(repr=False)

    @classmethod
    def of(cls, token: Secret) -> _WebhookKey:
        """Return the key of a webhook."""
        return cls(token.reveal().encode(), b"token=" + quote(token.reveal(), safe="").encode())

    def fits(self, query: bytes) -> bool:
        """Compare what was sent, in a time that does not depend on where it differs; an empty token fits nothing."""
        if not self.token:
            return False
        return hmac.compare_digest(query, self.usual_query) or hmac.compare_digest(_sent_token(query), self.token)


_NOBODYS_KEY: Final = _WebhookKey(b"", b"")


class _WebhookDoor(_Door):
    """Outgoing webhooks: no signature exists, so a secret path and the webhook's own token must do (flock-api.md 11.1)."""

    feed_kind: FeedKind = "webhook"

    def __init__(self, desk: _Desk, options: ListenerOptions) -> None:
        super().__init__(desk, body_bytes_max=options.body_bytes_max)
        self._path_secret = options.path_secret.reveal().encode() if options.path_secret else b""
        self._keys = {name: _WebhookKey.of(token) for name, token in options.webhook_tokens.items()}

    async def admit(self, scope: Scope, receive: Receive) -> None:
        """Compare path and token before a byte of the body is read."""
        secret, _, name = scope["path_params"]["rest"].partition("/")
        key = self._keys.get(name, _NOBODYS_KEY)
        # Both comparisons take place whatever the first says, and an empty secret lets nobody in.
        right_path = hmac.compare_digest(_bytes(secret), self._path_secret) and bool(self._path_secret)
        right_token = key.fits(scope["query_string"])
        if not right_path:
            raise _RefusedError(_FORBIDDEN, "wrong path secret")
        if key is _NOBODYS_KEY:
            raise _RefusedError(_FORBIDDEN, "unknown webhook name")
        if not right_token:
            raise _RefusedError(_FORBIDDEN, "wrong or missing webhook token")
        body = await read_push_body(dict(scope["headers"]), receive, bytes_max=self._body_bytes_max)
        received_at_ms = self._desk.clock.now_ms()
        await self._desk.keep(
            Capture(name, self.feed_kind, received_at_ms, WEBHOOK_VERIFIED, body.content, body.attributes)
        )


class _EventDoor(_Door):
    """App events: signed by Flock, for a user who must be the one in the body (flock-api.md 10.2)."""

    feed_kind: FeedKind = "event"

    def __init__(self, desk: _Desk, options: ListenerOptions, tokens: TokenStore | None) -> None:
        super().__init__(desk, body_bytes_max=options.body_bytes_max)
        self._tokens = tokens
        self._verifier: EventTokenVerifier | None = None
        if options.app_id or options.app_secret:
            secret = options.app_secret or Secret("")
            self._verifier = EventTokenVerifier(options.app_id, secret, options.event_leeway_seconds)

    async def admit(self, scope: Scope, receive: Receive) -> None:
        """Verify the token before the body is read, and its user after."""
        if self._verifier is None:
            hint = "set listen.app_id and listen.app_secret_file, both from the app's page in Flock's dashboard"
            raise _RefusedError(_FORBIDDEN, "no app is configured", next_step=hint)
        headers = dict(scope["headers"])
        sent = headers.get(b"x-flock-event-token", b"").decode("latin-1")
        try:
            claims = self._verifier.verify(sent, now_ms=self._desk.clock.now_ms())
            body = await read_push_body(headers, receive, bytes_max=self._body_bytes_max)
            fields = read_fields(body.content)
            require_user(claims, text_field(fields, "userId"))
        except EventTokenError as error:
            raise _RefusedError(_FORBIDDEN, f"event token {error}") from None
        except UnparseableError as error:
            raise _RefusedError(_FORBIDDEN, f"event token of a user, but {error.what}") from None
        received_at_ms = self._desk.clock.now_ms()
        await self._follow(fields, claims.user_id, received_at_ms)
        await self._desk.keep(_event_capture(body, fields, received_at_ms))

    async def _follow(self, fields: Fields, user_id: str, at_ms: int) -> None:
        """Keep the token of an installation, and drop that of its end, before the event itself is kept."""
        name = text_field(fields, "name")
        try:
            if name == "app.install":
                await self._install(fields, user_id, at_ms)
            elif name == "app.uninstall" and self._tokens is not None:
                was_known = await asyncio.to_thread(self._tokens.remove, user_id)
                log.info("app uninstalled", user_id=user_id, was_known=was_known)
        except StorageError as error:
            raise _RefusedError(_UNAVAILABLE, error.what, next_step=error.next_step) from error

    async def _install(self, fields: Fields, user_id: str, at_ms: int) -> None:
        if self._tokens is None:
            # Anything but 200 makes Flock tell the user that the installation failed (flock-api.md 10.3).
            hint = "set listen.token_key_file (`archiver init` makes one), then install the app again"
            raise _RefusedError(_UNAVAILABLE, "app.install, but no key to encrypt its token with", next_step=hint)
        secret = user_token(fields)
        if secret is None:
            # It may stand under a name that we do not know, and then it must not be kept in clear.
            raise _RefusedError(_UNAVAILABLE, "app.install without a token that we recognise")
        token = UserToken(user_id, secret)
        await asyncio.to_thread(self._tokens.save, token, at_ms=at_ms)
        log.info("app installed", user_id=user_id, fingerprint=token.fingerprint)


class _Health:
    """Whether the spool can be written just now, tried at most once in `HEALTH_CACHED_SECONDS`."""

    def __init__(self, committer: GroupCommitter, clock: Clock) -> None:
        self._committer = committer
        self._clock = clock
        self._lock = asyncio.Lock()
        self._status = _UNAVAILABLE
        self._valid_until: float | None = None

    async def answer(self, _: Request) -> Response:
        """Answer 200 or 503."""
        async with self._lock:
            if self._valid_until is None or self._clock.monotonic() >= self._valid_until:
                self._status = await self._probe()
                self._valid_until = self._clock.monotonic() + HEALTH_CACHED_SECONDS
        return Response(status_code=self._status)

    async def _probe(self) -> int:
        try:
            await self._committer.probe()
        except SpoolError as error:
            log.warning("spool cannot be written", reason=error.what, next_step=error.next_step)
            return _UNAVAILABLE
        return _OK


def _start(status: int) -> dict[str, object]:
    return {"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]}


_STARTS: Final = {status: _start(status) for status in (_OK, _FORBIDDEN, _TOO_LARGE, _UNAVAILABLE)}
_END: Final[dict[str, object]] = {"type": "http.response.body", "body": b""}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _sent_token(query: bytes) -> bytes:
    """Return the ``token`` of a query string; empty if there is none or more than one."""
    try:
        sent = parse_qs(query.decode("latin-1"), max_num_fields=_QUERY_FIELDS_MAX).get("token", [])
    except ValueError:
        return b""
    return _bytes(sent[0]) if len(sent) == 1 else b""


def _event_capture(body: PushBody, fields: Fields, received_at_ms: int) -> Capture:
    content = without_secrets(fields)
    attributes = body.attributes
    if content is None:
        content = body.content
    else:
        attributes = {**attributes, BODY_DIGEST: sha256(body.content).hexdigest(), REDACTED_FIELDS: "token"}
    return Capture(EVENTS_FEED, "event", received_at_ms, EVENT_VERIFIED, content, attributes)


async def _report(tally: PushTally) -> None:
    while True:
        await asyncio.sleep(PERIOD_SECONDS)
        tally.report()


async def _present(_: Request) -> Response:
    return Response()


async def _empty(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return Response(status_code=error.status_code, headers=error.headers)


async def _failed(_: Request, error: Exception) -> Response:
    del error  # The server logs it with its traceback.
    return Response(status_code=_BROKEN)
