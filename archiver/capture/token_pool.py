"""The tokens of a run: whom we can still ask as, and which tokens Flock refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Lock
from typing import TypeVar

import structlog

from archiver.errors import TokenRefusedError
from archiver.flock.tokens import UserToken

_Answer = TypeVar("_Answer")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RefusedToken:
    """A token that Flock refused in this run: whose, which (a fingerprint), with which error code, and in words."""

    user_id: str
    fingerprint: str
    code: str
    reason: str
    next_step: str


class TokenPool:
    """Tokens by user, shared by all threads of a run. A refused token is not used again; the others go on.

    A user may have several tokens, as after a second installation; they are tried in the order given.
    """

    def __init__(self, tokens: Iterable[UserToken]) -> None:
        self._lock = Lock()
        self._refused: list[RefusedToken] = []
        self._by_user: dict[str, list[UserToken]] = {}
        for token in tokens:
            of_user = self._by_user.setdefault(token.user_id, [])
            if token not in of_user:
                of_user.append(token)
        self._users = tuple(self._by_user)

    @property
    def users(self) -> tuple[str, ...]:
        """All users for whom a token was given, refused or not, in that order."""
        return self._users

    def usable_users(self) -> tuple[str, ...]:
        """Return the users we can still ask as."""
        with self._lock:
            return tuple(user for user in self._users if self._by_user[user])

    def can_ask_as(self, user_id: str) -> bool:
        """Tell whether the user has a token that was not refused."""
        with self._lock:
            return bool(self._by_user.get(user_id))

    def refused(self) -> tuple[RefusedToken, ...]:
        """Return the tokens refused so far."""
        with self._lock:
            return tuple(self._refused)

    def ask_as(self, user_id: str, ask: Callable[[UserToken], _Answer]) -> _Answer:
        """Return ``ask(token)`` with a token of the user.

        `TokenRefusedError`, from Flock or from ``ask`` itself, takes the token out of use and the user's next one is
        tried; it is raised once none is left.
        """
        while True:
            with self._lock:
                tokens = self._by_user.get(user_id)
                token = tokens[0] if tokens else None
            if token is None:
                raise TokenRefusedError(f"no usable token of {user_id} is left", code="")
            try:
                return ask(token)
            except TokenRefusedError as error:
                self._refuse(token, error)

    def _refuse(self, token: UserToken, error: TokenRefusedError) -> None:
        with self._lock:
            tokens = self._by_user[token.user_id]
            if token not in tokens:  # another thread was told the same
                return
            tokens.remove(token)
            self._refused.append(
                RefusedToken(token.user_id, token.fingerprint, error.code, error.what, error.next_step)
            )
        log.warning("flock token refused", user_id=token.user_id, fingerprint=token.fingerprint, code=error.code)
