"""DuckDB over one head of an archive, shut in: the user's SQL reads the archive's tables and can do nothing else.

Three fences, each enough for most of it (DuckDB's documentation, "Securing DuckDB"): only a single reading statement is run;
external access is off but for the live data objects by name; and the configuration is locked. The first is needed because DuckDB also
writes to a path that it may read. They are put up at the first question, around those objects that it can concern (`narrowing`), for each
object costs; a later question that concerns others gets a new connection, shut in around all of them.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import duckdb
import pyarrow.fs

from archiver.archive.reader import Archive, Head, files_of
from archiver.archive.schema import TABLES
from archiver.errors import UsageError
from archiver.query import literals, mistakes, narrowing, scanner, views
from archiver.query.answer import Answer, Column
from archiver.query.derived import PROVISIONAL_MESSAGES
from archiver.query.scanner import S3Login

FETCH_ROWS = 1_000
# Each thread has memory of its own, on a machine of many processors more than there is.
_THREADS_OF_LITTLE = 2

_Result = TypeVar("_Result")
# A connection that is not shut in yet, and what reads a bucket for it, None where it reads by itself.
_Connected = tuple[duckdb.DuckDBPyConnection, pyarrow.fs.FileSystem | None]

_EXPLAIN = re.compile(r"\s*explain(\s+analyze)?\b", re.IGNORECASE)
# What tells of views without naming them.
_LISTS = re.compile(
    r"^\s*(show|desc|describe)\b|\b(information_schema|sqlite_master)\b|\b(duckdb|pragma|pg)_", re.IGNORECASE
)
_ONE_SELECT = "write one SELECT (or WITH, FROM, VALUES, DESCRIBE, SUMMARIZE, EXPLAIN); a PIVOT names its values with IN"


class Engine:
    """A DuckDB connection whose views are one head of one archive. Close it, or use it in a ``with`` block.

    DuckDB works in a thread of its own: while it fetches it does not see signals, and so a person who interrupts a long query would
    wait for its end.
    """

    def __init__(
        self,
        connect: Callable[[], _Connected],
        scratch: tempfile.TemporaryDirectory[str],
        *,
        place: mistakes.Place,
        head: Head,
    ) -> None:
        self._connect = connect
        self._scratch = scratch
        self._place = place
        self._head = head
        self._connection, self._files = connect()
        self._relations: _Relations | None = None
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
            self._interruptible(partial(self._run, sql))
            columns = tuple(Column(name=entry[0], type=str(entry[1])) for entry in self._connection.description or ())
        except duckdb.Error as error:
            raise mistakes.of_user(error, self._place) from None
        return Answer(columns=columns, rows=self._rows())

    def _run(self, sql: str) -> None:
        relations = self._prepared(narrowing.narrowed(self._connection, sql, self._head))
        relations.provide(None if _LISTS.search(sql) else views.named_in(sql))
        try:
            self._connection.execute(sql)
        except duckdb.CatalogException:
            # A name that the text does not spell out; or one that is wrong, and DuckDB knows the nearest only of what is there.
            if not relations.provide(None):
                raise
            self._connection.execute(sql)

    def _prepared(self, wanted: Head) -> _Relations:
        """Return the views over at least the objects of ``wanted``. What is shut in cannot be let out: who asks for more gets all anew."""
        if self._relations is not None and self._relations.cover(wanted):
            return self._relations
        if self._relations is not None:
            self._connection.close()
            self._connection, self._files = self._connect()
            wanted = self._head
        root = self._place.root
        _fence(self._connection, [] if self._files is not None else [root + key for key in wanted.files])
        self._relations = _Relations(self._connection, wanted, root=root, files=self._files)
        return self._relations

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        while True:
            try:
                rows = self._interruptible(partial(self._connection.fetchmany, FETCH_ROWS))
            except duckdb.Error as error:
                raise mistakes.of_user(error, self._place) from None
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


class _Relations:
    """The views and macros over objects of one head, made when a query first names them.

    A view costs a look into an object, and a head may have thousands; most queries name one or two.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, head: Head, *, root: str, files: pyarrow.fs.FileSystem | None
    ) -> None:
        self._connection = connection
        self._head = head
        self._root = root
        self._files = files
        self._made: set[str] = set()

    def cover(self, head: Head) -> bool:
        """Tell whether these are over all objects of a head."""
        return self._head.files.keys() >= head.files.keys()

    def provide(self, names: frozenset[str] | None) -> bool:
        """Make these and what they are made of, all if None; tells whether any was not there yet."""
        missing = [
            name for name in views.with_needed(views.NAMES if names is None else names) if name not in self._made
        ]
        for name in missing:
            self._make(name)
            self._made.add(name)
        return bool(missing)

    def _make(self, name: str) -> None:
        root = None if self._files is not None else self._root
        if name == PROVISIONAL_MESSAGES.name:
            self._connection.execute(views.provisional_sql(self._head, root=root))
        elif name not in TABLES:
            self._connection.execute(views.derived_sql(name))
        elif self._files is not None and (records := files_of(self._head, name)):
            self._connection.register(name, scanner.dataset(self._files, TABLES[name], records))
        else:
            self._connection.execute(views.table_sql(self._head, name, root=self._root))


