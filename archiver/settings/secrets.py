"""Secrets, from a variable or else from the file that a ``*_file`` key names; read when they are needed, never before.

An error names the key and the file, never the content.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from archiver.errors import ConfigError
from archiver.settings.models import ENVIRONMENT_DELIMITER, ENVIRONMENT_PREFIX, Settings

SECRET_FILE_BYTES_MAX = 4 * 1024 * 1024

# It stands in an address, and guessing it must be hopeless: 22 characters of this alphabet are 128 bits.
PATH_SECRET = re.compile(r"[A-Za-z0-9_-]{22,200}")
WEBHOOK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
FERNET_KEY = re.compile(r"[A-Za-z0-9_-]{43}=")


def _ignore(_: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Secrets:
    """Gives out the secrets of a configuration.

    ``on_secret`` hears every secret that is read, so that the log can redact it; ``on_warning`` hears of files that others may read.
    Each method returns None (or nothing in the mapping) where neither variable nor file is set, and raises `ConfigError` where what is
    set cannot be used.
    """

    settings: Settings
    on_secret: Callable[[str], None] = field(default=_ignore)
    on_warning: Callable[[str], None] = field(default=_ignore)

    def user_tokens(self) -> dict[str, SecretStr]:
        """Return the configured Flock tokens by user id."""
        part = self.settings.flock
        return self._many("flock.tokens", part.tokens, part.tokens_file)

    def webhook_tokens(self) -> dict[str, SecretStr]:
        """Return the outgoing webhooks' tokens by webhook name; a name is a part of an address."""
        part = self.settings.listen
        tokens = self._many("listen.webhook_tokens", part.webhook_tokens, part.webhook_tokens_file)
        for name in tokens:
            if not WEBHOOK_NAME.fullmatch(name):
                raise ConfigError(
                    f"listen.webhook_tokens: the webhook name {name[:64]!r} cannot be part of an address",
                    next_step="use letters, digits, dots, hyphens and underscores, at most 64",
                )
        return tokens

    def expects_pushes(self) -> bool:
        """Tell whether webhooks or an app are configured, so that somebody is to listen.

        A machine that only runs need not be able to read the webhooks' tokens: that they are configured is enough.
        """
        if self.settings.listen.app_id:
            return True
        try:
            return bool(self.webhook_tokens())
        except ConfigError:
            return True

    def history_secrets(self) -> dict[str, SecretStr]:
        """Return the credentials of history sources that have their own, by source name."""
        part = self.settings.history
        return self._many("history.secrets", part.secrets, part.secrets_file)

    def path_secret(self) -> SecretStr | None:
        """Return the secret part of the webhooks' address."""
        part = self.settings.listen
        return self._one(
            "listen.path_secret",
            part.path_secret,
            part.path_secret_file,
            shape=(PATH_SECRET, "must be 22 to 200 letters, digits, hyphens and underscores"),
        )

    def app_secret(self) -> SecretStr | None:
        """Return the Flock app's secret."""
        part = self.settings.listen
        return self._one("listen.app_secret", part.app_secret, part.app_secret_file)

    def token_key(self) -> SecretStr | None:
        """Return the Fernet key that encrypts the tokens of installing users."""
        part = self.settings.listen
        return self._one(
            "listen.token_key",
            part.token_key,
            part.token_key_file,
            shape=(FERNET_KEY, "must be a Fernet key: 32 random bytes in URL-safe base64, 44 characters"),
        )

    def _one(
        self, key: str, given: SecretStr | None, path: Path | None, *, shape: tuple[re.Pattern[str], str] | None = None
    ) -> SecretStr | None:
        if given is not None:
            secret, place = given.get_secret_value().strip(), _variable(key)
        elif path is not None:
            secret, place = self._read(key, path).strip(), f"{key}_file: {path}"
        else:
            return None
        if not secret:
            raise ConfigError(f"{place}: the secret is empty")
        if shape is not None and not shape[0].fullmatch(secret):
            raise ConfigError(f"{place}: {shape[1]}")
        self.on_secret(secret)
        return SecretStr(secret)

    def _many(self, key: str, given: dict[str, SecretStr] | None, path: Path | None) -> dict[str, SecretStr]:
        if given is not None:
            secrets, place = {name: secret.get_secret_value() for name, secret in given.items()}, _variable(key)
        elif path is not None:
            place = f"{key}_file: {path}"
            secrets = _json_object(place, self._read(key, path))
        else:
            return {}
        for name, secret in secrets.items():
            if not name or not secret.strip():
                raise ConfigError(f"{place}: the entry {name!r} has no name or no token")
            self.on_secret(secret)
        return {name: SecretStr(secret) for name, secret in secrets.items()}

    def _read(self, key: str, path: Path) -> str:
        place = f"{key}_file: {path}"
        try:
            # Not blocking: a pipe under that name must not hang the listener.
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"{place}: this is not a file")
            with path.open("rb") as file:
                data = file.read(SECRET_FILE_BYTES_MAX + 1)
        except OSError as error:
            raise ConfigError(
                f"{place}: cannot be read: {error.strerror}", next_step=f"put the secret there, or set {_variable(key)}"
            ) from None
        if len(data) > SECRET_FILE_BYTES_MAX:
            raise ConfigError(f"{place}: larger than {SECRET_FILE_BYTES_MAX} bytes")
        if status.st_mode & stat.S_IROTH:
            self.on_warning(f"{place}: every user of this machine can read it; `chmod o-rwx` closes it")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ConfigError(f"{place}: this is not UTF-8 text") from None


def _variable(key: str) -> str:
    return ENVIRONMENT_PREFIX + key.upper().replace(".", ENVIRONMENT_DELIMITER)


def _json_object(place: str, text: str) -> dict[str, str]:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ConfigError(f"{place}: a name stands twice")
        return found

    try:
        value = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError):
        # The parser's own message would quote what stands there.
        raise ConfigError(f"{place}: this is not JSON") from None
    if not isinstance(value, dict) or not all(isinstance(secret, str) for secret in value.values()):
        raise ConfigError(f'{place}: must be a JSON object of texts, such as {{"u:0123": "…"}}')
    return value
