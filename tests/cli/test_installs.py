"""`archiver installs`: whose tokens there are, as a person and as a program see it, and how to be rid of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from archiver.cli import main
from archiver.flock.refusals import Refusal, RefusalMemory
from archiver.flock.token_store import TokenStore
from archiver.flock.tokens import Secret, UserToken
from archiver.wiring import REFUSALS_FILE, TOKENS_FILE

CONFIGURED = UserToken("u:ada", Secret("11111111-2222-3333-4444-555555555555"))
INSTALLED = UserToken("u:bob", Secret("66666666-7777-8888-9999-000000000000"))
INSTALLED_TOO = UserToken("u:ada", Secret("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"))
AT_MS = 1_700_000_000_000


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation with one configured token and one that a user brought."""
    secrets = tmp_path / "secrets"
    secrets.mkdir(mode=0o700)
    write_secret(secrets / "key", Fernet.generate_key().decode())
    write_secret(secrets / "tokens.json", json.dumps({CONFIGURED.user_id: CONFIGURED.secret.reveal()}))
    (tmp_path / "archiver.yaml").write_text(
        "workspace: acme\nflock: {tokens_file: secrets/tokens.json}\nlisten: {token_key_file: secrets/key}\n"
    )
    monkeypatch.setenv("ARCHIVER_CONFIG", str(tmp_path / "archiver.yaml"))
    install(tmp_path, INSTALLED)
    return tmp_path


def write_secret(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def store(folder: Path) -> TokenStore:
    return TokenStore(folder / "state" / TOKENS_FILE, key=Secret((folder / "secrets" / "key").read_text()))


def install(folder: Path, token: UserToken) -> None:
    with store(folder) as tokens:
        tokens.save(token, at_ms=AT_MS)


def refuse(folder: Path, token: UserToken, reason: str = "the team has disabled the app") -> None:
    with store(folder) as tokens:
        tokens.disable(token.user_id, fingerprint=token.fingerprint, reason=reason, at_ms=AT_MS + 1)
    refusal = Refusal(token.user_id, token.fingerprint, "AppDisabled", reason, "", AT_MS + 1, AT_MS + 1)
    RefusalMemory(folder / "state" / REFUSALS_FILE).update(refused=[refusal])


def document(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert main(["installs", *words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


class TestList:
    def test_shows_whose_tokens_there_are_and_where_they_come_from(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert document(capsys, "list")["tokens"] == [
            {
                "user_id": "u:ada",
                "fingerprint": CONFIGURED.fingerprint,
                "source": "configuration",
                "installed_at": None,
                "disabled_at": None,
                "disabled_reason": None,
                "retried_on": None,
            },
            {
                "user_id": "u:bob",
                "fingerprint": INSTALLED.fingerprint,
                "source": "app.install",
                "installed_at": "2023-11-14T22:13:20.000Z",
                "disabled_at": None,
                "disabled_reason": None,
                "retried_on": None,
            },
        ]

    def test_shows_since_when_and_why_a_token_is_not_used(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        refuse(folder, CONFIGURED)
        refuse(folder, INSTALLED)
        ada, bob = document(capsys, "list")["tokens"]
        assert ada["disabled_at"] == bob["disabled_at"] == "2023-11-14T22:13:20.001Z"
        assert ada["disabled_reason"] == bob["disabled_reason"] == "the team has disabled the app"
        # The week of the stored one is long over; the configured one is tried as long as it stands in the file.
        assert bob["retried_on"] is None
        assert ada["retried_on"] is not None
        assert main(["installs", "list"]) == 0
        assert "never" in capsys.readouterr().out

    @pytest.mark.parametrize("words", [["list"], ["list", "--json"], ["revoke", "u:bob", "--yes"], ["retry", "--all"]])
    def test_no_token_is_ever_shown(self, words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        refuse(folder, INSTALLED)
        main(["installs", *words])
        told = capsys.readouterr()
        for token in (CONFIGURED, INSTALLED):
            assert token.secret.reveal() not in told.out + told.err

    def test_without_any_token_says_what_to_do(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (folder / "secrets" / "tokens.json").write_text("{}")
        with store(folder) as tokens:
            tokens.remove("u:bob")
        assert main(["installs", "list"]) == 0
        assert "set flock.tokens_file, or let users install the app" in capsys.readouterr().out

    def test_says_that_stored_tokens_need_their_key(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (folder / "archiver.yaml").write_text("workspace: acme\n")
        assert main(["installs", "list"]) == 0
        assert "no listen.token_key is configured" in capsys.readouterr().err


class TestRevoke:
    def test_removes_the_stored_token_for_good(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        refuse(folder, INSTALLED)
        assert document(capsys, "revoke", "u:bob", "--yes") == {
            "user_id": "u:bob",
            "revoked": True,
            "still_configured": False,
        }
        with store(folder) as tokens:
            assert tokens.installations() == []
        assert RefusalMemory(folder / "state" / REFUSALS_FILE).load() == {}
        assert document(capsys, "revoke", "u:bob", "--yes", code=2)["error"]["kind"] == "Usage"

    def test_asks_for_yes_and_does_nothing_without(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "--yes" in document(capsys, "revoke", "u:bob", code=2)["error"]["next_step"]
        with store(folder) as tokens:
            assert [row.user_id for row in tokens.installations()] == ["u:bob"]

    def test_refuses_what_stands_in_the_configuration_and_says_where(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        error = document(capsys, "revoke", "u:ada", "--yes", code=5)["error"]
        assert "stands in the configuration" in error["what"]
        assert "remove u:ada from the file that flock.tokens_file names" in error["next_step"]

    def test_of_a_stored_and_a_configured_token_is_done_with_a_gap(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        install(folder, INSTALLED_TOO)
        assert main(["installs", "revoke", "u:ada", "--yes", "--json"]) == 3
        told = capsys.readouterr()
        assert json.loads(told.out) == {"user_id": "u:ada", "revoked": True, "still_configured": True}
        assert "remove u:ada from the file" in told.err
        with store(folder) as tokens:
            assert [row.user_id for row in tokens.installations()] == ["u:bob"]

    def test_of_nobody_we_know_is_wrong_usage(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "no token of u:eve" in document(capsys, "revoke", "u:eve", "--yes", code=2)["error"]["what"]


class TestRetry:
    @pytest.mark.parametrize("words", [["u:bob"], ["--all"]])
    def test_lets_the_next_run_try_a_refused_token(
        self, words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        refuse(folder, INSTALLED)
        tried = [{"user_id": "u:bob", "fingerprint": INSTALLED.fingerprint}]
        assert document(capsys, "retry", *words)["tokens"] == tried
        assert [token["disabled_at"] for token in document(capsys, "list")["tokens"]] == [None, None]

    @pytest.mark.parametrize("words", [[], ["u:bob", "--all"], ["u:bob"], ["u:eve"]])
    def test_of_nothing_refused_is_wrong_usage(
        self, words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert document(capsys, "retry", *words, code=2)["error"]["kind"] == "Usage"

    def test_of_all_where_none_was_refused_is_done(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert document(capsys, "retry", "--all") == {"tokens": []}
