"""Finds the newest 20 rows that are ILIKE a word with DuckDB, and prints how long that took for each word as JSON.

python benchmarks/sides/search_duckdb.py ARCHIVE STATE duckdb WORD…
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import duckdb

_QUERY = """
SELECT chat_id, message_uid, version, sent_at, sender_id, plain_text FROM read_parquet('{root}/messages/**/*.parquet')
WHERE plain_text ILIKE '%{word}%' ORDER BY sent_at DESC LIMIT 20
"""


def main(root: Path, words: list[str]) -> None:
    connection = duckdb.connect()
    figures = {}
    for word in words:
        started = time.perf_counter()
        rows = connection.execute(_QUERY.format(root=root, word=word)).fetchall()
        figures[word] = {"seconds": time.perf_counter() - started, "hits": len(rows)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[4:])
