"""Secrets come from a variable or a file, are read when they are needed, and never show."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from archiver.errors import ConfigError
from archiver.settings import Secrets, load

PATH_SECRET = "p" * 43
TOKEN_KEY = base64.urlsafe_b64encode(b"k" * 32).decode()


@pytest.fixture
def heard() -> dict[str, list[str]]:
    return {"secrets": [], "warnings": []}


def secrets(folder: Path, heard: dict[str, list[str]], **listen: Any) -> Secrets:
    flock = {key: listen.pop(key) for key in ("tokens_file",) if key in listen}
    (folder / "archiver.yaml").write_text(json.dumps({"workspace": "a", "flock": flock, "listen": listen}))
    return Secrets(
        load(folder / "archiver.yaml"), on_secret=heard["secrets"].append, on_warning=heard["warnings"].append
    )


def private(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
    path.chmod(0o600)


def test_what_is_not_configured_is_none(tmp_path: Path, heard: dict[str, list[str]]) -> None:
    given = secrets(tmp_path, heard)
    assert (given.path_secret(), given.app_secret(), given.token_key()) == (None, None, None)
    assert (given.user_tokens(), given.webhook_tokens()) == ({}, {})


def test_files_are_read_when_they_are_needed_and_not_before(tmp_path: Path, heard: dict[str, list[str]]) -> None:
    given = secrets(tmp_path, heard, path_secret_file="path", tokens_file="tokens")
    assert heard["secrets"] == []
    private(tmp_path / "path", f"{PATH_SECRET}\n")
    private(tmp_path / "tokens", '{"u:ann": "aaaa-1111"}')
    path_secret = given.path_secret()
    assert path_secret is not None
    assert path_secret.get_secret_value() == PATH_SECRET
    assert given.user_tokens()["u:ann"].get_secret_value() == "aaaa-1111"
    assert heard == {"secrets": [PATH_SECRET, "aaaa-1111"], "warnings": []}


def test_a_variable_wins_over_the_file(
    tmp_path: Path, heard: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIVER_LISTEN__APP_SECRET", "from the variable")
    monkeypatch.setenv("ARCHIVER_LISTEN__WEBHOOK_TOKENS", '{"general": "hook-1"}')
    given = secrets(tmp_path, heard, app_secret_file="not there", webhook_tokens_file="not there")
    found = given.app_secret()
    assert found is not None
    assert found.get_secret_value() == "from the variable"
    assert given.webhook_tokens()["general"].get_secret_value() == "hook-1"


def test_no_representation_shows_one(
    tmp_path: Path, heard: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIVER_FLOCK__TOKENS", '{"u:ann": "aaaa-1111"}')
    monkeypatch.setenv("ARCHIVER_LISTEN__PATH_SECRET", PATH_SECRET)
    given = secrets(tmp_path, heard)
    shown = (
        f"{given!r} {given.settings!s} {given.user_tokens()!r} {given.path_secret()!r} {given.settings.model_dump()}"
    )
    assert "aaaa-1111" not in shown
    assert PATH_SECRET not in shown


def test_a_file_that_everybody_can_read_is_warned_of(tmp_path: Path, heard: dict[str, list[str]]) -> None:
    given = secrets(tmp_path, heard, app_secret_file="app")
    private(tmp_path / "app", "a secret")
    (tmp_path / "app").chmod(0o644)
    given.app_secret()
    assert "every user of this machine can read it" in heard["warnings"][0]
    assert "a secret" not in heard["warnings"][0]


@pytest.mark.parametrize(
    "content", ["", "short", "with/slash" * 5, "ä" * 30, "x" * 201, f"{PATH_SECRET} {PATH_SECRET}"]
)
def test_a_path_secret_that_is_weak_or_no_part_of_an_address_is_refused(
    tmp_path: Path, heard: dict[str, list[str]], content: str
) -> None:
    private(tmp_path / "path", content)
    with pytest.raises(ConfigError, match="path_secret") as caught:
        secrets(tmp_path, heard, path_secret_file="path").path_secret()
    assert not content or content not in str(caught.value)


def test_a_token_key_must_be_a_fernet_key(tmp_path: Path, heard: dict[str, list[str]]) -> None:
    private(tmp_path / "key", TOKEN_KEY)
    found = secrets(tmp_path, heard, token_key_file="key").token_key()
    assert found is not None
    assert found.get_secret_value() == TOKEN_KEY
    private(tmp_path / "key", TOKEN_KEY[:-2])
    with pytest.raises(ConfigError, match="Fernet key"):
        secrets(tmp_path, heard, token_key_file="key").token_key()


@pytest.mark.parametrize(
    "content",
    [
        "not JSON: hush-hush",
        "[]",
        '"hush-hush"',
        '{"u:a": 3}',
        '{"u:a": ""}',
        '{"": "hush-hush"}',
        '{"u:a":"x","u:a":"hush-hush"}',
        "[" * 9000,
    ],
)
def test_a_token_file_that_cannot_be_used_is_refused_without_its_content(
    tmp_path: Path, heard: dict[str, list[str]], content: str
) -> None:
    private(tmp_path / "tokens", content)
    with pytest.raises(ConfigError, match=r"flock\.tokens_file: .*tokens") as caught:
        secrets(tmp_path, heard, tokens_file="tokens").user_tokens()
    assert "hush-hush" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "ä", "x" * 65])
def test_a_webhook_s_name_must_fit_an_address(tmp_path: Path, heard: dict[str, list[str]], name: str) -> None:
    private(tmp_path / "hooks", json.dumps({name: "hook-1"}))
    with pytest.raises(ConfigError, match="webhook_tokens"):
        secrets(tmp_path, heard, webhook_tokens_file="hooks").webhook_tokens()


def test_a_missing_file_names_the_variable_that_would_do(tmp_path: Path, heard: dict[str, list[str]]) -> None:
    with pytest.raises(ConfigError, match=r"listen\.app_secret_file: .* cannot be read") as caught:
        secrets(tmp_path, heard, app_secret_file="none").app_secret()
    assert "ARCHIVER_LISTEN__APP_SECRET" in caught.value.next_step


def test_a_pipe_does_not_hang_us(tmp_path: Path, heard: dict[str, list[str]]) -> None:
    os.mkfifo(tmp_path / "app")
    with pytest.raises(ConfigError, match="this is not a file"):
        secrets(tmp_path, heard, app_secret_file="app").app_secret()


def test_pushes_are_expected_where_webhooks_or_an_app_are_configured(
    tmp_path: Path, heard: dict[str, list[str]]
) -> None:
    private(tmp_path / "none", "{}")
    private(tmp_path / "hooks", '{"general": "hook-1"}')
    assert not secrets(tmp_path, heard).expects_pushes()
    assert not secrets(tmp_path, heard, webhook_tokens_file="none").expects_pushes()
    assert secrets(tmp_path, heard, webhook_tokens_file="hooks").expects_pushes()
    assert secrets(tmp_path, heard, app_id="app-1").expects_pushes()
    # Which tokens they are is a matter of the machines that listen.
    assert secrets(tmp_path, heard, webhook_tokens_file="not there").expects_pushes()
