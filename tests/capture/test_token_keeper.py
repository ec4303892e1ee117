"""Which tokens a run may try: refused ones rest for the day, stored ones for good after a week, and both can come back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from archiver.capture.token_keeper import STORED_RETRIED_DAYS, KnownToken, TokenKeeper
from archiver.capture.token_pool import TokenPool
from archiver.clock import DAY_MS
from archiver.errors import TokenRefusedError
from archiver.flock.refusals import RefusalMemory
from archiver.flock.token_store import TokenStore
from archiver.flock.tokens import Secret, UserToken

NIGHT_MS = 1_700_013_600_000  # 2023-11-15 02:00
HOUR_MS = 3_600_000
ADA = UserToken("u:ada", Secret("ada-secret-token"))
BOB = UserToken("u:bob", Secret("bob-secret-token"))
EVE = UserToken("u:eve", Secret("eve-secret-token"))


class Machine:
    """A state folder in which Ada's token is configured and Bob and Eve have installed the app."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = Secret(Fernet.generate_key().decode())
        self.configured = [ADA]
        with self.store() as store:
            for token in (BOB, EVE):
                store.save(token, at_ms=NIGHT_MS - DAY_MS)

    def store(self) -> TokenStore:
        return TokenStore(self.folder / "tokens.sqlite", key=self.key)

    @property
    def keeper(self) -> TokenKeeper:
        """A keeper of its own for each call, as each run has one."""
        return TokenKeeper(self.configured, refusals=RefusalMemory(self.folder / "refused.json"), open_store=self.store)

    def run(self, at_ms: int, *refused: UserToken, code: str = "InvalidToken") -> tuple[str, ...]:
        """Ask with every token that may be tried; Flock refuses some. Returns whose tokens were tried."""
        pool = self.keeper.pool(now_ms=at_ms)
        tried = pool.usable_users()
        for user in tried:
            ask(pool, user, refused, code)
        self.keeper.settle(pool, at_ms=at_ms)
        return tried

    def known(self, at_ms: int) -> dict[str, KnownToken]:
        return {token.user_id: token for token in self.keeper.known(now_ms=at_ms)}


def ask(pool: TokenPool, user: str, refused: tuple[UserToken, ...], code: str) -> None:
    def answer(token: UserToken) -> None:
        if token in refused:
            raise TokenRefusedError(f"Flock refuses {token.fingerprint}", code=code, next_step="Install again.")

    try:
        pool.ask_as(user, answer)
    except TokenRefusedError:
        assert user not in pool.usable_users()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    return Machine(tmp_path)


def test_every_token_is_tried_as_long_as_it_works(machine):
    for night in range(3):
        assert machine.run(NIGHT_MS + night * DAY_MS) == ("u:ada", "u:bob", "u:eve")
    assert all(token.disabled_at is None for token in machine.known(NIGHT_MS).values())


@pytest.mark.parametrize("refused", [ADA, BOB])
def test_a_refused_token_rests_for_the_day_and_is_tried_once_each_day_after(machine, refused):
    machine.run(NIGHT_MS, refused)
    assert refused.user_id not in machine.run(NIGHT_MS + HOUR_MS)
    assert refused.user_id not in machine.run(NIGHT_MS + 21 * HOUR_MS)
    # A run that begins a little earlier in the night than the one before is another day's all the same.
    assert refused.user_id in machine.run(NIGHT_MS + 24 * HOUR_MS - 60_000, refused)
    assert refused.user_id not in machine.run(NIGHT_MS + 25 * HOUR_MS)


def test_a_run_says_which_tokens_it_leaves_alone_and_why(machine):
    machine.run(NIGHT_MS, ADA, BOB)
    pool = machine.keeper.pool(now_ms=NIGHT_MS + HOUR_MS)
    assert pool.users == ("u:eve", "u:ada", "u:bob")
    assert pool.usable_users() == ("u:eve",)
    assert [token.user_id for token in pool.set_aside] == ["u:ada", "u:bob"]
    for token in pool.set_aside:
        assert "2023-11-15T02:00:00.000Z" in token.reason
        assert "tried again on 2023-11-16" in token.reason
        assert f"archiver installs retry {token.user_id}" in token.next_step


def test_a_stored_token_is_disabled_with_its_reason_and_given_up_after_a_week(machine):
    for night in range(STORED_RETRIED_DAYS):
        assert "u:bob" in machine.run(NIGHT_MS + night * DAY_MS, ADA, BOB)
    late_ms = NIGHT_MS + STORED_RETRIED_DAYS * DAY_MS
    with machine.store() as store:
        (row,) = [row for row in store.installations() if row.user_id == "u:bob"]
    assert row.disabled_at_ms == NIGHT_MS
    assert row.disabled_reason == f"Flock refuses {BOB.fingerprint}"
    # The configured one stands in a file that is not ours: it is tried as long as it stands there.
    assert machine.run(late_ms, ADA, BOB) == ("u:ada", "u:eve")
    assert "u:ada" in machine.run(late_ms + 30 * DAY_MS, ADA)
    pool = machine.keeper.pool(now_ms=late_ms + 30 * DAY_MS)
    assert "tried no more" in {token.user_id: token for token in pool.set_aside}["u:bob"].reason
    shown = machine.known(late_ms + 30 * DAY_MS)
    assert (shown["u:bob"].retried_on, shown["u:ada"].retried_on) == (None, "2023-12-23")


