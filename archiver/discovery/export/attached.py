"""The files of a message: of many attempts at fetching one the outcome, and of many versions each file once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

EXTENSION_CHARACTERS_MAX: Final = 8
_STORED: Final = "stored"
# The reasons that downloads give (docs/archive-format.md), in words for somebody who reads a package.
_REASONS: Final = {
    "bad_url": "its link is none that can be followed",
    "not_https": "its link is not encrypted (https), and was not followed",
    "url_with_user": "its link has a user name in it, and was not followed",
    "odd_port": "its link leads to an unusual port, and was not followed",
    "host_not_allowed": "its link leads to a host that is not allowed, and was not followed",
    "private_address": "its link leads into a private network, and was not followed",
    "http_status": "the host of the file refused it",
    "login_page": "its link led to a login page instead of the file",
    "too_large": "it is larger than the archive is to fetch",
    "truncated": "it broke off each time it was fetched",
    "timed_out": "its host did not answer in time",
    "network_error": "its host could not be reached",
    "bad_encoding": "its host sent it in a form that cannot be read",
    "bad_redirect": "its link led on to one that cannot be followed",
    "too_many_redirects": "its link led on too many times",
}


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file as the archive has it. ``digest`` is given if its bytes are stored; else ``reason`` says why not.

    ``extension`` is safe, of lower-case letters and digits with its dot, or empty.
    """

    name: str
    kind: str
    status: str
    mime: str | None = None
    size: int | None = None
    digest: str | None = None
    reason: str | None = None
    extension: str = ""


def file_facts(rows: Iterable[Mapping[str, Any]], versions: Collection[int] | None = None) -> list[FileFacts]:
    """Return the files of one message, of these versions or of all, in their order; rows are those of the table ``files``."""
    outcomes: dict[tuple[int, int, str], Mapping[str, Any]] = {}
    for row in rows:
        if versions is not None and row["version"] not in versions:
            continue
        attempt = (row["version"], row["ordinal"], row["url"])
        known = outcomes.get(attempt)
        if known is None or _place(known) <= _place(row):
            outcomes[attempt] = row
    # The same file hangs on each version of an edited message; a link's signature changes, what lies before it does not.
    files: dict[tuple[object, ...], Mapping[str, Any]] = {}
    for _, row in sorted(outcomes.items()):
        link = (row["ordinal"], row["kind"], row["name"], row["url"].partition("?")[0])
        known = files.get(link)
        if known is None or _place(known) <= _place(row):
            files[link] = row
    return [_facts(row) for row in files.values()]


def _place(row: Mapping[str, Any]) -> tuple[bool, object]:
    """Return what sorts outcomes: what is stored counts more than any later try, else the latest counts."""
    return row["status"] == _STORED and row["blob_digest"] is not None, row["observed_at"]


def _facts(row: Mapping[str, Any]) -> FileFacts:
    is_stored = row["status"] == _STORED and row["blob_digest"] is not None
    name = row["name"] or f"{row['kind']}-{row['ordinal'] + 1}"
    extension = _extension(name)
    reason = _REASONS.get(row["reason"], row["reason"]) or (
        "it waits to be fetched" if row["status"] == "pending" else row["status"]
    )
    if row["http_status"] is not None and row["reason"] == "http_status":
        reason = f"{reason} (HTTP {row['http_status']})"
    return FileFacts(
        name=name,
        kind=row["kind"],
        status=row["status"],
        mime=row["mime_received"] or row["mime"],
        size=row["blob_bytes"] if is_stored else row["size"],
        digest=row["blob_digest"] if is_stored else None,
        reason=None if is_stored else reason,
        extension=extension,
    )


def _extension(name: str) -> str:
    stem, dot, end = name.rpartition(".")
    is_safe = dot and stem and end.isascii() and end.isalnum() and len(end) <= EXTENSION_CHARACTERS_MAX
    return f".{end.lower()}" if is_safe else ""
