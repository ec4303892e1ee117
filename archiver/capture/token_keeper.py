"""The tokens we may use from run to run: configured ones, and those that users brought by installing the app.

What Flock refuses is not asked with for ever. A refused token is left alone for the rest of the day (UTC) and tried again
on later days, because a user or a team may only have switched the app off for a while. A stored one is disabled in the
token store meanwhile, with the reason, and tried no more after `STORED_RETRIED_DAYS`; a new installation, or
``archiver installs retry``, enables it again. A configured one stands in a file that is not ours to change: it is tried
once a day for as long as it stands there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

import structlog

from archiver.capture.token_pool import RefusedToken, TokenPool
from archiver.clock import DAY_MS, day_of, to_text
from archiver.flock.refusals import Refusal, RefusalMemory, TokenKey
from archiver.flock.token_store import Installation, TokenStore
from archiver.flock.tokens import UserToken

STORED_RETRIED_DAYS: Final = 7

TokenSource = Literal["configuration", "app.install"]

# Flock saw no token at all: that is a mistake in flock.auth, and no token is to blame.
_NOT_THE_TOKENS_FAULT: Final = frozenset({"MissingUserToken"})

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class KnownToken:
    """What may be shown of a token: whose, which, where it comes from, and since when and why it is not used.

    ``retried_on`` says whether and when it is tried again: a day (UTC, ISO 8601), or None where it is in use, or never.
    """

    user_id: str
    fingerprint: str
    source: TokenSource
    installed_at: str | None
    disabled_at: str | None
    disabled_reason: str | None
    retried_on: str | None


class TokenKeeper:
    """Knows every token, gives a run those it may try, and learns from the run which of them Flock refused.

    ``open_store`` opens the store of installing users' tokens, or returns None where no key for it is configured; it is
    opened for moments only, because the listener writes to it too. Everything raises `StorageError` if that store or the
    memory of refusals cannot be read or written.
    """

    def __init__(
        self,
        configured: Sequence[UserToken],
        *,
        refusals: RefusalMemory,
        open_store: Callable[[], TokenStore | None],
    ) -> None:
        self._configured = tuple(configured)
        self._refusals = refusals
        self._open_store = open_store

    def pool(self, *, now_ms: int) -> TokenPool:
        """Return the tokens for a run that begins now, and what is left alone."""
        stored: list[UserToken] = []
        installations: list[Installation] = []
        with self._store() as store:
            if store is not None:
                stored = store.load(or_disabled_after_ms=_given_up_before_ms(now_ms))
                installations = store.installations()
        refusals = self._standing_refusals(installations)
        usable: list[UserToken] = []
        set_aside = [_set_aside_for_good(row) for row in installations if _is_given_up(row, now_ms)]
        for token in (*self._configured, *stored):
            refusal = refusals.get((token.user_id, token.fingerprint))
            if refusal is None or _may_be_tried(refusal, now_ms):
                usable.append(token)
            else:
                set_aside.append(_set_aside_today(refusal))
        return TokenPool(usable, set_aside=dict.fromkeys(set_aside))

    def settle(self, pool: TokenPool, *, at_ms: int) -> None:
        """Remember what a run that began at ``at_ms`` learnt: refused tokens rest, those that work again do not."""
        refused = [token for token in pool.refused() if token.code not in _NOT_THE_TOKENS_FAULT]
        accepted = [(token.user_id, token.fingerprint) for token in pool.accepted()]
        self._refusals.update(
            refused=[
                Refusal(token.user_id, token.fingerprint, token.code, token.reason, token.next_step, at_ms, at_ms)
                for token in refused
            ],
            forget=accepted,
        )
        with self._store() as store:
            if store is None:
                return
            # What was installed while the run was under way, even with the same token, is newer than what the run learnt.
            rows = {_key(row): row for row in store.installations() if row.installed_at_ms <= at_ms}
            for key in rows.keys() & set(accepted):
                if store.enable(key[0], fingerprint=key[1]):
                    log.info("token works again", user_id=key[0], fingerprint=key[1])
            for token in refused:
                # Without Flock's own word it may be a proxy that refuses, and no reason to ask for an installation.
                if token.code and (token.user_id, token.fingerprint) in rows:
                    store.disable(token.user_id, fingerprint=token.fingerprint, reason=token.reason, at_ms=at_ms)
                    log.warning("token disabled", user_id=token.user_id, fingerprint=token.fingerprint, code=token.code)

    def known(self, *, now_ms: int) -> list[KnownToken]:
        """Return every token by user, the configured one of a user first."""
        with self._store() as store:
            installations = [] if store is None else store.installations()
        refusals = self._standing_refusals(installations)
        shown = [
            _configured(token, refusals.get((token.user_id, token.fingerprint)), now_ms) for token in self._configured
        ]
        shown += [_installed(row, refusals.get(_key(row)), now_ms) for row in installations]
        return sorted(shown, key=lambda token: (token.user_id, token.source != "configuration"))

    def revoke(self, user_id: str) -> bool:
        """Remove a user's stored token for good; tell whether there was one. A configured one stays where it is."""
        with self._store() as store:
            removed = [row for row in store.installations() if row.user_id == user_id] if store is not None else []
            if store is not None and removed:
                store.remove(user_id)
        # A token that is configured too stays refused.
        kept = {(token.user_id, token.fingerprint) for token in self._configured}
        self._refusals.update(forget={_key(row) for row in removed} - kept)
        return bool(removed)

    def retry(self, user_id: str | None) -> list[TokenKey]:
        """Let the next run try the refused tokens of a user, or of everybody, again; return which these are."""
        rested: dict[TokenKey, None] = {}
        with self._store() as store:
            for row in store.installations() if store is not None else ():
                if store is not None and row.disabled_at_ms is not None and user_id in (None, row.user_id):
                    store.enable(row.user_id, fingerprint=row.fingerprint)
                    rested[row.user_id, row.fingerprint] = None
        rested |= {key: None for key in self._refusals.load() if user_id in (None, key[0])}
        self._refusals.update(forget=rested)
        return sorted(rested)

    def _standing_refusals(self, installations: Iterable[Installation]) -> dict[TokenKey, Refusal]:
        """Return what is remembered, without refusals that a later installation has answered."""
        refusals = self._refusals.load()
        for row in installations:
            refusal = refusals.get(_key(row))
            if refusal is not None and row.installed_at_ms > refusal.last_at_ms:
                del refusals[_key(row)]
        return refusals

    @contextmanager
    def _store(self) -> Iterator[TokenStore | None]:
        store = self._open_store()
        if store is None:
            yield None
            return
        with store:
            yield store


