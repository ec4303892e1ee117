"""What a check must remember of a package until its end, on disk and not in memory: names that may come once, and counts that must meet.

However many documents a package has, memory stays the same. What is here is a database of SQLite's without a name, which lies in the folder
for temporary files and is gone with the process; it takes about as many bytes as what is put in. Texts are kept as they are, whatever
their letters: half a surrogate pair, as hostile JSON has it, too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from tempfile import gettempdir
from types import TracebackType
from typing import Final, Self

from archiver.errors import StoreFullError

CACHE_BYTES: Final = 16 * 1024 * 1024
_SURROGATES: Final = "surrogatepass"


class Remembered:
    """The place for all that one check remembers; a context manager that lets go of it."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._tables = 0
        # It is for this check alone, so nothing of it need survive a crash.
        for pragma in ("temp_store = FILE", "journal_mode = OFF", "synchronous = OFF"):
            self.ask(f"PRAGMA {pragma}")
        self.ask(f"PRAGMA cache_size = -{CACHE_BYTES // 1024}")
        self.ask("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._database.close()

    def ask(self, sql: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        """Run a statement; raises `StoreFullError` where the disk takes no more."""
        try:
            return self._database.execute(sql, values)
        except sqlite3.OperationalError as error:
            raise StoreFullError(
                f"the folder for temporary files, {gettempdir()}, takes no more: {error}",
                next_step="make space there, or name another by TMPDIR; then give the same command again",
            ) from None

    def notes(self) -> Notes:
        """Return new notes, empty."""
        return Notes(self, self._new("key BLOB PRIMARY KEY, value BLOB"))

    def counts(self) -> Counts:
        """Return new counts, all of them 0."""
        return Counts(self, self._new("key BLOB PRIMARY KEY, count INTEGER"))

    def _new(self, columns: str) -> str:
        self._tables += 1
        name = f"table_{self._tables}"
        self.ask(f"CREATE TABLE {name} ({columns}) WITHOUT ROWID")
        return name


class Notes:
    """Texts under names; a name that is there stays as it was first put."""

    def __init__(self, place: Remembered, table: str) -> None:
        self._ask = place.ask
        self._table = table
        self._put = f"INSERT OR IGNORE INTO {table} VALUES (?, ?)"  # noqa: S608 - the table's name is ours
        self._get = f"SELECT value FROM {table} WHERE key = ?"  # noqa: S608 - as above

    def put(self, name: str, text: str = "") -> bool:
        """Put a name and its text; return whether it is new."""
        return self._ask(self._put, (stored(name), stored(text))).rowcount == 1

    def get(self, name: str) -> str | None:
        """Return the text under a name, None if there is no such name."""
        row = self._ask(self._get, (stored(name),)).fetchone()
        return None if row is None else shown(row[0])

    def __contains__(self, name: str) -> bool:
        return self._ask(self._get, (stored(name),)).fetchone() is not None

    def items(self) -> Iterator[tuple[str, str]]:
        """Yield names and texts in the order of the names."""
        for name, text in self._ask(f"SELECT key, value FROM {self._table} ORDER BY key"):  # noqa: S608 - as above
            yield shown(name), shown(text)

    def clear(self) -> None:
        """Forget everything."""
        self._ask(f"DELETE FROM {self._table}")  # noqa: S608 - as above


class Counts:
    """Numbers under names."""

    def __init__(self, place: Remembered, table: str) -> None:
        self._ask = place.ask
        self._table = table
        self._add = f"INSERT INTO {table} VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET count = count + excluded.count"  # noqa: S608 - as above

    def add(self, name: str, count: int) -> None:
        """Add to what a name has."""
        self._ask(self._add, (stored(name), count))

    def of(self, name: str) -> int:
        """Return what a name has."""
        row = self._ask(f"SELECT count FROM {self._table} WHERE key = ?", (stored(name),)).fetchone()  # noqa: S608 - as above
        return 0 if row is None else int(row[0])

    def unsettled(self) -> Iterator[tuple[str, int]]:
        """Yield what is not 0, in the order of the names."""
        rows = self._ask(f"SELECT key, count FROM {self._table} WHERE count != 0 ORDER BY key")  # noqa: S608 - as above
        for name, count in rows:
            yield shown(name), int(count)


def stored(text: str) -> bytes:
    """Return a text as the database has it, which sorts as the text does."""
    return text.encode("utf-8", _SURROGATES)


def shown(data: bytes) -> str:
    """Return the text again."""
    return data.decode("utf-8", _SURROGATES)
