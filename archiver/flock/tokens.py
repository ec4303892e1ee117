"""Whose eyes we read Flock with: user tokens, and a type for secrets that cannot be printed by accident.

Flock gives one token per user who installed the app (flock-api.md 2); it grants everything that the user may read. It
therefore travels as a `Secret`, which every log, exception and representation shows as ``[redacted]``; logs tell tokens
apart by `fingerprint`.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final, NoReturn

from archiver.errors import TokenRefusedError

REDACTED: Final = "[redacted]"
FINGERPRINT_CHARACTERS: Final = 8


class Secret:
    """Text that only `reveal` gives away; it prints as ``[redacted]`` and refuses to be pickled."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text, for the one place that must send or compare it."""
        return self._text

    def equals(self, other: str) -> bool:
        """Compare in a time that does not depend on where the two differ."""
        return hmac.compare_digest(self._text.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))

    def __repr__(self) -> str:
        return REDACTED

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return self.equals(other._text) if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret does not leave its process: pass it by environment or file")


@dataclass(frozen=True, slots=True)
class UserToken:
    """The token of one user who installed the app; ``user_id`` is Flock's (``u:…``), ``secret`` opaque text."""

    user_id: str
    secret: Secret
    fingerprint: str = field(init=False, repr=False, compare=False)
    """What a log may show: the first eight hexadecimal digits of the token's SHA-256."""

    def __post_init__(self) -> None:
        # Every call asks for it several times, and it took one call in thirty.
        object.__setattr__(self, "fingerprint", fingerprint(self.secret))


def fingerprint(secret: Secret) -> str:
    """Return the first eight hexadecimal digits of the SHA-256 of a secret, enough to tell tokens apart in a log."""
    digest = hashlib.sha256(secret.reveal().encode("utf-8", "surrogatepass")).hexdigest()
    return digest[:FINGERPRINT_CHARACTERS]


def require_sendable(token: UserToken) -> None:
    """Refuse a token that cannot stand in a header, before the HTTP library complains and quotes it."""
    text = token.secret.reveal()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise TokenRefusedError(
            f"the token of {token.user_id} holds characters that cannot be sent",
            code="InvalidToken",
            next_step="Compare it with what Flock gave: printable ASCII without blanks.",
        )
