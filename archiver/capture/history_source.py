"""A declared source of paged history: how it is asked, and where in an answer the messages and the way on stand.

Flock's public API lists no messages (flock-api.md 14). Some customers have a gateway or an agreement that does, each in its
own way, so the configuration says how; nothing here knows a particular one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any, Final, Literal, Protocol
from urllib.parse import quote

import msgspec

from archiver.clock import EARLIEST_MS, LATEST_MS, to_text
from archiver.flock.answers import split_array, split_object
from archiver.flock.client import FlockClient, Verb
from archiver.flock.tokens import UserToken
from archiver.normalise.content import canonical_json

CursorKind = Literal["token", "uid", "timestamp", "iso_timestamp"]
Order = Literal["newest_first", "oldest_first"]

# Cursors stand in the ledger, which must stay small.
CURSOR_CHARACTERS_MAX: Final = 2_048
PLACEHOLDERS: Final = ("chat", "chat_id", "user", "page_size", "cursor")
_PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)\}")
_NO: Final = frozenset({b"null", b"false", b'""', b"0"})

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HistorySource:
    """What is declared of one source.

    ``items``, ``next_cursor`` and ``more`` are paths in an answer, ``uid`` one in an item; an empty ``items`` is the answer
    itself. ``parameters`` may hold `PLACEHOLDERS` in braces; one that holds ``{cursor}`` is left out of the first page.
    ``chats`` are archive chat ids, None for all that are known. Exactly one of ``method`` and ``url`` is given.
    """

    name: str
    method: str = ""
    url: str = ""
    verb: Verb = "POST"
    parameters: Mapping[str, str] = field(default_factory=dict)
    items: Path = ()
    next_cursor: Path = ()
    more: Path = ()
    uid: Path = ("uid",)
    page_size: int = 100
    order: Order = "newest_first"
    cursor: CursorKind = "token"
    requests_per_night: int = 20_000
    lookback_days: int = 3
    full_within_days: int = 30
    chats: frozenset[str] | None = None

    @property
    def newest_first(self) -> bool:
        """Tell whether pages go from the newest message to the oldest."""
        return self.order == "newest_first"

    @property
    def by_time(self) -> bool:
        """Tell whether its cursor is an instant."""
        return self.cursor in ("timestamp", "iso_timestamp")

    @property
    def fingerprint(self) -> str:
        """Return a digest of what cursors depend on: those of a source that is declared anew mean nothing any more."""
        said = {
            name: value
            for name, value in asdict(self).items()
            if name in ("method", "url", "parameters", "items", "next_cursor", "uid", "order", "cursor")
        }
        return sha256(canonical_json(said)).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class PageRequest:
    """One page to ask for: the chat as the asking user names it and as the archive does, who asks, and where to go on."""

    chat: str
    chat_id: str
    user: str
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """What one answer holds: items exactly as received, the cursor of the next page if it names one, and what is wrong with it.

    ``ends`` is what the answer itself says about further pages, None if it says nothing.
    """

    items: Sequence[bytes] = ()
    next_cursor: str | None = None
    ends: bool | None = None
    problem: str = ""


class PageServer(Protocol):
    """Where the pages of a source come from."""

    def page(self, token: UserToken, request: PageRequest) -> Page:
        """Return a page; raises what `FlockClient`'s methods raise."""
        ...


@dataclass(frozen=True, slots=True)
class OpenHistory:
    """A declared source that can be asked. ``credential`` is its own, None where it is asked as the users of the run."""

    source: HistorySource
    server: PageServer
    credential: UserToken | None = None


class MethodPages:
    """Pages of a method beside Flock's own, on the same address."""

    def __init__(self, client: FlockClient, source: HistorySource) -> None:
        self._client = client
        self._source = source
        self._read = page_reader(source)

    def page(self, token: UserToken, request: PageRequest) -> Page:
        """Return a page."""
        return self._client.method_page(token, self._source.method, filled(self._source, request), self._read)


