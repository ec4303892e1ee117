"""Declared sources of paged history: what a gateway or an agreement offers beside Flock's public API, said in YAML."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, model_validator

from archiver.settings.parts import NO_FLAG, PART, EnvironmentSecrets, Host, Origin

PLACEHOLDERS = ("chat", "chat_id", "user", "page_size", "cursor")

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_METHOD = re.compile(r"[A-Za-z]+(\.[A-Za-z]+)+")
# Nothing in capture writes to Flock, so a method must sound as if it read.
_READING = re.compile(r"(?i)(get|list|fetch|search|read|export|history)[A-Za-z]*|[A-Za-z]*history")
_PATH = re.compile(r"([^.\s]+(\.[^.\s]+)*)?")
_CHAT = re.compile(r"g:[^,\s]+|u:[^,\s]+,u:[^,\s]+")


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("must be 1 to 40 lower-case letters, digits and hyphens")
    return value


def _method(value: str) -> str:
    if not _METHOD.fullmatch(value) or not _READING.fullmatch(value.rpartition(".")[2]):
        raise ValueError("must be a method that reads, such as chat.history; nothing here ever writes to Flock")
    return value


def _url(value: str) -> str:
    parts = urlsplit(_PLACEHOLDER.sub("x", value))
    if "{" in f"{urlsplit(value).scheme}{urlsplit(value).netloc}":
        raise ValueError("must name its host itself, without a placeholder")
    if parts.query or parts.fragment:
        raise ValueError("must not hold a query or fragment; put them into parameters")
    if "{cursor}" in value:
        raise ValueError("must not hold {cursor}; put it into parameters")
    return _filled(value)


def _filled(value: str) -> str:
    unknown = [name for name in _PLACEHOLDER.findall(value) if name not in PLACEHOLDERS]
    if unknown:
        raise ValueError(f"holds {{{unknown[0]}}}; what may stand in braces is {', '.join(PLACEHOLDERS)}")
    return value


def _path(value: str) -> str:
    if not _PATH.fullmatch(value):
        raise ValueError("must be names joined by dots, such as data.messages")
    return value


def _chat(value: str) -> str:
    if not _CHAT.fullmatch(value):
        raise ValueError("must be a channel (g:…), or the two users of a one-to-one chat in order (u:…,u:…)")
    if "," in value and value.split(",") != sorted(value.split(",")):
        raise ValueError("must name the two users of a one-to-one chat in order, as the archive does")
    return value


_Path = Annotated[str, AfterValidator(_path)]


class _Part(BaseModel):
    model_config = PART


class HistorySource(_Part):
    """One source: how a page of a chat is asked for, and where in the answer things are."""

    name: Annotated[str, AfterValidator(_name)]
    """Its name in gaps and in the ledger, which keeps under it how far each chat was read; another name begins anew."""
    method: Annotated[str, AfterValidator(_method)] | None = None
    """A method on the address of Flock's own, called as Flock's are. Either this or `url`."""
    url: Annotated[str, AfterValidator(_url)] | None = None
    """An address of a gateway, with {chat}, {chat_id} or {user} in its path if need be. Its host must be allowed."""
    verb: Literal["get", "post"] = "get"
    """How a `url` is asked: parameters in the query, or as a form."""
    credential: Literal["user_tokens", "own"] = "user_tokens"
    """Whom a `url` is asked as: users by their Flock tokens, or with a credential of its own (`secrets_file`); in the header."""
    parameters: dict[str, Annotated[str, AfterValidator(_filled)]] = {}
    """What is sent; {chat}, {chat_id}, {user}, {page_size} and {cursor} are filled in. One with {cursor} is left out of a first page."""
    items: _Path = ""
    """Where the messages are in an answer, such as data.messages; empty if the answer is itself their list."""
    uid: _Path = "uid"
    """Where the uid is in a message."""
    next_cursor: _Path = ""
    """Where the cursor of the next page is, for `cursor: token`. Absent, null or empty there means the end."""
    more: _Path = ""
    """Where the answer says whether there is more, if it does."""
    cursor: Literal["token", "uid", "timestamp", "iso_timestamp"] = "token"
    """What leads to the next page: a token that the answer names, or the last message's uid or time (milliseconds or ISO 8601)."""
    order: Literal["newest_first", "oldest_first"] = "newest_first"
    """Which messages the first page holds. Pages must be in order of sending time."""
    page_size: Annotated[int, Field(ge=1, le=1000), NO_FLAG] = 100
    """Messages of a page: what {page_size} becomes."""
    chats: tuple[Annotated[str, AfterValidator(_chat)], ...] = ()
    """Channels and one-to-one chats to read, by their ids in the archive; by default all that the archive knows."""
    requests_per_night: Annotated[int, Field(ge=10, le=10_000_000), NO_FLAG] = 20_000
    """Most pages of one night; what is left goes on the next."""
    lookback_days: Annotated[int, Field(ge=0, le=366), NO_FLAG] = 3
    """So far behind what was there before a night reads, because messages arrive late and are edited."""
    full_within_days: Annotated[int, Field(ge=1, le=3660), NO_FLAG] = 30
    """Everything is read again within so many days, which finds what came in further back."""

    @model_validator(mode="after")
    def _fits_together(self) -> HistorySource:
        if (self.method is None) == (self.url is None):
            raise ValueError("needs either a method or a url")
        if self.url is None and self.credential == "own":
            raise ValueError("a method is called with users' tokens; only a url can have a credential of its own")
        if not any("{cursor}" in value for value in self.parameters.values()):
            raise ValueError("needs a parameter with {cursor}, or every page would be the first")
        if self.cursor == "token" and not (self.items and self.next_cursor):
            raise ValueError("needs items and next_cursor for `cursor: token`")
        if self.cursor != "token" and self.next_cursor:
            raise ValueError(f"next_cursor means nothing with `cursor: {self.cursor}`")
        return self


class HistorySettings(_Part):
    """Paged history beside Flock's public API, which offers none; off unless sources are declared."""

    hosts_allowed: tuple[Host, ...] = ()
    """Hosts that a source's `url` may name, by https; tokens go nowhere else."""
    trusted_origins: tuple[Origin, ...] = ()
    """Exact origins for which plain http is allowed; for gateways on the machine itself, and for tests."""
    secrets: EnvironmentSecrets = None
    secrets_file: Path | None = None
    """File with the credentials of sources that have their own: a JSON object from source name to token. Or ARCHIVER_HISTORY__SECRETS."""
    sources: tuple[HistorySource, ...] = ()
    """The sources."""

    @model_validator(mode="after")
    def _fits_together(self) -> HistorySettings:
        names = [source.name for source in self.sources]
        if len(set(names)) < len(names):
            raise ValueError("two sources have the same name")
        for source in self.sources:
            if source.url is not None:
                self._check_host(source.name, source.url)
        return self

    def _check_host(self, name: str, url: str) -> None:
        parts = urlsplit(url)
        try:
            origin = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"
        except ValueError:
            raise ValueError(f"the url of {name} is no address") from None
        if parts.username is not None or parts.password is not None:
            raise ValueError(f"the url of {name} must not hold a user or password")
        if origin in self.trusted_origins:
            return
        if parts.scheme != "https":
            raise ValueError(f"the url of {name} must be https, or its origin one of trusted_origins")
        if parts.hostname not in self.hosts_allowed:
            raise ValueError(f"the host of {name}, {parts.hostname}, is not one of hosts_allowed")
