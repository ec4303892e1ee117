"""The tokens of users who installed the app, at rest: a SQLite file whose secrets are encrypted.

The listener saves what `app.install` brings and removes it on `app.uninstall`; the run loads what it may use and disables what
Flock refuses (flock-api.md 2, 10.3). A token is encrypted together with its user's id (Fernet: AES-128-CBC and HMAC-SHA256), so
that nobody who can write the file can pass one user's token for another's. A removed one is overwritten.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import msgspec
from cryptography.fernet import Fernet, InvalidToken

from archiver.errors import ConfigError, StorageError
from archiver.flock.tokens import Secret, UserToken

FORMAT: Final = 1
BUSY_TIMEOUT_SECONDS: Final = 10.0

# "FLKT": SQLite's own mark of whose file this is.
_APPLICATION_ID: Final = 0x464C4B54
_DIRECTORY_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
# Encrypted at the file's birth, so that a wrong key is noticed when the file is opened and not in the middle of a night.
_KEY_CHECK: Final = b"flock-archiver"

_SCHEMA: Final = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    """CREATE TABLE tokens (
         user_id         TEXT PRIMARY KEY,
         fingerprint     TEXT NOT NULL,
         encrypted       BLOB NOT NULL,
         installed_at_ms INTEGER NOT NULL,
         disabled_at_ms  INTEGER,
         disabled_reason TEXT
       ) WITHOUT ROWID""",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {FORMAT}",
)
_SAVE: Final = """
INSERT INTO tokens (user_id, fingerprint, encrypted, installed_at_ms) VALUES (?, ?, ?, ?)
ON CONFLICT (user_id) DO UPDATE SET
  fingerprint = excluded.fingerprint, encrypted = excluded.encrypted, installed_at_ms = excluded.installed_at_ms,
  disabled_at_ms = NULL, disabled_reason = NULL
"""
# Nothing is greater than NULL.
_LOAD: Final = (
    "SELECT user_id, encrypted FROM tokens WHERE disabled_at_ms IS NULL OR disabled_at_ms > ? ORDER BY user_id"
)
# A user who installed again meanwhile has another token, which this refusal is not about. One that is refused once more
# has been out of use since the first time.
_DISABLE: Final = """
UPDATE tokens SET disabled_at_ms = coalesce(disabled_at_ms, ?), disabled_reason = ?
WHERE user_id = ? AND fingerprint = ?
"""
_ENABLE: Final = """
UPDATE tokens SET disabled_at_ms = NULL, disabled_reason = NULL
WHERE user_id = ? AND fingerprint = ? AND disabled_at_ms IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Installation:
    """What may be shown of a stored token: whose, since when, and since when and why it is not used any more."""

    user_id: str
    fingerprint: str
    installed_at_ms: int
    disabled_at_ms: int | None
    disabled_reason: str | None


