"""What a nightly run over 10,000 new messages costs on an archive of 5,000,000 messages, against one of 100,000.

    python benchmarks/nightly.py [--nights 20 1000] [--a-night 5000] [--new 10000] [--rounds 5] [--archives DIR]

Both archives are made first (`sides/past.py`): so many nights of 5,000 messages each, in 60 channels and as many days, with what a
night leaves beside messages: events, observations, cursors, changes of the directory, gaps; four commits a night. Then, in every
round and on each of both, a new process runs all stages of `archiver run`, as in a night: recover, directory, drain, fetch, sweep,
files, history and gaps. 10,000 messages wait in the spool; the directory and the messages that are read again come from
`sides/quick_flock.py`. The sweep has 1,000 requests, which the last seven days alone use up on both archives: how much is read again is
what its rules and its budget say, and not what a run costs for an archive being large. Every run begins with a copy of the same archive,
made of hard links, for nothing that is committed changes.

Figures are medians over the rounds, the ratio is the median of the rounds' ratios. The target: at most 1.2 times.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
SIDES = Path(__file__).resolve().parent / "sides"
sys.path.insert(0, str(REPOSITORY))
sys.path.insert(0, str(SIDES))

import team  # noqa: E402 - the path is set above

from archiver.model.capture import Capture  # noqa: E402 - as above
from archiver.spool.sqlite import SqliteSpool  # noqa: E402 - as above

RATIO_MAX = 1.2
SWEEP_REQUESTS = 1_000
TOKENS = "tokens.json"
APPEND_CAPTURES = 500


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, nargs=2, default=[20, 1_000])
    parser.add_argument("--a-night", type=int, default=5_000)
    parser.add_argument("--new", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", type=Path, default=REPOSITORY)
    parser.add_argument("--archives", type=Path, help="keep the archives here, and use those of today that are here")
    parser.add_argument("--profile", type=Path, help="write what cProfile sees of each side to this folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.archives or given.directory, prefix=".bench-") as name, flock() as where:
        return _compare(Path(name), where, given)


@contextlib.contextmanager
def flock() -> Iterator[dict[str, Any]]:
    """Run the quick Flock beside, and give its address and its tokens."""
    command = [sys.executable, str(SIDES / "quick_flock.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield json.loads(server.stdout.readline())
        finally:
            server.stdin.close()


def _compare(folder: Path, where: dict[str, Any], given: argparse.Namespace) -> int:
    # Tonight's messages are those of the last 24 hours, and the nights of the past end where these begin.
    until_ms = int(time.time() * 1000) // team.DAY_MS * team.DAY_MS - team.DAY_MS // 2
    kept = given.archives or folder
    pasts = {
        nights: _past(kept, where, nights=nights, a_night=given.a_night, until_ms=until_ms) for nights in given.nights
    }
    spool = folder / "tonight" / "spool.sqlite"
    _fill_spool(spool, until_ms, given.new)
    config = _configure(folder / "config", where)
    runs: dict[int, list[dict[str, Any]]] = {nights: [] for nights in given.nights}
    for number in range(given.rounds):
        # Which comes first changes, so that neither always meets the warmer machine.
        for nights in given.nights if number % 2 else given.nights[::-1]:
            runs[nights].append(_run(folder / "station", pasts[nights], spool, config=config, given=given))
    small, large = (runs[nights] for nights in given.nights)
    for nights, of_side in runs.items():
        print(f"{nights * given.a_night:>10,} messages, {nights:,} nights: {_row(of_side)}")
        print("           " + ", ".join(f"{name} {value:.3f} s" for name, value in _stages(of_side).items()))
    seconds = _ratio(small, large, "seconds")
    print(f"cpu {_ratio(small, large, 'cpu_seconds'):.2f} times, memory {_ratio(small, large, 'peak_bytes'):.2f} times")
    met = seconds <= RATIO_MAX
    print(f"a night on the large archive costs {seconds:.2f} times (at most {RATIO_MAX}): {'met' if met else 'MISSED'}")
    return 0 if met else 1


def _past(kept: Path, where: dict[str, Any], *, nights: int, a_night: int, until_ms: int) -> Path:
    """Return the folder of an archive of so many nights, made if it is not there."""
    folder = kept / f"past-{nights}-{a_night}-{until_ms}"
    if not folder.exists():
        making = folder.with_suffix(".making")
        shutil.rmtree(making, ignore_errors=True)
        config = _configure(making, where)
        command = [sys.executable, str(SIDES / "past.py"), config, nights, a_night, until_ms]
        subprocess.run([*map(str, command)], check=True, capture_output=True)
        making.rename(folder)
    return folder


def _configure(folder: Path, where: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TOKENS).write_text(json.dumps(where["tokens"]))
    path = folder / "archiver.yaml"
    facts = {
        "workspace": "benchmark",
        "flock": {"base_url": where["base_url"], "requests_per_second": 1000, "tokens_file": f"./{TOKENS}"},
        "sweep": {"requests_max": SWEEP_REQUESTS},
    }
    path.write_text(json.dumps(facts))
    return path


def _fill_spool(path: Path, first_ms: int, count: int) -> None:
    spool = SqliteSpool(path)
    captures = [
        Capture("general", "webhook", at_ms + 250, "webhook-token", team.message(chat, uid).encode())
        for at_ms, chat, uid in team.night(first_ms, messages=count)
    ]
    for start in range(0, count, APPEND_CAPTURES):
        spool.append(captures[start : start + APPEND_CAPTURES])
    spool.close()


def _run(station: Path, past: Path, spool: Path, *, config: Path, given: argparse.Namespace) -> dict[str, Any]:
    station.mkdir()
    shutil.copytree(past / "archive", station / "archive", copy_function=os.link)
    shutil.copytree(past / "state", station / "state")
    for source, name in ((spool, f"state/{spool.name}"), (config, config.name), (config.parent / TOKENS, TOKENS)):
        shutil.copy(source, station / name)
    command = [sys.executable, str(SIDES / "nightly_ours.py"), str(station / config.name)]
    if given.profile:
        command += ["--profile", str(given.profile / f"{past.name}.prof")]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    shutil.rmtree(station)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    counts = result["counts"]
    if counts["drain.messages"] != given.new or counts["sweep.requests"] != SWEEP_REQUESTS:
        raise SystemExit(f"this was no such night: {counts}")
    return result


def _row(runs: list[dict[str, Any]]) -> str:
    def median(name: str) -> float:
        return statistics.median(run[name] for run in runs)

    return f"{median('seconds'):6.3f} s, cpu {median('cpu_seconds'):6.3f} s, peak {median('peak_bytes') / 1e6:4.0f} MB"


def _stages(runs: list[dict[str, Any]]) -> dict[str, float]:
    stages = {name: statistics.median(run["stages"][name] for run in runs) for name in runs[0]["stages"]}
    return {"opening": statistics.median(run["seconds"] - sum(run["stages"].values()) for run in runs), **stages}


def _ratio(small: list[dict[str, Any]], large: list[dict[str, Any]], name: str) -> float:
    return statistics.median(other[name] / one[name] for one, other in zip(small, large, strict=True))


if __name__ == "__main__":
    sys.exit(main())