def test_a_token_that_works_again_is_enabled_by_itself(machine):
    machine.run(NIGHT_MS, ADA, BOB, code="AppDisabled")
    machine.run(NIGHT_MS + DAY_MS)
    assert machine.run(NIGHT_MS + DAY_MS + HOUR_MS) == ("u:ada", "u:bob", "u:eve")
    assert all(token.disabled_at is None for token in machine.known(NIGHT_MS + DAY_MS).values())


@pytest.mark.parametrize("token", [BOB, UserToken("u:bob", Secret("a-new-token"))])
def test_a_new_installation_enables_at_once_even_with_the_same_token(machine, token):
    machine.run(NIGHT_MS, BOB)
    with machine.store() as store:
        store.save(token, at_ms=NIGHT_MS + 1)
    assert machine.known(NIGHT_MS + HOUR_MS)["u:bob"].disabled_at is None
    assert "u:bob" in machine.run(NIGHT_MS + HOUR_MS)


def test_an_installation_during_the_run_that_was_refused_is_newer_than_what_the_run_learnt(machine):
    pool = machine.keeper.pool(now_ms=NIGHT_MS)
    ask(pool, "u:bob", (BOB,), "InvalidToken")
    with machine.store() as store:
        store.save(BOB, at_ms=NIGHT_MS + 1)
    machine.keeper.settle(pool, at_ms=NIGHT_MS)
    assert "u:bob" in machine.run(NIGHT_MS + HOUR_MS)


def test_a_mistake_in_the_configuration_is_held_against_no_token(machine):
    machine.run(NIGHT_MS, ADA, BOB, EVE, code="MissingUserToken")
    assert machine.run(NIGHT_MS + 1) == ("u:ada", "u:bob", "u:eve")


def test_a_refusal_without_flocks_own_word_disables_nothing_for_good(machine):
    """It may be a proxy on the way; the token rests for the day, and nobody is asked to install again."""
    for night in range(STORED_RETRIED_DAYS + 3):
        assert "u:bob" in machine.run(NIGHT_MS + night * DAY_MS, BOB, code="")
    assert machine.known(NIGHT_MS)["u:bob"].disabled_reason == f"Flock refuses {BOB.fingerprint}"


def test_a_token_under_another_name_is_another_question(machine):
    machine.run(NIGHT_MS, ADA, code="WrongUser")
    machine.configured = [UserToken("u:ann", ADA.secret)]
    assert "u:ann" in machine.run(NIGHT_MS + 1)


def test_retrying_lets_the_next_run_try_at_once(machine):
    machine.run(NIGHT_MS, ADA, BOB, EVE)
    assert machine.keeper.retry("u:nobody") == []
    assert machine.keeper.retry("u:bob") == [("u:bob", BOB.fingerprint)]
    assert machine.run(NIGHT_MS + 1, BOB) == ("u:bob",)
    assert [user for user, _ in machine.keeper.retry(None)] == ["u:ada", "u:bob", "u:eve"]
    assert machine.run(NIGHT_MS + 2) == ("u:ada", "u:bob", "u:eve")


def test_retrying_reaches_what_was_given_up(machine):
    for night in range(STORED_RETRIED_DAYS + 1):
        machine.run(NIGHT_MS + night * DAY_MS, BOB)
    late_ms = NIGHT_MS + 40 * DAY_MS
    assert "u:bob" not in machine.run(late_ms)
    machine.keeper.retry("u:bob")
    assert "u:bob" in machine.run(late_ms + 1)


def test_a_revoked_token_is_gone_from_the_file_and_a_configured_one_stays(machine):
    machine.configured = [ADA, UserToken("u:bob", Secret("bobs-other-token"))]
    machine.run(NIGHT_MS, BOB)
    assert machine.keeper.revoke("u:bob")
    assert not machine.keeper.revoke("u:bob")
    assert not machine.keeper.revoke("u:ada")
    with machine.store() as store:
        assert [token.user_id for token in store.load()] == ["u:eve"]
    assert [(token.user_id, token.source) for token in machine.keeper.known(now_ms=NIGHT_MS)] == [
        ("u:ada", "configuration"),
        ("u:bob", "configuration"),
        ("u:eve", "app.install"),
    ]


def test_without_a_key_the_configured_tokens_work_alone(tmp_path):
    keeper = TokenKeeper([ADA], refusals=RefusalMemory(tmp_path / "refused.json"), open_store=lambda: None)
    pool = keeper.pool(now_ms=NIGHT_MS)
    ask(pool, "u:ada", (ADA,), "InvalidToken")
    keeper.settle(pool, at_ms=NIGHT_MS)
    assert keeper.pool(now_ms=NIGHT_MS + 1).usable_users() == ()
    assert not keeper.revoke("u:ada")
    assert [token.source for token in keeper.known(now_ms=NIGHT_MS)] == ["configuration"]


def test_no_token_is_ever_kept_or_shown(machine):
    machine.run(NIGHT_MS, ADA, BOB)
    written = b"".join(file.read_bytes() for file in machine.folder.iterdir())
    shown = repr(machine.keeper.known(now_ms=NIGHT_MS)) + repr(machine.keeper.pool(now_ms=NIGHT_MS).set_aside)
    for token in (ADA, BOB, EVE):
        assert token.secret.reveal() not in shown
        assert token.secret.reveal().encode() not in written
