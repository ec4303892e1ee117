"""One side of `narrowed.py`: exports what a search finds once, and prints how long that took and the SHA-256 of the package as JSON.

python benchmarks/sides/narrowed_ours.py ARCHIVE STATE index|scan WORD CONTEXT OUT
"""

from __future__ import annotations

import json
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from archiver.archive.ledger import HoldScope
from archiver.archive.memory import give_memory_back
from archiver.archive.reader import Archive, Head
from archiver.discovery.export.asked import Asked, parse_context
from archiver.discovery.export.opened import Wanted
from archiver.discovery.export.targets import FolderTarget
from archiver.discovery.export.verb import make
from archiver.discovery.index import Index
from archiver.discovery.search_candidates import likely_days
from archiver.discovery.search_facts import Knowledge
from archiver.discovery.search_places import Places
from archiver.expression import Directory, Expression
from archiver.store.local import LocalStore
from archiver.wiring_export import THREADS


def main(place: Path, state: Path, out: Path, *, side: str, word: str, context: str) -> None:
    give_memory_back()
    started = time.perf_counter()
    archive = Archive.open(LocalStore(place))
    index = Index(state, archive_id=archive.facts.archive_id)
    out.mkdir()
    scratch = out / "scratch"
    scratch.mkdir()
    scope = HoldScope(expression=word, zone="UTC")
    around = None if context == "none" else parse_context(context)
    with ThreadPoolExecutor(THREADS) as executor:

        def likely(head: Head, expression: Expression, directory: Directory) -> frozenset[date] | None:
            opened = index.open(head, reads_all=True)
            return likely_days(Places(archive.store, head, opened, Knowledge(directory), executor), expression)

        made, _ = make(
            archive,
            Wanted(Asked("benchmark", scope, ZoneInfo("UTC"), around), formats=("jsonl",)),
            FolderTarget(out / "package"),
            folder=scratch,
            software="benchmark",
            executor=executor,
            likely=likely if side == "index" else None,
        )
    seconds = time.perf_counter() - started
    figures = {
        "seconds": seconds,
        "cpu_seconds": sum(resource.getrusage(resource.RUSAGE_SELF)[:2]),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "messages": 0 if made is None else made.totals["messages"],
        "digest": None if made is None else made.digest,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        Path(sys.argv[2]),
        Path(sys.argv[6]),
        **dict(zip(("side", "word", "context"), sys.argv[3:6], strict=True)),
    )
