"""DuckDB over one head of an archive, shut in: the user's SQL reads the archive's tables and can do nothing else.

Three fences, each enough for most of it (DuckDB's documentation, "Securing DuckDB"): only a single reading statement is run;
external access is off but for the live data objects by name; and the configuration is locked. The first is needed because DuckDB also
writes to a path that it may read.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import duckdb
import duckdb_extension_httpfs

from archiver.archive.reader import Archive, Head
from archiver.errors import (
    ArchiverError,
    DamageFoundError,
    StorageError,
    StoreRefusedError,
    StoreUnreachableError,
    UsageError,
)
from archiver.query import views

FETCH_ROWS = 1_000

_Result = TypeVar("_Result")

_HTTP_REFUSALS = ("400", "401", "403")
_EXPLAIN = re.compile(r"\s*explain(\s+analyze)?\b", re.IGNORECASE)
_ONE_SELECT = "write one SELECT (or WITH, FROM, VALUES, DESCRIBE, SUMMARIZE, EXPLAIN); a PIVOT names its values with IN"


@dataclass(frozen=True, slots=True)
class S3Login:
    """How DuckDB reaches the bucket: the same place and credentials as the store's; all None is anonymous, at Amazon's."""

    endpoint_url: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an answer: its name and DuckDB's name of its type."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query gives: its columns, and its rows as they are fetched (`FETCH_ROWS` at a time)."""

    columns: tuple[Column, ...]
    rows: Iterator[tuple[Any, ...]]


class Engine:
    """A DuckDB connection whose views are one head of one archive. Close it, or use it in a ``with`` block.

    DuckDB works in a thread of its own: while it fetches it does not see signals, and so a person who interrupts a long query would
    wait for its end.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, scratch: tempfile.TemporaryDirectory[str], *, root: str
    ) -> None:
        self._connection = connection
        self._scratch = scratch
        self._root = root
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="query")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and remove what a large query spilled to disk."""
        self._thread.shutdown()
        self._connection.close()
        self._scratch.cleanup()

    def ask(self, sql: str) -> Answer:
        """Run one reading statement.

        Raises `UsageError` with DuckDB's words if the SQL is wrong or wants more than reading the archive,
        `DamageFoundError` if a data object cannot be read as Parquet, and `StorageError` if the store does not give it.
        The rows raise the same while they are fetched.
        """
        try:
            _require_reading(sql)
            self._interruptible(partial(self._connection.execute, sql))
            columns = tuple(Column(name=entry[0], type=str(entry[1])) for entry in self._connection.description or ())
        except duckdb.Error as error:
            raise _of_user(error, self._root) from None
        return Answer(columns=columns, rows=self._rows())

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        while True:
            try:
                rows = self._interruptible(partial(self._connection.fetchmany, FETCH_ROWS))
            except duckdb.Error as error:
                raise _of_user(error, self._root) from None
            if not rows:
                return
            yield from rows

    def _interruptible(self, work: Callable[[], _Result]) -> _Result:
        future = self._thread.submit(work)
        try:
            return future.result()
        except duckdb.Error:
            raise
        except BaseException:
            # What ended our waiting, such as Ctrl-C, ends the query too.
            self._connection.interrupt()
            wait([future])
            raise


def open_engine(archive: Archive, head: Head, *, login: S3Login | None = None) -> Engine:
    """Open DuckDB over an archive in a folder or in a bucket; raises `UsageError` for any other store, `StorageError` if S3 fails."""
    root = archive.store.url.rstrip("/") + "/"
    parts = urlsplit(root)
    is_bucket = parts.scheme == "s3"
    if not is_bucket and not root.startswith("/"):
        raise UsageError(
            f"an archive at {archive.store.url} cannot be queried",
            next_step="query an archive in a folder or in a bucket",
        )
    scratch = tempfile.TemporaryDirectory(prefix="archiver-query-")
    connection = duckdb.connect(
        ":memory:",
        config={
            "allow_community_extensions": False,
            "allow_persistent_secrets": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
            "temp_directory": scratch.name,
        },
    )
    engine = Engine(connection, scratch, root=root)
    try:
        if is_bucket:
            _open_bucket(connection, login or S3Login(), scope=root)
        _fence(connection, head, root=root)
    except duckdb.Error as error:
        engine.close()
        raise _of_store(error, root) from None
    except BaseException:
        engine.close()
        raise
    return engine


