"""Tokens at rest: encrypted, bound to their user, gone when removed, and useless without the key."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from archiver.errors import ConfigError, StorageError
from archiver.flock.token_store import FORMAT, Installation, TokenStore
from archiver.flock.tokens import Secret, UserToken

KEY = Secret(Fernet.generate_key().decode())
ADA = UserToken("u:ada", Secret("11111111-2222-3333-4444-555555555555"))
BOB = UserToken("u:bob", Secret("99999999-8888-7777-6666-000000000000"))
AT_MS = 1_700_000_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "tokens.sqlite"


@pytest.fixture
def store(path: Path):
    with TokenStore(path, key=KEY) as opened:
        yield opened


def content_of(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


def test_tokens_come_back_after_reopening_by_user(store, path):
    store.save(BOB, at_ms=AT_MS)
    store.save(ADA, at_ms=AT_MS + 1)
    store.close()

    with TokenStore(path, key=KEY) as reopened:
        assert reopened.load() == [ADA, BOB]
        assert reopened.installations() == [
            Installation("u:ada", ADA.fingerprint, AT_MS + 1, None, None),
            Installation("u:bob", BOB.fingerprint, AT_MS, None, None),
        ]


def test_no_token_stands_in_the_file(store, path):
    store.save(ADA, at_ms=AT_MS)

    assert b"u:ada" in content_of(path)
    assert ADA.secret.reveal().encode() not in content_of(path)


def test_the_file_is_for_its_owner_only(store, path):
    store.save(ADA, at_ms=AT_MS)

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_a_removed_token_is_gone_from_the_file(store, path):
    store.save(ADA, at_ms=AT_MS)
    (encrypted,) = store._connection.execute("SELECT encrypted FROM tokens").fetchone()
    assert encrypted in content_of(path)

    assert store.remove("u:ada")

    assert store.load() == []
    assert encrypted not in content_of(path)
    assert not store.remove("u:ada")


def test_a_second_installation_replaces_the_token(store):
    again = UserToken("u:ada", Secret("another"))
    store.save(ADA, at_ms=AT_MS)
    store.save(again, at_ms=AT_MS + 5)

    assert store.load() == [again]
    assert [found.installed_at_ms for found in store.installations()] == [AT_MS + 5]


def test_a_disabled_token_is_listed_with_its_reason_and_not_loaded(store):
    store.save(ADA, at_ms=AT_MS)
    store.save(BOB, at_ms=AT_MS)

    assert store.disable("u:ada", fingerprint=ADA.fingerprint, reason="InvalidToken", at_ms=AT_MS + 9)

    assert store.load() == [BOB]
    assert store.installations()[0] == Installation("u:ada", ADA.fingerprint, AT_MS, AT_MS + 9, "InvalidToken")


def test_a_refusal_of_the_former_token_does_not_disable_the_new_one(store):
    store.save(UserToken("u:ada", Secret("another")), at_ms=AT_MS)

    assert not store.disable("u:ada", fingerprint=ADA.fingerprint, reason="InvalidToken", at_ms=AT_MS)
    assert len(store.load()) == 1


def test_installing_again_enables_a_disabled_user(store):
    store.save(ADA, at_ms=AT_MS)
    store.disable("u:ada", fingerprint=ADA.fingerprint, reason="AppDisabled", at_ms=AT_MS)
    store.save(ADA, at_ms=AT_MS + 1)

    assert store.load() == [ADA]


def test_another_key_is_refused_when_the_file_is_opened(store, path):
    store.close()

    with pytest.raises(ConfigError, match="is not the key") as caught:
        TokenStore(path, key=Secret(Fernet.generate_key().decode()))

    assert "former key" in caught.value.next_step


@pytest.mark.parametrize("key", ["", "short", "ä" * 44, "A" * 43, "!" * 44])
def test_what_is_no_key_is_refused_without_showing_it(path, key):
    with pytest.raises(ConfigError, match="is no Fernet key") as caught:
        TokenStore(path, key=Secret(key))

    assert not path.exists()
    assert not key or key not in str(caught.value)


def test_one_users_token_does_not_pass_for_anothers(store, path):
    store.save(ADA, at_ms=AT_MS)
    store.save(BOB, at_ms=AT_MS)
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE tokens SET encrypted = (SELECT encrypted FROM tokens WHERE user_id = 'u:bob') WHERE user_id = 'u:ada'"
        )

    with pytest.raises(StorageError, match=r"token of u:ada .* was changed"):
        store.load()


def test_a_tampered_token_is_refused(store, path):
    store.save(ADA, at_ms=AT_MS)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE tokens SET encrypted = ?", (b"gAAAA" + os.urandom(90),))

    with pytest.raises(StorageError, match="was changed"):
        store.load()


def test_processes_that_start_together_share_one_file(path):
    errors: list[Exception] = []

    def start(number: int) -> None:
        try:
            with TokenStore(path, key=KEY) as store:
                store.save(UserToken(f"u:{number}", Secret(f"token {number}")), at_ms=AT_MS)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    with TokenStore(path, key=KEY) as store:
        assert [token.user_id for token in store.load()] == [f"u:{number}" for number in range(8)]


def test_a_newer_format_is_refused(store, path):
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT + 1}")

    with pytest.raises(StorageError, match=f"has format {FORMAT + 1}"):
        TokenStore(path, key=KEY)


def test_another_programs_database_is_not_touched(path):
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")

    with pytest.raises(StorageError, match="is not a token store"):
        TokenStore(path, key=KEY)


def test_a_damaged_file_is_a_clear_refusal(path):
    path.parent.mkdir()
    path.write_bytes(b"not a database at all" * 500)

    with pytest.raises(StorageError, match="cannot be read or written"):
        TokenStore(path, key=KEY)


def test_a_place_that_cannot_be_reached_is_a_clear_refusal(tmp_path):
    (tmp_path / "state").write_text("a file where the directory should be")

    with pytest.raises(StorageError, match="cannot be reached"):
        TokenStore(tmp_path / "state" / "tokens.sqlite", key=KEY)


def test_a_token_refused_again_is_disabled_since_its_first_time_and_works_again_once_enabled(store):
    store.save(ADA, at_ms=AT_MS)
    assert store.disable("u:ada", fingerprint=ADA.fingerprint, reason="first", at_ms=AT_MS + 1)
    assert store.disable("u:ada", fingerprint=ADA.fingerprint, reason="again", at_ms=AT_MS + 2)
    assert store.installations() == [Installation("u:ada", ADA.fingerprint, AT_MS, AT_MS + 1, "again")]
    assert not store.enable("u:ada", fingerprint="another")
    assert store.load() == []
    assert store.enable("u:ada", fingerprint=ADA.fingerprint)
    assert not store.enable("u:ada", fingerprint=ADA.fingerprint)
    assert store.load() == [ADA]


def test_disabled_tokens_can_be_loaded_for_another_try_as_long_as_they_are_young(store):
    store.save(ADA, at_ms=AT_MS)
    store.save(BOB, at_ms=AT_MS)
    store.disable("u:ada", fingerprint=ADA.fingerprint, reason="no", at_ms=AT_MS + 10)
    assert store.load(or_disabled_after_ms=AT_MS + 9) == [ADA, BOB]
    assert store.load(or_disabled_after_ms=AT_MS + 10) == [BOB]
    assert store.load() == [BOB]
