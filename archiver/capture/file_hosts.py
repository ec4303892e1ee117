"""Where files may be fetched from. URLs in messages are foreign: apps may put anything into them (flock-api.md 13).

A URL is fetched only by https from an allowed host on the usual port, and only from addresses of the public internet,
so that no message makes us ask the machine's own network. `check_url` judges the text, `is_public_address` what the
name stands for. Exact origins that the configuration trusts are spared both, for tests and demonstrations.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Literal, Self
from urllib.parse import parse_qsl, urlencode

import httpx

from archiver.errors import ConfigError
from archiver.normalise.content import EXPIRING_PARAMETERS

Refusal = Literal["bad_url", "not_https", "url_with_user", "odd_port", "host_not_allowed", "private_address"]

URL_CHARACTERS_MAX: Final = 8192
_HOST: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*")
_PORTS: Final = {"http": 80, "https": 443}
_SIGNATURE_PREFIXES: Final = ("x-amz-", "x-goog-")
_SIGNATURE_PARAMETERS: Final = EXPIRING_PARAMETERS | {"token", "access_token", "sig", "auth", "googleaccessid"}

# What Python 3.11 calls global and is not the public internet: protocol assignments, 6to4 relays and reserved blocks.
_IPV4_SPECIAL: Final = tuple(ip_network(net) for net in ("192.0.0.0/24", "192.88.99.0/24"))
# IPv6 is allowed only where it is handed out (RFC 4291, 2.4), without what is set apart there: Teredo and other
# protocols, documentation, 6to4.
_IPV6_GLOBAL: Final = IPv6Network("2000::/3")
_IPV6_SPECIAL: Final = tuple(ip_network(net) for net in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052: how an IPv6-only machine sees an IPv4 address


class UrlRefusedError(Exception):
    """A URL that must not be fetched, and why."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(reason)
        self.reason: Refusal = reason


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """Allowed hosts, each with all its subdomains, and trusted origins as (scheme, host, port)."""

    hosts: tuple[str, ...]
    trusted: frozenset[tuple[str, str, int]]

    @classmethod
    def of(cls, hosts_allowed: Iterable[str], trusted_origins: Iterable[str] = ()) -> Self:
        """Make a policy from the configuration's texts; raises `ConfigError` for one that means nothing."""
        hosts = tuple(host.lower().lstrip(".") for host in hosts_allowed)
        for host in hosts:
            if not _HOST.fullmatch(host) or _is_address(host):
                raise ConfigError(
                    f"files.hosts_allowed holds {host!r}, which is no host name",
                    next_step="Give names such as flockusercontent.com; subdomains are included.",
                )
        return cls(hosts, frozenset(_trusted_origin(origin) for origin in trusted_origins))

    def trusts(self, host: str, port: int) -> bool:
        """Tell whether connections to this host and port are spared the look at the address."""
        return any((host, port) == (name, number) for _, name, number in self.trusted)


def check_url(url: str, policy: HostPolicy) -> httpx.URL:
    """Return the URL as it will be requested; raises `UrlRefusedError` with the reason if it must not be."""
    if len(url) > URL_CHARACTERS_MAX:
        raise UrlRefusedError("bad_url")
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, TypeError):
        raise UrlRefusedError("bad_url") from None
    if parsed.scheme not in _PORTS or not parsed.host:
        raise UrlRefusedError("not_https" if parsed.scheme else "bad_url")
    if parsed.userinfo:
        raise UrlRefusedError("url_with_user")
    if origin_of(parsed) in policy.trusted:
        return parsed
    if parsed.scheme != "https":
        raise UrlRefusedError("not_https")
    if parsed.port is not None:
        raise UrlRefusedError("odd_port")
    if not _is_allowed(parsed.host, policy.hosts):
        raise UrlRefusedError("host_not_allowed")
    return parsed


def origin_of(url: httpx.URL) -> tuple[str, str, int]:
    """Return scheme, host and port, the usual port filled in."""
    return url.scheme, url.host, url.port or _PORTS[url.scheme]


def is_public_address(text: str) -> bool:
    """Tell whether an IP address is one of the public internet, and no disguise of another that is not."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return _is_public_ipv4(address)
    return _is_public_ipv6(address)


def without_secrets(url: httpx.URL) -> str:
    """Return a URL fit for the archive and the logs: no fragment, and no query parameter that is a signature."""
    pairs = parse_qsl(url.query.decode("ascii", "replace"), keep_blank_values=True)
    kept = [(name, value) for name, value in pairs if not _is_signature(name.lower())]
    query = urlencode(kept).encode() if kept else None
    return str(url.copy_with(query=query, fragment=None))


def _is_signature(name: str) -> bool:
    return name in _SIGNATURE_PARAMETERS or name.startswith(_SIGNATURE_PREFIXES)


def _is_allowed(host: str, allowed: Iterable[str]) -> bool:
    if not _HOST.fullmatch(host) or _is_address(host):
        return False
    return any(host == name or host.endswith(f".{name}") for name in allowed)


def _is_address(host: str) -> bool:
    """Tell whether a host is an IP address, also in the old forms (one number, hexadecimal) that resolvers still take."""
    last = host.rpartition(".")[2]
    return last.isdigit() or last.startswith("0x")


def _is_public_ipv4(address: IPv4Address) -> bool:
    if address.is_multicast or address.is_reserved or any(address in net for net in _IPV4_SPECIAL):
        return False
    return address.is_global


def _is_public_ipv6(address: IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    if address in _NAT64:
        return _is_public_ipv4(IPv4Address(int(address) & 0xFFFF_FFFF))
    if address not in _IPV6_GLOBAL or any(address in net for net in _IPV6_SPECIAL):
        return False
    return address.is_global


def _trusted_origin(text: str) -> tuple[str, str, int]:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in _PORTS or not url.host or url.userinfo or url.raw_path not in {b"", b"/"} or url.fragment:
        raise ConfigError(
            "files.trusted_origins holds something that is no origin",
            next_step="Give scheme, host and port only, such as http://127.0.0.1:8443.",
        )
    return origin_of(url)
