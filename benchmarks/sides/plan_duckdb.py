"""Groups the columns that a plan reads of an archive in a folder with DuckDB, and prints how long that took as JSON.

python benchmarks/sides/plan_duckdb.py ARCHIVE DAY
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import duckdb

_MESSAGES = """
SELECT count(*), chat_id, sender_id, date_trunc('month', sent_at) AS month, max(message_uid), max(version), count(supersedes)
FROM read_parquet('{root}/messages/**/*.parquet') GROUP BY ALL
"""
_FILES = """
SELECT count(*), chat_id, date_trunc('month', sent_at) AS month, max(message_uid), max(ordinal), count(blob_digest), sum(blob_bytes)
FROM read_parquet('{root}/files/**/*.parquet') GROUP BY ALL
"""


def main(root: Path) -> None:
    connection = duckdb.connect()
    started = time.perf_counter()
    rows = 0
    for query in (_MESSAGES, _FILES):
        rows += sum(row[0] for row in connection.execute(query.format(root=root)).fetchall())
    figures = {
        "seconds": time.perf_counter() - started,
        "rows": rows,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