def open_engine(
    archive: Archive,
    head: Head,
    *,
    login: S3Login | None = None,
    extension: Path | None = None,
    by_arrow: bool = False,
    memory_bytes_max: int | None = None,
) -> Engine:
    """Open DuckDB over an archive in a folder or in a bucket; raises `UsageError` for any other store, `StorageError` if S3 fails.

    A bucket is read by DuckDB's own ``extension``, by default the one of the installed wheel; where there is none, or with
    ``by_arrow``, by pyarrow. With ``memory_bytes_max`` DuckDB works with two threads, and beyond so much on disk, in a folder for
    temporary files; by default it takes most of the machine's memory first.
    """
    root = archive.store.url.rstrip("/") + "/"
    is_bucket = root.startswith("s3://")
    if not is_bucket and not root.startswith("/"):
        raise UsageError(
            f"an archive at {archive.store.url} cannot be queried",
            next_step="query an archive in a folder or in a bucket",
        )
    scratch = tempfile.TemporaryDirectory(prefix="archiver-query-")
    place = mistakes.Place(store=archive.store, root=root, keys=head.files)
    config: dict[str, str | bool | int | float | list[str]] = {
        "allow_community_extensions": False,
        "allow_persistent_secrets": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "python_enable_replacements": False,
        "temp_directory": scratch.name,
        **({} if memory_bytes_max is None else {"memory_limit": f"{memory_bytes_max}B", "threads": _THREADS_OF_LITTLE}),
    }
    found = None if by_arrow or not is_bucket else extension or scanner.extension()
    given = login or S3Login()

    def connect() -> _Connected:
        connection = duckdb.connect(":memory:", config=config)
        try:
            if found is not None:
                scanner.open_bucket(connection, given, scope=root, extension_path=found)
            return connection, scanner.arrow_files(given, root=root) if is_bucket and found is None else None
        except BaseException:
            connection.close()
            raise

    try:
        return Engine(connect, scratch, place=place, head=head)
    except BaseException as error:
        scratch.cleanup()
        if isinstance(error, duckdb.Error):
            raise mistakes.of_store(error, place) from None
        raise


def _fence(connection: duckdb.DuckDBPyConnection, paths: list[str]) -> None:
    # Every instant of the archive is UTC, and is shown so.
    connection.execute("SET TimeZone = 'UTC'")
    # A derived view asks a table several times within one query, and each time the ends of its objects would be read anew.
    connection.execute("SET parquet_metadata_cache = true")
    connection.execute(f"SET allowed_paths = {literals.text_list(paths)}")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


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
