"""One side of `apply.py`: a stored plan is loaded and applied, to the last erased object."""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from archiver.archive.commit import Author
from archiver.archive.reader import Archive
from archiver.retention.coverage import read_coverage
from archiver.retention.dispose import dispose
from archiver.retention.plan_document import load_plan
from archiver.retention.storing import AT_ONCE
from archiver.store.local import LocalStore


def main(folder: Path, *, threads: int) -> None:
    facts = json.loads((folder / "facts.json").read_text())
    started, used = time.perf_counter(), time.process_time()
    archive = Archive.open(LocalStore(folder / "archive"))
    head = archive.head()
    with ThreadPoolExecutor(threads) as executor, ThreadPoolExecutor(AT_ONCE) as writers:
        done = dispose(
            archive,
            head,
            load_plan(archive.store, facts["plan"]),
            coverage=read_coverage(archive.store, head),
            approved_by="benchmark",
            author=Author(run="benchmark", actor="benchmark", software="benchmark", writer="benchmark"),
            attempt="0b0b0b0b",
            now_ms=1_800_000_000_000,
            executor=executor,
            writers=writers,
        )
    seconds, cpu = time.perf_counter() - started, time.process_time() - used
    rows = done.head.rows["messages"]
    print(json.dumps({"seconds": seconds, "cpu": cpu, "rows": rows}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), threads=int(sys.argv[2]))
