"""Secrets show nothing by accident."""

from __future__ import annotations

import pickle
import traceback

import pytest

from archiver.flock.tokens import Secret, UserToken, fingerprint

TEXT = "11111111-2222-3333-4444-555555555555"


@pytest.mark.parametrize(
    "show", [repr, str, format, lambda secret: f"{secret!r} {secret!s} {secret}", lambda s: str([s])]
)
def test_a_secret_prints_redacted(show):
    assert TEXT not in show(Secret(TEXT))
    assert "[redacted]" in show(Secret(TEXT))


def test_a_user_token_prints_its_user_and_not_its_secret():
    assert repr(UserToken("u:ada", Secret(TEXT))) == "UserToken(user_id='u:ada', secret=[redacted])"


def test_a_secret_does_not_leave_its_process():
    with pytest.raises(TypeError, match="does not leave its process"):
        pickle.dumps(Secret(TEXT))


def test_secrets_compare_by_their_text():
    assert Secret(TEXT) == Secret(TEXT) != Secret("other")
    assert Secret(TEXT).equals(TEXT)
    assert not Secret(TEXT).equals("other")
    assert Secret("ü").equals("ü")
    assert len({Secret(TEXT), Secret(TEXT)}) == 1
    assert Secret(TEXT) != TEXT


def test_only_an_empty_secret_is_false():
    assert Secret(TEXT)
    assert not Secret("")


def test_a_fingerprint_is_eight_hex_digits_of_the_sha256():
    assert fingerprint(Secret("abc")) == "ba7816bf"
    assert UserToken("u:ada", Secret("abc")).fingerprint == "ba7816bf"


def test_a_traceback_shows_no_secret():
    def fail(token: UserToken) -> None:
        raise ValueError(f"cannot use {token}")

    try:
        fail(UserToken("u:ada", Secret(TEXT)))
    except ValueError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())

    assert "cannot use" in shown
    assert "[redacted]" in shown
