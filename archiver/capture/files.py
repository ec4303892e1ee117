"""Downloading the files that messages point to, while hashing them; what fails says why and when to try again.

File URLs lead to signed URLs that expire (flock-api.md 13), so a file is fetched as soon as it is known, and every new
try begins at the URL in the message, never at one it once led to. No Flock token is ever sent to a file host.
"""

from __future__ import annotations

import errno
import ssl
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final, Literal, Self
from uuid import uuid4

import httpx
import structlog
import tenacity

from archiver.capture.file_decoding import ENCODINGS, BadEncodingError, decoded
from archiver.capture.file_hosts import HostPolicy, Refusal, UrlRefusedError, check_url, without_secrets
from archiver.capture.file_network import (
    CONNECT_SECONDS_MAX,
    SILENCE_SECONDS_MAX,
    Deadline,
    PoolTransport,
    Resolve,
    resolve_addresses,
)
from archiver.capture.file_pages import LoginPageError, is_page, is_page_expected, without_page
from archiver.capture.parallel import map_unordered
from archiver.clock import Clock
from archiver.errors import StorageError, StoreFullError
from archiver.flock.http_privacy import silence_http_logs

FileStatus = Literal["stored", "failed", "given_up"]
FileReason = Literal[
    Refusal,
    "http_status",
    "login_page",
    "too_large",
    "truncated",
    "timed_out",
    "network_error",
    "bad_encoding",
    "bad_redirect",
    "too_many_redirects",
]

REDIRECTS_MAX: Final = 5
# Tries at once, each from the URL in the message; what still fails is tried again on another night.
TRIES_AT_ONCE_MAX: Final = 3
BACKOFF_SECONDS_FIRST: Final = 1.0
# After the first, second … failed attempt the next is due so many hours later; after the last the file is given up.
RETRY_HOURS: Final = (1, 6, 24, 48, 96, 168)
ATTEMPTS_MAX: Final = len(RETRY_HOURS) + 1
MIME_CHARACTERS_MAX: Final = 255
_HEADERS: Final = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "flock-archiver"}
_TIMEOUT: Final = httpx.Timeout(SILENCE_SECONDS_MAX, connect=CONNECT_SECONDS_MAX)
_CHUNK_BYTES: Final = 256 * 1024
_TEMPORARY_SUFFIX: Final = ".download"
_HOUR_MS: Final = 3_600_000

_OK: Final = 200
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_TRANSIENT_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
# A signed URL that has expired says one of these; a new way from the start may get a fresh one.
_EXPIRED_STATUSES: Final = frozenset({400, 401, 403, 404, 410})
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FileOptions:
    """What may be fetched, and how much of it.

    ``hosts_allowed`` are host names with all their subdomains; ``trusted_origins`` are exact ``scheme://host:port`` for
    which neither https nor a public address is asked. ``timeout_seconds`` bounds one file altogether.
    """

    hosts_allowed: tuple[str, ...]
    trusted_origins: tuple[str, ...] = ()
    size_bytes_max: int = 2 * 1024**3
    timeout_seconds: float = 300.0
    connections: int = 4


