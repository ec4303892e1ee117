"""Calling Flock's methods that read, as a user who installed the app; nothing here can write to Flock.

A call is one form POST to ``<base_url>/<method>`` (flock-api.md 1). It travels through one shared synchronous
`httpx.Client`, which any number of threads may use at once: threads were measured to be faster than asyncio here.
Answers come back as the very bytes that Flock sent, cut into elements where the answer is an array.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final, Literal, Self, TypeVar

import httpx
import msgspec
import structlog
import tenacity

from archiver.clock import Clock
from archiver.errors import ConfigError, FlockError, FlockMethodError, FlockUnreachableError, TokenRefusedError
from archiver.flock.answers import read_object, split_array
from archiver.flock.http_privacy import no_cookies, silence_http_logs
from archiver.flock.limits import Permit, RateLimiter, parse_retry_after
from archiver.flock.stats import CallCounter, MethodStats
from archiver.flock.tokens import REDACTED, UserToken

Auth = Literal["both", "body", "header"]

UIDS_PER_FETCH_MAX: Final = 25  # flock-api.md 5.2
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
ERROR_BODY_BYTES_MAX: Final = 64 * 1024
BACKOFF_SECONDS_FIRST: Final = 0.5
BACKOFF_SECONDS_MAX: Final = 60.0
# After so many calls in a row that got no usable answer, each further call tries once only, until one succeeds:
# a Flock that is down should not cost every call of a run its full patience.
UNREACHABLE_IN_A_ROW_MAX: Final = 5

_RETRIED_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})
_OK: Final = 200
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_TOO_MANY_REQUESTS: Final = 429
# 403 answers carry one of these (flock-api.md 3); without any token Flock says 400 MissingUserToken.
_TOKEN_CODES: Final = frozenset({"InvalidToken", "InvalidUserToken", "AppDisabled", "MissingUserToken"})
_INVALID_CODE: Final = "InvalidToken"
_APP_DISABLED: Final = "AppDisabled"
# By the value of ``disabledBy`` (flock-api.md 3).
_WHO_DISABLED: Final = {"team": "the team has disabled the app", "user": "the user has disabled the app"}
_WHO_ENABLES: Final = {
    "team": "Let the team's admin enable the app again.",
    "user": "Let the user enable the app again.",
}
_SHOWN_CHARACTERS_MAX: Final = 200
_BASE_URL: Final = re.compile(r"https?://[^/@?#\s]+(/[^@?#\s]*)?")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")

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


class FlockClient:
    """Flock's reading methods, with rate limits, retries and counts; close it, or use it as a context manager.

    Every method raises `TokenRefusedError` (403 or 401: stop using this token), `FlockMethodError` (an error that
    concerns this call) or `FlockUnreachableError` (no usable answer after all tries). No token stands in any of them.
    All methods may be called from several threads.
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
        self._unreachable_in_a_row = 0
        self._unreachable_lock = Lock()
        self._http = httpx.Client(
            base_url=options.base_url.rstrip("/") + "/",
            # A thread may wait for a free connection as long as the others' own timeouts let them take.
            timeout=httpx.Timeout(options.timeout_seconds, pool=None),
            limits=httpx.Limits(max_connections=options.connections, max_keepalive_connections=options.connections),
            headers={"Accept": "application/json", "Accept-Encoding": "gzip"},
            cookies=no_cookies(),
            follow_redirects=False,  # a redirect would carry the token to wherever it points
            trust_env=False,  # only settings read the environment
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def stats(self) -> Mapping[str, MethodStats]:
        """Return a snapshot of what was called so far, by method."""
        return self._counter.snapshot()

    def users_get_info(self, token: UserToken) -> bytes:
        """Return the User object of the token's owner (flock-api.md 5.9, 6.7)."""
        return self._call_for_object("users.getInfo", token, {})

    def roster_list_contacts(self, token: UserToken) -> list[bytes]:
        """Return the PublicProfile objects of the user's contacts (5.8, 6.6)."""
        return self._call_for_array("roster.listContacts", token, {})

    def users_get_public_profile(self, token: UserToken, user_id: str) -> bytes:
        """Return the PublicProfile of any user (5.10)."""
        return self._call_for_object("users.getPublicProfile", token, {"userId": user_id})

    def channels_list(self, token: UserToken) -> list[bytes]:
        """Return the Channel objects that the user is a member of (5.3, 6.3)."""
        return self._call_for_array("channels.list", token, {})

    def channels_get_info(self, token: UserToken, channel_id: str) -> bytes:
        """Return one Channel object (5.4)."""
        return self._call_for_object("channels.getInfo", token, {"channelId": channel_id})

    def channels_list_members(
        self, token: UserToken, channel_id: str, *, show_public_profile: bool = True
    ) -> list[bytes]:
        """Return a channel's ChannelMember objects, with their profiles if asked for (5.5, 6.4)."""
        shown = "true" if show_public_profile else "false"
        return self._call_for_array(
            "channels.listMembers", token, {"channelId": channel_id, "showPublicProfile": shown}
        )

    def fetch_messages(self, token: UserToken, chat: str, uids: Sequence[str]) -> list[bytes]:
        """Return the Message objects with these uids, at most `UIDS_PER_FETCH_MAX` of them (5.2).

        ``chat`` is a channel id, or the *other* party of a one-to-one chat. Flock leaves out what it does not know or
        show and promises no order: match by uid. A chat that is unknown or not the user's is `FlockMethodError`
        UnknownChat.
        """
        if not 0 < len(uids) <= UIDS_PER_FETCH_MAX:
            raise ValueError(f"1 to {UIDS_PER_FETCH_MAX} uids may be fetched at once, not {len(uids)}")
        return self._call_for_array(
            "chat.fetchMessages", token, {"chat": chat, "uids": msgspec.json.encode(list(uids)).decode()}
        )

    def _call_for_array(self, method: str, token: UserToken, parameters: Mapping[str, str]) -> list[bytes]:
        return self._call(method, token, parameters, split_array)

    def _call_for_object(self, method: str, token: UserToken, parameters: Mapping[str, str]) -> bytes:
        return self._call(method, token, parameters, _whole_object)

    def _call(
        self, method: str, token: UserToken, parameters: Mapping[str, str], read: Callable[[bytes], _Answer]
    ) -> _Answer:
        """Call a method until it gives a usable answer, a plain no, or too many tries went by."""
        _check_sendable(token)
        self._counter.add(method, calls=1)
        retrying = tenacity.Retrying(
            sleep=self._clock.sleep,
            stop=tenacity.stop_after_attempt(self._tries_max()),
            wait=tenacity.wait_exponential(multiplier=BACKOFF_SECONDS_FIRST, max=BACKOFF_SECONDS_MAX)
            + tenacity.wait_random(0, BACKOFF_SECONDS_FIRST),
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, _UnusableAnswerError) and error.retry),
            before_sleep=lambda state: self._note_retry(method, token, state),
            reraise=True,
        )
        try:
            answer: _Answer = retrying(self._try_once, method, token, parameters, read)
        except _UnusableAnswerError as error:
            problem = str(error)
        except (FlockMethodError, TokenRefusedError):
            self._note_outcome(method, reached=True, usable=False)
            raise
        else:
            self._note_outcome(method, reached=True, usable=True)
            return answer
        self._note_outcome(method, reached=False, usable=False)
        # Raised out here so that no httpx exception, which knows the request and its token, hangs on as the context.
        raise FlockUnreachableError(
            f"Flock gave no usable answer to {method} at {self._options.base_url}: {problem}",
            next_step="See that flock.base_url is right and reachable from here; the next run tries again.",
        )

    def _try_once(
        self, method: str, token: UserToken, parameters: Mapping[str, str], read: Callable[[bytes], _Answer]
    ) -> _Answer:
        permit = self._limiter.acquire(token.fingerprint)
        response, body, problem = self._exchange(method, token, parameters)
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
        self._heed(response, permit, method)
        if response.status_code in _RETRIED_STATUSES:
            raise _UnusableAnswerError(_describe(response.status_code, _error_fields(body), token))
        raise _refusal(method, token, response.status_code, _error_fields(body))

    def _exchange(
        self, method: str, token: UserToken, parameters: Mapping[str, str]
    ) -> tuple[httpx.Response | None, bytes, str]:
        """Send one request and return the response, its body up to the limit, and what is wrong with them if anything."""
        form = dict(parameters)
        headers = {}
        if self._options.auth != "header":
            form["token"] = token.secret.reveal()
        if self._options.auth != "body":
            headers["Authorization"] = f"Bearer {token.secret.reveal()}"
        started = self._clock.monotonic()
        body = bytearray()
        try:
            with self._http.stream("POST", method, data=form, headers=headers) as response:
                bytes_max = ANSWER_BYTES_MAX if response.status_code == _OK else ERROR_BODY_BYTES_MAX
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > bytes_max:
                        return response, bytes(body[:bytes_max]), f"the answer is larger than {bytes_max} bytes"
                    if self._clock.monotonic() - started > self._options.timeout_seconds:
                        return None, b"", f"the answer took longer than {self._options.timeout_seconds} seconds"
                return response, bytes(body), ""
        except httpx.HTTPError as error:
            return None, b"", _redact(f"{type(error).__name__} {error}", token)

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

    def _note_retry(self, method: str, token: UserToken, state: tenacity.RetryCallState) -> None:
        self._counter.add(method, retries=1)
        error = state.outcome.exception() if state.outcome else None
        log.info("flock call tried again", method=method, fingerprint=token.fingerprint, problem=str(error))

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


