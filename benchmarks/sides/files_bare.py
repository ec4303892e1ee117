"""One side of `files.py`: a bare loop that streams the same downloads into the same kind of store with the same threads.

Each thread streams a file to a temporary one while it hashes it, and then creates the blob: as little as any can do whose blobs are named
by what is in them and are on the disk when they are there.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import httpx

from archiver.store.local import LocalStore

CHUNK_BYTES = 256 * 1024


def main(urls: Path, folder: Path, *, threads: int) -> None:
    wanted = urls.read_text().split()
    folder.mkdir()
    started = time.perf_counter()
    store = LocalStore(folder / "archive")
    with httpx.Client(limits=httpx.Limits(max_connections=threads), trust_env=False) as client:

        def bring(url: str) -> int:
            digest = sha256()
            with NamedTemporaryFile(dir=folder) as file:
                with client.stream("GET", url, follow_redirects=True) as answer:
                    answer.raise_for_status()
                    for chunk in answer.iter_bytes(CHUNK_BYTES):
                        digest.update(chunk)
                        file.write(chunk)
                file.flush()
                name = digest.hexdigest()
                store.create(f"blobs/sha256/{name[:2]}/{name}", Path(file.name))
                return file.tell()

        with ThreadPoolExecutor(threads) as pool:
            received = sum(pool.map(bring, wanted))
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "cpu_seconds": time.process_time(), "bytes": received}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), threads=int(sys.argv[3]))
