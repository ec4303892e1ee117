"""How quickly paged history is read to committed Parquet, against a bare script and against dlt's REST source on the same server.

    python benchmarks/history.py [--messages 500000] [--rounds 3] [--threads 8] [--directory DIR]

The server is the simulator with `chat.history` switched on: 40 channels, pages of 100, every message rendered before anybody is
measured (a bare crawl that does not count sees to it). Three sides read all of it one after the other in every round, each in a new
process that times itself from after its imports to its end:

- ours: the stage history of a run, from an archive that knows channels and members to all messages committed;
- bare: httpx in the same number of threads, msgspec, and pyarrow writing the same columns, digests computed, same codec;
- dlt: its REST source, one resource for each channel, in parallel, to Parquet in a folder (`.venv-bench`, made by ``make bench``).

Figures are medians over the rounds; ratios are medians of the rounds' ratios. The server has its share of both cores.
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

REPOSITORY = Path(__file__).resolve().parents[1]
SIDES = Path(__file__).resolve().parent / "sides"
DLT_PYTHON = REPOSITORY / ".venv-bench" / "bin" / "python"
BARE_RATIO_MIN = 0.8
DLT_RATIO_MIN = 4.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--directory", type=Path, default=REPOSITORY)
    given = parser.parse_args()
    command = [sys.executable, str(SIDES / "history_server.py"), str(given.messages)]
    with (
        tempfile.TemporaryDirectory(dir=given.directory, prefix=".bench-") as name,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server,
    ):
        try:
            facts = server.stdout.readline() if server.stdout else ""
            return _compare(Path(name), facts, given)
        finally:
            server.communicate()


def _compare(folder: Path, server: str, given: argparse.Namespace) -> int:
    seconds: dict[str, list[float]] = {}
    numbers = (given.messages, given.threads)
    _time({}, "warm up", sys.executable, "history_bare.py", server, folder / "bare", *numbers)
    for _ in range(given.rounds):
        station = folder / "station"
        station.mkdir()
        _time(seconds, "ours", sys.executable, "history_ours.py", server, station, *numbers)
        shutil.rmtree(station)
        _time(seconds, "bare", sys.executable, "history_bare.py", server, folder / "bare", *numbers)
        if DLT_PYTHON.exists():
            _time(seconds, "dlt", str(DLT_PYTHON), "history_dlt.py", server, folder / "dlt", *numbers)
    for side, times in seconds.items():
        rate = given.messages / statistics.median(times)
        print(f"{side:<6} {rate:>10,.0f} messages/s   ours / this {_ratio(seconds, side):6.2f}")
    kept = _ratio(seconds, "bare") >= BARE_RATIO_MIN
    if "dlt" in seconds:
        kept = kept and _ratio(seconds, "dlt") >= DLT_RATIO_MIN
    else:
        print("dlt: not measured, .venv-bench is missing (make bench makes it)")
    print(f"targets: {BARE_RATIO_MIN} of bare, {DLT_RATIO_MIN:g} times dlt: {'met' if kept else 'MISSED'}")
    return 0 if kept else 1


def _ratio(seconds: dict[str, list[float]], side: str) -> float:
    return statistics.median([other / own for own, other in zip(seconds["ours"], seconds[side], strict=True)])


def _time(seconds: dict[str, list[float]], side: str, python: str, script: str, *arguments: object) -> None:
    command = [python, str(SIDES / script), *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    seconds.setdefault(side, []).append(float(json.loads(done.stdout.splitlines()[-1])["seconds"]))


if __name__ == "__main__":
    sys.exit(main())
