"""Puts together what `archiver clone`, `restore` and `replay` work with: a part of `archiver.wiring`.

Its imports stand inside the functions for the same reason.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from archiver import wiring
from archiver.clock import SystemClock
from archiver.errors import SpoolError, UsageError
from archiver.wiring_places import place_apart

if TYPE_CHECKING:
    from archiver.flock.sender import FlockSender
    from archiver.flock.tokens import UserToken
    from archiver.settings import Secrets, Settings
    from archiver.store import Store

COPIES_FOLDER = "copies"
USERS_SHOWN_MAX = 10


def open_place(settings: Settings, place: str, *, endpoint_url: str | None = None, region: str | None = None) -> Store:
    """Return the store of a folder or an ``s3://bucket/prefix`` that a command names; nothing is asked of it yet.

    Where nothing else is given a bucket is asked where the archive's is, or would be, with the same credentials. Raises `UsageError` as
    `archiver.wiring_places.place_apart`.
    """
    found = place_apart(settings, place, endpoint_url=endpoint_url)
    if isinstance(found, Path):
        from archiver.store.local import LocalStore  # noqa: PLC0415 - see the module's docstring

        return LocalStore(found)
    from archiver.store.s3 import S3Store  # noqa: PLC0415 - see the module's docstring

    return S3Store(
        found.bucket,
        found.prefix,
        endpoint_url=endpoint_url or settings.s3.endpoint_url,
        region=region or settings.s3.region,
    )


@contextmanager
def threads(count: int) -> Iterator[Executor]:
    """Give threads that do the copying, and drop what has not begun when the block ends with an error."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - see the module's docstring

    pool = ThreadPoolExecutor(max_workers=count, thread_name_prefix="copy")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def copies_folder(settings: Settings) -> Path:
    """Return the folder that large objects pass through, made if it is not there; raises `SpoolError` if it cannot be."""
    folder = settings.state / COPIES_FOLDER
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SpoolError(
            f"{folder} cannot be made: {error.strerror}",
            next_step="make the directory named by 'state:' in archiver.yaml writable for this user",
        ) from error
    return folder


def piece_bytes(settings: Settings) -> int:
    """Return in which pieces the archive's objects are best read."""
    from archiver.discovery import clone_copying as copying  # noqa: PLC0415 - see the module's docstring

    return copying.FILE_PIECE_BYTES if isinstance(settings.place(), Path) else copying.REQUEST_PIECE_BYTES


def new_attempt() -> str:
    """Return eight random hex digits, which no other attempt has."""
    return secrets.token_hex(4)


def poster(settings: Settings, given: Secrets, user_id: str | None) -> UserToken:
    """Return the token that posts a replay; raises `UsageError` where it is not clear whose, or there is none."""
    pool = wiring.open_token_keeper(settings, given).pool(now_ms=SystemClock().now_ms())
    users = pool.usable_users()
    if user_id is None and len(users) == 1:
        return pool.token_of(users[0])
    if user_id is not None and pool.can_ask_as(user_id):
        return pool.token_of(user_id)
    listed = ", ".join(users[:USERS_SHOWN_MAX]) + (" and more" if len(users) > USERS_SHOWN_MAX else "")
    if not users:
        raise UsageError(
            "there is no token to post with", next_step="see `archiver installs list`, and Tokens in docs/operations.md"
        )
    raise UsageError(
        "say whose token posts, with --as" if user_id is None else f"there is no usable token of {user_id}",
        next_step=f"name a member of the channel who may post there; there are tokens of {listed}",
    )


@contextmanager
def flock_sender(settings: Settings) -> Iterator[FlockSender]:
    """Give a client that posts, and calls Flock as runs do, within the same limits."""
    from archiver.flock.client import FlockOptions  # noqa: PLC0415 - see the module's docstring
    from archiver.flock.sender import FlockSender  # noqa: PLC0415 - see the module's docstring

    flock = settings.flock
    options = FlockOptions(
        base_url=flock.base_url,
        auth=flock.auth,
        requests_per_second=flock.requests_per_second,
        connections=1,
        timeout_seconds=flock.timeout_seconds,
        tries_max=flock.tries_max,
    )
    with FlockSender(options, clock=SystemClock()) as client:
        yield client
