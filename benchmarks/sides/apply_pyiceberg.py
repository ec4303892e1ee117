"""One side of `apply.py`: an Iceberg table of the same rows, by day; the delete by a predicate is timed."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.transforms import DayTransform


def main(folder: Path, *, threads: int) -> None:
    os.environ["PYICEBERG_MAX_WORKERS"] = str(threads)
    goes = json.loads((folder / "facts.json").read_text())["goes"]
    data = _in_microseconds(ds.dataset(folder / "archive" / "messages", partitioning=None).to_table())
    (folder / "iceberg").mkdir()
    catalog = SqlCatalog("bench", uri=f"sqlite:///{folder}/iceberg/catalog.db", warehouse=f"file://{folder}/iceberg")
    catalog.create_namespace("bench")
    table = catalog.create_table(
        "bench.messages",
        schema=data.schema,
        properties={"write.parquet.compression-codec": "zstd", "write.parquet.compression-level": "3"},
    )
    with table.update_spec() as update:
        update.add_field("sent_at", DayTransform(), "day")
    table.append(data)
    started, used = time.perf_counter(), time.process_time()
    table.delete(f"sender_id == '{goes}'")
    seconds, cpu = time.perf_counter() - started, time.process_time() - used
    print(json.dumps({"seconds": seconds, "cpu": cpu, "rows": table.scan().count()}))


def _in_microseconds(data: pa.Table) -> pa.Table:
    """Iceberg knows no milliseconds."""
    types = [
        field.with_type(pa.timestamp("us", tz="UTC")) if pa.types.is_timestamp(field.type) else field
        for field in data.schema
    ]
    return data.cast(pa.schema(types)).replace_schema_metadata(None)


if __name__ == "__main__":
    main(Path(sys.argv[1]), threads=int(sys.argv[2]))
