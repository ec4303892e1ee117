"""One side of `history.py`: the least a script can do: httpx in threads, msgspec, and the same columns written with pyarrow."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

import httpx
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from drain_bare import Message, columns_of

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from archiver.archive.schema import MESSAGES

ROWS_PER_FILE = 20_000


class Shown(Message, gc=False, rename="camel"):
    """A message of history, which tells its time once, as a number or in the field beside it."""

    timestamp: int | str = 0
    timestamp_in_millis: int = 0


class Page(msgspec.Struct, gc=False):
    """An answer."""

    messages: list[msgspec.Raw]
    next: str | None


class Files:
    """Takes pages and writes a file when there are enough messages."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._decode = msgspec.json.Decoder(Shown).decode
        self._lock = Lock()
        self._raws: list[bytes] = []
        self._number = 0
        self.count = 0

    def take(self, raws: list[bytes]) -> None:
        """Take the messages of a page."""
        with self._lock:
            self._raws += raws
            if len(self._raws) < ROWS_PER_FILE:
                return
            raws, self._raws = self._raws, []
        self.write(raws)

    def finish(self) -> None:
        """Write what is left."""
        if self._raws:
            self.write(self._raws)

    def write(self, raws: list[bytes]) -> None:
        """Write messages to a file of their own."""
        messages = [self._decode(raw) for raw in raws]
        for message in messages:
            message.timestamp_in_millis = message.timestamp_in_millis or int(message.timestamp)
        columns = columns_of(messages, raws, digests=True)
        schema = MESSAGES.schema
        table = pa.table([pa.array(columns[field.name], type=field.type) for field in schema], schema=schema)
        with self._lock:
            self._number += 1
            self.count += len(raws)
            path = self._folder / f"{self._number}.parquet"
        pq.write_table(table, path, compression="zstd", compression_level=3, use_dictionary=["chat_id", "sender_id"])


def main(server: dict[str, Any], folder: Path, messages: int, threads: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    files = Files(folder)
    started = time.perf_counter()
    limits = httpx.Limits(max_connections=threads, max_keepalive_connections=threads)
    with httpx.Client(limits=limits) as client, ThreadPoolExecutor(threads) as pool:

        def crawl(chat: str) -> None:
            for raws in _pages(client, server, chat):
                files.take(raws)

        list(pool.map(crawl, server["channels"]))
    files.finish()
    seconds = time.perf_counter() - started
    if files.count != messages:
        raise SystemExit(f"{files.count} of {messages} messages written")
    print(json.dumps({"seconds": seconds}))


def _pages(client: httpx.Client, server: dict[str, Any], chat: str) -> Iterator[list[bytes]]:
    decode = msgspec.json.Decoder(Page).decode
    form = {"chat": chat, "limit": "100", "token": server["tokens"][server["channels"][chat]]}
    while True:
        answer = client.post(f"{server['base_url']}/chat.history", data=form)
        answer.raise_for_status()
        page = decode(answer.content)
        yield [bytes(raw) for raw in page.messages]
        if page.next is None:
            return
        form["cursor"] = page.next


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