def _may_be_tried(refusal: Refusal, now_ms: int) -> bool:
    """Tell whether the day of the last refusal is over; a clock that was set back is no reason to wait for long."""
    return day_of(now_ms) != day_of(refusal.last_at_ms)


def _key(row: Installation) -> TokenKey:
    return row.user_id, row.fingerprint


def _is_given_up(row: Installation, now_ms: int) -> bool:
    return row.disabled_at_ms is not None and row.disabled_at_ms <= _given_up_before_ms(now_ms)


def _given_up_before_ms(now_ms: int) -> int:
    return now_ms - STORED_RETRIED_DAYS * DAY_MS


def _set_aside_today(refusal: Refusal) -> RefusedToken:
    return RefusedToken(
        refusal.user_id,
        refusal.fingerprint,
        refusal.code,
        f"{refusal.reason} (at {to_text(refusal.last_at_ms)}; tried again on {_next_day(refusal.last_at_ms)})",
        f"{refusal.next_step} `archiver installs retry {refusal.user_id}` lets the next run try at once.".strip(),
    )


def _set_aside_for_good(row: Installation) -> RefusedToken:
    since = "" if row.disabled_at_ms is None else f" (disabled since {to_text(row.disabled_at_ms)} and tried no more)"
    return RefusedToken(
        row.user_id,
        row.fingerprint,
        "",
        f"{row.disabled_reason}{since}",
        f"Let the user install the app again, or try the token once more with `archiver installs retry {row.user_id}`.",
    )


def _configured(token: UserToken, refusal: Refusal | None, now_ms: int) -> KnownToken:
    return KnownToken(
        user_id=token.user_id,
        fingerprint=token.fingerprint,
        source="configuration",
        installed_at=None,
        disabled_at=None if refusal is None else to_text(refusal.first_at_ms),
        disabled_reason=None if refusal is None else refusal.reason,
        retried_on=None if refusal is None else _retried_on(refusal, now_ms),
    )


def _installed(row: Installation, refusal: Refusal | None, now_ms: int) -> KnownToken:
    since = row.disabled_at_ms if row.disabled_at_ms is not None or refusal is None else refusal.first_at_ms
    retried_on = None
    if since is not None and not _is_given_up(row, now_ms):
        retried_on = day_of(now_ms).isoformat() if refusal is None else _retried_on(refusal, now_ms)
    return KnownToken(
        user_id=row.user_id,
        fingerprint=row.fingerprint,
        source="app.install",
        installed_at=to_text(row.installed_at_ms),
        disabled_at=None if since is None else to_text(since),
        disabled_reason=row.disabled_reason or (None if refusal is None else refusal.reason),
        retried_on=retried_on,
    )


def _retried_on(refusal: Refusal, now_ms: int) -> str:
    return day_of(now_ms).isoformat() if _may_be_tried(refusal, now_ms) else _next_day(refusal.last_at_ms)


def _next_day(at_ms: int) -> str:
    return day_of(at_ms + DAY_MS).isoformat()
