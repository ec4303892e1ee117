"""How many messages a second the fetch stage brings from Flock to committed Parquet, against a bare httpx loop.

    python benchmarks/fetch.py [--messages 40000] [--rounds 5] [--server simulator quick] [--directory DIR]

Both sides make the same calls of ``chat.fetchMessages``, 25 uids each, with eight threads, at the same server, each in a new process
that times itself from after its imports to its end:

- ours: `archiver run --only fetch` as a function, in an archive whose events name the messages: asked for, read, told apart from what is
  known, committed;
- bare: a thread pool and one ``httpx.Client``, the answers are read and forgotten.

The simulator is what the target is about. The same is measured at `sides/quick_flock.py`, which does nothing but answer, to show that it
is not the server that both sides wait for. Figures are medians over the rounds; ratios are medians of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
SIDES = Path(__file__).resolve().parent / "sides"
sys.path.insert(0, str(REPOSITORY))

from archiver.model.capture import Capture  # noqa: E402 - the path is set above
from archiver.spool.sqlite import SqliteSpool  # noqa: E402 - as above

RATIO_MIN = 0.8
THREADS = 8
UIDS_PER_EVENT = 100
SERVERS = {"simulator": "simulated_flock.py", "quick": "quick_flock.py"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--server", nargs="+", choices=list(SERVERS), default=list(SERVERS))
    parser.add_argument("--directory", type=Path, default=REPOSITORY)
    given = parser.parse_args()
    ratios = {}
    for name in given.server:
        with tempfile.TemporaryDirectory(dir=given.directory, prefix=".bench-") as folder:
            ratios[name] = _compare_at(name, Path(folder), messages=given.messages, rounds=given.rounds)
    if "simulator" not in ratios:
        return 0
    met = ratios["simulator"] >= RATIO_MIN
    print(f"target: {RATIO_MIN} of bare at the simulator: {'met' if met else 'MISSED'}")
    return 0 if met else 1


def _compare_at(server: str, folder: Path, *, messages: int, rounds: int) -> float:
    arguments = [str(messages)] if server == "simulator" else ["--wanted", str(messages)]
    command = [sys.executable, str(SIDES / SERVERS[server]), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as flock:
        assert flock.stdin is not None
        assert flock.stdout is not None
        try:
            where = folder / "flock.json"
            where.write_text(flock.stdout.readline())
            return _compare(server, folder, where, messages=messages, rounds=rounds)
        finally:
            flock.stdin.close()


def _compare(server: str, folder: Path, where: Path, *, messages: int, rounds: int) -> float:
    prepared = _prepare(folder / "prepared", json.loads(where.read_bytes()))
    runs: dict[str, list[dict[str, Any]]] = {"ours": [], "bare": []}
    for number in range(rounds):
        # Which comes first changes, so that neither always meets the warmer machine.
        for side in ("ours", "bare") if number % 2 else ("bare", "ours"):
            if side == "bare":
                runs[side].append(_time("fetch_bare.py", where, messages, THREADS))
                continue
            station = folder / "station"
            shutil.copytree(prepared, station)
            runs[side].append(_time("nightly_ours.py", station / "archiver.yaml", "--only", "fetch"))
            shutil.rmtree(station)
            if runs[side][-1]["counts"].get("fetch.messages") != messages:
                raise SystemExit(f"not all of {messages} messages archived: {runs[side][-1]['counts']}")
    for side, of_side in runs.items():
        seconds, cpu = (statistics.median(run[name] for run in of_side) for name in ("seconds", "cpu_seconds"))
        print(f"{server:<10} {side}: {messages / seconds:>9,.0f} messages/s, cpu {cpu:.2f} s of {seconds:.2f} s")
    ratio = statistics.median(
        bare["seconds"] / ours["seconds"] for ours, bare in zip(runs["ours"], runs["bare"], strict=True)
    )
    print(f"{server:<10} ours / bare {ratio:.2f}", flush=True)
    return ratio


def _prepare(folder: Path, flock: dict[str, Any]) -> Path:
    """Make an archive whose events name every message that is wanted, as users' actions would have."""
    folder.mkdir()
    (folder / "tokens.json").write_text(json.dumps(flock["tokens"]))
    facts = {
        "workspace": "benchmark",
        "flock": {
            "base_url": flock["base_url"],
            "requests_per_second": 1000,
            "connections": THREADS,
            "tokens_file": "./tokens.json",
        },
    }
    (folder / "archiver.yaml").write_text(json.dumps(facts))
    now_ms = int(time.time() * 1000)
    spool = SqliteSpool(folder / "state" / "spool.sqlite")
    for item in flock["wanted"]:
        for at in range(0, len(item["uids"]), UIDS_PER_EVENT):
            uids = item["uids"][at : at + UIDS_PER_EVENT]
            event = {"name": "client.messageAction", "userId": item["user"], "chat": item["chat"], "messageUids": uids}
            spool.append([Capture("app", "event", now_ms, "event-token", json.dumps(event).encode())])
    spool.close()
    _time("nightly_ours.py", folder / "archiver.yaml", "--only", "drain")
    return folder


def _time(script: str, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, str(SIDES / script), *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


if __name__ == "__main__":
    sys.exit(main())