def _check_sendable(token: UserToken) -> None:
    """Refuse a token that cannot stand in a header, before the HTTP library complains and quotes it."""
    text = token.secret.reveal()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise TokenRefusedError(
            f"the token of {token.user_id} holds characters that cannot be sent",
            code="InvalidToken",
            next_step="Compare it with what Flock gave: printable ASCII without blanks.",
        )


def _whole_object(body: bytes) -> bytes:
    read_object(body)
    return body.strip()


def _error_fields(body: bytes) -> Mapping[str, Any]:
    """Return the fields of an error body; a proxy's HTML page or nothing at all has none."""
    try:
        return read_object(body)
    except ValueError:
        return {}


def _refusal(method: str, token: UserToken, status: int, fields: Mapping[str, Any]) -> FlockError:
    code = _text_field(fields, "error", token)
    said = _describe(status, fields, token)
    if status == _UNAUTHORIZED or code in _TOKEN_CODES or (status == _FORBIDDEN and not code):
        by = _text_field(fields, "disabledBy", token)
        if code == _APP_DISABLED:
            said = f"{_WHO_DISABLED.get(by, 'the app is disabled for this user')} ({said})"
        return TokenRefusedError(
            f"Flock refuses the token of {token.user_id} (fingerprint {token.fingerprint}): {said}",
            # Flock's table has no 401; one client in the field meets it and takes it for InvalidToken (flock-api.md 3).
            code=code or (_INVALID_CODE if status == _UNAUTHORIZED else ""),
            next_step=_next_step_for_token(code, by),
        )
    return FlockMethodError(
        f"Flock refuses {method} for {token.user_id}: {said}",
        status=status,
        code=code,
        parameter=_text_field(fields, "parameter", token),
        next_step="" if code else "An answer without Flock's error code hints at a wrong flock.base_url or a proxy.",
    )


def _next_step_for_token(code: str, disabled_by: str) -> str:
    if code == _APP_DISABLED:
        return _WHO_ENABLES.get(disabled_by, "Let the user, or the team's admin, enable the app again.")
    if code == "MissingUserToken":
        return "Set flock.auth to both or body: this Flock does not read the token from the header."
    return "Let the user install the app again, or correct the token in the tokens file."


def _describe(status: int, fields: Mapping[str, Any], token: UserToken) -> str:
    """Return what Flock said in one line that is fit for a log."""
    said = [f"HTTP {status}"]
    said += [text for name in ("error", "description") if (text := _text_field(fields, name, token))]
    if by := _text_field(fields, "disabledBy", token):
        said.append(f"disabled by {by}")
    return ", ".join(said)


def _text_field(fields: Mapping[str, Any], name: str, token: UserToken) -> str:
    value = fields.get(name)
    return _redact(value, token) if isinstance(value, str) else ""


def _redact(text: str, token: UserToken) -> str:
    """Return a foreign text in one short line, without the token should it quote it."""
    shown = text.replace(token.secret.reveal(), REDACTED)
    return _UNPRINTABLE.sub(" ", shown)[:_SHOWN_CHARACTERS_MAX].strip()
