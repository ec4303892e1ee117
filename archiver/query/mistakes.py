"""What DuckDB's errors mean: a mistake in the user's SQL, an object that is damaged, missing or cold, or a store that does not answer."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import unquote

import duckdb

from archiver.errors import (
    ArchiverError,
    DamageFoundError,
    KeyMissingError,
    StorageError,
    StoreRefusedError,
    StoreUnreachableError,
    UsageError,
)
from archiver.store import Store
from archiver.store.classes import READABLE_CLASSES

_REFUSALS = ("HTTP 400", "HTTP 401", "HTTP 403", "ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH")
_MISSING = ("HTTP 404", "No such file", "NoSuchKey", "NO_SUCH_KEY", "Path does not exist")
_AFAR = ("HTTP", "AWS Error", "s3fs", "NETWORK_CONNECTION", "curlCode")
_RESTORE = "run `archiver verify` for a full list, then restore the object from a copy"
_DATA_KEY = re.compile(r"[a-z]+/dt=\d{4}-\d{2}-\d{2}/[0-9a-f-]+\.parquet")


@dataclass(frozen=True, slots=True)
class Place:
    """What was asked: the store, what stands before its keys in addresses, and the keys of the data objects that are live."""

    store: Store
    root: str
    keys: Collection[str]


class TooLargeError(UsageError):
    """A question needs more memory than DuckDB was given."""


def of_user(error: duckdb.Error, place: Place) -> ArchiverError:
    """Return what an error of the user's SQL means. DuckDB says of damaged Parquet many things, most with the file's name."""
    words = str(error).strip()
    if isinstance(error, duckdb.PermissionException):
        # DuckDB takes the address of an object that is not there for that of a folder.
        named = _DATA_KEY.search(unquote(words))
        if named and named[0] in place.keys and f"{named[0]}/**" in words:
            return _missing(named[0], place)
        return UsageError(f"a query reads the archive and nothing else: {words}")
    if isinstance(error, duckdb.InterruptException):
        # Nobody interrupted it: one of its threads failed, and stopped the others before it could say why.
        return UsageError(
            "the query failed while it ran, and DuckDB lost the reason", next_step="run it again, or a part of it"
        )
    if isinstance(error, duckdb.OutOfMemoryException):
        return TooLargeError(words, next_step="ask for less at once: fewer columns, fewer days, or a LIMIT")
    # Its Parquet reader raises what has no class of its own, such as "TProtocolException: Invalid data".
    is_of_reading = isinstance(error, duckdb.IOException) or type(error) is duckdb.Error or "arrow_scan" in words
    if is_of_reading or place.root in words or _is_from_afar(words):
        return of_store(error, place)
    return UsageError(words, next_step="SHOW TABLES lists the tables, DESCRIBE messages the columns of one")


def of_store(error: duckdb.Error, place: Place) -> ArchiverError:
    """Return what an error means that the user's SQL did not cause."""
    # DuckDB adds the line of the statement, which here is ours and long.
    words = str(error).partition("\n\nLINE ")[0].strip()
    is_from_afar = isinstance(error, duckdb.HTTPException) or _is_from_afar(words)
    is_missing = any(mark in words for mark in _MISSING)
    if is_from_afar and not is_missing:
        if cold := _cold_object(words, place.store):
            return cold
        if any(mark in words for mark in _REFUSALS):
            return StoreRefusedError(words, next_step="check the credentials and their permission to read the archive")
        if not _DATA_KEY.search(unquote(words)) or "Parquet" not in words:
            return StoreUnreachableError(words, next_step="check that the store answers, and try again")
    if isinstance(error, duckdb.IOException) and not is_from_afar and place.root not in words and not is_missing:
        return StorageError(words, next_step="check the space in the folder for temporary files, TMPDIR")
    named = _DATA_KEY.search(unquote(words))
    if is_missing and named:
        return _missing(named[0], place)
    return DamageFoundError(f"the archive at {place.root} cannot be read: {words}", next_step=_RESTORE)


def _missing(key: str, place: Place) -> ArchiverError:
    return DamageFoundError(f"{key} is missing in {place.root}, and the ledger names it", next_step=_RESTORE)


def _is_from_afar(words: str) -> bool:
    return any(mark in words for mark in _AFAR)


def _cold_object(words: str, store: Store) -> ArchiverError | None:
    """Return what to say if the object that an error names lies in a storage class that cannot be read at once."""
    named = _DATA_KEY.search(unquote(words))
    if named is None:
        return None
    try:
        storage_class = store.storage_class(named[0])
    except (KeyMissingError, StorageError):
        return None
    if storage_class is None or storage_class in READABLE_CLASSES:
        return None
    return StoreRefusedError(
        f"{named[0]} lies in the storage class {storage_class}, where it cannot be read at once",
        next_step="`archiver restore` thaws what it needs; or leave that day out of the query (WHERE dt …)",
    )
