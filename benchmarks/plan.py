"""How long a retention plan over all messages takes, and its memory, against a DuckDB GROUP BY over the same columns of the same files.

    python benchmarks/plan.py [--messages 10000000] [--days 2000] [--rounds 3] [--archive DIR] [--directory DIR]

The archive is made first (`sides/aged.py`): so many days of messages in 60 channels by 120 people, one commit a day, some edited, some
with files. The policy has a rule for everything (5 years), one that retains what some people sent, and one for few channels that is so
short that no day can be passed over, so both sides read every object. In every round each side runs in a new process that times itself,
after its imports, on files that the system has cached:

- ours: open the archive, make the plan, as `archiver retention plan --no-store` does;
- duckdb: a GROUP BY chat, sender and month over the columns of `messages` that the plan reads, and one over those of `files`, with as many
  threads.

Figures are medians over the rounds; the ratio is the median of the rounds' ratios. Targets: at most 3 times as long, under 1 GB (of
1,000,000,000 bytes; the process's own peak).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SIDES = Path(__file__).resolve().parent / "sides"
RATIO_MAX = 3.0
PEAK_BYTES_MAX = 1_000_000_000
UNTIL = "2026-11-01"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000_000)
    parser.add_argument("--days", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--archive", type=Path, help="keep the archive here, and use the one that is here")
    parser.add_argument("--directory", type=Path, default=REPOSITORY)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.directory, prefix=".bench-") as name:
        archive = given.archive or Path(name) / "archive"
        if not archive.exists():
            _run("aged.py", archive, given.messages, given.days, UNTIL)
        return _compare(archive, given.rounds)


def _compare(archive: Path, rounds: int) -> int:
    sides = {"ours": "plan_ours.py", "duckdb": "plan_duckdb.py"}
    found: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for number in range(rounds + 1):
        for side, script in sides.items():
            figures = json.loads(_run(script, archive, UNTIL).splitlines()[-1])
            if number:  # the first only warms the system's cache
                found[side].append(figures)
    for side, figures in found.items():
        seconds = statistics.median(one["seconds"] for one in figures)
        peak = max(one["peak_bytes"] for one in figures)
        rows = int(figures[0]["rows"])
        print(
            f"{side:<7} {rows:>11,} rows in {seconds:7.2f} s, {rows / seconds:>12,.0f} rows/s, peak {peak / 1e6:6.0f} MB"
        )
    print(f"in the plan: {int(found['ours'][0]['items']):,} items")
    ratio = statistics.median(
        ours["seconds"] / theirs["seconds"] for ours, theirs in zip(found["ours"], found["duckdb"], strict=True)
    )
    peak = max(one["peak_bytes"] for one in found["ours"])
    kept = ratio <= RATIO_MAX and peak < PEAK_BYTES_MAX
    print(
        f"ours / duckdb {ratio:.2f} (at most {RATIO_MAX:g}), {peak / 1e6:.0f} MB (under 1000): {'met' if kept else 'MISSED'}"
    )
    return 0 if kept else 1


def _run(script: str, *arguments: object) -> str:
    command = [sys.executable, str(SIDES / script), *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
