"""Makes the index of an archive in a folder, searches with it or without it, and prints how long that took as JSON.

python benchmarks/sides/search_ours.py ARCHIVE STATE build|refresh|index|scan|count [WORD…]
"""

from __future__ import annotations

import json
import os
import resource
import secrets
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from zoneinfo import ZoneInfo

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from archiver.archive.commit import Author, Draft, commit
from archiver.archive.memory import give_memory_back
from archiver.archive.reader import Archive, files_of
from archiver.discovery.index import Index, build_from, without_index
from archiver.discovery.search_answer import Question, answer
from archiver.discovery.search_facts import Knowledge
from archiver.discovery.search_places import Places
from archiver.expression import parse_expression
from archiver.scope.membership import read_membership
from archiver.store.local import LocalStore

REFRESHED_MESSAGES = 1_000


def refresh(folder: Path, state: Path) -> None:
    archive = Archive.open(LocalStore(folder))
    head = archive.head()
    index = Index(state, archive_id=archive.facts.archive_id)
    started = time.perf_counter()
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as processes:
        index.refresh(head, partial(build_from, partial(LocalStore, folder)), executor=processes)
    figures = {
        "seconds": time.perf_counter() - started,
        "rows": head.rows["messages"],
        "bytes": index.state(head).bytes,
        "archive_bytes": sum(record.bytes for record in files_of(head, "messages")),
        "peak_bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
    }
    print(json.dumps(figures))


def add_and_refresh(folder: Path, state: Path) -> None:
    import aged  # noqa: PLC0415 - only here

    archive = Archive.open(LocalStore(folder))
    head = archive.head()
    rows, *_ = aged._day(datetime.now(UTC).date(), REFRESHED_MESSAGES, aged._pools(aged._words_at_random()))  # noqa: SLF001 - a part of the same benchmark
    author = Author(run="search", actor="benchmark", software="benchmark", writer="benchmark")
    with ThreadPoolExecutor(2) as executor:
        draft = Draft(at_ms=int(time.time() * 1_000), tables={"messages": rows})
        head = commit(archive, head, draft, author=author, attempt=secrets.token_hex(4), executor=executor)
        index = Index(state, archive_id=archive.facts.archive_id)
        started = time.perf_counter()
        index.refresh(head, partial(build_from, partial(LocalStore, folder)), executor=executor)
    print(json.dumps({"seconds": time.perf_counter() - started, "rows": rows.num_rows}))


def ask(folder: Path, state: Path, how: str, words: list[str]) -> None:
    give_memory_back()
    figures = {}
    for word in words:
        started = time.perf_counter()
        archive = Archive.open(LocalStore(folder))
        head = archive.head()
        expression = parse_expression(f'"{word}"', zone=ZoneInfo("UTC"))
        index = Index(state, archive_id=archive.facts.archive_id)
        with ThreadPoolExecutor(8) as executor:
            opened = without_index(head) if how == "scan" else index.open(head)
            knowledge = Knowledge(directory=read_membership(archive.store, head).directory)
            places = Places(archive.store, head, opened, knowledge, executor)
            found = answer(places, Question(expression, counts=how == "count"))
        figures[word] = {
            "seconds": time.perf_counter() - started,
            "hits": [hit.position.message_uid for hit in found.page.hits],
        }
        if how == "count":
            print(found.total)
            return
    print(json.dumps(figures))


if __name__ == "__main__":
    at, there, verb = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    if verb == "build":
        refresh(at, there)
    elif verb == "refresh":
        add_and_refresh(at, there)
    else:
        ask(at, there, verb, sys.argv[4:])
