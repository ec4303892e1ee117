"""One side of `drain.py`, run in an environment of its own: dlt loads JSON lines to Parquet in a folder."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt

ROWS_PER_YIELD = 5_000


def main(lines: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)

    @dlt.resource(name="messages")
    def messages() -> Iterator[list[dict[str, Any]]]:
        rows = []
        with lines.open("rb") as file:
            for line in file:
                rows.append(json.loads(line))
                if len(rows) == ROWS_PER_YIELD:
                    yield rows
                    rows = []
        yield rows

    destination = dlt.destinations.filesystem(bucket_url=(folder / "out").as_uri())
    pipeline = dlt.pipeline("drain", destination=destination, dataset_name="chat", pipelines_dir=str(folder / "work"))
    started = time.perf_counter()
    pipeline.run(messages(), loader_file_format="parquet")
    print(json.dumps({"seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
