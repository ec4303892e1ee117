"""Which tokens Flock refused, kept from run to run: a token that does not work is not asked with again and again.

A configured token stands in a file that is not ours to change, and a stored one may only have been switched off for a
while. So a refusal is remembered by user and fingerprint, never with the token itself, and decides when to try again.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from archiver.errors import StorageError

_FILE_MODE: Final = 0o600

# A user's id and a token's fingerprint: a token under another user's name is another question to Flock.
TokenKey: TypeAlias = tuple[str, str]


class Refusal(msgspec.Struct, frozen=True):
    """A token that Flock refused: whose, which, with which error code, in words, and when first and last."""

    user_id: str
    fingerprint: str
    code: str
    reason: str
    next_step: str
    first_at_ms: int
    last_at_ms: int

    @property
    def key(self) -> TokenKey:
        """What the refusal is remembered by."""
        return self.user_id, self.fingerprint


class RefusalMemory:
    """The refusals in one file, written whole and durably. A file that is not there, or not readable, is no memory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> dict[TokenKey, Refusal]:
        """Return what is remembered."""
        try:
            refusals = msgspec.json.decode(self._path.read_bytes(), type=list[Refusal])
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return {}
        return {refusal.key: refusal for refusal in refusals}

    def update(self, *, refused: Iterable[Refusal] = (), forget: Collection[TokenKey] = ()) -> None:
        """Remember refusals, each since its first, and forget others; raises `StorageError` if that cannot be written."""
        known = self.load()
        changed = {key: refusal for key, refusal in known.items() if key not in forget}
        for refusal in refused:
            first = changed.get(refusal.key, refusal)
            changed[refusal.key] = msgspec.structs.replace(refusal, first_at_ms=first.first_at_ms)
        if changed != known:
            self._write([changed[key] for key in sorted(changed)])

    def _write(self, refusals: list[Refusal]) -> None:
        temporary = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(refusals))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        except OSError as error:
            raise StorageError(
                f"{self._path} cannot be written: {error.strerror}",
                next_step="make the directory named by 'state:' in archiver.yaml writable for this user",
            ) from error
