"""When listeners were alive: a few rows in the spool's own file, grown in place, so that the table stays tiny.

A listener beats a few times a minute (`archiver.capture.heartbeat`). A run turns the holes between uptimes into gaps, and then
lets the spool forget what it has dealt with.
"""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from typing import Final

from archiver.spool import BEAT_HOLE_MS_MAX, Uptime

# A spool that an older version made has no such table; who only reads must be able to do so without making it.
_CREATE: Final = """
CREATE TABLE IF NOT EXISTS uptimes (
  listener   TEXT NOT NULL,
  from_at_ms INTEGER NOT NULL,
  to_at_ms   INTEGER NOT NULL,
  PRIMARY KEY (listener, from_at_ms)
) WITHOUT ROWID
"""
_EXISTS: Final = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'uptimes'"
_GROW: Final = """
UPDATE uptimes SET to_at_ms = max(to_at_ms, ?2)
WHERE listener = ?1 AND abs(?2 - to_at_ms) <= ?3
  AND from_at_ms = (SELECT max(from_at_ms) FROM uptimes WHERE listener = ?1)
"""


class SqliteUptimes:
    """The part of a `Spool` in SQLite that knows when listeners were alive."""

    def beat(self, listener: str, *, at_ms: int) -> None:
        """Note that a listener is alive; one small transaction."""
        with self._transaction() as connection:
            connection.execute(_CREATE)
            if connection.execute(_GROW, (listener, at_ms, BEAT_HOLE_MS_MAX)).rowcount == 0:
                connection.execute("INSERT OR IGNORE INTO uptimes VALUES (?1, ?2, ?2)", (listener, at_ms))

    def uptimes(self) -> list[Uptime]:
        """Return when listeners were alive, in order of their beginning."""
        with self._locked() as connection:
            if connection.execute(_EXISTS).fetchone() is None:
                return []
            rows = connection.execute(
                "SELECT listener, from_at_ms, to_at_ms FROM uptimes ORDER BY from_at_ms, listener"
            )
            return [Uptime(*row) for row in rows.fetchall()]

    def forget_uptimes(self, *, before_ms: int) -> None:
        """Forget the uptimes that ended before an instant."""
        with self._transaction() as connection:
            connection.execute(_CREATE)
            connection.execute("DELETE FROM uptimes WHERE to_at_ms < ?", (before_ms,))

    def _locked(self) -> AbstractContextManager[sqlite3.Connection]:
        """Return the connection, held for this thread alone."""
        raise NotImplementedError

    def _transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """Return the connection within a transaction."""
        raise NotImplementedError
