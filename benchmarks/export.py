"""How long exports take, beside DuckDB's COPY and bare loops over the same messages, and how much memory.

    python benchmarks/export.py [--messages 200000] [--days 30] [--rounds 2] [--directory DIR]

Every side starts as a new process over the same archive and times itself from after its imports to its end:

- jsonl: our whole package in JSON lines (chosen, sorted by conversation, hashed twice, manifests, cover page) beside DuckDB's
  ``COPY (SELECT …) TO … (FORMAT json)`` of the same columns of the same rows;
- html: our package of pages beside a bare jinja2 loop over the same messages, read by pyarrow, one page a conversation;
- rsmf: our package beside a bare loop that puts the same messages into JSON in a zip for each conversation and day.

Figures are medians over the rounds. Memory is the peak of all our processes. Targets: 0.5 of DuckDB, a third of the bare loops, 500 MB.
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
PEAK_BYTES_MAX = 500_000_000
# By form: the side that ours is held against, and the share of its speed that ours must have.
RIVALS = {"jsonl": ("duckdb", 0.5), "html": ("jinja2", 1 / 3), "rsmf": ("zip", 1 / 3)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--directory", type=Path, default=REPOSITORY)
    given = parser.parse_args()
    is_kept = True
    with tempfile.TemporaryDirectory(dir=given.directory, prefix=".bench-") as name:
        folder = Path(name)
        (folder / "made").mkdir()
        subprocess.run(
            [sys.executable, SIDES / "apply_archive.py", folder / "made", str(given.messages), str(given.days)],
            check=True,
        )
        for form, (rival, share_min) in RIVALS.items():
            figures: dict[str, list[dict[str, float]]] = {form: [], rival: []}
            for _ in range(given.rounds):
                for side, found in figures.items():
                    out = folder / "out"
                    command = [sys.executable, SIDES / "export_sides.py", side, folder / "made" / "archive", out]
                    found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
                    shutil.rmtree(out)
            ours, theirs = (statistics.median(each["seconds"] for each in found) for found in figures.values())
            peak = max(each["peak_bytes"] for each in figures[form])
            print(
                f"{form:6} {given.messages / ours:>10,.0f} messages/s   {rival:7} {given.messages / theirs:>10,.0f} messages/s   "
                f"ours / theirs {theirs / ours:5.2f} (at least {share_min:.2f})   peak {peak / 1e6:,.0f} MB",
                flush=True,
            )
            is_kept = is_kept and theirs / ours >= share_min and peak <= PEAK_BYTES_MAX
    print(f"targets: {'kept' if is_kept else 'MISSED'}")
    return 0 if is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
