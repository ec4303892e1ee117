"""Makes a retention plan over an archive in a folder, and prints how long that took as JSON.

python benchmarks/sides/plan_ours.py ARCHIVE DAY
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from archiver.archive.memory import give_memory_back
from archiver.archive.reader import Archive
from archiver.retention.plan import plan_policy
from archiver.retention.policy import Policy
from archiver.store.local import LocalStore

RULES: Final[list[dict[str, Any]]] = [
    {"name": "all chat", "delete": "5y"},
    {"name": "books", "match": {"sender": ["u:0*", "u:1*", "u:2*"]}, "retain": "6y", "delete": "6y"},
    {"name": "small talk", "match": {"channel": "g:0*"}, "delete": "30d"},
]


def main(folder: Path, day: date) -> None:
    give_memory_back()
    policy = Policy(name="benchmark", zone="Europe/Berlin", rules=RULES)  # type: ignore[arg-type]
    started = time.perf_counter()
    archive = Archive.open(LocalStore(folder))
    head = archive.head()
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        plan = plan_policy(archive, head, policy, as_of=day, executor=executor)
    figures = {
        "seconds": time.perf_counter() - started,
        "rows": sum(head.rows.values()),
        "items": plan.items.num_rows,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(Path(sys.argv[1]), date.fromisoformat(sys.argv[2]))
