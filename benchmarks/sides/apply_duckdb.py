"""One side of `apply.py`: DuckDB copies each file without the rows that go."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import duckdb


def main(folder: Path, *, threads: int) -> None:
    goes = json.loads((folder / "facts.json").read_text())["goes"]
    connection = duckdb.connect(config={"threads": threads})
    started, used = time.perf_counter(), time.process_time()
    rows = 0
    for path in sorted((folder / "archive" / "messages").rglob("*.parquet")):
        fresh = path.with_suffix(".new")
        (count,) = connection.execute(
            f"COPY (SELECT * FROM read_parquet('{path}', hive_partitioning=false) WHERE sender_id <> '{goes}') "
            f"TO '{fresh}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 3)"
        ).fetchone() or (0,)
        rows += count
        fresh.replace(path)
    seconds, cpu = time.perf_counter() - started, time.process_time() - used
    print(json.dumps({"seconds": seconds, "cpu": cpu, "rows": rows}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), threads=int(sys.argv[2]))
