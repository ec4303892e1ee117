"""What a key may be, so that the same archive can lie in a directory, in S3 and in memory under the same keys."""

from __future__ import annotations

from collections.abc import Iterable

# S3 allows 1,024 bytes for prefix and key together; the store's own prefix gets the other half.
KEY_LENGTH_MAX = 512

# The longest file name of the usual file systems.
SEGMENT_LENGTH_MAX = 255

# What a store keeps for itself: unfinished writes and the object that `Store.probe` writes. Never listed.
OWN_FOLDER = ".store"

# mkfs puts this directory, readable by root alone, at the root of a file system that an archive may have for itself.
_RECOVERY_FOLDER = "lost+found"
RESERVED_FOLDERS = frozenset({OWN_FOLDER, _RECOVERY_FOLDER})

_FIRST_PRINTABLE = " "
_LAST_PRINTABLE = "~"

# Some S3 servers that keep objects in folders take it for a slash.
_BACKSLASH = "\\"


def check_key(key: str) -> None:
    """Raise `ValueError` unless ``key`` is one that every store can hold; see `Store` for the rule."""
    if len(key) > KEY_LENGTH_MAX:
        raise ValueError(f"a key of {len(key)} characters is longer than {KEY_LENGTH_MAX}: {key[:80]!r}…")
    segments = key.split("/")
    _check_segments(key, segments)
    if segments[0] in RESERVED_FOLDERS:
        raise ValueError(f"the folder {segments[0]!r} is not for objects: {key!r}")


def check_prefix(prefix: str) -> None:
    """Raise `ValueError` unless ``prefix`` can begin a key; its last segment may be empty or only a part of one."""
    *folders, rest = prefix.split("/")
    _check_segments(prefix, folders)
    _check_characters(prefix, rest)


def is_key(text: str) -> bool:
    """Tell whether `check_key` accepts it, for a store that meets things which it did not write."""
    try:
        check_key(text)
    except ValueError:
        return False
    return True


def _check_segments(whole: str, segments: Iterable[str]) -> None:
    for segment in segments:
        if segment in {"", ".", ".."}:
            raise ValueError(f"a key has no empty, '.' or '..' segment: {whole!r}")
        if len(segment) > SEGMENT_LENGTH_MAX:
            raise ValueError(f"a segment of a key is longer than {SEGMENT_LENGTH_MAX}: {whole[:80]!r}…")
        _check_characters(whole, segment)


def _check_characters(whole: str, part: str) -> None:
    for character in part:
        if not _FIRST_PRINTABLE <= character <= _LAST_PRINTABLE or character == _BACKSLASH:
            raise ValueError(f"a key is printable ASCII without backslashes: {whole!r}")
