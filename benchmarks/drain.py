"""How many messages a second go from the spool to committed Parquet, against a bare script and against dlt.

    python benchmarks/drain.py [--messages 300000] [--rounds 5] [--directory DIR]

Three sides do the same 300,000 messages one after the other in every round, each in a new process that times itself from after
its imports to its end:

- ours: `archiver run --only drain` as a function: spool in SQLite to a committed, verified-on-read archive in a folder;
- bare: msgspec decodes the bodies, already in memory, and pyarrow writes the same columns, digests computed, same codec
  (``bare, no digests`` leaves the two digest columns out and is shown for comparison);
- dlt: loads the same messages from JSON lines to Parquet in a folder (`.venv-bench`, made by ``make bench``).

Figures are medians over the rounds; ratios are medians of the rounds' ratios.
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
sys.path.insert(0, str(REPOSITORY))
sys.path.insert(0, str(Path(__file__).resolve().parent / "sides"))

BARE_RATIO_MIN = 0.4
DLT_RATIO_MIN = 5.0
SIDES = Path(__file__).resolve().parent / "sides"
DLT_PYTHON = REPOSITORY / ".venv-bench" / "bin" / "python"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", type=Path, default=REPOSITORY)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.directory, prefix=".bench-") as name:
        return _compare(Path(name), messages=given.messages, rounds=given.rounds)


def _compare(folder: Path, *, messages: int, rounds: int) -> int:
    import corpus  # noqa: PLC0415 - after the path is set

    lines = folder / "messages.jsonl"
    corpus.write_lines(lines, messages)
    prepared = folder / "prepared"
    corpus.fill_spool(prepared / "state" / "spool.sqlite", messages)
    corpus.write_config(prepared)
    seconds: dict[str, list[float]] = {}
    for _ in range(rounds):
        station = folder / "station"
        shutil.copytree(prepared, station)
        _time(seconds, "ours", sys.executable, "drain_ours.py", station / "archiver.yaml", messages)
        shutil.rmtree(station)
        _time(seconds, "bare", sys.executable, "drain_bare.py", lines, folder / "bare", "digests")
        _time(seconds, "bare, no digests", sys.executable, "drain_bare.py", lines, folder / "bare", "plain")
        if DLT_PYTHON.exists():
            _time(seconds, "dlt", str(DLT_PYTHON), "drain_dlt.py", lines, folder / "dlt")
    for side, times in seconds.items():
        rate = messages / statistics.median(times)
        ratios = [other / own for own, other in zip(seconds["ours"], times, strict=True)]
        print(f"{side:<18} {rate:>10,.0f} messages/s   ours / this {statistics.median(ratios):6.2f}")
    kept = statistics.median([b / o for o, b in zip(seconds["ours"], seconds["bare"], strict=True)]) >= BARE_RATIO_MIN
    if "dlt" in seconds:
        dlt = statistics.median([d / o for o, d in zip(seconds["ours"], seconds["dlt"], strict=True)])
        kept = kept and dlt >= DLT_RATIO_MIN
    else:
        print("dlt: not measured, .venv-bench is missing (make bench makes it)")
    print(f"targets: {BARE_RATIO_MIN} of bare, {DLT_RATIO_MIN:g} times dlt: {'kept' if kept else 'MISSED'}")
    return 0 if kept else 1


def _time(seconds: dict[str, list[float]], side: str, python: str, script: str, *arguments: object) -> None:
    command = [python, str(SIDES / script), *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds.setdefault(side, []).append(float(json.loads(done.stdout.splitlines()[-1])["seconds"]))


if __name__ == "__main__":
    sys.exit(main())
