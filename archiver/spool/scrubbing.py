"""Giving back what SQLite keeps of rows that are gone: pages that are free, and the log of what was written.

SQLite neither overwrites the pages of a deleted row nor takes them out of its file (sqlite.org, "PRAGMA secure_delete" and "PRAGMA
auto_vacuum"); within a page that it writes anyway it does, with ``secure_delete`` at FAST. The write-ahead log keeps pages until it is
emptied. So what was discarded may be read in the file long after, until its space is used again or given back.
"""

from __future__ import annotations

import sqlite3
from typing import Final

# Closing gives unused pages back in steps that hold the write lock for about 7 ms each, and 1 GB at most.
_PAGES_PER_STEP: Final = 1_000
_PAGES_PER_CLOSE_MAX: Final = 250_000


def give_back(connection: sqlite3.Connection) -> None:
    """Return unused pages to the file system, as far as that takes the write lock for no longer than some 10 ms at once."""
    try:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (unused,) = connection.execute("PRAGMA freelist_count").fetchone()
        if unused and pages - unused <= _PAGES_PER_STEP:
            # It writes anew what is used, which is little: two hundred times as quick as freeing page by page.
            connection.execute("VACUUM")
            return
        _free(connection, min(unused, _PAGES_PER_CLOSE_MAX))
    except sqlite3.Error:
        return  # The next chance will do: no caller's work may fail for a tidy file.


def scrub(connection: sqlite3.Connection) -> bool:
    """Take every unused page out of the file and empty the log; return False if another connection keeps one of them from it."""
    try:
        (unused,) = connection.execute("PRAGMA freelist_count").fetchone()
        _free(connection, unused)
        (unused,) = connection.execute("PRAGMA freelist_count").fetchone()
        (is_busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError:
        return False
    return not is_busy and not unused


def _free(connection: sqlite3.Connection, pages: int) -> None:
    for _ in range(0, pages, _PAGES_PER_STEP):
        # `execute` would take one step of this statement and free one page; a script runs it to its end.
        connection.executescript(f"PRAGMA incremental_vacuum({_PAGES_PER_STEP})")
