"""Event tokens against a given clock (flock-api.md 10.2): each bound to the second, and no token but Flock's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.capture.event_token import EventClaims, EventTokenError, EventTokenVerifier, require_user
from archiver.errors import ConfigError
from archiver.flock.tokens import Secret
from tests.capture.running_listener import APP_ID, APP_SECRET, USER, event_token

ISSUED = 1_700_000_000
TOKEN = event_token(at=ISSUED)


def verifier(leeway_seconds=60):
    return EventTokenVerifier(APP_ID, Secret(APP_SECRET), leeway_seconds)


def test_a_valid_token_says_whose_action_it_is():
    assert verifier().verify(TOKEN, now_ms=ISSUED * 1_000) == EventClaims(user_id=USER, token_id="jti-1")


def test_a_token_without_an_id_is_valid():
    token = event_token(at=ISSUED, jti=None)

    assert verifier().verify(token, now_ms=ISSUED * 1_000).token_id == ""


@pytest.mark.parametrize("leeway", [0, 60, 300])
def test_it_passes_until_its_end_and_the_leeway_to_the_millisecond(leeway):
    """The machine's own clock plays no part: these tokens are years old."""
    end_ms = (ISSUED + 8 + leeway) * 1_000

    assert verifier(leeway).verify(TOKEN, now_ms=end_ms - 1)
    with pytest.raises(EventTokenError, match="expired"):
        verifier(leeway).verify(TOKEN, now_ms=end_ms)


@pytest.mark.parametrize("leeway", [0, 60, 300])
def test_it_passes_from_its_beginning_less_the_leeway(leeway):
    beginning_ms = (ISSUED - leeway) * 1_000

    assert verifier(leeway).verify(TOKEN, now_ms=beginning_ms)
    with pytest.raises(EventTokenError, match="issued in the future"):
        verifier(leeway).verify(TOKEN, now_ms=beginning_ms - 1)


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("", "missing"),
        ("x" * 4_097, "too long"),
        ("a.b", "no signed token"),
        ("ä.ö.ü", "no signed token"),
        (event_token(at=ISSUED, secret=APP_SECRET[:-1]), "signed with another secret"),
        (event_token(at=ISSUED, algorithm="HS512"), "another algorithm"),
        (event_token(at=ISSUED, algorithm="none"), "another algorithm"),
        (event_token(at=ISSUED, appId="app-9"), "for another app"),
        (event_token(at=ISSUED, appId=7), "without a usable appId"),
        (event_token(at=ISSUED, userId=""), "without a usable userId"),
        (event_token(at=ISSUED, exp=10**400), "without a usable exp"),
        (event_token(at=ISSUED, exp=float("nan")), "without a usable exp"),
        (event_token(at=ISSUED, iat="1700000000"), "without a usable iat"),
        (event_token(at=ISSUED, iat=-1), "without a usable iat"),
    ],
)
def test_every_refusal_has_its_reason_and_quotes_nothing(token, reason):
    with pytest.raises(EventTokenError, match=reason) as caught:
        verifier().verify(token, now_ms=ISSUED * 1_000)

    assert not token or token not in str(caught.value)
    assert caught.value.__cause__ is None


@given(st.data())
def test_no_change_of_a_token_goes_unnoticed(data):
    position = data.draw(st.integers(min_value=0, max_value=len(TOKEN) - 2))  # the last letter carries unused bits
    letter = data.draw(st.characters(max_codepoint=0x2FF).filter(lambda letter: letter != TOKEN[position]))

    with pytest.raises(EventTokenError):
        verifier().verify(TOKEN[:position] + letter + TOKEN[position + 1 :], now_ms=ISSUED * 1_000)


@given(st.text(max_size=300))
def test_no_text_is_a_token_or_breaks_the_verifier(text):
    with pytest.raises(EventTokenError):
        verifier().verify(text, now_ms=ISSUED * 1_000)


@pytest.mark.parametrize("user_id", [None, "", "u:bob", USER + "x", USER[:-1], USER.upper()])
def test_a_body_about_somebody_else_is_refused(user_id):
    with pytest.raises(EventTokenError, match="another user"):
        require_user(EventClaims(USER, ""), user_id)


def test_a_body_about_the_tokens_user_passes():
    require_user(EventClaims(USER, ""), USER)


@pytest.mark.parametrize(("app_id", "secret"), [("", "s"), ("a", ""), ("", "")])
def test_an_empty_secret_would_let_everybody_in(app_id, secret):
    with pytest.raises(ConfigError, match="cannot be verified"):
        EventTokenVerifier(app_id, Secret(secret))
