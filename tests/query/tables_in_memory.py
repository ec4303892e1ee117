"""The derived views and macros over tables in memory, so that thousands of small archives can be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from archiver.archive.schema import TABLES
from archiver.archive.tables import rows_to_table
from archiver.clock import to_ms
from archiver.query import views
from archiver.query.derived import DERIVED
from archiver.query.macros import MACROS

Row = dict[str, Any]

# Small instants of tests count seconds from here.
EPOCH_MS = 1_700_000_000_000


def at_ms(second: int) -> int:
    return EPOCH_MS + second * 1_000


def second_of(value: Any) -> int | None:
    """Return what `at_ms` was given for an instant that a query returned."""
    return None if value is None else (to_ms(value) - EPOCH_MS) // 1_000


def instant(second: int) -> str:
    """Return an instant as SQL."""
    return f"to_timestamp({at_ms(second)} / 1000)"


class Asked:
    """A DuckDB with the tables of the archive, the views and the macros; `fill` replaces what is in the tables."""

    def __init__(self) -> None:
        self._connection = duckdb.connect()
        # The tables are tiny; handing them to threads costs more than reading them.
        self._connection.execute("SET threads = 1")
        self._connection.execute("SET TimeZone = 'UTC'")
        for name, table in TABLES.items():
            self._connection.execute(f"CREATE TABLE {name} AS {views.empty_sql(table)}")
        for view in DERIVED:
            self._connection.execute(f"CREATE VIEW {view.name} AS {view.sql}")
        for macro in MACROS:
            self._connection.execute(f"CREATE MACRO {macro.name}({macro.parameter}) AS TABLE {macro.sql}")

    def fill(self, tables: Mapping[str, Sequence[Row]]) -> None:
        for name, table in TABLES.items():
            self._connection.execute(f"DELETE FROM {name}")
            if rows := tables.get(name):
                given = rows_to_table(table, rows)
                self._connection.register("given", given)
                self._connection.execute(
                    f"INSERT INTO {name} BY NAME SELECT *, CAST({table.day_column} AS DATE) AS dt FROM given"
                )
                self._connection.unregister("given")

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql).fetchall()

    def dicts(self, sql: str) -> list[Row]:
        found = self._connection.execute(sql)
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def user(user_id: str, second: int, first_name: str | None, last_name: str | None = None) -> Row:
    return {
        "user_id": user_id, "valid_from": at_ms(second), "first_name": first_name, "last_name": last_name,
        "captured_by": "u:ann", "raw": "{}", "state_digest": f"{first_name} {last_name}",
    }  # fmt: skip


def channel(channel_id: str, second: int, name: str | None, state: str = "listed") -> Row:
    return {
        "channel_id": channel_id, "valid_from": at_ms(second), "state": state, "name": name,
        "captured_by": "u:ann", "raw": "{}", "state_digest": f"{name} {state}",
    }  # fmt: skip


def membership(channel_id: str, user_id: str, second: int, state: str, affiliation: str = "member") -> Row:
    return {
        "channel_id": channel_id, "user_id": user_id, "valid_from": at_ms(second), "state": state,
        "affiliation": affiliation, "captured_by": "u:ann", "state_digest": f"{state} {affiliation}",
    }  # fmt: skip


def conversation(chat_id: str, second: int, participants: list[str] | None = None) -> Row:
    return {
        "chat_id": chat_id, "valid_from": at_ms(second), "chat_kind": "direct" if participants else "channel",
        "participants": participants, "captured_by": "u:ann", "state_digest": "",
    }  # fmt: skip


def message(uid: str, *, sent: int, observed: int, version: int = 1, text: str = "", **further: Any) -> Row:
    return {
        "chat_id": "g:one", "chat_kind": "channel", "message_uid": uid, "version": version, "sent_at": at_ms(sent),
        "sent_at_basis": "timestampInMillis", "observed_at": at_ms(observed), "source": "webhook", "captured_by": "one",
        "sender_id": "u:ann", "text": text, "plain_text": text, "raw": "{}", "raw_digest": "", "content_digest": text,
        **further,
    }  # fmt: skip


def observation(uid: str, second: int, outcome: str, *, chat_id: str = "g:one") -> Row:
    return {
        "observed_at": at_ms(second), "chat_id": chat_id, "message_uid": uid, "asked_as": "u:ann", "outcome": outcome,
    }  # fmt: skip
