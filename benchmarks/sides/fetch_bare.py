"""One side of `fetch.py`: a bare httpx loop that makes the same calls with the same threads, and keeps nothing."""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

UIDS_PER_CALL = 25


def main(where: Path, *, messages: int, threads: int) -> None:
    flock = json.loads(where.read_bytes())
    calls = [
        (item["chat"], flock["tokens"][item["user"]], json.dumps(item["uids"][at : at + UIDS_PER_CALL]))
        for item in flock["wanted"]
        for at in range(0, len(item["uids"]), UIDS_PER_CALL)
    ]
    started = time.perf_counter()
    with httpx.Client(limits=httpx.Limits(max_connections=threads), trust_env=False) as client:
        url = f"{flock['base_url']}/chat.fetchMessages"

        def call(chat: str, token: str, uids: str) -> int:
            answer = client.post(
                url,
                data={"chat": chat, "uids": uids, "token": token},
                headers={"Authorization": f"Bearer {token}"},
            )
            answer.raise_for_status()
            return answer.content.count(b'"uid":')

        with ThreadPoolExecutor(threads) as pool:
            returned = sum(pool.map(call, *zip(*calls, strict=True)))
    seconds = time.perf_counter() - started
    if returned != messages:
        raise SystemExit(f"{returned} of {messages} messages returned")
    print(json.dumps({"seconds": seconds, "cpu_seconds": time.process_time()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), messages=int(sys.argv[2]), threads=int(sys.argv[3]))
