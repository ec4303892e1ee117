"""How quickly `archiver clone` copies an archive, against what copies the same bytes and checks nothing.

    python benchmarks/clone.py [--mebibytes 2048] [--rounds 3] [--directory DIR]

An archive of messages and of files from 16 KiB to 16 MiB is made in a folder of DIR, and each side copies it to an empty place:

- to a folder: `archiver clone`, every object hashed and on the disk before the ledger names it, against ``cp -r`` with
  ``sync -f`` after it, without which nothing that was copied need be there after a power cut; and against ``cp -r`` alone;
- to a bucket of SeaweedFS: against ``aws s3 sync`` (`.venv-bench`, made by ``make bench``).

Both include the start of their process. Figures are medians over the rounds, interleaved; ratios are medians of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from archiver.archive import ledger  # noqa: E402 - the path is set above
from archiver.archive.commit import Author, Draft, commit  # noqa: E402 - as above
from archiver.archive.ledger import BlobRecord  # noqa: E402 - as above
from archiver.archive.reader import Archive  # noqa: E402 - as above
from archiver.simulator.s3server import S3Server  # noqa: E402 - as above
from archiver.store.local import LocalStore  # noqa: E402 - as above

RATIO_MIN = 0.7
AWS = REPOSITORY / ".venv-bench" / "bin" / "aws"
FILES_A_COMMIT = 64
AUTHOR = Author(run="benchmark", actor="benchmark", software="benchmark", writer="benchmark")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mebibytes", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", type=Path, default=REPOSITORY)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.directory, prefix=".bench-") as name:
        folder = Path(name)
        size, objects = make_archive(folder, mebibytes=given.mebibytes)
        print(f"{objects} objects, {size / 2**20:,.0f} MiB")
        ratios = [to_folder(folder, size, rounds=given.rounds), to_bucket(folder, size, rounds=given.rounds)]
    met = all(ratio is None or ratio >= RATIO_MIN for ratio in ratios)
    print(f"target: {RATIO_MIN} of cp -r with sync, and of aws s3 sync: {'kept' if met else 'MISSED'}")
    return 0 if met else 1


def make_archive(folder: Path, *, mebibytes: int) -> tuple[int, int]:
    """Write an archive and the configuration for it; return its bytes and how many objects it has."""
    store = LocalStore(folder / "archive")
    facts = ledger.ArchiveFacts(format=1, archive_id="0f0f", workspace="acme", created_at="2026-11-19T00:00:00.000Z")
    ledger.found(store, facts)
    archive = Archive.open(store)
    head, left, sizes = archive.founding_head(), mebibytes * 2**20, random.Random(7)
    with ThreadPoolExecutor(2) as executor:
        while left > 0:
            files = {}
            for number in range(FILES_A_COMMIT):
                data = sizes.randbytes(int(2 ** sizes.uniform(14, 24)))
                path = folder / f"file-{number}"
                path.write_bytes(data)
                files[BlobRecord(sha256(data).hexdigest(), len(data))] = path
                left -= len(data)
                if left <= 0:
                    break
            draft = Draft(at_ms=1_795_608_000_000, blobs=files)
            head = commit(archive, head, draft, author=AUTHOR, attempt=f"{head.sequence:08x}", executor=executor)
    for path in folder.glob("file-*"):
        path.unlink()
    (folder / "archiver.yaml").write_text("workspace: acme\n")
    found = [info.size for info in store.list("")]
    return sum(found), len(found)


def to_folder(folder: Path, size: int, *, rounds: int) -> float:
    """Return how quick we are beside ``cp -r`` that is on the disk when it ends."""
    source, copy = folder / "archive", folder / "copy"

    def run(*words: str) -> float:
        return _timed([list(words)], clean=lambda: shutil.rmtree(copy))

    sides: dict[str, Callable[[], float]] = {
        "ours": lambda: run(*_ours(folder), str(copy)),
        "cp -r, sync": lambda: _timed(
            [["cp", "-r", str(source), str(copy)], ["sync", "-f", str(copy)]], clean=lambda: shutil.rmtree(copy)
        ),
        "cp -r": lambda: run("cp", "-r", str(source), str(copy)),
    }
    return _compare("to a folder", sides, size, rounds=rounds)["cp -r, sync"]


def to_bucket(folder: Path, size: int, *, rounds: int) -> float | None:
    """Return how quick we are beside ``aws s3 sync``, None if that is not there."""
    if not AWS.exists():
        print("to a bucket: not measured, .venv-bench is missing (make bench makes it)")
        return None
    with S3Server(folder / "s3", bucket="copies") as access:
        environment = os.environ | {
            "AWS_ACCESS_KEY_ID": access.access_key_id,
            "AWS_SECRET_ACCESS_KEY": access.secret_access_key,
            "AWS_DEFAULT_REGION": access.region,
            "AWS_ENDPOINT_URL": access.endpoint_url,
        }
        numbers, ours = iter(range(10**6)), _ours(folder)

        def place() -> str:
            return f"s3://copies/{next(numbers)}"

        aws = [str(AWS), "s3", "sync", "--only-show-errors", str(folder / "archive")]
        sides: dict[str, Callable[[], float]] = {
            "ours": lambda: _timed(
                [[*ours, place(), "--endpoint-url", access.endpoint_url]],
                environment=environment,
            ),
            "aws s3 sync": lambda: _timed([[*aws, place()]], environment=environment),
        }
        return _compare("to a bucket", sides, size, rounds=rounds)["aws s3 sync"]


def _compare(title: str, sides: Mapping[str, Callable[[], float]], size: int, *, rounds: int) -> dict[str, float]:
    print(title)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            seconds[name].append(side())
    ratios = {
        name: statistics.median(other / ours for ours, other in zip(seconds["ours"], found, strict=True))
        for name, found in seconds.items()
    }
    for name, found in seconds.items():
        rate = size / 2**20 / statistics.median(found)
        print(f"{name:<14}{rate:>8,.0f} MiB/s   ours / this {ratios[name]:>6.2f}")
    return ratios


def _ours(folder: Path) -> list[str]:
    return [sys.executable, "-m", "archiver", "clone", "--json", "--config", str(folder / "archiver.yaml")]


def _timed(
    commands: list[list[str]], *, environment: Mapping[str, str] | None = None, clean: Callable[[], None] = lambda: None
) -> float:
    os.sync()  # so that no side pays for what another left to be written
    started = time.perf_counter()
    for words in commands:
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env=environment or os.environ, cwd=REPOSITORY)
    seconds = time.perf_counter() - started
    clean()
    return seconds


if __name__ == "__main__":
    sys.exit(main())