class GatewayPages:
    """Pages of a URL; whatever fills its placeholders is percent-encoded, so it stays one segment of the path."""

    def __init__(self, client: FlockClient, source: HistorySource) -> None:
        self._client = client
        self._source = source
        self._read = page_reader(source)

    def page(self, token: UserToken, request: PageRequest) -> Page:
        """Return a page."""
        values = _values(self._source, request)
        url = _PLACEHOLDER.sub(lambda found: _segment(values[found[1]]), self._source.url)
        parameters = filled(self._source, request)
        return self._client.gateway_page(token, self._source.name, url, parameters, self._read, verb=self._source.verb)


def filled(source: HistorySource, request: PageRequest) -> dict[str, str]:
    """Return the parameters of a request."""
    values = _values(source, request)
    return {
        name: _PLACEHOLDER.sub(lambda found: values[found[1]], template)
        for name, template in source.parameters.items()
        if request.cursor is not None or "{cursor}" not in template
    }


def unknown_placeholders(template: str) -> list[str]:
    """Return the names in braces that mean nothing."""
    return [name for name in _PLACEHOLDER.findall(template) if name not in PLACEHOLDERS]


def page_reader(source: HistorySource) -> Callable[[bytes], Page]:
    """Return what reads an answer of this source as a `Page`; it raises `ValueError` for one that is no whole JSON."""

    def read(body: bytes) -> Page:
        if not source.items:
            return Page(split_array(body))
        members = split_object(body)
        items = _found(members, source.items)
        if items is None:
            return Page(problem=f"the answer has no {'.'.join(source.items)}")
        more = _found(members, source.more) if source.more else None
        try:
            cursor = _cursor_of(_found(members, source.next_cursor)) if source.next_cursor else None
            found = split_array(items) if items != b"null" else []
        except ValueError as error:
            return Page(problem=f"the answer is not as declared: {error}")
        return Page(items=found, next_cursor=cursor, ends=None if more is None else more in _NO)

    return read


def text_at(raw: bytes, path: Path) -> str | None:
    """Return the text or whole number that stands at a path in an item, None if there is none."""
    try:
        found = _found(split_object(raw), path)
        value = None if found is None else _decoded(found)
    except ValueError:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None


def _values(source: HistorySource, request: PageRequest) -> dict[str, str]:
    return {
        "chat": request.chat,
        "chat_id": request.chat_id,
        "user": request.user,
        "page_size": str(source.page_size),
        "cursor": _sent_cursor(source, request.cursor),
    }


def _sent_cursor(source: HistorySource, cursor: str | None) -> str:
    """Return a cursor as it is sent: an instant is moved by a millisecond, so that all messages of that instant come again.

    A source may or may not return those of the very instant; several may share it, and a page may end between them.
    """
    if cursor is None or not source.by_time:
        return cursor or ""
    at_ms = min(max(int(cursor) + (1 if source.newest_first else -1), EARLIEST_MS), LATEST_MS)
    return to_text(at_ms) if source.cursor == "iso_timestamp" else str(at_ms)


def _segment(text: str) -> str:
    """Return a text as one segment of a path, also one that would mean this folder or the one above."""
    return quote(text, safe="") if text.strip(".") else text.replace(".", "%2E")


def _found(members: Mapping[str, bytes], path: Path) -> bytes | None:
    for name in path[:-1]:
        inner = members.get(name)
        if inner is None or not inner.startswith(b"{"):
            return None
        members = split_object(inner)
    return members.get(path[-1])


def _cursor_of(raw: bytes | None) -> str | None:
    """Return a cursor as text; raises `ValueError` for what cannot be one."""
    if raw is None or raw in _NO:
        return None
    value = _decoded(raw)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError("its cursor is neither a text nor a number")  # noqa: TRY004 - one class for all that is wrong
    if len(value) > CURSOR_CHARACTERS_MAX:
        raise ValueError(f"its cursor is longer than {CURSOR_CHARACTERS_MAX} characters")
    return value or None


def _decoded(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise ValueError("a part of it is no JSON") from None
