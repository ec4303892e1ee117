"""What groups of settings share: how they are read, and the types of addresses, hosts, numbers and secrets."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ConfigDict, SecretStr
from pydantic.json_schema import SkipJsonSchema

_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")


# Every group of keys is so: what nobody knows is refused, and its docstrings are the JSON Schema's text.
PART = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)


def _no_flag(value: object) -> object:
    # YAML reads `yes` and `on` as True, and True is a number in Python: a port of 1 would be news to everyone.
    if isinstance(value, bool):
        raise ValueError("must be a number, not yes or no")  # noqa: TRY004 - pydantic turns a ValueError into its message
    return value


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http:// or https:// address")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user or password")
    if parts.query or parts.fragment:
        raise ValueError("must not hold a query or fragment")
    if parts.port == 0:
        raise ValueError("must name a port that one can connect to")
    return value.rstrip("/")


def _origin(value: str) -> str:
    address = _http_url(value)
    if urlsplit(address).path:
        raise ValueError("must be an exact origin such as http://127.0.0.1:8090, without a path")
    return address


def _host(value: str) -> str:
    lowered = value.lower().rstrip(".")
    if not _HOST.fullmatch(lowered):
        raise ValueError("must be a host name such as flockusercontent.com, without scheme, port, path or wildcard")
    return lowered


NO_FLAG = BeforeValidator(_no_flag)
HttpUrl = Annotated[str, AfterValidator(_http_url)]
Origin = Annotated[str, AfterValidator(_origin)]
Host = Annotated[str, AfterValidator(_host)]
EnvironmentSecret = SkipJsonSchema[SecretStr | None]
EnvironmentSecrets = SkipJsonSchema[dict[str, SecretStr] | None]
