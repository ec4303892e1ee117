"""The tokens of a run: whom we can still ask as, which tokens Flock refused, and which are left alone tonight."""

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

    A user may have several tokens, as after a second installation; they are tried in the order given. ``set_aside`` are
    tokens that Flock refused before and that this run does not try.
    """

    def __init__(self, tokens: Iterable[UserToken], *, set_aside: Iterable[RefusedToken] = ()) -> None:
        self._lock = Lock()
        self._refused: list[RefusedToken] = []
        self._accepted: set[UserToken] = set()
        self._set_aside = tuple(set_aside)
        self._by_user: dict[str, list[UserToken]] = {}
        for token in tokens:
            of_user = self._by_user.setdefault(token.user_id, [])
            if token not in of_user:
                of_user.append(token)
        for aside in self._set_aside:
            self._by_user.setdefault(aside.user_id, [])
        self._users = tuple(self._by_user)

    @property
    def users(self) -> tuple[str, ...]:
        """All users for whom a token was given, refused, set aside or not, in that order."""
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

    @property
    def set_aside(self) -> tuple[RefusedToken, ...]:
        """The tokens refused before this run, which it does not try."""
        return self._set_aside

    def accepted(self) -> frozenset[UserToken]:
        """Return the tokens that Flock let in so far and has not refused since."""
        with self._lock:
            return frozenset(self._accepted)

    def token_of(self, user_id: str) -> UserToken:
        """Return a token of the user that was not refused; raises `TokenRefusedError` if there is none."""
        with self._lock:
            tokens = self._by_user.get(user_id)
            if tokens:
                return tokens[0]
        raise TokenRefusedError(f"no usable token of {user_id} is left", code="")

    def accept(self, token: UserToken) -> None:
        """Note that Flock let a token in."""
        if token not in self._accepted:
            with self._lock:
                self._accepted.add(token)

    def refuse(self, token: UserToken, error: TokenRefusedError) -> None:
        """Take a token out of use; of several threads that are told the same, the first is noted."""
        with self._lock:
            tokens = self._by_user[token.user_id]
            if token not in tokens:
                return
            tokens.remove(token)
            self._accepted.discard(token)
            self._refused.append(
                RefusedToken(token.user_id, token.fingerprint, error.code, error.what, error.next_step)
            )
        log.warning("flock token refused", user_id=token.user_id, fingerprint=token.fingerprint, code=error.code)

    def ask_as(self, user_id: str, ask: Callable[[UserToken], _Answer]) -> _Answer:
        """Return ``ask(token)`` with a token of the user.

        `TokenRefusedError`, from Flock or from ``ask`` itself, takes the token out of use and the user's next one is
        tried; it is raised once none is left.
        """
        while True:
            token = self.token_of(user_id)
            try:
                answer = ask(token)
            except TokenRefusedError as error:
                self.refuse(token, error)
            else:
                self.accept(token)
                return answer
