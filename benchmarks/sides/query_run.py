"""Time one side of `benchmarks/query.py` in a process of its own: ``query_run.py SIDE ARCHIVE QUESTION VALUE``.

``ours`` opens the archive and asks the view ``messages`` or ``current_messages``; ``duckdb`` asks ``read_parquet`` over a glob of the same
files. Both are timed from after the imports until the last row, and once more on the open connection.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import duckdb

from archiver.archive.reader import Archive
from archiver.query.engine import open_engine
from archiver.store.local import LocalStore

QUESTIONS = {
    "lookup": "SELECT * FROM {messages} WHERE message_uid = '{value}'",
    "lookup-current": "SELECT * FROM {current} WHERE message_uid = '{value}'",
    "day": "SELECT chat_id, text FROM {messages} WHERE dt = '{value}'",
    "channel": "SELECT count(*), max(sent_at), max(length(text)) FROM {messages} WHERE chat_id = '{value}'",
    "group": "SELECT chat_id, sender_id, count(*), min(sent_at), max(sent_at) FROM {messages} GROUP BY ALL",
    "text": "SELECT count(*) FROM {messages} WHERE text ILIKE '%merger%'",
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

        def ask() -> int:
            return len(connection.execute(sql).fetchall())

    rows = ask()
    first = time.perf_counter() - started
    started = time.perf_counter()
    ask()
    print(json.dumps({"rows": rows, "first": first, "again": time.perf_counter() - started}))


if __name__ == "__main__":
    main()
