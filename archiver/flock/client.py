"""Calling Flock's methods that read, as a user who installed the app; nothing here can write to Flock (`archiver.flock.sender` can).

A call is one form POST to ``<base_url>/<method>`` (flock-api.md 1). It travels through one shared synchronous transport of
httpx, which any number of threads may use at once: threads were measured to be faster than asyncio here. What `httpx.Client`
would put around it, cookies, redirects and authentication, is what must not happen here, and half the time of a call.
Answers come back as the very bytes that Flock sent, cut into elements where the answer is an array.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final, Literal, Self, TypeVar

import httpx
import msgspec
import structlog

from archiver.clock import Clock
from archiver.errors import ConfigError, FlockMethodError, FlockUnreachableError, TokenRefusedError
from archiver.flock.answers import read_object, split_array
from archiver.flock.error_answers import describe, error_fields, redact, refusal
from archiver.flock.forms import form
from archiver.flock.http_privacy import silence_http_logs
from archiver.flock.limits import Permit, RateLimiter, parse_retry_after
from archiver.flock.sending import NOTHING_SENT
from archiver.flock.stats import CallCounter, MethodStats
from archiver.flock.tokens import UserToken, require_sendable
from archiver.flock.turns import NotYetError, Turn

Auth = Literal["both", "body", "header"]
Verb = Literal["GET", "POST"]

UIDS_PER_FETCH_MAX: Final = 25  # flock-api.md 5.2
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
ERROR_BODY_BYTES_MAX: Final = 64 * 1024
# Waiting in slices lets a new limit reach those who already wait.
WAIT_SECONDS_MAX: Final = 5.0
# After so many calls in a row that got no usable answer, each further call tries once only, until one succeeds:
# a Flock that is down should not cost every call of a run its full patience.
UNREACHABLE_IN_A_ROW_MAX: Final = 5

_RETRIED_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})
_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "flock-archiver"}
_OK: Final = 200
_TOO_MANY_REQUESTS: Final = 429
_BASE_URL: Final = re.compile(r"https?://[^/@?#\s]+(/[^@?#\s]*)?")

_Answer = TypeVar("_Answer")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FlockOptions:
    """Where Flock is and how hard we ask.

    ``auth`` says where the token travels: ``body`` is the documented ``token`` parameter (flock-api.md 2), ``header``
    is ``Authorization: Bearer <token>``, ``both`` sends both. ``timeout_seconds`` bounds each wait for the network and
    each whole answer; ``tries_max`` counts the first try.
    """

    base_url: str = "https://api.flock.co/v1"
    auth: Auth = "both"
    requests_per_second: float = 1.0
    connections: int = 8
    timeout_seconds: float = 30.0
    tries_max: int = 6


@dataclass(frozen=True, slots=True)
class Request:
    """One call: the name it is counted under, where it goes, and its parameters.

    ``url`` is relative to the base URL. A ``GET`` and whatever is not Flock's own carries its token in the header alone,
    because addresses are logged everywhere.
    """

    name: str
    url: str
    parameters: Mapping[str, str]
    verb: Verb = "POST"
    is_flocks: bool = True


class FlockClient:
    """Flock's reading methods, with rate limits, retries and counts; close it, or use it as a context manager.

    Every method raises `TokenRefusedError` (403 or 401: stop using this token), `FlockMethodError` (an error that
    concerns this call) or `FlockUnreachableError` (no usable answer after all tries). No token stands in any of them.
    All methods may be called from several threads. They sleep while a limit or a pause before another try lasts; with a
    ``turn`` they raise `NotYetError` instead.
    """

    def __init__(self, options: FlockOptions, *, clock: Clock) -> None:
        if not _BASE_URL.fullmatch(options.base_url):
            raise ConfigError(  # which does not quote it, because a user and password may stand in it
                "flock.base_url is no plain http or https address",
                next_step="Give an address such as https://api.flock.co/v1, without user, query or fragment.",
            )
        silence_http_logs()
        self._options = options
        self._clock = clock
        self._limiter = RateLimiter(requests_per_second=options.requests_per_second, clock=clock)
        self._counter = CallCounter()
        self._urls: dict[str, httpx.URL] = {}
        self._unreachable_in_a_row = 0
        self._unreachable_lock = Lock()
        # A thread may wait for a free connection as long as the others' own timeouts let them take.
        self._extensions = {"timeout": httpx.Timeout(options.timeout_seconds, pool=None).as_dict()}
        # The bare transport keeps no cookies, and follows no redirect: that would carry the token to wherever it points.
        self._transport = httpx.HTTPTransport(
            limits=httpx.Limits(max_connections=options.connections, max_keepalive_connections=options.connections),
            trust_env=False,  # only settings read the environment
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def clock(self) -> Clock:
        """The clock by which limits and pauses are measured."""
        return self._clock

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def stats(self) -> Mapping[str, MethodStats]:
        """Return a snapshot of what was called so far, by method."""
        return self._counter.snapshot()

    def users_get_info(self, token: UserToken, *, turn: Turn | None = None) -> bytes:
        """Return the User object of the token's owner (flock-api.md 5.9, 6.7)."""
        return self._call_for_object("users.getInfo", token, {}, turn)

    def roster_list_contacts(self, token: UserToken, *, turn: Turn | None = None) -> list[bytes]:
        """Return the PublicProfile objects of the user's contacts (5.8, 6.6)."""
        return self._call_for_array("roster.listContacts", token, {}, turn)

    def users_get_public_profile(self, token: UserToken, user_id: str, *, turn: Turn | None = None) -> bytes:
        """Return the PublicProfile of any user (5.10)."""
        return self._call_for_object("users.getPublicProfile", token, {"userId": user_id}, turn)

    def channels_list(self, token: UserToken, *, turn: Turn | None = None) -> list[bytes]:
        """Return the Channel objects that the user is a member of (5.3, 6.3)."""
        return self._call_for_array("channels.list", token, {}, turn)

    def channels_get_info(self, token: UserToken, channel_id: str, *, turn: Turn | None = None) -> bytes:
        """Return one Channel object (5.4)."""
        return self._call_for_object("channels.getInfo", token, {"channelId": channel_id}, turn)

    def channels_list_members(
        self, token: UserToken, channel_id: str, *, show_public_profile: bool = True, turn: Turn | None = None
    ) -> list[bytes]:
        """Return a channel's ChannelMember objects, with their profiles if asked for (5.5, 6.4)."""
        shown = "true" if show_public_profile else "false"
        return self._call_for_array(
            "channels.listMembers", token, {"channelId": channel_id, "showPublicProfile": shown}, turn
        )

    def fetch_messages(
        self, token: UserToken, chat: str, uids: Sequence[str], *, turn: Turn | None = None
    ) -> list[bytes]:
        """Return the Message objects with these uids, at most `UIDS_PER_FETCH_MAX` of them (5.2).

        ``chat`` is a channel id, or the *other* party of a one-to-one chat. Flock leaves out what it does not know or
        show and promises no order: match by uid. A chat that is unknown or not the user's is `FlockMethodError`
        UnknownChat.
        """
        if not 0 < len(uids) <= UIDS_PER_FETCH_MAX:
            raise ValueError(f"1 to {UIDS_PER_FETCH_MAX} uids may be fetched at once, not {len(uids)}")
        return self._call_for_array(
            "chat.fetchMessages", token, {"chat": chat, "uids": msgspec.json.encode(list(uids)).decode()}, turn
        )

    def method_page(
        self,
        token: UserToken,
        method: str,
        parameters: Mapping[str, str],
        read: Callable[[bytes], _Answer],
        *,
        turn: Turn | None = None,
    ) -> _Answer:
        """Return ``read(answer)`` of a declared method that lists messages in pages; ``read`` raises `ValueError` if it cannot."""
        return self._call(Request(method, method, parameters), token, read, turn)

    def gateway_page(
        self,
        token: UserToken,
        name: str,
        url: str,
        parameters: Mapping[str, str],
        read: Callable[[bytes], _Answer],
        *,
        verb: Verb,
        turn: Turn | None = None,
    ) -> _Answer:
        """Do what `method_page` does, of an absolute URL of a customer's gateway; ``name`` is what the calls are counted under."""
        return self._call(Request(name, url, parameters, verb, is_flocks=False), token, read, turn)

    def _call_for_array(
        self, method: str, token: UserToken, parameters: Mapping[str, str], turn: Turn | None
    ) -> list[bytes]:
        return self._call(Request(method, method, parameters), token, split_array, turn)

    def _call_for_object(
        self, method: str, token: UserToken, parameters: Mapping[str, str], turn: Turn | None
    ) -> bytes:
        return self._call(Request(method, method, parameters), token, _whole_object, turn)

    def _call(self, request: Request, token: UserToken, read: Callable[[bytes], _Answer], turn: Turn | None) -> _Answer:
        """Make a call until it gives a usable answer, a plain no, or too many tries went by."""
        if turn is not None:
            return self._take_turn(request, token, read, turn)
        turn = Turn()
        while True:
            try:
                return self._take_turn(request, token, read, turn)
            except NotYetError as not_yet:
                seconds = min(not_yet.seconds, WAIT_SECONDS_MAX) if not_yet.of_token else not_yet.seconds
            self._clock.sleep(seconds)

    def _take_turn(self, request: Request, token: UserToken, read: Callable[[bytes], _Answer], turn: Turn) -> _Answer:
        """Try once, if it may be tried now; raises `NotYetError` where it must be tried later, and never sleeps."""
        now = self._clock.monotonic()
        if now < turn.paused_until:
            raise NotYetError(turn.paused_until - now, of_token=False)
        if not turn.tries_max:
            require_sendable(token)
            self._counter.add(request.name, calls=1)
            turn.tries_max = self._tries_max()
        permit = self._limiter.try_acquire(token.fingerprint)
        if not isinstance(permit, Permit):
            raise NotYetError(permit, of_token=True)
        try:
            answer = self._try_once(permit, request, token, read)
        except _UnusableAnswerError as error:
            problem, may_retry = str(error), error.retry
        except (FlockMethodError, TokenRefusedError):
            self._note_outcome(request.name, reached=True, usable=False)
            raise
        else:
            self._note_outcome(request.name, reached=True, usable=True)
            return answer
        # Raised out here so that no httpx exception, which knows the request and its token, hangs on as the context.
        if may_retry and turn.tries < turn.tries_max:
            self._counter.add(request.name, retries=1)
            log.info("flock call tried again", method=request.name, fingerprint=token.fingerprint, problem=problem)
            raise NotYetError(turn.pause(self._clock.monotonic()), of_token=False)
        self._note_outcome(request.name, reached=False, usable=False)
        if not request.is_flocks:
            raise FlockUnreachableError(
                f"the gateway gave no usable answer to {request.name}: {problem}",
                next_step="See that its address is right and reachable from here; the next run tries again.",
            )
        raise FlockUnreachableError(
            f"Flock gave no usable answer to {request.name} at {self._options.base_url}: {problem}",
            next_step="See that flock.base_url is right and reachable from here; the next run tries again.",
        )

    def _try_once(
        self, permit: Permit, request: Request, token: UserToken, read: Callable[[bytes], _Answer]
    ) -> _Answer:
        response, body, problem = self._exchange(request, token)
        if response is None:
            raise _UnusableAnswerError(problem)
        if response.status_code == _OK:
            if problem:
                raise _UnusableAnswerError(problem, retry=False)
            try:
                return read(body)
            except ValueError as error:
                problem = f"the answer cannot be read, {error}"
            raise _UnusableAnswerError(problem)
        self._heed(response, permit, request.name)
        fields = error_fields(body)
        if response.status_code in _RETRIED_STATUSES:
            raise _UnusableAnswerError(describe(response.status_code, fields, token))
        raise refusal(request.name, token, response.status_code, fields, is_flocks=request.is_flocks)

    def _exchange(self, request: Request, token: UserToken) -> tuple[httpx.Response | None, bytes, str]:
        """Send one request and return the response, its body up to the limit, and what is wrong with them if anything."""
        parameters = dict(request.parameters)
        headers = dict(_HEADERS)
        in_header_alone = not request.is_flocks or request.verb == "GET"
        if self._options.auth != "header" and not in_header_alone:
            parameters["token"] = token.secret.reveal()
        if self._options.auth != "body" or in_header_alone:
            headers["Authorization"] = f"Bearer {token.secret.reveal()}"
        sent: dict[str, Any]
        if request.verb == "GET":
            sent = {"params": parameters}
        else:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            sent = {"content": form(parameters)}
        started = self._clock.monotonic()
        body = bytearray()
        try:
            url = self._url(request)
            asked = httpx.Request(request.verb, url, headers=headers, extensions=self._extensions, **sent)
            with closing(self._transport.handle_request(asked)) as response:
                bytes_max = ANSWER_BYTES_MAX if response.status_code == _OK else ERROR_BODY_BYTES_MAX
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > bytes_max:
                        return response, bytes(body[:bytes_max]), f"the answer is larger than {bytes_max} bytes"
                    if self._clock.monotonic() - started > self._options.timeout_seconds:
                        return None, b"", f"the answer took longer than {self._options.timeout_seconds} seconds"
                return response, bytes(body), ""
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            return None, b"", f"{NOTHING_SENT}, {redact(f'{type(error).__name__} {error}', token)}"
        except httpx.HTTPError as error:
            return None, b"", redact(f"{type(error).__name__} {error}", token)

    def _url(self, request: Request) -> httpx.URL:
        """Return where a request goes; an address is read once, for reading it takes a tenth of a call."""
        url = self._urls.get(request.url)
        if url is None:
            base = f"{self._options.base_url.rstrip('/')}/" if request.is_flocks else ""
            url = self._urls[request.url] = httpx.URL(f"{base}{request.url}")
        return url

    def _heed(self, response: httpx.Response, permit: Permit, method: str) -> None:
        """Slow down when Flock says so."""
        seconds = parse_retry_after(response.headers.get("Retry-After"), now_ms=self._clock.now_ms())
        if response.status_code != _TOO_MANY_REQUESTS:
            self._limiter.pause(permit, retry_after_seconds=seconds)
            return
        self._limiter.refused(permit, retry_after_seconds=seconds)
        self._counter.add(method, throttled=1)
        log.warning(
            "flock throttles",
            method=method,
            fingerprint=permit.key,
            retry_after_seconds=seconds,
            requests_per_second=round(self._limiter.rate(permit.key), 4),
        )

    def _tries_max(self) -> int:
        with self._unreachable_lock:
            return 1 if self._unreachable_in_a_row >= UNREACHABLE_IN_A_ROW_MAX else self._options.tries_max

    def _note_outcome(self, method: str, *, reached: bool, usable: bool) -> None:
        with self._unreachable_lock:
            self._unreachable_in_a_row = 0 if reached else self._unreachable_in_a_row + 1
        if not usable:
            self._counter.add(method, failed=1)


class _UnusableAnswerError(Exception):
    """One try brought nothing usable; ``retry`` says whether another may."""

    def __init__(self, problem: str, *, retry: bool = True) -> None:
        super().__init__(problem)
        self.retry = retry


def _whole_object(body: bytes) -> bytes:
    read_object(body)
    return body.strip()
