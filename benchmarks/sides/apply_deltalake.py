"""One side of `apply.py`: a Delta table of the same rows, by day; timed are its delete and the vacuum that removes the old files."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable, WriterProperties, write_deltalake


def main(folder: Path, *, threads: int) -> None:
    del threads  # it takes all there are
    goes = json.loads((folder / "facts.json").read_text())["goes"]
    zstd = WriterProperties(compression="ZSTD", compression_level=3)
    data = ds.dataset(folder / "archive" / "messages", partitioning="hive").to_table()
    write_deltalake(folder / "delta", data, partition_by=["dt"], writer_properties=zstd)
    table = DeltaTable(folder / "delta")
    started, used = time.perf_counter(), time.process_time()
    table.delete(f"sender_id = '{goes}'", writer_properties=zstd)
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    seconds, cpu = time.perf_counter() - started, time.process_time() - used
    rows = sum(pa.table(table.get_add_actions(flatten=True)).column("num_records").to_pylist())
    print(json.dumps({"seconds": seconds, "cpu": cpu, "rows": rows}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), threads=int(sys.argv[2]))
