"""Which tokens can still be used in this run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from archiver.capture.token_pool import TokenPool
from archiver.errors import FlockMethodError, TokenRefusedError
from archiver.flock.tokens import Secret, UserToken

ADA = UserToken("u:ada", Secret("ada-1"))
ADA_AGAIN = UserToken("u:ada", Secret("ada-2"))
BOB = UserToken("u:bob", Secret("bob-1"))


def refuse(*tokens):
    def ask(token):
        if token in tokens:
            raise TokenRefusedError("no", code="InvalidToken", next_step="reinstall")
        return token.secret.reveal()

    return ask


def test_a_user_is_asked_as_with_his_token():
    assert TokenPool([ADA, BOB]).ask_as("u:bob", refuse()) == "bob-1"


def test_a_refused_token_gives_way_to_the_users_next_one_and_is_not_used_again():
    pool = TokenPool([ADA, ADA_AGAIN, ADA])
    assert pool.ask_as("u:ada", refuse(ADA)) == "ada-2"
    assert pool.ask_as("u:ada", refuse()) == "ada-2"
    (refused,) = pool.refused()
    assert (refused.user_id, refused.fingerprint, refused.code) == ("u:ada", ADA.fingerprint, "InvalidToken")


def test_a_user_without_a_usable_token_is_refused_and_the_others_go_on():
    pool = TokenPool([ADA, BOB])
    for _ in range(2):
        with pytest.raises(TokenRefusedError):
            pool.ask_as("u:ada", refuse(ADA))
    assert len(pool.refused()) == 1
    assert not pool.can_ask_as("u:ada")
    assert pool.usable_users() == ("u:bob",)
    assert pool.users == ("u:ada", "u:bob")


def test_a_user_nobody_knows_is_refused_without_a_report():
    pool = TokenPool([ADA])
    with pytest.raises(TokenRefusedError):
        pool.ask_as("u:eve", refuse())
    assert pool.refused() == ()


def test_other_errors_leave_the_token_in_use():
    pool = TokenPool([ADA])

    def ask(_):
        raise FlockMethodError("no", status=400, code="UnknownChat")

    with pytest.raises(FlockMethodError):
        pool.ask_as("u:ada", ask)
    assert pool.can_ask_as("u:ada")


def test_a_token_refused_in_two_threads_at_once_is_reported_once():
    pool = TokenPool([ADA, ADA_AGAIN])
    both_asked = Barrier(2, timeout=10)

    def ask(token):
        if token is ADA:
            both_asked.wait()
            raise TokenRefusedError("no", code="InvalidToken")
        return token.secret.reveal()

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda _: pool.ask_as("u:ada", ask), range(2))) == ["ada-2", "ada-2"]
    assert len(pool.refused()) == 1