class TokenStore:
    """Tokens by user in one file, created with mode 0600; close it, or use it as a context manager.

    ``key`` is a Fernet key (32 random bytes in URL-safe base64). One object may be used from several threads, and several
    processes may open one file. The constructor raises `ConfigError` if the key is none or not the one of this file; everything
    raises `StorageError` if the file cannot be read or written.
    """

    def __init__(self, path: Path, *, key: Secret, busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            self._fernet = Fernet(key.reveal())
        except ValueError:
            raise ConfigError(
                "listen.token_key is no Fernet key: it must be 32 random bytes in URL-safe base64, 44 characters",
                next_step="`archiver init` in an empty folder makes one",
            ) from None
        with _explained(path):
            path.parent.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, _FILE_MODE))
            self._connection = sqlite3.connect(
                path, timeout=busy_timeout_seconds, isolation_level=None, check_same_thread=False
            )
        try:
            self._open()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def save(self, token: UserToken, *, at_ms: int) -> None:
        """Keep a user's token durably, instead of an older or a disabled one."""
        # As JSON with the user's id, so that what decrypts is known to belong to this very row.
        encrypted = self._fernet.encrypt(msgspec.json.encode((token.user_id, token.secret.reveal())))
        with self._transaction() as connection:
            connection.execute(_SAVE, (token.user_id, token.fingerprint, encrypted, at_ms))

    def remove(self, user_id: str) -> bool:
        """Forget a user's token; tell whether there was one."""
        with self._transaction() as connection:
            return connection.execute("DELETE FROM tokens WHERE user_id = ?", (user_id,)).rowcount > 0

    def disable(self, user_id: str, *, fingerprint: str, reason: str, at_ms: int) -> bool:
        """Stop using the very token that Flock refused; tell whether it is still the user's."""
        with self._transaction() as connection:
            return connection.execute(_DISABLE, (at_ms, reason, user_id, fingerprint)).rowcount > 0

    def enable(self, user_id: str, *, fingerprint: str) -> bool:
        """Use the very token again that Flock took after all; tell whether it was disabled."""
        with self._transaction() as connection:
            return connection.execute(_ENABLE, (user_id, fingerprint)).rowcount > 0

    def installations(self) -> list[Installation]:
        """Return what may be shown of every token, by user id."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT user_id, fingerprint, installed_at_ms, disabled_at_ms, disabled_reason FROM tokens ORDER BY user_id"
            )
            return [Installation(*row) for row in rows]

    def load(self, *, or_disabled_after_ms: int | None = None) -> list[UserToken]:
        """Return the tokens in use by user id, and those disabled after a moment; `StorageError` if one was tampered with."""
        with self._transaction() as connection:
            rows = connection.execute(_LOAD, (or_disabled_after_ms,)).fetchall()
        return [UserToken(user_id, self._decrypt(user_id, encrypted)) for user_id, encrypted in rows]

    def close(self) -> None:
        """Release the file; twice is fine."""
        with self._lock:
            self._connection.close()

    def _open(self) -> None:
        with self._transaction() as connection:
            (application_id,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            if not tables:
                for statement in _SCHEMA:
                    connection.execute(statement)
                check = self._fernet.encrypt(_KEY_CHECK)
                connection.execute("INSERT INTO meta VALUES ('key_check', ?)", (check,))
            elif application_id != _APPLICATION_ID:
                raise StorageError(
                    f"{self._path} is not a token store of the archiver",
                    next_step="point `state` at a directory of the archiver's own, or move this file away",
                )
            elif version > FORMAT:
                raise StorageError(
                    f"the token store {self._path} has format {version}; this version reads formats up to {FORMAT}",
                    next_step="install the newer flock-archiver that wrote it",
                )
            else:
                (check,) = connection.execute("SELECT value FROM meta WHERE key = 'key_check'").fetchone()
        with _explained(self._path):
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA secure_delete = ON")
        try:
            self._fernet.decrypt(check)
        except InvalidToken:
            raise ConfigError(
                f"listen.token_key is not the key that the tokens in {self._path} were encrypted with",
                next_step="configure the former key, or move the file away and ask the users to install the app again",
            ) from None

    def _decrypt(self, user_id: str, encrypted: bytes) -> Secret:
        try:
            owner, text = msgspec.json.decode(self._fernet.decrypt(encrypted), type=tuple[str, str])
        except (InvalidToken, msgspec.MsgspecError):
            owner, text = "", ""
        if owner != user_id:
            raise StorageError(
                f"the token of {user_id} in {self._path} was changed by something else than the archiver",
                next_step="find out who can write this file; remove that user's row and ask for a new installation",
            )
        return Secret(text)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _explained(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StorageError(
            f"the token store {path} cannot be read or written ({error})",
            next_step="look whether its disk is full and whether the user that runs the archiver may write it",
        ) from error
    except OSError as error:
        raise StorageError(
            f"the token store {path} cannot be reached ({error.strerror})",
            next_step="give the user that runs the archiver the right to write it and its directory",
        ) from error
