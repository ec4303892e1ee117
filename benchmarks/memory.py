"""Peak memory of a run that drains 1,000,000 messages, and of one that drains 3,000,000.

    python benchmarks/memory.py [--messages 1000000 3000000] [--directory DIR]

Each run is `archiver run --only drain` as a user would start it, with whatever processes it starts itself. Memory is the sum of the
proportional set sizes (Pss in /proc/PID/smaps_rollup: shared pages count once) of that whole tree, sampled 20 times a second. The limit
is 500 MB (of 1,000,000 bytes), and three times the messages must not take more.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
sys.path.insert(0, str(Path(__file__).resolve().parent / "sides"))

PEAK_BYTES_MAX = 500_000_000
GROWTH_MAX = 1.1  # what two runs of the same size differ by
SAMPLE_SECONDS = 0.05


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, nargs="+", default=[1_000_000, 3_000_000])
    parser.add_argument("--directory", type=Path, default=REPOSITORY)
    given = parser.parse_args()
    peaks = []
    for messages in given.messages:
        with tempfile.TemporaryDirectory(dir=given.directory, prefix=".bench-") as name:
            peak, seconds = _measure(Path(name), messages)
        peaks.append(peak)
        print(f"{messages:>9,} messages: peak {peak / 1e6:6.0f} MB, {seconds:6.1f} s", flush=True)
    kept = max(peaks) <= PEAK_BYTES_MAX and peaks[-1] <= peaks[0] * GROWTH_MAX
    print(f"targets: {PEAK_BYTES_MAX / 1e6:.0f} MB, and no growth: {'kept' if kept else 'MISSED'}")
    return 0 if kept else 1


def _measure(folder: Path, messages: int) -> tuple[int, float]:
    """Run the program over a full spool; returns its peak memory in bytes and its seconds."""
    import corpus  # noqa: PLC0415 - after the path is set

    corpus.fill_spool(folder / "state" / "spool.sqlite", messages)
    config = corpus.write_config(folder)
    command = [sys.executable, "-m", "archiver", "run", "--only", "drain", "--quiet", "--config", str(config)]
    started = time.perf_counter()
    run = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    peak = 0
    while run.poll() is None:
        peak = max(peak, sum(map(_pss_bytes, _tree(run.pid))))
        time.sleep(SAMPLE_SECONDS)
    seconds = time.perf_counter() - started
    if run.returncode != 0:
        raise SystemExit(f"the run ended with exit code {run.returncode}")
    shutil.rmtree(folder / "archive")
    return peak, seconds


def _tree(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found, at = [pid], 0
    while at < len(found):
        for task in Path(f"/proc/{found[at]}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
        at += 1
    return found


def _pss_bytes(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:"))


if __name__ == "__main__":
    sys.exit(main())
