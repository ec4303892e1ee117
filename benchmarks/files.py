"""How many files a second a run brings into the archive's blobs, against a bare loop.

    python benchmarks/files.py [--files 1000] [--file-bytes 65536] [--rounds 5] [--server simulator quick] [--directory DIR]

Every file is the attachment of a message that waits in the spool. Both sides bring the same files with four threads into a store in a
folder of DIR, each in a new process that times itself from after its imports to its end:

- ours: `archiver run --only drain` as a function: messages read, hosts and addresses checked, files streamed, hashed, stored under
  their SHA-256, messages and files committed;
- bare: a thread pool and one ``httpx.Client``, streamed to a temporary file while hashing, created in the same `LocalStore`.

The simulator's file host makes the bytes while it sends them, and every file comes after a redirect to a signed address, as Flock's do;
`sides/quick_flock.py` has them ready and sends them at once. Figures are medians over the rounds; ratios are medians of the rounds'
ratios.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
SIDES = Path(__file__).resolve().parent / "sides"
sys.path.insert(0, str(REPOSITORY))
sys.path.insert(0, str(SIDES))

import team  # noqa: E402 - the path is set above

from archiver.model.capture import Capture  # noqa: E402 - as above
from archiver.spool.sqlite import SqliteSpool  # noqa: E402 - as above

RATIO_MIN = 0.7
THREADS = 4
FIRST_MS = 1_795_608_000_000
SERVERS = {"simulator": "simulated_files.py", "quick": "quick_flock.py"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000)
    parser.add_argument("--file-bytes", type=int, default=65_536)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--server", nargs="+", choices=list(SERVERS), default=list(SERVERS))
    parser.add_argument("--directory", type=Path, default=REPOSITORY)
    given = parser.parse_args()
    ratios = {}
    for name in given.server:
        with tempfile.TemporaryDirectory(dir=given.directory, prefix=".bench-") as folder:
            ratios[name] = _compare_at(name, Path(folder), given)
    met = min(ratios.values()) >= RATIO_MIN
    print(f"target: {RATIO_MIN} of bare: {'met' if met else 'MISSED'}")
    return 0 if met else 1


def _compare_at(server: str, folder: Path, given: argparse.Namespace) -> float:
    command = [sys.executable, str(SIDES / SERVERS[server]), "--file-bytes", str(given.file_bytes)]
    if server == "simulator":
        command += ["--files", str(given.files)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as flock:
        assert flock.stdin is not None
        assert flock.stdout is not None
        try:
            where = json.loads(flock.stdout.readline())
            base = where["base_url"].removesuffix("/v1")
            urls = where.get("urls") or [f"{base}/files/{number}.bin" for number in range(given.files)]
            return _compare(server, folder, urls, origins=where.get("origins") or [base], given=given)
        finally:
            flock.stdin.close()


def _compare(server: str, folder: Path, urls: list[str], *, origins: list[str], given: argparse.Namespace) -> float:
    prepared = _prepare(folder / "prepared", urls, origins=origins, size=given.file_bytes)
    listed = folder / "urls"
    listed.write_text("\n".join(urls))
    runs: dict[str, list[dict[str, Any]]] = {"ours": [], "bare": []}
    for number in range(given.rounds):
        # Which comes first changes, so that neither always meets the warmer machine.
        for side in ("ours", "bare") if number % 2 else ("bare", "ours"):
            station = folder / "station"
            if side == "bare":
                runs[side].append(_time("files_bare.py", listed, station, THREADS))
            else:
                shutil.copytree(prepared, station)
                runs[side].append(_time("nightly_ours.py", station / "archiver.yaml", "--only", "drain"))
                if runs[side][-1]["counts"].get("drain.files_stored") != given.files:
                    raise SystemExit(f"not all of {given.files} files stored: {runs[side][-1]['counts']}")
            stored = sum(path.is_file() for path in (station / "archive" / "blobs").rglob("*"))
            if stored != given.files:
                raise SystemExit(f"{side} left {stored} blobs of {given.files}")
            shutil.rmtree(station)
    for side, of_side in runs.items():
        seconds, cpu = (statistics.median(run[name] for run in of_side) for name in ("seconds", "cpu_seconds"))
        megabytes = given.files * given.file_bytes / seconds / 1e6
        print(
            f"{server:<10} {side}: {given.files / seconds:>7,.0f} files/s, {megabytes:>6,.1f} MB/s, "
            f"cpu {cpu:.2f} s of {seconds:.2f} s"
        )
    ratio = statistics.median(
        bare["seconds"] / ours["seconds"] for ours, bare in zip(runs["ours"], runs["bare"], strict=True)
    )
    print(f"{server:<10} ours / bare {ratio:.2f}", flush=True)
    return ratio


def _prepare(folder: Path, urls: list[str], *, origins: list[str], size: int) -> Path:
    """Make a spool in which a message waits for every file."""
    folder.mkdir()
    facts = {"workspace": "benchmark", "files": {"trusted_origins": origins, "connections": THREADS}}
    (folder / "archiver.yaml").write_text(json.dumps(facts))
    captures = []
    for (at_ms, chat, uid), url in zip(team.night(FIRST_MS, messages=len(urls)), urls, strict=True):
        download = {"src": url, "filename": url.rpartition("/")[2], "mime": "application/octet-stream", "size": size}
        message = json.loads(team.message(chat, uid)) | {"attachments": [{"downloads": [download]}]}
        captures.append(Capture("general", "webhook", at_ms, "webhook-token", json.dumps(message).encode()))
    spool = SqliteSpool(folder / "state" / "spool.sqlite")
    spool.append(captures)
    spool.close()
    return folder


def _time(script: str, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, str(SIDES / script), *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


if __name__ == "__main__":
    sys.exit(main())
