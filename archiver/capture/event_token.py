"""Who sent this app event: verification of ``X-Flock-Event-Token`` (flock-api.md 10.2).

The token is a compact JWS, signed by Flock with the app's secret (HS256 and nothing else), over the claims ``appId``, ``userId``,
``exp``, ``iat`` and ``jti``. Checking it has two halves: everything about the token itself before a body is read, so that
strangers cannot make us hold bodies, and the user against the body afterwards. A repeated ``jti`` is not refused: Flock says
that it may send a token more than once.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Any, Final

import jwt

from archiver.errors import ConfigError
from archiver.flock.tokens import Secret

LEEWAY_SECONDS: Final = 60
# Flock's own are about 300 characters; a header of the size that servers take (64 KiB) would be work for nothing.
TOKEN_CHARACTERS_MAX: Final = 4_096
# The end of the year 9999, the last that we can name.
_INSTANT_SECONDS_MAX: Final = 253_402_300_800

_ALGORITHM: Final = "HS256"
# The library reads the machine's clock, so it checks the signature alone and the times are checked here against the given one.
_SIGNATURE_ONLY: Final[Any] = {
    "verify_signature": True,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


@dataclass(frozen=True, slots=True)
class EventClaims:
    """What a valid token says: whose action it stands for, and its own id where it has one."""

    user_id: str
    token_id: str


class EventTokenError(Exception):
    """The token is not valid; the reason is for our log and never holds any of the token."""


@dataclass(frozen=True, slots=True)
class EventTokenVerifier:
    """Verifies tokens of one app.

    ``leeway_seconds`` is how long after ``exp`` a token still passes and how far before ``iat``, because Flock's tokens were seen to
    live 8 seconds and clocks differ.
    """

    app_id: str
    app_secret: Secret
    leeway_seconds: int = LEEWAY_SECONDS

    def __post_init__(self) -> None:
        # Anybody can sign with an empty secret.
        if not self.app_id or not self.app_secret:
            raise ConfigError(
                "app events cannot be verified without both the app's id and its secret",
                next_step="set listen.app_id and listen.app_secret_file, both from the app's page in Flock's dashboard",
            )

    def verify(self, token: str, *, now_ms: int) -> EventClaims:
        """Return the claims of a token at a moment (milliseconds since 1970 UTC); raises `EventTokenError`."""
        claims = self._signed_claims(token)
        now_seconds = now_ms / 1000
        if now_seconds >= _instant(claims, "exp") + self.leeway_seconds:
            raise EventTokenError("expired")
        if _instant(claims, "iat") > now_seconds + self.leeway_seconds:
            raise EventTokenError("issued in the future")
        if not _equal(_text(claims, "appId"), self.app_id):
            raise EventTokenError("for another app")
        token_id = claims.get("jti")
        return EventClaims(user_id=_text(claims, "userId"), token_id=token_id if isinstance(token_id, str) else "")

    def _signed_claims(self, token: str) -> dict[str, Any]:
        if not token:
            raise EventTokenError("missing")
        if len(token) > TOKEN_CHARACTERS_MAX:
            raise EventTokenError("too long")
        try:
            return jwt.decode(token, self.app_secret.reveal(), algorithms=[_ALGORITHM], options=_SIGNATURE_ONLY)
        except jwt.InvalidSignatureError:
            raise EventTokenError("signed with another secret") from None
        except jwt.InvalidAlgorithmError:
            raise EventTokenError("signed with another algorithm than HS256") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise EventTokenError("no signed token") from None


def require_user(claims: EventClaims, user_id: str | None) -> None:
    """Check that a body is about the user of its token; raises `EventTokenError` if not."""
    if user_id is None or not _equal(user_id, claims.user_id):
        raise EventTokenError("for another user than the body's")


def _instant(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    # True is a number in Python, and not a time.
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < _INSTANT_SECONDS_MAX:
        raise EventTokenError(f"without a usable {name}")
    return value


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise EventTokenError(f"without a usable {name}")
    return value


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))
