"""SQLite as a place on the disk for what memory should not hold, in the folder for temporary files."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from archiver.errors import StoreFullError


def ask(database: sqlite3.Connection, sql: str, values: Sequence[object] = (), *, folder: Path | str) -> sqlite3.Cursor:
    """Run a statement in a database that lies in a folder; raises `StoreFullError` where the disk takes no more."""
    try:
        return database.execute(sql, values)
    except sqlite3.OperationalError as error:
        raise StoreFullError(
            f"the folder for temporary files, {folder}, takes no more: {error}",
            next_step="make space there, or name another by TMPDIR; then give the same command again",
        ) from None
