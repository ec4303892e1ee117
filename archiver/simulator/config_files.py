"""Points an archiver at a simulator: an ``archiver.yaml`` and the secret files it names, all in one folder.

What an archiver has begun to rely on survives a second start of the simulator: the secret path and the key of the token store are
kept where they exist. A configuration that somebody else wrote is never overwritten.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from archiver.errors import RefusedError, StorageError, UsageError
from archiver.simulator.server import Simulator

CONFIG_FILE = "archiver.yaml"
SECRETS_FOLDER = "secrets"
# The simulator has no rate limit unless it is told so.
REQUESTS_PER_SECOND = 500.0

_MARK = "# Written by `archiver simulate`, which writes it anew when it starts.\n"
_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
_PATH_SECRET_BYTES = 32
_FERNET_KEY_BYTES = 32
_FOLDER_MODE = 0o700
_SECRET_MODE = 0o600
_FILE_MODE = 0o644


@dataclass(frozen=True, slots=True)
class WrittenConfig:
    """The configuration, and how many webhooks now lead to the archiver's listener."""

    path: Path
    webhooks: int


def write_config(flock: Simulator, folder: Path, *, listener_url: str) -> WrittenConfig:
    """Create a webhook for every channel, set the event listener, and write the configuration of an archiver that expects both.

    ``listener_url`` is the origin where `archiver listen` will be reached. Raises `UsageError` if it is no origin, `RefusedError` if the
    folder holds a configuration that is not ours, `StorageError` if it cannot be written.
    """
    origin = listener_url.rstrip("/")
    parts = urlsplit(origin)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query:
        raise UsageError(f"{listener_url!r} is no origin", next_step="name the listener as http://host:port")
    config = folder / CONFIG_FILE
    try:
        _require_ours(config)
        (folder / SECRETS_FOLDER).mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        path_secret = _kept(folder / SECRETS_FOLDER / "path_secret", secrets.token_urlsafe(_PATH_SECRET_BYTES))
        _kept(folder / SECRETS_FOLDER / "token_key", _fernet_key())
        webhooks = flock.add_webhooks(f"{origin}/hooks/{path_secret}/{{name}}")
        flock.set_listener(f"{origin}/events")
        for name, text in (
            ("flock_tokens.json", json.dumps(flock.user_tokens, indent=1)),
            ("webhook_tokens.json", json.dumps(webhooks, indent=1)),
            ("app_secret", flock.app_secret),
        ):
            _write(folder / SECRETS_FOLDER / name, f"{text}\n", mode=_SECRET_MODE)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = parts.hostname if parts.hostname in _LOOPBACK_HOSTS else "0.0.0.0"  # noqa: S104 -- reached from elsewhere
        document = yaml.safe_dump(_settings(flock, host, port), sort_keys=False, allow_unicode=True)
        _write(config, f"{_MARK}{document}", mode=_FILE_MODE)
    except OSError as error:
        raise StorageError(f"{error.filename or folder} cannot be written: {error.strerror}") from None
    return WrittenConfig(config, len(webhooks))


def _settings(flock: Simulator, host: str, port: int) -> dict[str, object]:
    return {
        "workspace": "simulated",
        "archive": "./archive",
        "state": "./state",
        "flock": {
            "base_url": flock.base_url,
            "requests_per_second": REQUESTS_PER_SECOND,
            "tokens_file": f"{SECRETS_FOLDER}/flock_tokens.json",
        },
        "listen": {
            "host": host,
            "port": port,
            "path_secret_file": f"{SECRETS_FOLDER}/path_secret",
            "webhook_tokens_file": f"{SECRETS_FOLDER}/webhook_tokens.json",
            "app_id": flock.app_id,
            "app_secret_file": f"{SECRETS_FOLDER}/app_secret",
            "token_key_file": f"{SECRETS_FOLDER}/token_key",
        },
        "files": {"trusted_origins": [flock.files_url, flock.signed_url]},
    }


def _require_ours(config: Path) -> None:
    if os.path.lexists(config) and not config.read_text("utf-8", "replace").startswith(_MARK):
        raise RefusedError(
            f"{config} was not written by `archiver simulate`",
            next_step="choose another folder; nothing was changed",
        )


def _kept(path: Path, fresh: str) -> str:
    """Return the secret that stands in a file, or write a fresh one there."""
    try:
        return path.read_text("utf-8").strip()
    except FileNotFoundError:
        _write(path, f"{fresh}\n", mode=_SECRET_MODE)
        return fresh


def _write(path: Path, text: str, *, mode: int) -> None:
    """Replace a file in one step; no other user can read a secret at any moment."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(_FERNET_KEY_BYTES)).decode()