@dataclass(frozen=True, slots=True)
class WantedFile:
    """A file to fetch: its URL, what the message declares of it, and how often it was tried before."""

    url: str
    name: str | None = None
    mime: str | None = None
    size: int | None = None
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of a file.

    ``stored``: ``path`` holds the bytes, with their SHA-256 (64 hex digits), size, media type as served and the URL
    they came from, its signature removed. ``failed``: to be tried again from ``retry_at_ms`` on (milliseconds since
    1970 UTC). ``given_up``: not to be tried again. ``attempts`` counts this one; ``http_status`` is that of the last
    answer.
    """

    status: FileStatus
    attempts: int
    reason: FileReason | None = None
    http_status: int | None = None
    retry_at_ms: int | None = None
    path: Path | None = None
    sha256: str | None = None
    size: int | None = None
    mime_received: str | None = None
    final_url: str | None = None


class Downloader:
    """Fetches files in threads into temporary files of one folder that is its own; close it, or use it with ``with``.

    Opening it removes what a killed run left in the folder. The caller owns, and removes, the files of results that are
    ``stored``.
    """

    def __init__(
        self,
        options: FileOptions,
        *,
        folder: Path,
        clock: Clock,
        resolve: Resolve = resolve_addresses,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        silence_http_logs()
        self._options = options
        self._policy = HostPolicy.of(options.hosts_allowed, options.trusted_origins)
        self._folder = folder
        self._clock = clock
        self._deadline = Deadline(clock)
        _prepare(folder)
        # The bare transport keeps nothing from one request to the next: no cookies, no credentials, no redirects.
        self._transport = PoolTransport(
            self._policy,
            connections=options.connections,
            deadline=self._deadline,
            resolve=resolve,
            ssl_context=ssl_context or httpx.create_ssl_context(trust_env=False),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def download_all(self, wanted: Iterable[WantedFile]) -> Generator[tuple[WantedFile, FileResult], None, None]:
        """Fetch many files side by side and yield each with its result as it is there, in no particular order.

        Only a few results wait for the reader at any time, so the folder holds a few files. Raises as `download`.
        """
        yield from map_unordered(
            self._download_one, wanted, threads=self._options.connections, discard=lambda pair: _remove(pair[1].path)
        )

    def download(self, wanted: WantedFile, destination: Path) -> FileResult:
        """Fetch one file to a path that does not exist yet; nothing is left there unless the result is ``stored``.

        Raises `StorageError` if the file cannot be written, which is no fault of the host.
        """
        self._deadline.set(self._options.timeout_seconds)
        retrying = tenacity.Retrying(
            sleep=self._clock.sleep,
            stop=tenacity.stop_after_attempt(TRIES_AT_ONCE_MAX),
            wait=tenacity.wait_exponential(multiplier=BACKOFF_SECONDS_FIRST) + tenacity.wait_random(0, 1),
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, _FailedError) and error.try_now),
            reraise=True,
        )
        try:
            result: FileResult = retrying(self._try_once, wanted, destination)
        except _FailedError as error:
            result = self._failure(wanted, error)
            log.info(
                "file not stored",
                reason=result.reason,
                status=result.status,
                http_status=result.http_status,
                attempts=result.attempts,
            )
        return result

    def _download_one(self, wanted: WantedFile) -> tuple[WantedFile, FileResult]:
        return wanted, self.download(wanted, self._folder / f"{uuid4().hex}{_TEMPORARY_SUFFIX}")

    def _try_once(self, wanted: WantedFile, destination: Path) -> FileResult:
        """Go the way from the message's URL to the bytes; raises `_FailedError` if it does not lead there."""
        try:
            url = check_url(wanted.url, self._policy)
        except UrlRefusedError as error:
            raise _FailedError(error.reason, final=True) from None
        for hop in range(REDIRECTS_MAX + 1):
            with closing(self._get(url)) as response:
                if response.status_code in _REDIRECTS:
                    url = self._next_hop(url, response)
                elif response.status_code != _OK:
                    status = response.status_code
                    again = status in _TRANSIENT_STATUSES or (hop > 0 and status in _EXPIRED_STATUSES)
                    raise _FailedError("http_status", http_status=status, try_now=again)
                else:
                    return self._save(response, url, wanted, destination)
        raise _FailedError("too_many_redirects", http_status=response.status_code)

    def _get(self, url: httpx.URL) -> httpx.Response:
        request = httpx.Request("GET", url, headers=_HEADERS, extensions={"timeout": _TIMEOUT.as_dict()})
        try:
            return self._transport.handle_request(request)
        except UrlRefusedError as error:
            raise _FailedError(error.reason) from None
        except httpx.TimeoutException:
            raise _FailedError("timed_out") from None
        except httpx.TransportError:
            raise _FailedError("network_error", try_now=True) from None

    def _next_hop(self, url: httpx.URL, response: httpx.Response) -> httpx.URL:
        """Return where a redirect leads, checked anew; what a host says may be otherwise the next time, so no refusal is final."""
        try:
            target = url.join(response.headers.get("Location", ""))
        except (httpx.InvalidURL, ValueError):
            raise _FailedError("bad_redirect", http_status=response.status_code) from None
        if "Location" not in response.headers:
            raise _FailedError("bad_redirect", http_status=response.status_code)
        try:
            return check_url(str(target), self._policy)
        except UrlRefusedError as error:
            raise _FailedError(error.reason, http_status=response.status_code) from None

    def _save(self, response: httpx.Response, url: httpx.URL, wanted: WantedFile, destination: Path) -> FileResult:
        mime = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()[:MIME_CHARACTERS_MAX] or None
        announced = _announced_bytes(response)
        is_expected = is_page_expected(wanted.name, wanted.mime) or (announced is not None and announced == wanted.size)
        if is_page(mime) and not is_expected:
            raise _FailedError("login_page", http_status=_OK)
        if announced is not None and announced > self._options.size_bytes_max:
            raise _FailedError("too_large", http_status=_OK, final=True)
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in ENCODINGS:
            raise _FailedError("bad_encoding", http_status=_OK)
        body = decoded(response.iter_raw(), encoding, bytes_max=_CHUNK_BYTES)
        try:
            digest, size = _write(without_page(body, declared=wanted.mime), destination, self._options.size_bytes_max)
        except LoginPageError:
            raise _FailedError("login_page", http_status=_OK) from None
        if _is_short(size, announced, response, wanted):
            _remove(destination)
            raise _FailedError("truncated", http_status=_OK, try_now=True)
        return FileResult(
            status="stored",
            attempts=wanted.attempts + 1,
            http_status=_OK,
            path=destination,
            sha256=digest,
            size=size,
            mime_received=mime,
            final_url=without_secrets(url),
        )

    def _failure(self, wanted: WantedFile, error: _FailedError) -> FileResult:
        attempts = wanted.attempts + 1
        result = FileResult("given_up", attempts, error.reason, error.http_status)
        if error.final or attempts >= ATTEMPTS_MAX:
            return result
        return replace(result, status="failed", retry_at_ms=retry_at_ms(attempts, now_ms=self._clock.now_ms()))