def _fence(connection: duckdb.DuckDBPyConnection, head: Head, *, root: str) -> None:
    # Every instant of the archive is UTC, and is shown so.
    connection.execute("SET TimeZone = 'UTC'")
    for statement in views.statements(head, root=root):
        connection.execute(statement)
    connection.execute(f"SET allowed_paths = {views.text_list([root + key for key in head.files])}")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _open_bucket(connection: duckdb.DuckDBPyConnection, login: S3Login, *, scope: str) -> None:
    connection.execute(f"LOAD {views.literal(str(_extension()))}")
    options = {"REGION": login.region, "SCOPE": scope}
    if login.access_key_id and login.secret_access_key:
        options |= {
            "KEY_ID": login.access_key_id,
            "SECRET": login.secret_access_key,
            "SESSION_TOKEN": login.session_token,
        }
    if login.endpoint_url:
        endpoint = urlsplit(login.endpoint_url)
        options |= {"ENDPOINT": endpoint.netloc + endpoint.path, "URL_STYLE": "path"}
        options["USE_SSL"] = "true" if endpoint.scheme == "https" else "false"
    given = ", ".join(f"{name} {views.literal(value)}" for name, value in options.items() if value)
    try:
        connection.execute(f"CREATE SECRET archive (TYPE s3, {given})")
    except duckdb.Error:
        # DuckDB's own words would quote the statement, and with it the credentials.
        raise StoreRefusedError(
            "the credentials of the bucket cannot be handed to DuckDB",
            next_step="check the AWS_ variables or the profile",
        ) from None


def _extension() -> Path:
    """Return DuckDB's S3 reader out of its wheel, so that nothing is fetched when a query starts."""
    folder = Path(duckdb_extension_httpfs.__file__).parent / "extensions" / f"v{duckdb.__version__}"
    return folder / "httpfs.duckdb_extension"


def _require_reading(sql: str) -> None:
    statements = duckdb.extract_statements(sql)
    if len(statements) != 1 or not _is_reading(statements[0]):
        raise UsageError("a query is one statement that only reads", next_step=_ONE_SELECT)


def _is_reading(statement: duckdb.Statement) -> bool:
    if statement.type == duckdb.StatementType.SELECT:
        return True
    if statement.type != duckdb.StatementType.EXPLAIN:
        return False
    # EXPLAIN ANALYZE runs what it explains, so that must be reading too.
    leading = _EXPLAIN.match(statement.query)
    if leading is None:
        return False
    try:
        explained = duckdb.extract_statements(statement.query[leading.end() :])
    except duckdb.Error:
        return False
    return [inner.type for inner in explained] == [duckdb.StatementType.SELECT]


def _of_user(error: duckdb.Error, root: str) -> ArchiverError:
    """Return what an error of the user's SQL means. DuckDB says of damaged Parquet many things, most with the file's name."""
    words = str(error).strip()
    if isinstance(error, duckdb.PermissionException):
        return UsageError(f"a query reads the archive and nothing else: {words}")
    if isinstance(error, duckdb.InterruptException):
        # Nobody interrupted it: one of its threads failed, and stopped the others before it could say why.
        return UsageError(
            "the query failed while it ran, and DuckDB lost the reason", next_step="run it again, or a part of it"
        )
    if isinstance(error, duckdb.OutOfMemoryException):
        return UsageError(words, next_step="ask for less at once: fewer columns, fewer days, or a LIMIT")
    # Its Parquet reader raises what has no class of its own, such as "TProtocolException: Invalid data".
    if isinstance(error, duckdb.IOException) or type(error) is duckdb.Error or root in words:
        return _of_store(error, root)
    return UsageError(words, next_step="SHOW TABLES lists the tables, DESCRIBE messages the columns of one")


def _of_store(error: duckdb.Error, root: str) -> ArchiverError:
    """Return what an error means that the user's SQL did not cause."""
    # DuckDB adds the line of the statement, which here is ours and long.
    words = str(error).partition("\n\nLINE ")[0].strip()
    is_from_afar = isinstance(error, duckdb.HTTPException) or (
        isinstance(error, duckdb.IOException) and "HTTP" in words
    )
    if is_from_afar and "HTTP 404" not in words:
        if any(f"HTTP {status}" in words for status in _HTTP_REFUSALS):
            return StoreRefusedError(words, next_step="check the credentials and their permission to read the archive")
        return StoreUnreachableError(words, next_step="check that the store answers, and try again")
    if isinstance(error, duckdb.IOException) and not is_from_afar and root not in words:
        return StorageError(words, next_step="check the space in the folder for temporary files, TMPDIR")
    return DamageFoundError(
        f"the archive at {root} cannot be read: {words}",
        next_step="run `archiver verify` for a full list, then restore the object from a copy",
    )
