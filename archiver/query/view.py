"""What a view is, and the columns that most views of messages have."""

from __future__ import annotations

from dataclasses import dataclass

from archiver.archive.schema import MESSAGES

_MESSAGE_COLUMNS = (*MESSAGES.schema.names, "dt")

# The place of each row of ``identified_messages`` among those of its message.
NEWEST_FIRST = """row_number() OVER (PARTITION BY chat_id, message_uid ORDER BY version DESC,
    CASE WHEN archived_as IS NULL THEN 0 ELSE 1 END, observed_at DESC)"""


@dataclass(frozen=True, slots=True)
class View:
    """A view: its name, what it is for, and its SQL in DuckDB's dialect, which may name the tables and the views before it."""

    name: str
    meaning: str
    sql: str


def message_columns(alias: str = "", *, resolved: bool = False) -> str:
    """Return the columns of ``messages`` with the day, each with an alias before it if one is given.

    With ``resolved`` uid and version are those that ``u``, a row of ``provisional_uids``, says a message turned out to have.
    """
    columns = {column: f"{alias}.{column}" if alias else column for column in _MESSAGE_COLUMNS}
    if resolved:
        columns |= {name: f"coalesce(u.{name}, {columns[name]}) AS {name}" for name in ("message_uid", "version")}
    return ", ".join(columns.values())