def retry_at_ms(attempts: int, *, now_ms: int) -> int:
    """Return when a file that failed so many times (1 to `ATTEMPTS_MAX` - 1) is due again: after hours at first, then days."""
    return now_ms + RETRY_HOURS[attempts - 1] * _HOUR_MS


def is_due(retry_at_ms: int | None, *, now_ms: int) -> bool:
    """Tell whether a file's time has come; one that lies further ahead than any wait was written by a clock that was ahead."""
    return retry_at_ms is None or not now_ms < retry_at_ms <= now_ms + max(RETRY_HOURS) * _HOUR_MS


class _FailedError(Exception):
    """One try did not bring the file; ``try_now`` says that another at once may, ``final`` that none ever will."""

    def __init__(
        self, reason: FileReason, *, http_status: int | None = None, try_now: bool = False, final: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason: FileReason = reason
        self.http_status = http_status
        self.try_now = try_now
        self.final = final


def _write(body: Iterable[bytes], destination: Path, size_bytes_max: int) -> tuple[str, int]:
    """Stream a body to a new file and return its SHA-256 and size; leaves no file behind if it raises."""
    try:
        file = destination.open("xb")
    except OSError as error:
        raise _storage_error(error, destination) from error
    try:
        with file:
            return _copy(body, file, size_bytes_max)
    except BaseException as error:
        _remove(destination)
        if isinstance(error, OSError):
            raise _storage_error(error, destination) from error
        raise


def _copy(body: Iterable[bytes], file: BinaryIO, size_bytes_max: int) -> tuple[str, int]:
    digest = sha256()
    size = 0
    try:
        for chunk in body:
            size += len(chunk)
            if size > size_bytes_max:
                raise _FailedError("too_large", http_status=_OK, final=True)
            digest.update(chunk)
            file.write(chunk)
    except httpx.TimeoutException:
        raise _FailedError("timed_out", http_status=_OK) from None
    except httpx.TransportError:
        raise _FailedError("truncated", http_status=_OK, try_now=True) from None
    except BadEncodingError as error:
        reason: FileReason = "truncated" if error.is_cut else "bad_encoding"
        raise _FailedError(reason, http_status=_OK, try_now=error.is_cut) from None
    return digest.hexdigest(), size


def _announced_bytes(response: httpx.Response) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def _is_short(size: int, announced: int | None, response: httpx.Response, wanted: WantedFile) -> bool:
    """Tell whether a body that ended without an error ended too early all the same.

    Only a body without length and chunks can: then, and for an empty one, the message's declaration decides.
    """
    if not wanted.size or size == wanted.size:
        return False
    return size == 0 or (announced is None and "Transfer-Encoding" not in response.headers)


def _storage_error(error: OSError, path: Path) -> StorageError:
    kind = StoreFullError if error.errno in _NO_SPACE else StorageError
    return kind(
        f"a downloaded file cannot be kept in {path.parent}: {error.strerror or error}",
        next_step="Make room there, or let the state folder of the configuration be elsewhere.",
    )


def _prepare(folder: Path) -> None:
    """Make the folder, for us alone, and remove what a killed run left there."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left_over in folder.glob(f"*{_TEMPORARY_SUFFIX}"):
            left_over.unlink()
    except OSError as error:
        raise _storage_error(error, folder / "any") from error


def _remove(path: Path | None) -> None:
    if path is not None:
        path.unlink(missing_ok=True)
