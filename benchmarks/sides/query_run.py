"""Time one side of `benchmarks/query.py` in a process of its own: ``query_run.py SIDE ARCHIVE QUESTION VALUE``.

``ours`` opens the archive and asks the view ``messages`` or ``current_messages``; ``duckdb`` asks ``read_parquet`` over a glob of the same
files. A question about a derived view is the same SQL for both, down to ``read_parquet``: the views and macros are made of the same texts.
Both are timed from after the imports until the last row, and once more on the open connection.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import duckdb

from archiver.archive.reader import Archive
from archiver.archive.schema import TABLES
from archiver.query.engine import open_engine
from archiver.query.views import derived_sql, empty_sql, named_in, with_needed
from archiver.store.local import LocalStore

QUESTIONS = {
    "lookup": "SELECT * FROM {messages} WHERE message_uid = '{value}'",
    "lookup-current": "SELECT * FROM {current} WHERE message_uid = '{value}'",
    "day": "SELECT chat_id, text FROM {messages} WHERE dt = '{value}'",
    "channel": "SELECT count(*), max(sent_at), max(length(text)) FROM {messages} WHERE chat_id = '{value}'",
    "group": "SELECT chat_id, sender_id, count(*), min(sent_at), max(sent_at) FROM {messages} GROUP BY ALL",
    "text": "SELECT count(*) FROM {messages} WHERE text ILIKE '%merger%'",
    "conversation-day": "SELECT * FROM conversation_day WHERE day_on = DATE '{value}'",
    "missing-day": "SELECT * FROM deleted_or_missing WHERE dt = DATE '{value}'",
    "as-of-day": "SELECT * FROM as_of('{value} 23:59:59.999+00') WHERE dt = DATE '{value}'",
}


def main() -> None:
    side, archive, question, value = sys.argv[1:]
    files = f"read_parquet('{Path(archive).resolve()}/messages/**/*.parquet', hive_partitioning = true)"
    sources = {"ours": ("messages", "current_messages"), "duckdb": (files, files)}[side]
    sql = QUESTIONS[question].format(messages=sources[0], current=sources[1], value=value)
    started = time.perf_counter()
    if side == "ours":
        opened = Archive.open(LocalStore(Path(archive)))
        engine = open_engine(opened, opened.head())

        def ask() -> int:
            return len(list(engine.ask(sql).rows))
    else:
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        # What a question names, with all that it is made of: nothing where it names the files themselves.
        for name in [] if sources[0] in sql else with_needed(named_in(sql)):
            connection.execute(_table(Path(archive), name) if name in TABLES else derived_sql(name))

        def ask() -> int:
            return len(connection.execute(sql).fetchall())

    rows = ask()
    first = time.perf_counter() - started
    started = time.perf_counter()
    ask()
    print(json.dumps({"rows": rows, "first": first, "again": time.perf_counter() - started}))


def _table(archive: Path, name: str) -> str:
    files = archive.resolve() / name
    if not files.exists():
        return f"CREATE VIEW {name} AS {empty_sql(TABLES[name])}"
    options = "hive_partitioning = true, hive_types = {'dt': DATE}"
    return f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{files}/**/*.parquet', {options})"


if __name__ == "__main__":
    main()
