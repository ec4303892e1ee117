"""How long removing a scattered tenth of the rows takes, against a bare loop, DuckDB, deltalake and pyiceberg.

    python benchmarks/apply.py [--messages 500000] [--files 60] [--rounds 3] [--threads 2] [--directory DIR]

The messages of one of ten senders go from every file of an archive with one file a day. Every side does that once in every round, in a
new process and on its own copy, and times itself from after its imports to its end:

- ours: a stored plan is loaded, checked against the archive and applied: every row of it found, every file that is rewritten held against
  its digest first and flushed to the disk after, certificate, ledger entry, and the old files erased;
- bare: pyarrow reads each file, filters it by one comparison and writes it, with the same codec and threads, and nothing else;
- duckdb: a COPY of each file with the same codec; deltalake and pyiceberg: their own delete by the same predicate, in a table of the
  same rows by day that was made before (`.venv-bench`, made by ``make bench``).

Figures are medians over the rounds; ratios are medians of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SIDES = Path(__file__).resolve().parent / "sides"
RIVALS_PYTHON = REPOSITORY / ".venv-bench" / "bin" / "python"
BARE_TIMES_MAX = 1.3

OWN = ("ours", "bare", "duckdb")
RIVALS = ("deltalake", "pyiceberg")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=500_000)
    parser.add_argument("--files", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--directory", type=Path, default=REPOSITORY)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.directory, prefix=".bench-") as name:
        made = Path(name, "made")
        made.mkdir()
        _run(sys.executable, "apply_archive.py", made, given.messages, given.files)
        return _compare(Path(name), made, given)


def _compare(folder: Path, made: Path, given: argparse.Namespace) -> int:
    sides = OWN + (RIVALS if RIVALS_PYTHON.exists() else ())
    figures: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    expected = json.loads((made / "facts.json").read_text())
    for _ in range(given.rounds):
        for side in sides:
            copy = folder / side
            shutil.copytree(made, copy)
            os.sync()  # nobody waits for what was copied
            python = str(RIVALS_PYTHON) if side in RIVALS else sys.executable
            figure = json.loads(_run(python, f"apply_{side}.py", copy, given.threads).splitlines()[-1])
            if figure["rows"] != expected["messages"] - expected["items"]:
                raise SystemExit(f"{side} left {figure['rows']} rows")
            figures[side].append(figure)
            shutil.rmtree(copy)
    for side in sides:
        seconds, cpu = (statistics.median(figure[name] for figure in figures[side]) for name in ("seconds", "cpu"))
        print(f"{side:<10} {seconds:7.2f} s   cpu {cpu:6.2f} s   ours / this {_ratio(figures, side):5.2f}")
    kept = _ratio(figures, "bare") <= BARE_TIMES_MAX and all(_ratio(figures, side) < 1 for side in sides[2:])
    if len(sides) == len(OWN):
        print("deltalake, pyiceberg: not measured, .venv-bench is missing (make bench makes it)")
    print(f"targets: {BARE_TIMES_MAX} times bare, faster than the others: {'met' if kept else 'MISSED'}")
    return 0 if kept else 1


def _ratio(figures: dict[str, list[dict[str, float]]], side: str) -> float:
    pairs = zip(figures["ours"], figures[side], strict=True)
    return statistics.median([own["seconds"] / other["seconds"] for own, other in pairs])


def _run(python: str, script: str, *arguments: object) -> str:
    command = [python, str(SIDES / script), *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
