"""One side of `history.py`, run in an environment of its own: dlt's REST source reads the same pages to Parquet in a folder."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import dlt
from dlt.sources.rest_api import rest_api_source


def main(server: dict[str, Any], folder: Path, messages: int, threads: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.environ["EXTRACT__WORKERS"] = str(threads)
    resources = [
        {
            "name": f"chat_{number}",
            "table_name": "messages",
            "parallelized": True,
            "endpoint": {
                "path": "chat.history",
                "params": {"chat": chat, "limit": 100, "token": server["tokens"][user]},
                "data_selector": "messages",
                "paginator": {"type": "cursor", "cursor_path": "next", "cursor_param": "cursor"},
            },
        }
        for number, (chat, user) in enumerate(server["channels"].items())
    ]
    source = rest_api_source({"client": {"base_url": server["base_url"] + "/"}, "resources": resources})
    destination = dlt.destinations.filesystem(bucket_url=(folder / "out").as_uri())
    pipeline = dlt.pipeline("history", destination=destination, dataset_name="chat", pipelines_dir=str(folder / "work"))
    started = time.perf_counter()
    pipeline.run(source, loader_file_format="parquet")
    seconds = time.perf_counter() - started
    counted = pipeline.last_trace.last_normalize_info.row_counts["messages"]
    if counted != messages:
        raise SystemExit(f"{counted} of {messages} messages loaded")
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
