"""One side of `apply.py`: the least a script can do: read each file, filter it, write it, with pyarrow and the same codec and threads.

It neither looks anything up nor checks anything: the rows that go are told by one comparison, and nothing is flushed to the disk.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from archiver.archive.schema import MESSAGES


def main(folder: Path, *, threads: int) -> None:
    goes = json.loads((folder / "facts.json").read_text())["goes"]
    started, used = time.perf_counter(), time.process_time()

    def rewrite(path: Path) -> int:
        table = pq.ParquetFile(path).read(use_threads=False)
        table = table.filter(pc.not_equal(table.column("sender_id"), goes))
        fresh = path.with_suffix(".new")
        pq.write_table(table, fresh, compression="zstd", compression_level=3, use_dictionary=list(MESSAGES.dictionary))
        fresh.replace(path)
        return table.num_rows

    with ThreadPoolExecutor(threads) as executor:
        rows = sum(executor.map(rewrite, sorted((folder / "archive" / "messages").rglob("*.parquet"))))
    seconds, cpu = time.perf_counter() - started, time.process_time() - used
    print(json.dumps({"seconds": seconds, "cpu": cpu, "rows": rows}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), threads=int(sys.argv[2]))
